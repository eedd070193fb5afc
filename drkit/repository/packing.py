"""How one session seals: its key, its envelope, and where its packs wait until they are put."""

from dataclasses import dataclass
from mmap import mmap
from pathlib import Path

import zstandard

from drkit.crypto.seal import Opener, Sealer
from drkit.repository.format import MANIFEST_MAGIC, PACK_MAGIC, PACK_TARGET, RECORD
from drkit.repository.pack import PackWriter, staging_buffer, waiting_room
from drkit.repository.recheck import Recheck
from drkit.repository.transfer import Tools
from drkit.stores.base import Store

_USUAL = 3  # the level nearly everybody keeps


def compressor(level: int) -> zstandard.ZstdCompressor:
    """At the usual level with half as large tables, which stay in the processor's cache: 3 to 16 %
    faster by kind of data, and between 1 % smaller and 1 % larger (benchmarks/compression.py)."""
    if level != _USUAL:
        return zstandard.ZstdCompressor(level=level)
    made = zstandard.ZstdCompressionParameters.from_level(
        level, source_size=RECORD, chain_log=15, hash_log=16
    )
    return zstandard.ZstdCompressor(compression_params=made)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    session: str
    session_key: bytes
    id_key: bytes
    envelope: bytes
    ids: tuple[bytes, bytes]  # of repository and domain
    compression: int
    verify: str
    store: Store
    spool: Path  # for stores without a disk of their own here

    def tools(self) -> Tools:
        own = compressor(self.compression)
        staging = staging_buffer()
        opener = Opener(self.session_key, *self.ids)
        return Tools(
            open_pack=lambda: self._writer(PACK_MAGIC, PACK_TARGET, own, staging),
            check=Recheck(self.verify, opener, self.id_key),
        )

    def manifest(self) -> PackWriter:
        return self._writer(MANIFEST_MAGIC, None, compressor(self.compression), staging_buffer())

    def _writer(
        self, magic: bytes, limit: int | None, compressor: zstandard.ZstdCompressor, staging: mmap
    ) -> PackWriter:
        folder, own = waiting_room(self.store, self.spool)
        return PackWriter(
            session=self.session,
            magic=magic,
            envelope=self.envelope,
            sealer=Sealer(self.session_key, *self.ids),
            folder=folder,
            compressor=compressor,
            staging=staging,
            limit=limit,
            direct=own,
        )

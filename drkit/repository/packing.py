"""How one session seals: its key, its envelope, and where its packs wait until they are put."""

from dataclasses import dataclass
from mmap import mmap
from pathlib import Path

import zstandard

from drkit.crypto.seal import Opener, Sealer
from drkit.repository.format import MANIFEST_MAGIC, PACK_MAGIC, PACK_TARGET
from drkit.repository.pack import PackWriter, staging_buffer, waiting_room
from drkit.repository.recheck import Recheck
from drkit.repository.transfer import Tools
from drkit.stores.base import Store


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
        compressor = zstandard.ZstdCompressor(level=self.compression)
        staging = staging_buffer()
        opener = Opener(self.session_key, *self.ids)
        return Tools(
            open_pack=lambda: self._writer(PACK_MAGIC, PACK_TARGET, compressor, staging),
            check=Recheck(self.verify, opener, self.id_key),
        )

    def manifest(self) -> PackWriter:
        compressor = zstandard.ZstdCompressor(level=self.compression)
        return self._writer(MANIFEST_MAGIC, None, compressor, staging_buffer())

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

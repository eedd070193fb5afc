"""Objects read whole: their hash, and with keys every record that somebody needs of them."""

import hashlib
import mmap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import zstandard
from blake3 import blake3

from drkit.crypto.seal import DATA, Opener
from drkit.errors import Damaged, KeyMissing, NotFound, StoreError
from drkit.repository import names
from drkit.repository.format import ENVELOPE_LIMIT, HEAD, PACK_MAGIC, RECORD, RECORD_STORED
from drkit.repository.frame import envelope_of, split_keys
from drkit.repository.packlists import Fault, Kind, Promised
from drkit.stores.base import Store

_CHUNK = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A record as a manifest describes it."""

    at: int
    stored: int
    raw: int
    id: bytes
    id_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One object to read."""

    generation: str
    promised: Promised
    size: int  # as listed: what can be read
    rows: Sequence[Row] = ()  # in their order; none: the hash alone
    unwrap: Callable[[bytes], bytes] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    item: Item
    faults: tuple[Fault, ...] = ()
    bad: tuple[int, ...] = ()  # where the records lie that don't open


class ObjectReader:
    """Owned by one thread: its own buffers."""

    def __init__(self, store: Store, ids: tuple[bytes, bytes]) -> None:
        self._store = store
        self._ids = ids
        self._buffer = memoryview(mmap.mmap(-1, _CHUNK + RECORD_STORED))
        self._packed = memoryview(mmap.mmap(-1, RECORD_STORED))
        self._out = memoryview(mmap.mmap(-1, RECORD))
        self._zstd = zstandard.ZstdDecompressor()

    def read(self, item: Item) -> Answer:
        digest = hashlib.sha256()
        records = _Records(self, item)
        try:
            for base, have in self._pieces(item, records, digest):
                records.within(self._buffer, base, have)
        except NotFound:
            return _answer(item, records.lost(), ("missing", "is missing"))
        except StoreError as error:
            if error.transient:
                raise
            return _answer(item, records.lost(), ("unreadable", f"can't be read: {error.message}"))
        bad = records.lost()
        if digest.digest() != item.promised.sha256:
            return _answer(item, bad, ("hash", "is not what was sealed: its SHA-256 is another"))
        if records.refused is not None:
            raise records.refused  # the bytes are right: then it is the key that does not fit
        if bad:
            return _answer(item, bad, ("record", f"has {len(bad)} records that don't open"))
        return Answer(item=item)

    def _pieces(
        self, item: Item, records: "_Records", digest: "hashlib._Hash"
    ) -> Iterator[tuple[int, int]]:
        """Offset of the buffer's begin and how much is in it; what a record needs is carried on."""
        base = kept = 0
        for offset in range(0, min(item.size, item.promised.size), _CHUNK):
            length = min(_CHUNK, item.size - offset, item.promised.size - offset)
            view = self._buffer[kept : kept + length]
            self._store.read_into(item.promised.name, offset, view)
            digest.update(view)
            have = kept + length
            yield base, have
            start = min(records.next_at(), base + have)
            kept = base + have - start
            self._buffer[:kept] = self._buffer[have - kept : have]
            base = start

    def opener(self, item: Item, head: memoryview) -> Opener | None:
        """None: its envelope is damaged."""
        assert item.unwrap is not None
        try:
            envelope = envelope_of(bytes(head[: HEAD.size + ENVELOPE_LIMIT]), PACK_MAGIC)
            return Opener(split_keys(item.unwrap(envelope)).session_key, *self._ids)
        except Damaged:
            return None

    def opens(self, opener: Opener, row: Row, sealed: memoryview) -> bool:
        try:
            got = opener.open_into(DATA, row.id, sealed, self._packed)
            n = self._zstd.stream_reader(self._packed[:got]).readinto(self._out[: row.raw])
        except (Damaged, zstandard.ZstdError):
            return False
        plain = self._out[: row.raw]
        return n == row.raw and blake3(plain, key=row.id_key).digest(16) == row.id


class _Records:
    """The records wanted of one object, met in their order."""

    def __init__(self, reader: ObjectReader, item: Item) -> None:
        self._reader = reader
        self._rows = item.rows
        self._item = item
        self._next = 0
        self._bad: list[int] = []
        self._opener: Opener | None = None
        self.refused: KeyMissing | None = None

    def next_at(self) -> int:
        return self._rows[self._next].at if self._next < len(self._rows) else 1 << 62

    def within(self, buffer: memoryview, base: int, have: int) -> None:
        if not base and self._rows:
            self._start(buffer[:have])
        while self._next < len(self._rows):
            row = self._rows[self._next]
            if row.at + row.stored > base + have:
                return
            sealed = buffer[row.at - base : row.at - base + row.stored]
            if self._opener is None or not self._reader.opens(self._opener, row, sealed):
                self._bad.append(row.at)
            self._next += 1

    def _start(self, head: memoryview) -> None:
        if self._opener is None and not self._next and self.refused is None:
            try:
                self._opener = self._reader.opener(self._item, head)
            except KeyMissing as error:  # a damaged stanza looks like that, too: the hash tells
                self.refused = error

    def lost(self) -> list[int]:
        """Those that don't open, and those the object ended before."""
        return [*self._bad, *(row.at for row in self._rows[self._next :])]


def _answer(item: Item, bad: Sequence[int], what: tuple[Kind, str]) -> Answer:
    kind, message = what
    promised = item.promised
    fault = Fault(
        kind=kind,
        name=promised.name,
        generation=item.generation,
        session=promised.session,
        message=f"{promised.name} {message}",
    )
    return Answer(item=item, faults=(fault,), bad=tuple(bad))


def last_part(name: str) -> str:
    """Below its generation: packs/…, manifest/…"""
    return name.removeprefix(names.DOMAINS).split("/", 3)[3]

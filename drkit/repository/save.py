"""One session's hand: what a source writes becomes chunks, records and manifest lines."""

from collections.abc import Callable
from typing import Any

from blake3 import blake3

from drkit.crypto.seal import record_id
from drkit.model.entry import Entry
from drkit.repository.cache import Cache
from drkit.repository.chunker import Chunker
from drkit.repository.format import RECORD, SMALL
from drkit.repository.manifest import decode_file, encode_file
from drkit.repository.pages import PageWriter
from drkit.repository.transfer import Job, Sealing
from drkit.repository.writers import ContentWriter, PieceSplicer, PlainWriter
from drkit.source import Cut, Writer


class Hand:
    """Implements `source.Save`, and the desk its writers work at."""

    def __init__(
        self, cache: Cache, sealing: Sealing, id_key: bytes, drain: Callable[[], None]
    ) -> None:
        self.state = cache.get("state") or b""
        self.recorded: dict[str, Any] = {}
        self.files = 0
        self.bytes = 0
        self.sealed = 0  # plaintext bytes that were new
        self._cache = cache
        self._sealing = sealing
        self.id_key = id_key
        self._drain = drain
        self._chunker = Chunker(id_key)
        self._bundle: memoryview | None = None
        self._bundle_number = 0
        self._fill = 0
        self._last_path: str | None = None
        self._last: tuple[int, str, bytes] | None = None
        self._last_entry: Entry | None = None

    # what the parent holds
    def parent(self, path: str) -> Entry | None:
        row = self._look(path)
        if row is None:
            return None
        if self._last_entry is None:
            self._last_entry = decode_file(row[2])
        return self._last_entry

    def mark(self, path: str) -> str:
        row = self._look(path)
        return "" if row is None else row[1]

    def _look(self, path: str) -> tuple[int, str, bytes] | None:
        if path != self._last_path:
            self._last_path = path
            self._last_entry = None
            self._last = self._cache.file(path)
        return self._last

    # what there is now
    def put(self, entry: Entry) -> None:
        self._line(entry.path, "", encode_file(entry, ()))

    def same(self, entry: Entry, mark: str = "") -> None:
        row = self._look(entry.path)
        if row is None:
            raise ValueError(f"{entry.path}: the parent holds no such file")
        if entry is self._last_entry and mark == row[1]:
            self._cache.keep(row[0])
        else:
            old = self._last_entry or decode_file(row[2])
            if old.size != entry.size:
                raise ValueError(f"{entry.path}: another size is no unchanged content")
            self._cache.change(row[0], mark, encode_file(entry, old.extents))
        self._count(entry.size)

    def write(self, entry: Entry, cut: Cut, mark: str = "") -> Writer:
        if cut is Cut.CONTENT:
            return ContentWriter(self, entry, mark)
        if cut is Cut.PAGES:
            return PageWriter(self, entry, mark)
        return PlainWriter(self, entry, mark)

    def whole(self, entry: Entry, content: bytes | memoryview, mark: str = "") -> None:
        size = len(content)
        if size > SMALL:
            writer = ContentWriter(self, entry, mark)
            writer.write(content)
            writer.close()
            return
        extents = self.small(content, size) if size else ()
        self.file(entry, extents, size, mark)

    def splice(self, entry: Entry, size: int, mark: str = "") -> PieceSplicer:
        return PieceSplicer(self, entry, size, mark)

    # for the writers
    def pages(self, path: str) -> bytes:
        return self._cache.pages(path) or b""

    def set_pages(self, path: str, ids: bytes) -> None:
        self._cache.set_pages(path, ids)

    def first_chunk(self, view: memoryview) -> int:
        return self._chunker.first(view)

    def buffer(self) -> memoryview:
        return self._sealing.buffer()

    def give_back(self, buffer: memoryview) -> None:
        self._sealing.give_back(buffer)

    def file(self, entry: Entry, extents: tuple[int, ...], size: int, mark: str) -> None:
        self._line(entry.path, mark, encode_file(entry, extents, size))
        self._cache.drop_pages(entry.path)
        self._count(size)

    def _count(self, size: int) -> None:
        self.files += 1
        self.bytes += size

    def _line(self, path: str, mark: str, line: bytes) -> None:
        row = self._look(path)
        if row is None:
            self._cache.add(path, mark, line)
        elif row[2] == line and row[1] == mark:
            self._cache.keep(row[0])
        else:
            self._cache.change(row[0], mark, line)

    def small(self, content: bytes | memoryview, size: int) -> tuple[int, int, int]:
        id = blake3(content, key=self.id_key).digest(16)
        known = self._cache.chunk(id)
        if known is not None and known[2] == size:
            return known
        extent = self.share(content, size)
        self._cache.add_chunk(id, extent)
        return extent

    def share(self, content: bytes | memoryview, size: int) -> tuple[int, int, int]:
        if self._bundle is not None and self._fill + size > RECORD:
            self.seal_bundle()
        if self._bundle is None:
            self._bundle = self.buffer()
            self._bundle_number = self._cache.reserve()
            self._fill = 0
        at = self._fill
        self._bundle[at : at + size] = content
        self._fill = at + size
        return self._bundle_number, at, size

    def seal_bundle(self) -> None:
        if self._bundle is None:
            return
        buffer, self._bundle = self._bundle, None
        id = record_id(self.id_key, buffer[: self._fill])
        self._submit(self._bundle_number, id, buffer, self._fill)

    def chunk(self, buffer: memoryview, length: int) -> tuple[tuple[int, int, int], bool]:
        id = record_id(self.id_key, buffer[:length])
        known = self._cache.chunk(id)
        if known is not None and known[2] == length:
            return known, False
        number = self._cache.reserve()
        self._cache.add_chunk(id, (number, 0, length))
        self._submit(number, id, buffer, length)
        return (number, 0, length), True

    def plain(self, buffer: memoryview, length: int) -> tuple[int, int, int]:
        number = self._cache.reserve()
        self._submit(number, record_id(self.id_key, buffer[:length]), buffer, length)
        return number, 0, length

    def _submit(self, number: int, id: bytes, buffer: memoryview, length: int) -> None:
        self._cache.add_record(number, id, length)
        self.sealed += length
        self._drain()
        self._sealing.submit(Job(number=number, id=id, buffer=buffer, length=length))

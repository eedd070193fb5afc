"""What a source writes a file into: cut by content, plain records, pieces over a parent."""

from typing import Protocol

from drkit.model.entry import ZEROS, Entry
from drkit.model.extents import Change, append, splice, total
from drkit.repository.format import RECORD, SMALL


class Desk(Protocol):
    """What the writers need of the session's hand."""

    id_key: bytes

    def parent(self, path: str) -> Entry | None: ...
    def first_chunk(self, view: memoryview) -> int: ...
    def buffer(self) -> memoryview: ...
    def give_back(self, buffer: memoryview) -> None: ...
    def small(self, content: bytes | memoryview, size: int) -> tuple[int, int, int]:
        """Content that shares a record with its neighbours; stored once."""

    def share(self, content: bytes | memoryview, size: int) -> tuple[int, int, int]:
        """Room in the shared record, for at most a record's worth."""

    def chunk(self, buffer: memoryview, length: int) -> tuple[tuple[int, int, int], bool]:
        """A chunk as a record of its own, and whether the buffer was taken for it."""

    def plain(self, buffer: memoryview, length: int) -> tuple[int, int, int]:
        """A record that nothing is compared with; the buffer is taken."""

    def file(self, entry: Entry, extents: tuple[int, ...], size: int, mark: str) -> None: ...
    def pages(self, path: str) -> bytes: ...
    def set_pages(self, path: str, ids: bytes) -> None: ...


class _Filling:
    """A writer with a buffer of one record that is emptied when full."""

    def __init__(self, desk: Desk, entry: Entry, mark: str) -> None:
        self._desk = desk
        self._entry = entry
        self._mark = mark
        self._extents: list[int] = []
        self._buffer = desk.buffer()
        self._fill = 0

    def write(self, view: bytes | memoryview) -> None:
        done = 0
        while done < len(view):
            part = min(len(view) - done, RECORD - self._fill)
            self._buffer[self._fill : self._fill + part] = view[done : done + part]
            self._fill += part
            done += part
            if self._fill == RECORD:
                self._full()

    def zero(self, length: int) -> None:
        self._drain()
        append(self._extents, ZEROS, 0, length)

    def close(self, entry: Entry | None = None) -> None:
        self._drain()
        self._desk.give_back(self._buffer)
        extents = tuple(self._extents)
        self._desk.file(entry or self._entry, extents, total(extents), self._mark)

    def abandon(self) -> None:
        self._desk.give_back(self._buffer)

    def _tail(self) -> None:
        """What is left and small goes to the shared record."""
        if self._fill:
            extent = self._desk.small(self._buffer[: self._fill], self._fill)
            append(self._extents, *extent)
            self._fill = 0

    def _full(self) -> None:
        raise NotImplementedError

    def _drain(self) -> None:
        raise NotImplementedError


class ContentWriter(_Filling):
    """Cut where the content says so; a chunk the generation knows is not stored again."""

    def _full(self) -> None:
        self._cut(self._desk.first_chunk(self._buffer))

    def _drain(self) -> None:
        while self._fill > SMALL:
            self._cut(self._desk.first_chunk(self._buffer[: self._fill]))
        self._tail()

    def _cut(self, length: int) -> None:
        old, rest = self._buffer, self._fill - length
        extent, taken = self._desk.chunk(old, length)
        append(self._extents, *extent)
        if taken:  # the workers read the old one: only the rest moves
            self._buffer = self._desk.buffer()
        self._buffer[:rest] = old[length : self._fill]
        self._fill = rest


class PlainWriter(_Filling):
    """Records of a whole record's length, so that offsets stay aligned."""

    def _full(self) -> None:
        append(self._extents, *self._desk.plain(self._buffer, self._fill))
        self._buffer = self._desk.buffer()
        self._fill = 0

    def _drain(self) -> None:
        if self._fill > SMALL:
            self._full()
        self._tail()


class PieceSplicer:
    """Implements `source.Splicer`: pieces share records in the order in which they come."""

    def __init__(self, desk: Desk, entry: Entry, size: int, mark: str) -> None:
        self._desk = desk
        self._entry = entry
        self._size = size
        self._mark = mark
        self._changes: list[Change] = []
        old = desk.parent(entry.path)
        self._parent = () if old is None else old.extents

    def at(self, offset: int, data: bytes | memoryview) -> None:
        view = memoryview(data)
        for start in range(0, len(view), RECORD):
            part = view[start : start + RECORD]
            record, at, length = self._desk.share(part, len(part))
            self._note(offset + start, length, record, at)

    def zero(self, offset: int, length: int) -> None:
        self._note(offset, length, ZEROS, 0)

    def _note(self, offset: int, length: int, record: int, at: int) -> None:
        if length:
            change = Change(offset=offset, length=length, record=record, at=at)
            self._changes.append(change)

    def close(self) -> None:
        self.finish(self._entry, self._size)

    def finish(self, entry: Entry, size: int) -> None:
        extents = splice(self._parent, self._changes, size)
        self._desk.file(entry, extents, size, self._mark)

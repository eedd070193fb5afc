"""One INCREMENTAL.* file of the server's stream, laid over what the last backup holds."""

import struct
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from drkit.errors import CantBuild, PostgresError
from drkit.model.entry import Entry, shown
from drkit.postgres.names import PAGE, SEGMENT_PAGES
from drkit.source import Save, Splicer

_MAGIC = 0xD3AE1F0D
_FIXED = struct.Struct("<III")  # magic, number of blocks, truncation length; block numbers follow


class Increment:
    """Pushed in pieces of any size; `end` says that all has come.

    `limit`: since the last backup the relation was once cut down to so many blocks of this
    segment, so what that backup holds from there on is gone. The truncation length in the file
    doesn't say so when the relation has grown again: with it alone deleted rows come back.
    """

    def __init__(self, save: Save, entry: Entry, size_in_stream: int, limit: int | None) -> None:
        self._save = save
        self._entry = entry
        self._size = size_in_stream
        self._limit = SEGMENT_PAGES if limit is None else max(limit, 0)
        self._header = bytearray()
        self._header_size = _FIXED.size
        self._came = 0
        self._splicer: Splicer | None = None  # None at the end: nothing has changed
        self._runs: Iterator[tuple[int, int]] = iter(())
        self._at = 0  # where the next byte belongs
        self._left = 0  # bytes until this run of blocks ends

    def data(self, view: memoryview) -> None:
        self._came += len(view)
        if self._came > self._size:
            raise self._odd(f"{self._came} bytes instead of {self._size}")
        while view and len(self._header) < self._header_size:
            view = self._read_header(view)
        if self._splicer is None:
            return
        while view:
            if not self._left:
                first, after = next(self._runs)
                self._at, self._left = first * PAGE, (after - first) * PAGE
            part = view[: self._left]
            self._splicer.at(self._at, part)
            self._at += len(part)
            self._left -= len(part)
            view = view[len(part) :]

    def end(self) -> None:
        if self._came != self._size or len(self._header) < self._header_size:
            raise self._odd(f"{self._came} bytes instead of {self._size}")
        if self._splicer is not None:
            self._splicer.close()

    def _read_header(self, view: memoryview) -> memoryview:
        """What is left of the view behind it."""
        part = view[: self._header_size - len(self._header)]
        self._header += part
        if len(self._header) == self._header_size == _FIXED.size:
            self._header_size = self._whole_header()
        if len(self._header) == self._header_size:
            self._begin()
        return view[len(part) :]

    def _whole_header(self) -> int:
        magic, count, length = _FIXED.unpack(self._header)
        if magic != _MAGIC:
            raise self._odd(f"it begins with {magic:#010x}")
        if count > SEGMENT_PAGES or length > SEGMENT_PAGES:
            raise self._odd(f"{count} blocks, and a length of {length}")
        size = _FIXED.size + 4 * int(count)
        size += -size % PAGE if count else 0  # without blocks nothing has to be aligned
        if size + count * PAGE != self._size:
            raise self._odd(f"{self._size} bytes do not hold {count} blocks")
        return size

    def _begin(self) -> None:
        _, count, length = _FIXED.unpack_from(self._header)
        runs = self._read_runs(struct.unpack_from(f"<{count}I", self._header, _FIXED.size))
        pages = max(length, runs[-1][1] if runs else 0)
        parent = self._parent()
        there = -(-parent.size // PAGE)
        kept = min(length, self._limit, parent.size // PAGE)
        gone = list(_gaps(runs, kept, min(pages, there)))
        entry = msgspec.structs.replace(self._entry, size=pages * PAGE)
        if not runs and not gone and entry.size == parent.size:
            self._unchanged(entry, parent)
            return
        self._splicer = self._save.splice(entry, entry.size)
        for first, after in gone:
            self._splicer.zero(first * PAGE, (after - first) * PAGE)
        self._runs = iter(runs)

    def _parent(self) -> Entry:
        parent = self._save.parent(self._entry.path)
        if parent is None or parent.type != "file":
            raise CantBuild(
                f"the server sent changes of {shown(self._entry.path)},"
                " which the last backup does not hold"
            )
        return parent

    def _unchanged(self, entry: Entry, parent: Entry) -> None:
        """The object that `parent` gave, where it says the same, is the cheapest."""
        same = msgspec.structs.replace(parent, extents=()) == entry
        self._save.same(parent if same else entry)

    def _read_runs(self, blocks: Sequence[int]) -> list[tuple[int, int]]:
        """Neighbouring blocks together: the first, and the one after the last."""
        runs: list[tuple[int, int]] = []
        first = after = -1
        for block in blocks:
            if block == after:
                after += 1
                continue
            if block < after:
                raise self._odd(f"block {block} comes after block {after - 1}")
            if after > 0:
                runs.append((first, after))
            first, after = block, block + 1
        if after > SEGMENT_PAGES:
            raise self._odd(f"block {after - 1} is beyond the segment")
        if after > 0:
            runs.append((first, after))
        return runs

    def _odd(self, what: str) -> PostgresError:
        return PostgresError(
            f"the server's changes of {shown(self._entry.path)} can't be understood: {what}",
            hint="take a full backup, or say `incremental: stream` in the policy",
        )


def _gaps(runs: Iterable[tuple[int, int]], start: int, end: int) -> Iterator[tuple[int, int]]:
    """What the runs leave of start to end."""
    for first, after in runs:
        if first >= end:
            break
        if first > start:
            yield start, first
        start = max(start, after)
    if start < end:
        yield start, end

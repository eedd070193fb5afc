"""Pages compared with the parent's: 32 KiB rows first, 8 KiB pages when a row differs."""

from blake3 import blake3

from drkit.model.entry import Entry
from drkit.repository.writers import Desk, PieceSplicer

PAGE = 8 << 10
ROW = 32 << 10
ROW_ID = 16
PAGE_ID = 8
ENTRY = ROW_ID + PAGE_ID * (ROW // PAGE)  # what is remembered of a row


class PageWriter:
    """Implements `source.Writer` for Cut.PAGES: storage grows with changed pages only."""

    def __init__(self, desk: Desk, entry: Entry, mark: str) -> None:
        self._desk = desk
        self._entry = entry
        self._mark = mark
        self._old = desk.pages(entry.path)
        parent = desk.parent(entry.path)
        self._known = 0 if parent is None or not self._old else parent.size
        self._ids = bytearray()
        self._row = bytearray(ROW)
        self._fill = 0
        self._done = 0
        self._splicer = PieceSplicer(desk, entry, 0, mark)

    def write(self, view: bytes | memoryview) -> None:
        view = memoryview(view)
        done = 0
        if not self._fill:  # whole rows are hashed where they lie: unchanged ones are never copied
            while len(view) - done >= ROW:
                self._take(view[done : done + ROW])
                done += ROW
        while done < len(view):
            part = min(len(view) - done, ROW - self._fill)
            self._row[self._fill : self._fill + part] = view[done : done + part]
            self._fill += part
            done += part
            if self._fill == ROW:
                self._take(memoryview(self._row))
                self._fill = 0

    def zero(self, length: int) -> None:
        zeros = bytes(ROW)
        while length:
            part = min(length, ROW)
            self.write(zeros[:part])
            length -= part

    def close(self, entry: Entry | None = None) -> None:
        if self._fill:
            self._take(memoryview(self._row)[: self._fill])
        self._splicer.finish(entry or self._entry, self._done)
        self._desk.set_pages(self._entry.path, bytes(self._ids))

    def abandon(self) -> None:
        return

    def _take(self, row: memoryview) -> None:
        key = self._desk.id_key
        at = len(self._ids)
        id = blake3(row, key=key).digest(ROW_ID)
        old = self._old[at : at + ENTRY]
        if old[:ROW_ID] == id and self._done + len(row) <= self._known:
            self._ids += old
        else:
            self._ids += id
            self._pages(row, old[ROW_ID:])
        self._done += len(row)

    def _pages(self, row: memoryview, old: bytes) -> None:
        """Changed pages that touch go in as one piece."""
        start: int | None = None
        for i in range(0, ROW, PAGE):
            page = row[i : i + PAGE]
            id = blake3(page, key=self._desk.id_key).digest(PAGE_ID) if len(page) else bytes(8)
            self._ids += id
            known = self._done + i + len(page) <= self._known
            if known and old[i // 1024 : i // 1024 + PAGE_ID] == id:
                self._store(row, start, i)
                start = None
            elif start is None:
                start = i
        self._store(row, start, len(row))

    def _store(self, row: memoryview, start: int | None, end: int) -> None:
        if start is not None and end > start:
            self._splicer.at(self._done + start, row[start:end])

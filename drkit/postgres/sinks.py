"""Where the bytes of one file of the stream go."""

import struct
from collections.abc import Callable

from drkit.postgres.damage import Damage
from drkit.postgres.names import PAGE
from drkit.postgres.tar import Sink
from drkit.source import Writer

_FIXED = struct.Struct("<III")  # of the server's increments: magic, blocks, truncation length


class Whole:
    """A small file: handed on at once, most often as it came."""

    def __init__(self, size: int, keep: Callable[[bytes | memoryview], None]) -> None:
        self._size = size
        self._keep = keep
        self._parts = bytearray()
        self._kept = False

    def data(self, view: memoryview) -> None:
        if len(view) == self._size:
            self._keep(view)
            self._kept = True
        else:
            self._parts += view

    def end(self) -> None:
        if not self._kept:
            self._keep(bytes(self._parts))


class Written:
    def __init__(self, writer: Writer) -> None:
        self.data: Callable[[memoryview], None] = writer.write
        self.end: Callable[[], None] = writer.close


class Relation:
    """Its pages are looked at from the moment the server says that some are bad."""

    def __init__(self, writer: Writer, damage: Damage) -> None:
        self._write = writer.write
        self._damage = damage
        self._at = 0
        self.end: Callable[[], None] = writer.close

    def data(self, view: memoryview) -> None:
        if self._damage.hit:
            self._damage.look(view, self._at)
        self._at += len(view)
        self._write(view)


class Changed:
    """Passes an increment of the server's on, and knows which blocks are in it."""

    def __init__(self, inner: Sink, damage: Damage, ended: Callable[[int], None]) -> None:
        self._inner = inner
        self._damage = damage
        self._ended = ended  # told how long the file is when restored
        self._header = bytearray()
        self._came = 0

    def data(self, view: memoryview) -> None:
        rest = view
        while rest and len(self._header) < self._header_size:
            part = rest[: self._header_size - len(self._header)]
            self._header += part
            rest = rest[len(part) :]
        if self._damage.hit:
            self._look(view)
        self._came += len(view)
        self._inner.data(view)

    @property
    def _header_size(self) -> int:
        return _FIXED.size if len(self._header) < _FIXED.size else _FIXED.size + 4 * self._count

    @property
    def _count(self) -> int:
        return int(_FIXED.unpack_from(self._header)[1])

    def end(self) -> None:
        self._inner.end()
        _, count, length = _FIXED.unpack_from(self._header)
        self._ended(max(length, self._block(count - 1) + 1 if count else 0) * PAGE)

    def _block(self, number: int) -> int:
        return int(struct.unpack_from("<I", self._header, _FIXED.size + 4 * number)[0])

    def _look(self, view: memoryview) -> None:
        """A block comes whole; before them the header was filled up to a page."""
        blocks_at = len(self._header) + -len(self._header) % PAGE
        start = max(blocks_at - self._came, 0)
        for at in range(start + -(self._came + start) % PAGE, len(view) - PAGE + 1, PAGE):
            number = (self._came + at - blocks_at) // PAGE
            if number < self._count:
                self._damage.look(view[at : at + PAGE], self._block(number) * PAGE)

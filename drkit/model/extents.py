"""Files as flat lists of extents: record number, offset in it, length; record 0 is zeros."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from drkit.model.entry import ZEROS


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """These bytes of the file now come from there."""

    offset: int
    length: int
    record: int
    at: int


def append(extents: list[int], record: int, at: int, length: int) -> None:
    """One more extent at the end, joined to the last one where it goes on."""
    if not length:
        return
    if extents and extents[-3] == record and (record == ZEROS or extents[-2] + extents[-1] == at):
        extents[-1] += length
    else:
        extents += (record, 0 if record == ZEROS else at, length)


def triples(extents: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    return zip(extents[0::3], extents[1::3], extents[2::3], strict=True)


def total(extents: Sequence[int]) -> int:
    return sum(extents[2::3])


def splice(parent: Sequence[int], changes: Iterable[Change], size: int) -> tuple[int, ...]:
    """The parent with changes laid over it, cut or filled with zeros to `size`."""
    result: list[int] = []
    rest = _Cursor(parent)
    done = 0
    for change in sorted(changes, key=lambda c: c.offset):
        if change.offset < done or change.offset + change.length > size:
            raise ValueError("changes overlap or pass the end of the file")
        rest.copy(result, change.offset - done)
        append(result, change.record, change.at, change.length)
        rest.skip(change.length)
        done = change.offset + change.length
    rest.copy(result, size - done)
    return tuple(result)


class _Cursor:
    """A place in a list of extents; past its end there are zeros."""

    def __init__(self, extents: Sequence[int]) -> None:
        self._items = list(triples(extents))
        self._i = 0
        self._inside = 0

    def copy(self, result: list[int], length: int) -> None:
        for record, at, part in self._take(length):
            append(result, record, at, part)

    def skip(self, length: int) -> None:
        for _ in self._take(length):
            pass

    def _take(self, length: int) -> Iterator[tuple[int, int, int]]:
        while length:
            if self._i == len(self._items):
                yield ZEROS, 0, length
                return
            record, at, whole = self._items[self._i]
            part = min(length, whole - self._inside)
            yield record, at + self._inside, part
            length -= part
            self._inside += part
            if self._inside == whole:
                self._i += 1
                self._inside = 0

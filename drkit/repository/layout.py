"""What a restore will write, on disk and sorted by where its bytes are: memory stays bounded."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from drkit.model.entry import ZEROS, Entry
from drkit.model.extents import triples
from drkit.repository.lines import Places
from drkit.repository.manifest import decode_entry, encode_file

_TABLES = """
create table entries (f integer primary key, path text, type text, pieces integer, line blob);
create table pieces (pack integer, at integer, i integer, f integer, roff integer, length integer,
    foff integer);
"""
_BATCH = 2000
_Row = tuple[int, str, str, int, bytes]
_PieceRow = tuple[int, int, int, int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes of one record that go into one file; `entry` when they are the whole file."""

    i: int  # the record's index
    offset: int
    length: int
    path: str
    at: int  # in the file
    entry: Entry | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Everything wanted of one pack, in its order."""

    pack: int
    pieces: list[Piece]


class Layout:
    def __init__(self, entries: Iterable[Entry], places_of: Callable[[], Places]) -> None:
        self.bytes = 0
        self.files = 0
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("pragma cache_size = -16000")
        self._db.execute("pragma synchronous = off")
        self._db.execute("begin")
        try:
            for statement in _TABLES.split(";\n"):
                self._db.execute(statement)
            self._fill(entries, places_of)
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        self._db.close()

    def _fill(self, entries: Iterable[Entry], places_of: Callable[[], Places]) -> None:
        rows: list[_Row] = []
        pieces: list[_PieceRow] = []
        for f, entry in enumerate(entries):
            count = self._pieces(f, entry, places_of(), pieces) if entry.extents else 0
            rows.append((f, entry.path, entry.type, count, encode_file(entry, ())))
            self.files += entry.type == "file"
            if len(rows) + len(pieces) >= _BATCH:
                self._flush(rows, pieces)
        self._flush(rows, pieces)
        self._db.execute("create index by_place on pieces (pack, at, roff)")

    def _pieces(
        self,
        f: int,
        entry: Entry,
        places: Places,
        pieces: list[_PieceRow],
    ) -> int:
        """How many there are; a single one that is no whole file counts as two."""
        foff = 0
        count = 0
        for number, roff, length in triples(entry.extents):
            if number != ZEROS:
                i = places.index(number)
                pieces.append((places.pack[i], places.at[i], i, f, roff, length, foff))
                self.bytes += length
                count += 1
            foff += length
        return max(count, 2) if len(entry.extents) > 3 or not count else 1

    def _flush(self, rows: list[_Row], pieces: list[_PieceRow]) -> None:
        self._db.executemany("insert into entries values (?, ?, ?, ?, ?)", rows)
        self._db.executemany("insert into pieces values (?, ?, ?, ?, ?, ?, ?)", pieces)
        rows.clear()
        pieces.clear()

    def folders(self, *, deepest_first: bool = False) -> Iterator[Entry]:
        order = "desc" if deepest_first else "asc"
        return self._entries(f"type = 'dir' order by f {order}")

    def unwritten(self) -> Iterator[Entry]:
        """Files to be made before their bytes come: empty ones and those of several pieces."""
        return self._entries("type = 'file' and pieces != 1 order by f")

    def in_pieces(self) -> Iterator[Entry]:
        return self._entries("type = 'file' and pieces > 1 order by f")

    def links(self) -> Iterator[Entry]:
        """Hard links first: a symbolic one may never be gone through."""
        return self._entries("type in ('hardlink', 'link', 'fifo') order by type, f")

    def _entries(self, where: str) -> Iterator[Entry]:
        for (line,) in self._db.execute(f"select line from entries where {where}"):  # noqa: S608  fixed words
            yield decode_entry(line)

    def packs(self) -> list[int]:
        return [int(row[0]) for row in self._db.execute("select distinct pack from pieces")]

    def loads(self, threads: int) -> Iterator[Load]:
        """Packs far apart for threads that run side by side: neighbours hold the same folders, and
        two threads that make files in one folder wait for each other."""
        packs = self.packs()
        stride = -(-len(packs) // threads) or 1
        for pack in (p for start in range(stride) for p in packs[start::stride]):
            rows = self._db.execute(
                """select p.i, p.roff, p.length, e.path, p.foff,
                     case when e.pieces = 1 then e.line end
                   from pieces p join entries e on e.f = p.f where p.pack = ?
                   order by p.at, p.roff""",
                (pack,),
            )
            yield Load(pack=pack, pieces=[_piece(*row) for row in rows])


def _piece(i: int, offset: int, length: int, path: str, at: int, line: bytes | None) -> Piece:
    entry = None if line is None else decode_entry(line)
    return Piece(i=i, offset=offset, length=length, path=path, at=at, entry=entry)

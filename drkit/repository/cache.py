"""What a host remembers of its generation; losing it costs one full backup."""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from drkit.errors import Busy, DiskError, DrkitError
from drkit.repository.imprint import alone, has_imprint, imprint, write_imprint

_TABLES = """
create table meta (key text primary key, value blob) without rowid;
create table packs (id integer primary key, session text, number integer, size integer, sha256 blob,
    unique (session, number));
create table records (n integer primary key, id blob, raw integer, pack integer, at integer,
    stored integer);
create table chunks (id blob primary key, record integer, at integer, length integer) without rowid;
create table files (k integer primary key, path text unique, mark text, line blob);
create table pages (path text primary key, ids blob) without rowid;
"""
_REFUSALS = (sqlite3.DatabaseError, UnicodeDecodeError)  # it quotes broken names as they are
_BATCH = 2000
_BLOOM = 1 << 24  # bits: a full asks the table only after an id that may be there


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    id: int
    session: str
    number: int
    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    n: int
    id: bytes
    raw: int
    pack: int
    at: int
    stored: int


class Unsound(DiskError):
    """The file is no sound database, or not the one that was left."""


class Cache:
    """One transaction a session: it counts from `commit` on, after the outcome is durable."""

    def __init__(self, path: Path, *, fresh: bool) -> None:
        self._path = path
        self._fresh = fresh
        self._file = path.with_name(path.name + ".new") if fresh else path
        with ExitStack() as held, _disk(path):
            held.enter_context(alone(path.with_name("cache.lock")))
            if fresh:
                for name in (self._file, self._file.with_name(self._file.name + "-journal")):
                    name.unlink(missing_ok=True)
            journal = path.with_name(path.name + "-journal").exists()
            if not fresh and not journal:
                self._check_imprint()
            self._db = held.enter_context(
                closing(sqlite3.connect(self._file, isolation_level=None))
            )
            self._begin()
            if not fresh and journal:
                self._check_imprint()
            self._held = held.pop_all()
        self._seen = bytearray(self._top // 8 + 1)
        self._added = 0
        self._new: list[tuple[str, str, bytes]] = []
        self._new_chunks: dict[bytes, tuple[int, int, int]] = {}
        self._maybe = bytearray(_BLOOM // 8) if fresh else None
        self._run = self._db.execute

    def _check_imprint(self) -> None:
        if not has_imprint(self._path):
            raise Unsound(
                f"{self._path} is not as the last backup left it",
                hint="run drkit backup again: it takes a full backup; and test this disk",
            )

    def __enter__(self) -> Self:
        return self

    def _begin(self) -> None:
        self._db.execute("pragma cache_size = -16000")
        self._db.execute(f"pragma journal_mode = {'off' if self._fresh else 'delete'}")
        self._db.execute(f"pragma synchronous = {'off' if self._fresh else 'full'}")
        self._db.execute("pragma locking_mode = exclusive")
        self._db.execute("begin immediate")  # a killed run's changes are undone here
        if self._fresh:
            for statement in _TABLES.split(";\n"):
                self._db.execute(statement)
        self._top = self._one("select coalesce(max(k), 0) from files")
        self._next_record = self._one("select coalesce(max(n), 0) from records") + 1
        self._paged = bool(self._one("select exists (select 1 from pages)"))

    def __exit__(self, *about: object) -> None:
        if self._fresh:
            self._file.unlink(missing_ok=True)
        self._held.close()
        error = about[1] if about else None
        told = _told(self._path, error) if isinstance(error, _REFUSALS) else error
        if isinstance(told, Unsound) and not self._fresh:  # or every run from now on fails alike
            self._path.replace(self._path.with_name(self._path.name + ".damaged"))
        if isinstance(told, DrkitError) and told is not error:
            raise told from None

    def _one(self, sql: str) -> int:
        return int(self._db.execute(sql).fetchone()[0])

    # what it is about
    def get(self, key: str) -> bytes | None:
        row = self._run("select value from meta where key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def set(self, key: str, value: bytes) -> None:
        self._run("insert or replace into meta values (?, ?)", (key, value))

    # files
    def file(self, path: str) -> tuple[int, str, bytes] | None:
        """Key, mark and manifest line of what the parent holds there."""
        if not self._top:
            return None
        row: tuple[int, str, bytes] | None = self._run(
            "select k, mark, line from files where path = ?", (path,)
        ).fetchone()
        return row

    def keep(self, k: int) -> None:
        self._seen[k >> 3] |= 1 << (k & 7)

    def change(self, k: int, mark: str, line: bytes) -> None:
        self._run("update files set mark = ?, line = ? where k = ?", (mark, line, k))
        self.keep(k)

    def add(self, path: str, mark: str, line: bytes) -> None:
        self._added += 1
        self._new.append((path, mark, line))
        if len(self._new) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        with _disk(self._path):
            self._db.executemany("insert into files (path, mark, line) values (?, ?, ?)", self._new)
        self._new.clear()

    def lines(self) -> Iterator[bytes]:
        """What this session saw, in path order."""
        self._flush()
        seen, top = self._seen, self._top
        count = 0
        for k, line in self._run("select k, line from files order by path"):
            if k > top or seen[k >> 3] >> (k & 7) & 1:
                count += 1
                yield line
        kept = int.from_bytes(seen).bit_count() + self._added
        if count != kept:
            raise Unsound(
                f"{self._path} gives {count} of {kept} names; nothing was committed",
                hint="run drkit backup --full, and test this machine's disk and memory",
            )

    # chunks, records, packs
    def chunk(self, id: bytes) -> tuple[int, int, int] | None:
        new = self._new_chunks.get(id)
        if new is not None:
            return new
        if self._maybe is not None:
            bit = int.from_bytes(id[:3], "little")
            if not self._maybe[bit >> 3] >> (bit & 7) & 1:
                return None
        row: tuple[int, int, int] | None = self._run(
            "select record, at, length from chunks where id = ?", (id,)
        ).fetchone()
        return row

    def add_chunk(self, id: bytes, place: tuple[int, int, int]) -> None:
        """Record, offset in it, length."""
        self._new_chunks[id] = place
        if self._maybe is not None:
            bit = int.from_bytes(id[:3], "little")
            self._maybe[bit >> 3] |= 1 << (bit & 7)
        if len(self._new_chunks) >= _BATCH:
            self._flush_chunks()

    def _flush_chunks(self) -> None:
        """Sorted, because they go to random places of a tree."""
        rows = sorted((id, *place) for id, place in self._new_chunks.items())
        with _disk(self._path):
            self._db.executemany("insert or ignore into chunks values (?, ?, ?, ?)", rows)
        self._new_chunks.clear()

    def reserve(self) -> int:
        """The number of the next record."""
        self._next_record += 1
        return self._next_record - 1

    def add_record(self, n: int, id: bytes, raw: int) -> None:
        self._run("insert into records (n, id, raw) values (?, ?, ?)", (n, id, raw))

    def add_pack(
        self,
        session: str,
        number: int,
        size: int,
        sha256: bytes,
        at: Iterable[tuple[int, int, int]],
    ) -> None:
        """`at`: number, offset and stored length of each of its records."""
        with _disk(self._path):
            pack = self._run(
                "insert into packs (session, number, size, sha256) values (?, ?, ?, ?)",
                (session, number, size, sha256),
            ).lastrowid
            self._db.executemany(
                "update records set pack = ?, at = ?, stored = ? where n = ?",
                ((pack, offset, stored, n) for n, offset, stored in at),
            )

    def packs(self) -> Iterator[Pack]:
        for id, session, number, size, sha in self._run(
            "select id, session, number, size, sha256 from packs order by id"
        ):
            yield Pack(id=id, session=session, number=number, size=size, sha256=sha)

    def records(self) -> Iterator[Record]:
        for n, id, raw, pack, at, stored in self._run(
            "select n, id, raw, pack, at, stored from records order by n"
        ):
            yield Record(n=n, id=id, raw=raw, pack=pack, at=at, stored=stored)

    # page ids
    def pages(self, path: str) -> bytes | None:
        row = self._run("select ids from pages where path = ?", (path,)).fetchone()
        return None if row is None else row[0]

    def set_pages(self, path: str, ids: bytes) -> None:
        self._run("insert or replace into pages values (?, ?)", (path, ids))
        self._paged = True

    def drop_pages(self, path: str) -> None:
        """They are of other content than the file now has."""
        if self._paged:
            self._run("delete from pages where path = ?", (path,))

    def commit(self) -> None:
        """From now on this is what the host remembers."""
        self._flush()
        self._flush_chunks()
        with _disk(self._path):
            self._forget_unseen()
            self._db.execute("commit")
            self._db.close()
            write_imprint(imprint(self._file), self._path)
            if self._fresh:
                _publish(self._file, self._path)

    def _forget_unseen(self) -> None:
        seen = self._seen
        gone = [(k,) for k in range(1, self._top + 1) if not seen[k >> 3] >> (k & 7) & 1]
        if gone:
            self._db.executemany("delete from files where k = ?", gone)
            self._db.execute("delete from pages where path not in (select path from files)")


def _publish(new: Path, path: Path) -> None:
    journal = path.with_name(path.name + "-journal")
    if journal.exists():  # of an old file that did not open: it must never be played into this one
        path.unlink(missing_ok=True)
        journal.unlink()
    fd = os.open(new, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """SQLite's and the disk's words for "full" become one error."""
    try:
        yield
    except (*_REFUSALS, OSError) as error:
        raise _told(path, error) from error


def _told(path: Path, error: Exception) -> DrkitError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF  # the rest are details
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Busy(
            f"another run uses the state in {path.parent}", hint="run again when it has ended"
        )
    unsound = code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
    if unsound or isinstance(error, UnicodeDecodeError):
        return Unsound(
            f"what this machine remembers of its last backup is damaged: {path}: {error}",
            hint="run drkit backup again: it takes a full backup; and test this disk",
        )
    return DiskError(
        f"the state in {path.parent} could not be written: {error}",
        hint="free some room there and run again; the last backup is not touched",
    )

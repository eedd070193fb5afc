"""Small signed objects that this machine has read before: what is signed never changes.

What is remembered counts only while the store lists the object with the same size and time; its
signature is checked each time, as if it had just been read. Losing the file costs requests.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from drkit.stores.base import Stored

_TABLE = """CREATE TABLE IF NOT EXISTS seen
    (name TEXT PRIMARY KEY, size INTEGER, modified TEXT, sha256 BLOB, data BLOB) WITHOUT ROWID"""
_FEW = 8  # not worth a file
_MOST = 200  # names in one question


def remembered(memory: Path | None, listed: Mapping[str, Stored]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    if memory is None or not memory.exists():
        return found
    with suppress(sqlite3.Error), _opened(memory) as base:
        for name, size, modified, sha256, data in _rows(base, list(listed)):
            stored = listed[name]
            same = (size, modified) == (stored.size, stored.modified.isoformat())
            if same and hashlib.sha256(data).digest() == sha256:
                found[name] = data
    return found


def all_remembered(memory: Path | None) -> dict[str, bytes]:
    """They may be gone since: good for a guess at what will be listed, and for no more."""
    if memory is None or not memory.exists():
        return {}
    with suppress(sqlite3.Error), _opened(memory) as base:
        return dict(base.execute("SELECT name, data FROM seen"))
    return {}


def _rows(
    base: sqlite3.Connection, names: list[str]
) -> Iterator[tuple[str, int, str, bytes, bytes]]:
    for start in range(0, len(names), _MOST):
        part = names[start : start + _MOST]
        marks = ",".join("?" * len(part))
        yield from base.execute(f"SELECT * FROM seen WHERE name IN ({marks})", part)  # noqa: S608  question marks alone


def remember(memory: Path | None, read: Iterable[tuple[Stored, bytes]]) -> None:
    """Best effort: a full disk or a damaged file costs the next run its requests, nothing else."""
    rows = [
        (s.name, s.size, s.modified.isoformat(), hashlib.sha256(data).digest(), data)
        for s, data in read
    ]
    if memory is None or (len(rows) < _FEW and not memory.exists()) or not rows:
        return
    try:
        with _opened(memory) as base, base:
            base.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?)", rows)
    except sqlite3.DatabaseError:
        with suppress(OSError):
            memory.unlink()


@contextmanager
def _opened(memory: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(memory, timeout=5)) as base:
        base.execute("PRAGMA synchronous=OFF")
        base.execute(_TABLE)
        yield base

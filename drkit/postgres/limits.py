"""Down to where relations were cut since the last backup, from the server's WAL summaries."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from drkit.errors import CantBuild, PostgresError
from drkit.model.lsn import Position, parse_lsn, show_lsn
from drkit.postgres.names import SEGMENT_PAGES, Fork, relation_file

Relation = tuple[int, int, int, int]  # tablespace, database, relfilenode, fork

_MAP_PAGE = (8192 - 24) * 4  # blocks of a table whose two bits lie in one page of its map
_GONE = "58P01"  # undefined_file: a summary was removed while it was read

# Earlier ones do not note in their summaries that bits of a visibility map were cleared
# (PostgreSQL's commit ed62d26caca), so a map in an increment may call changed pages unchanged.
_SOUND = {17: 12, 18: 6}


_SUMMARIES = """
select start_lsn, end_lsn from pg_catalog.pg_available_wal_summaries()
where tli = {tli} and end_lsn > '{begin}' and start_lsn < '{end}' order by start_lsn, end_lsn"""
_LIMITS = """
select reltablespace, reldatabase, relfilenode, relforknumber, min(relblocknumber)
from pg_catalog.pg_available_wal_summaries() as s,
    lateral pg_catalog.pg_wal_summary_contents(s.tli, s.start_lsn, s.end_lsn)
where is_limit_block and tli = {tli} and end_lsn > '{begin}' and start_lsn < '{end}'
group by 1, 2, 3, 4"""


class Sql(Protocol):
    def query(self, sql: str) -> list[tuple[str | None, ...]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The fewest blocks each relation had for a moment."""

    blocks: Mapping[Relation, int]

    def of(self, path: str) -> int | None:
        """Of the segment at that path; None: its blocks were never cut off."""
        file = relation_file(path)
        if file is None:
            return None
        limit = self._blocks((file.tablespace, file.database, file.number), file.fork)
        if limit is None or limit >= (file.segment + 1) * SEGMENT_PAGES:
            return None
        return max(limit - file.segment * SEGMENT_PAGES, 0)

    def _blocks(self, relation: tuple[int, int, int], fork: Fork) -> int | None:
        """A map's last page left by a cut is changed, too, and without checksums no summary says
        so: it counts as cut off, which only makes a vacuum look at more."""
        limits = [self.blocks.get((*relation, fork))]
        if fork is Fork.VM:
            table = self.blocks.get((*relation, Fork.MAIN))
            limits.append(None if table is None else table // _MAP_PAGE)
        return min((limit for limit in limits if limit is not None), default=None)


def unsound(version_num: int) -> str:
    """Why this server's own increments can't be trusted; '' if they can."""
    major, minor = divmod(version_num, 10000)
    if minor >= _SOUND.get(major, 0):
        return ""
    return (
        f"PostgreSQL {major}.{minor} loses changes of visibility maps in its increments,"
        f" {major}.{_SOUND[major]} does not"
    )


def read_limits(sql: Sql, parent: Position, start: Position) -> Limits:
    """To be called when BASE_BACKUP has begun at `start`: the server has then summarized so far."""
    if start.timeline != parent.timeline:
        raise CantBuild(f"the timeline changed from {parent.timeline} to {start.timeline}")
    if start.lsn < parent.lsn:
        raise CantBuild(
            f"the server is at {start}, before the last backup's {show_lsn(parent.lsn)}"
        )
    try:
        rows = sql.query(_between(_LIMITS, parent, start.lsn))
    except PostgresError as error:
        if error.sqlstate != _GONE:
            raise
        raise CantBuild("a WAL summary was removed while it was read") from error
    # Only afterwards: so a summary that was removed before or meanwhile is missed.
    missing, end = _covered(sql, parent, start.lsn)
    if missing:
        raise CantBuild(missing, hint="keep them for longer: wal_summary_keep_time")
    if end > start.lsn:  # a cut in it that came later would hide what was changed before
        raise CantBuild(f"a WAL summary goes on past {start}, where this backup begins")
    return Limits(blocks={_relation(row): _number(row[4]) for row in rows})


def summaries_cover(sql: Sql, parent: Position, until: int) -> str:
    """Whether all WAL between is summarized; '' or why not."""
    return _covered(sql, parent, until)[0]


def _covered(sql: Sql, parent: Position, until: int) -> tuple[str, int]:
    """What is missing, and where the last summary ends."""
    at = parent.lsn
    rows = sql.query(_between(_SUMMARIES, parent, until))
    found = [(parse_lsn(begin or ""), parse_lsn(end or "")) for begin, end in rows]
    if found and found[0][0] < at and all(begin != at for begin, _ in found):
        return _set_back(parent), at
    for begin, end in found:
        if begin > at:
            return _missing(parent.timeline, at, begin), at
        at = max(at, end)
    return "" if at >= until else _missing(parent.timeline, at, until), at


def _set_back(parent: Position) -> str:
    """A summary ends at each checkpoint, so at the one with which that backup began. A server put
    back to a state before it, by a snapshot of its machine, has written other WAL over there."""
    return (
        f"the server's WAL has no checkpoint at {show_lsn(parent.lsn)}, where the last backup "
        "began: it was set back to an earlier state"
    )


def _missing(timeline: int, begin: int, end: int) -> str:
    return f"no WAL summary from {show_lsn(begin)} to {show_lsn(end)} on timeline {timeline}"


def _between(sql: str, parent: Position, until: int) -> str:
    """With the same bounds as the server's own."""
    return sql.format(tli=parent.timeline, begin=show_lsn(parent.lsn), end=show_lsn(until))


def _relation(row: tuple[str | None, ...]) -> Relation:
    tablespace, database, number, fork = (_number(text) for text in row[:4])
    return tablespace, database, number, fork


def _number(text: str | None) -> int:
    if text is None:
        raise PostgresError("a WAL summary that the server can't read")
    return int(text)

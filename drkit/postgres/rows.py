"""Every row of every table, read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from drkit.check import Asked, Restored
from drkit.errors import PostgresError
from drkit.model.drill import Answer
from drkit.postgres.answers import connectable, no, refused, yes

_TABLES = """
select quote_ident(n.nspname) || '.' || quote_ident(c.relname), pg_relation_size(c.oid)::text,
       (n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast'))::text
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'm', 't') and c.relpersistence = 'p' and c.relispopulated
order by c.oid"""
# A count through an index may never touch the table.
_SCAN = (
    "set statement_timeout = {ms}; set enable_indexscan = off; set enable_indexonlyscan = off; "
    "set enable_bitmapscan = off; set zero_damaged_pages = off; {counts}"
)
_AT_ONCE = 50  # small tables that one statement counts
_SMALL = 64 << 20  # bytes of all of them
_OUT_OF_TIME = "57014"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    database: str
    name: str
    size: int
    own: bool  # not of the server's own catalogues


@dataclass(slots=True, kw_only=True)
class _Tally:
    counted: list[tuple[_Table, int]] = field(default_factory=list)
    bad: list[tuple[_Table, PostgresError]] = field(default_factory=list)
    late: bool = False

    def figures(self, tables: Sequence[_Table]) -> dict[str, int]:
        read = [table for table, _ in (*self.counted, *self.bad)]
        return {
            "tables": sum(table.own for table in tables),
            "others": sum(not table.own for table in tables),  # catalogues, TOAST
            "counted": len(self.counted),
            "unreadable": len(self.bad),
            "rows": sum(n for table, n in self.counted if table.own),
            "bytes": sum(table.size for table in tables),
            "bytes_read": sum(table.size for table in read),
        }


def rows(restored: Restored) -> Answer:
    """Every table of every database is read from its first to its last page, and counted."""
    try:
        tables = list(_tables(restored.asked))
    except PostgresError as error:
        return refused("rows", "the tables can't be listed", error)
    tally = _Tally()
    for batch in _batches(tables):
        _count(restored, batch, tally)
        if tally.late:
            break
    return _told(tally, tables)


def _tables(asked: Asked) -> Iterator[_Table]:
    for database in connectable(asked):
        for name, size, own in asked.query(_TABLES, database):
            yield _Table(database=database, name=name or "", size=int(size or 0), own=own == "true")


def _batches(tables: Sequence[_Table]) -> Iterator[list[_Table]]:
    batch: list[_Table] = []
    for table in tables:
        full = len(batch) == _AT_ONCE or sum(t.size for t in batch) + table.size > _SMALL
        if batch and (full or batch[0].database != table.database):
            yield batch
            batch = []
        batch.append(table)
    if batch:
        yield batch


def _count(restored: Restored, batch: Sequence[_Table], tally: _Tally) -> None:
    """All at once; when that fails, one by one, to name the bad ones."""
    left = min(restored.left(), 1e6)
    if left <= 0:
        tally.late = True
        return
    counts = " union all ".join(
        f"select {n}, count(*) from only {table.name}"  # noqa: S608  quoted by the server itself
        for n, table in enumerate(batch)
    )
    sql = _SCAN.format(ms=max(1, int(left * 1000)), counts=counts)
    try:
        found = restored.asked.query(sql, batch[0].database)
    except PostgresError as error:
        if error.sqlstate == _OUT_OF_TIME:
            tally.late = True
        elif len(batch) == 1:
            tally.bad.append((batch[0], error))
        else:
            for table in batch:
                _count(restored, [table], tally)
        return
    tally.counted += ((batch[int(at or 0)], int(n or 0)) for at, n in found)


def _told(tally: _Tally, tables: Sequence[_Table]) -> Answer:
    figures = tally.figures(tables)
    if tally.bad:
        states = sorted({error.sqlstate or "no SQLSTATE" for _, error in tally.bad})
        return no(
            "rows",
            f"{len(tally.bad)} of {len(tables)} tables can't be read ({', '.join(states)})",
            figures,
            tuple(f"{t.database}: {t.name}: {error.message}" for t, error in tally.bad),
        )
    names = tuple(f"{t.database}: {t.name}: {n:,} rows" for t, n in tally.counted if t.own)
    if tally.late or len(tally.counted) < len(tables):
        share = figures["bytes_read"] * 100 // max(figures["bytes"], 1)
        said = f"time ran out: {len(tally.counted)} of {len(tables)} tables, {share} % of the bytes"
        return Answer(
            level="fail", what="rows", message=said, figures=figures, names=names, ran=False
        )
    said = f"{figures['rows']:,} rows of {figures['tables']:,} tables were read"
    return yes("rows", said, figures, names)

"""What is asked of a restored cluster: does it open, is it all there, can every row be read."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from drkit.check import Question, Restored, Row
from drkit.errors import PostgresError
from drkit.model.drill import Answer
from drkit.model.finding import Finding
from drkit.model.lsn import parse_lsn, show_lsn
from drkit.postgres.answers import connectable, no, refused, silent, yes
from drkit.postgres.rows import rows

NOT_CHECKED = (
    "L4: every page's checksum and every TOAST value",
    "L5: indexes, constraints and digests against the source",
    "L6: your own queries and applications",
)
_WRITE = (
    "create schema drkit_verify; create table drkit_verify.probe (n int); "
    "insert into drkit_verify.probe values (42)"
)
_READ = "select n from drkit_verify.probe"
_TAKE_AWAY = "drop schema drkit_verify cascade"
_BAD = re.compile(
    r"\bPANIC:|\bFATAL:|\binvalid page|page verification failed|could not read blocks?\b"
    r"|contains unexpected zero page|terminated by signal|database system was not properly shut"
)
# What a healthy server says while it starts and stops.
_FINE = re.compile(
    r"FATAL:\s+the database system is (?:starting up|shutting down|not yet accepting connections)"
    r"|FATAL:\s+terminating .*connection due to administrator command"
    r"|FATAL:\s+terminating background worker"
)


def _one(rows: list[Row]) -> str:
    return (rows[0][0] if rows and rows[0] else None) or ""


def recovered(restored: Restored) -> Answer:
    """Open for writing, and beyond the end of the backup."""
    what = "recovered"
    asked = restored.asked
    sql = (
        "select pg_is_in_recovery()::text, case when pg_is_in_recovery() "
        "then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end::text"
    )
    try:
        (recovering, at), *_ = asked.query(sql)
    except PostgresError as error:
        return refused(what, "the server does not say where it stands", error)
    if recovering != "false":
        return no(what, "the server is still in recovery")
    wanted = restored.facts.details.get("end_lsn")
    try:
        end, reached = parse_lsn(str(wanted)), parse_lsn(str(at))
    except ValueError:
        return no(what, "where the backup ended is not known: consistency can't be shown")
    if reached < end:
        return no(what, f"the WAL ends at {show_lsn(reached)}, the backup at {show_lsn(end)}")
    return yes(what, f"consistent: at {show_lsn(reached)}, the backup ended at {show_lsn(end)}")


def writable(restored: Restored) -> Answer:
    """A row is written, found again and taken away."""
    what = "writable"
    asked = restored.asked
    try:
        asked.query(_WRITE)
        found = _one(asked.query(_READ))
        asked.query(_TAKE_AWAY)
        asked.query("checkpoint")
    except PostgresError as error:
        return refused(what, "a write was refused", error)
    if found != "42":
        return no(what, "what was written is not what was read")
    return yes(what, "a row was written, read and removed")


def clean_log(restored: Restored) -> Answer:
    what = "log"
    lines = restored.asked.log_lines()
    bad = [line for line in lines if _BAD.search(line) and not _FINE.search(line)]
    figures = {"lines": len(lines), "bad": len(bad)}
    if not lines:
        return no(what, "the server's log is empty: nothing can be said of it")
    if bad:
        kinds = sorted({(_BAD.search(line) or [""])[0].rstrip(":") for line in bad})
        return no(
            what,
            f"{len(bad)} lines of the server's log tell of harm: {', '.join(kinds)}",
            figures,
            tuple(bad[:20]),
        )
    return yes(what, f"{len(lines)} lines, none of harm", figures)


def databases(restored: Restored) -> Answer:
    """By name and encoding, against what was recorded when the backup was taken."""
    what = "databases"
    noted = restored.recorded.get("databases")
    if not isinstance(noted, list) or not noted:
        return silent(what, "no databases were recorded with the backup")
    sql = "select datname, pg_encoding_to_char(encoding) from pg_database"
    try:
        found = {str(row[0]): row[1] for row in restored.asked.query(sql)}
    except PostgresError as error:
        return refused(what, "the databases can't be listed", error)
    wanted = {str(one.get("name")): one.get("encoding") for one in noted}
    missing = sorted(name for name in wanted if name not in found)
    other = sorted(n for n, e in wanted.items() if n in found and e not in (None, found[n]))
    figures = {"recorded": len(wanted), "found": len(found), "missing": len(missing)}
    if missing or other:
        said = f"{len(missing)} of {len(wanted)} databases are missing"
        said += f", {len(other)} have another encoding" if other else ""
        return no(what, said, figures, (*missing, *other))
    return yes(what, f"all {len(wanted)} databases are there", figures)


# As they are counted when a backup is taken: the server's own among them, and beside that the
# server's own alone. These are the same in every cluster of a version, and would hide a loss.
_KINDS = {
    "tables": "'r', 'p'",
    "indexes": "'i', 'I'",
    "views": "'v'",
    "sequences": "'S'",
    "matviews": "'m'",
}
_ITS = "n.nspname in ('pg_catalog', 'information_schema')"
_EACH = """
select '{kind}', count(*)::text, (count(*) filter (where {its}))::text
from {catalogue} c join pg_namespace n on n.oid = c.{schema}{where}"""
_COUNT = " union all ".join(
    (
        *(
            _EACH.format(
                kind=kind,
                its=_ITS,
                catalogue="pg_class",
                schema="relnamespace",
                where=f" where c.relkind in ({letters})",
            )
            for kind, letters in _KINDS.items()
        ),
        _EACH.format(
            kind="functions", its=_ITS, catalogue="pg_proc", schema="pronamespace", where=""
        ),
    )
)


def shape(restored: Restored) -> Answer:
    """Objects of each kind, counted as they were when the backup was taken."""
    what = "shape"
    noted = _noted_counts(restored.recorded)
    if not noted:
        return silent(what, "no counts of objects were recorded with the backup")
    try:
        counted = _counts(restored)
    except PostgresError as error:
        return refused(what, "the catalogues can't be counted", error)
    found = {kind: counted[kind][0] - counted[kind][1] for kind in noted}
    wanted = {kind: max(n - counted[kind][1], 0) for kind, n in noted.items()}
    return _compared(found, wanted)


def _compared(found: Mapping[str, int], wanted: Mapping[str, int]) -> Answer:
    what = "shape"
    figures = {f"{kind}_found": n for kind, n in found.items()}
    figures |= {f"{kind}_recorded": n for kind, n in wanted.items()}
    lost = [kind for kind, n in wanted.items() if found[kind] * 2 < n]
    moved = [kind for kind, n in wanted.items() if found[kind] != n]
    if lost:
        said = ", ".join(f"{found[kind]} {kind} of {wanted[kind]}" for kind in lost)
        return no(what, f"more than half is gone: {said}", figures)
    if moved:
        said = ", ".join(f"{found[kind]} {kind}, {wanted[kind]} recorded" for kind in moved)
        return Answer(
            level="warn",
            what=what,
            message=f"not counted alike: {said}",
            hint="objects that were made or dropped while the backup ran are counted otherwise",
            figures=figures,
        )
    return yes(what, f"{sum(wanted.values())} objects, as recorded", figures)


def _noted_counts(recorded: Mapping[str, Any]) -> dict[str, int]:
    noted = recorded.get("objects")
    counts = dict(noted) if isinstance(noted, dict) else {}
    known = {*_KINDS, "functions"}
    return {kind: n for kind, n in counts.items() if isinstance(n, int) and kind in known}


def _counts(restored: Restored) -> dict[str, tuple[int, int]]:
    """In the databases that were entered then: the role of a backup may not see all."""
    entered = restored.recorded.get("extensions")
    names = connectable(restored.asked)
    names = [name for name in names if name in entered] if isinstance(entered, dict) else names
    sums = dict.fromkeys((*_KINDS, "functions"), (0, 0))
    for name in names:
        for kind, n, its in restored.asked.query(_COUNT, name):
            before = sums[str(kind)]
            sums[str(kind)] = before[0] + int(n or 0), before[1] + int(its or 0)
    return sums


def remarks(findings: Sequence[Finding]) -> Question:
    """What the restore itself has found this host to lack."""
    bad = [finding for finding in findings if finding.level != "pass"]
    names = tuple(finding.message for finding in bad)
    said = f"{len(bad)} things differ on this host" if bad else "this host has all that it needs"
    hint = bad[0].hint if bad else None
    answer = Answer(
        level="warn" if bad else "pass",
        what="host",
        message=said,
        hint=hint,
        figures={"remarks": len(bad)},
        names=names,
    )
    return Question(id="host", level=2, check=lambda _restored: answer, required=False)


QUESTIONS = (
    Question(id="recovered", level=1, check=recovered),
    Question(id="writable", level=1, check=writable),
    Question(id="log", level=1, check=clean_log),
    Question(id="databases", level=2, check=databases),
    Question(id="shape", level=2, check=shape),
    Question(id="rows", level=3, check=rows),
    Question(id="log after", level=3, check=clean_log),  # what the others met stands in it, too
)

"""How much of the WAL is still needed: one limit for the domain, across timelines."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from drkit.model.snapshot import Snapshot
from drkit.repository import names
from drkit.repository.names import Name

# What a source with WAL says in its facts' details, as integers.
START, END, SEGMENT = "start_lsn", "end_lsn", "wal_segment_size"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    limit: int  # nothing that ends at or below it is needed, but for the islands
    islands: tuple[tuple[int, int | None], ...]  # start and end of live commits; None: unknown
    segment: int


def needs(
    commits: Sequence[Snapshot],
    newest_sound: Snapshot | None,
    begins: Iterable[int | None],
    keep: timedelta | None,
    now: datetime,
) -> Needs | None:
    """Of the live commits; `begins` are the bounds of sessions without outcome.

    None: nothing may go, because there is no live and sound commit or something is not known.
    """
    if newest_sound is None:
        return None
    within = [s for s in commits if s is newest_sound or _inside(s, keep, now)]
    starts = [*(_number(s, START) for s in within), *begins]
    sizes = {_number(s, SEGMENT) for s in commits}
    known = [start for start in starts if start is not None]
    size = next(iter(sizes))
    if len(known) < len(starts) or len(sizes) != 1 or size is None or size <= 0:
        return None
    islands = [(_number(s, START), _number(s, END)) for s in commits]
    if any(start is None for start, _ in islands):
        return None
    return Needs(
        limit=min(known),
        islands=tuple((start, end) for start, end in islands if start is not None),
        segment=size,
    )


def _inside(snapshot: Snapshot, keep: timedelta | None, now: datetime) -> bool:
    return keep is None or any(now - at <= keep for at in (snapshot.ended, snapshot.stored))


def _number(snapshot: Snapshot, key: str) -> int | None:
    value = snapshot.facts.details.get(key)
    return value if isinstance(value, int) and value >= 0 else None


def unneeded(listed: Iterable[str], limit: int, wanted: Needs) -> list[str]:
    """Names that may go, pieces first: their segment's presence is what lets them go."""
    parsed = [(name, said) for name in listed if (said := names.parse(name)) is not None]
    whole = {said.file for _, said in parsed if said.kind == "wal"}
    limit = min(limit, wanted.limit)
    gone: list[tuple[bool, str]] = []
    for name, said in parsed:
        span = span_of(said, wanted.segment)
        if span is None or span[1] > limit or _on_island(span, wanted.islands):
            continue
        if said.kind == "piece" and said.file not in whole:
            continue
        gone.append((said.kind != "piece", name))
    return [name for _, name in sorted(gone)]


def span_of(said: Name, size: int) -> tuple[int, int] | None:
    """Where in the WAL the file lies; None for what never goes."""
    file = said.file
    if said.kind not in {"wal", "piece", "conflict"} or file is None or file.endswith(".history"):
        return None
    start = (int(file[8:16], 16) << 32) + int(file[16:24], 16) * size
    return start, start + size


def _on_island(span: tuple[int, int], islands: Iterable[tuple[int, int | None]]) -> bool:
    start, end = span
    return any(low < end and (high is None or start <= high) for low, high in islands)


def usable_floors(
    floors: Iterable[tuple[int, datetime]], limit: int, patience: timedelta, now: datetime
) -> Iterator[int]:
    """Floors that stood for the patience, so that a restore that began before has ended."""
    return (lsn for lsn, put in floors if lsn <= limit and now - put >= patience)

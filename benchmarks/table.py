"""Results as a table a person compares at a glance."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median

from benchmarks.measure import Cost

OWN = "drkit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    case: str
    phase: str
    tool: str
    turn: int
    cost: Cost
    stored: int  # bytes in the store after it
    added: int  # bytes this phase put there


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Medians of all turns."""

    case: str
    phase: str
    tool: str
    wall: float
    cpu: float
    memory: int
    resident: int
    stored: int
    added: int


def summarise(results: Sequence[Result]) -> list[Row]:
    keys = dict.fromkeys((r.case, r.phase, r.tool) for r in results)
    return [_row([r for r in results if (r.case, r.phase, r.tool) == key]) for key in keys]


def _row(same: Sequence[Result]) -> Row:
    return Row(
        case=same[0].case,
        phase=same[0].phase,
        tool=same[0].tool,
        wall=median(r.cost.wall for r in same),
        cpu=median(r.cost.cpu for r in same),
        memory=max(r.cost.memory for r in same),
        resident=max(r.cost.resident for r in same),
        stored=int(median(r.stored for r in same)),
        added=int(median(r.added for r in same)),
    )


def render(rows: Sequence[Row]) -> Iterable[str]:
    yield (
        f"{'case':6} {'phase':10} {'tool':7} {'wall s':>8} {'cpu s':>8} {'mem MiB':>8}"
        f" {'rss MiB':>8} {'added MiB':>10} {'stored MiB':>11}  {OWN} to it: wall  cpu   mem"
    )
    for _, group in groupby(rows, key=lambda r: (r.case, r.phase)):
        yield from _group(list(group))
        yield ""


def _group(group: Sequence[Row]) -> Iterable[str]:
    own = next((row for row in group if row.tool == OWN), None)
    for row in group:
        yield _line(row) + (_ratios(own, row) if own and row is not own else "")
    peers = [row for row in group if row is not own]
    if own and len(peers) > 1:
        best = min(peers, key=lambda row: row.wall)
        yield f"{'':18}{OWN} to the better peer ({best.tool}): wall {own.wall / best.wall:.2f}"


def _line(row: Row) -> str:
    mib = 1 << 20
    return (
        f"{row.case:6} {row.phase:10} {row.tool:7} {row.wall:8.2f} {row.cpu:8.2f}"
        f" {row.memory / mib:8.1f} {row.resident / mib:8.1f} {row.added / mib:10.2f}"
        f" {row.stored / mib:11.1f}"
    )


def _ratios(own: Row, peer: Row) -> str:
    memory = own.memory / peer.memory if peer.memory else 0
    return f"  {'':12}{own.wall / peer.wall:7.2f} {own.cpu / peer.cpu:5.2f} {memory:5.2f}"

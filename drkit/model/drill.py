"""A drill: what was timed, what was asked of the copy, and what follows from both."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from drkit.errors import Exit
from drkit.model.finding import Finding

FORM = 1  # of a record's body
KIND = "drill_run"

PhaseId = Literal["P0", "P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9"]
How = Literal["measured", "allowance", "absent", "unmeasured", "not applicable"]
Result = Literal["pass", "warn", "fail", "not run"]
Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE", "NOT_RUN"]
Cause = Literal[
    "damage", "server", "key", "no key", "postgres", "configuration", "store", "busy", "usage",
    "interrupted", "bug",
]  # fmt: skip
Scenario = Literal["data-loss"]

NAMES: Mapping[PhaseId, str] = {
    "P0": "detect",
    "P1": "decide",
    "P2": "provision",
    "P3": "plan",
    "P4": "restore",
    "P5": "replay",
    "P6": "open",
    "P7": "gate",
    "P8": "side data",
    "P9": "reopen",
}
OPEN: tuple[PhaseId, ...] = ("P3", "P4", "P5", "P6")
MUST: tuple[PhaseId, ...] = (*OPEN, "P7")  # unmeasured, nothing can be concluded
_ALLOWED: Mapping[PhaseId, str] = {
    "P0": "detect",
    "P1": "decide",
    "P2": "provision",
    "P9": "reopen",
}
# What proves the stored copy unusable; the other causes belong to where the drill ran.
_COPY: frozenset[Cause] = frozenset({"damage", "server", "key"})
_CODES: Mapping[Cause, Exit] = {
    "postgres": Exit.POSTGRES,
    "configuration": Exit.CONFIGURATION,
    "store": Exit.STORE,
    "busy": Exit.BUSY,
    "usage": Exit.USAGE,
    "interrupted": Exit.INTERRUPTED,
    "bug": Exit.BUG,
    "no key": Exit.KEY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Finding):
    """What a check found; message and figures become evidence, names only a person sees."""

    figures: Mapping[str, int] = field(default_factory=dict)
    names: tuple[str, ...] = ()  # of databases, tables, files: they stand nowhere in clear
    ran: bool = True  # False: it could not ask, or not all of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    id: PhaseId
    name: str
    how: How
    ms: int = 0  # as it counts
    measured_ms: int | None = None
    allowance_ms: int | None = None
    bytes: Mapping[str, int] = field(default_factory=dict)  # by stage: fetched, written, wal


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    id: str
    level: int
    required: bool
    result: Result
    message: str
    ms: int = 0
    figures: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aims:
    """The objectives as they were."""

    rto_ms: int | None = None
    rpo_ms: int | None = None
    level: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Recovery time actual; None where a phase of it was not measured."""

    open_ms: int | None
    data_ms: int | None
    service_ms: int | None
    measured_permille: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """If everything were lost when the drill began: what was written in so long a time is gone.

    The copy holds the state of a moment between the two signed times of its snapshot, so both
    ages are told; the greater one is held against the objective.
    """

    begun: datetime
    ended: datetime
    at_most_ms: int  # back to `begun`
    at_least_ms: int  # back to `ended`
    clock: str = "the drill's own clock against the times its writer signed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why it went no further. Its own words may hold names, so evidence has the cause alone."""

    phase: PhaseId
    cause: Cause
    sqlstate: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    verdict: Verdict
    exit: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Which snapshot was tried."""

    generation: str
    session: str
    hash: str
    kind: str  # full, incremental
    source: str  # files, postgres-physical


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """A record's body: JSON without floats, and without a name of what is inside the backup."""

    form: int = FORM
    scenario: Scenario = "data-loss"
    domain: str
    store: str  # its own id
    target: str  # as it was asked for: latest, a snapshot's id, a time
    began: datetime
    snapshot: Taken | None
    phases: tuple[Phase, ...]
    times: Times
    loss: Loss | None
    aims: Aims
    checks: tuple[Checked, ...]
    level: int  # reached
    not_checked: tuple[str, ...]
    verdict: Verdict
    exit: int
    reasons: tuple[str, ...]
    failure: Failure | None = None
    tier: str = "full"
    rank: str = "C"  # A or B need another host or site, cold caches and the key from escrow
    machine: Mapping[str, int | str] = field(default_factory=dict)
    realism: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    cleanup: Mapping[str, bool] = field(default_factory=dict)

    def phase(self, id: PhaseId) -> Phase:
        return next(phase for phase in self.phases if phase.id == id)


def milliseconds(length: timedelta) -> int:
    return round(length / timedelta(milliseconds=1))


def phases(
    measured: Mapping[PhaseId, int],
    allowed: Mapping[str, int],
    apart: Iterable[PhaseId] = (),
    bytes: Mapping[PhaseId, Mapping[str, int]] | None = None,
) -> tuple[Phase, ...]:
    """All ten; `allowed` by name, in milliseconds; `apart`: what this source doesn't have."""
    none: set[PhaseId] = {*apart, "P8"}
    return tuple(
        _phase(
            id,
            measured.get(id),
            allowed.get(_ALLOWED.get(id, "")),
            (bytes or {}).get(id, {}),
            applies=id not in none,
        )
        for id in NAMES
    )


def _phase(
    id: PhaseId, ms: int | None, allowance: int | None, bytes: Mapping[str, int], *, applies: bool
) -> Phase:
    how: How = "measured"
    if ms is None and not applies:
        how = "not applicable"
    elif ms is None and id in MUST:
        how = "unmeasured"
    elif ms is None or (allowance or 0) > ms:
        how = "absent" if allowance is None else "allowance"
    return Phase(
        id=id,
        name=NAMES[id],
        how=how,
        ms=max(ms or 0, allowance or 0),
        measured_ms=ms,
        allowance_ms=allowance,
        bytes=dict(bytes),
    )


def times(of: Sequence[Phase]) -> Times:
    """One after the other: nothing runs beside the path yet, so its sum is the critical one."""
    found = {phase.id: phase for phase in of}
    opening = _sum(found[id] for id in OPEN)
    data = _sum(found[id] for id in MUST)
    service = _sum(of)
    measured = sum(p.ms for p in of if p.how == "measured")
    return Times(
        open_ms=opening,
        data_ms=data,
        service_ms=service,
        measured_permille=None if not service else measured * 1000 // service,
    )


def _sum(of: Iterable[Phase]) -> int | None:
    parts = list(of)
    return None if any(p.how == "unmeasured" for p in parts) else sum(p.ms for p in parts)


def level_reached(checks: Sequence[Checked]) -> int:
    """The highest with all below passed, and every check of its own."""
    level = 0
    while any(c.level == level + 1 for c in checks):
        of_it = [c for c in checks if c.level == level + 1]
        if any(c.result not in ("pass", "warn") for c in of_it if c.required or c.result == "fail"):
            break
        level += 1
    return level


def loss(begun: datetime, ended: datetime, now: datetime) -> Loss:
    nothing = timedelta()
    return Loss(
        begun=begun,
        ended=ended,
        at_most_ms=milliseconds(max(now - begun, nothing)),
        at_least_ms=milliseconds(max(now - ended, nothing)),
    )


def sound(failure: Failure | None, checks: Sequence[Checked], aims: Aims) -> bool:
    """Whether the copy is proven, however long it took."""
    return failure is None and level_reached(checks) >= aims.level and not _failed(checks)


def harmed(failure: Failure | None, checks: Sequence[Checked]) -> bool:
    """Whether the copy itself is shown to be bad: a key that doesn't fit harms no bytes."""
    if failure is not None and failure.cause in ("damage", "server"):
        return True
    return any(c.level > 0 for c in _failed(checks))


def judge(failure: Failure | None, took: Times, checks: Sequence[Checked], aims: Aims) -> Judged:
    """By this run alone; the recovery point's age is told, and decides nothing."""
    failed = [f"check {c.id}: {c.message}" for c in _failed(checks)]
    if failure is not None and failure.cause not in _COPY and not failed:
        return Judged(verdict="NOT_RUN", exit=int(_CODES[failure.cause]), reasons=(_why(failure),))
    if failure is not None and failure.cause in _COPY:
        failed.insert(0, _why(failure))
    late = _late(took, aims)
    if failed or late:
        return Judged(verdict="FAIL", exit=int(Exit.MISSED), reasons=(*failed, *late))
    open_ = tuple(_inconclusive(took, checks, aims))
    if open_:
        return Judged(verdict="INCONCLUSIVE", exit=int(Exit.MISSED), reasons=open_)
    return Judged(verdict="PASS", exit=int(Exit.FINE), reasons=())


def _failed(checks: Sequence[Checked]) -> list[Checked]:
    return [c for c in checks if c.required and c.result == "fail"]


def _late(took: Times, aims: Aims) -> tuple[str, ...]:
    if aims.rto_ms is None or took.service_ms is None or took.service_ms <= aims.rto_ms:
        return ()
    return (f"rto missed: {took.service_ms} ms, {aims.rto_ms} ms were promised",)


def _inconclusive(took: Times, checks: Sequence[Checked], aims: Aims) -> Iterable[str]:
    if took.data_ms is None:
        yield "a phase from P3 to P7 was not measured"
    yield from (f"check {c.id} did not run" for c in checks if c.required and c.result == "not run")
    reached = level_reached(checks)
    if reached < aims.level:
        yield f"level {reached} was reached, {aims.level} is required"


_WORDS: Mapping[Cause, str] = {
    "damage": "what is stored is not what was sealed",
    "server": "the server did not open the copy",
    "key": "the identity that was given does not open it",
    "no key": "no identity could be used",
    "postgres": "a server refused",
    "configuration": "something is not set up",
    "store": "a store or disk could not be used",
    "busy": "another run was in the way",
    "usage": "it was asked for what is not there",
    "interrupted": "it was interrupted",
    "bug": "drkit failed",
}


def _why(failure: Failure) -> str:
    state = f" (SQLSTATE {failure.sqlstate})" if failure.sqlstate else ""
    return f"{failure.phase} {NAMES[failure.phase]}: {_WORDS[failure.cause]}{state}"

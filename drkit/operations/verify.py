"""A snapshot restored for no other reason than to see that it can be, and how long it takes."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from drkit.check import Question
from drkit.crypto.recipients import Identity
from drkit.errors import (
    Busy,
    ConfigError,
    Damaged,
    DiskError,
    DrkitError,
    KeyMissing,
    ObjectiveMissed,
    PostgresError,
    SourceError,
    StoreError,
    UsageError,
)
from drkit.model import drill
from drkit.model.drill import (
    KIND,
    Aims,
    Answer,
    Cause,
    Checked,
    Drill,
    Failure,
    PhaseId,
    Taken,
)
from drkit.model.evidence import CommitHead
from drkit.model.policy import Objectives, Scratch
from drkit.model.snapshot import Snapshot
from drkit.operations import realism
from drkit.operations.reading import Domain, Seen, believed, look, opened, pick, pick_at
from drkit.operations.scrub import Witness
from drkit.operations.stopwatch import Stopwatch
from drkit.operations.trial import Stage, Tried, Way
from drkit.operations.verify_files import FILES
from drkit.operations.verify_postgres import CLUSTER
from drkit.postgres.scratch import ScratchPlan, scratch_plan
from drkit.repository.evidence_chain import DAMAGED, PROVEN, Chain, may_testify
from drkit.repository.reader import SnapshotReader
from drkit.repository.signed import plain
from drkit.stores.counted import Counted
from drkit.stores.locked import evidence_lock, locked
from drkit.system import System

WAYS: Mapping[str, Way] = {"files": FILES, "postgres-physical": CLUSTER}


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyPlan:
    name: str
    find: Callable[[], Domain]  # asks the store: that is in the clock
    identities: Callable[[], tuple[Identity, ...]]  # as is reading the key
    state: Path
    scratch: Scratch = field(default_factory=Scratch)
    binaries: Path | None = None  # the bin folder of a server
    objectives: Objectives = field(default_factory=Objectives)
    word: str = "latest"  # or an id's beginning
    at: datetime | None = None
    witness: Witness | None = None
    key_path: str = "local"
    level: int = 3
    budget: timedelta = timedelta(minutes=30)  # for all checks

    @property
    def aims(self) -> Aims:
        rto, rpo = self.objectives.rto, self.objectives.rpo
        return Aims(
            rto_ms=None if rto is None else drill.milliseconds(rto),
            rpo_ms=None if rpo is None else drill.milliseconds(rpo),
            level=self.level,
        )

    @property
    def target(self) -> str:
        return self.word if self.at is None else f"at {self.at.isoformat(timespec='seconds')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    drill: Drill
    answers: tuple[tuple[Question, Answer], ...]  # with the names that evidence doesn't hold
    error: DrkitError | None  # what to end with; None: passed
    record: str | None = None  # the evidence's name in the store
    untold: str = ""  # why there is none


@dataclass(slots=True, kw_only=True)
class _Run:
    """What is known so far, whatever happens next."""

    plan: VerifyPlan
    system: System
    watch: Stopwatch
    began: datetime
    domain: Domain | None = None
    seen: Seen | None = None
    snapshot: Snapshot | None = None
    folder: Path | None = None
    locality: str = realism.UNKNOWN
    tried: Tried | None = None
    checks: list[Checked] = field(default_factory=list)
    answers: list[tuple[Question, Answer]] = field(default_factory=list)
    failure: Failure | None = None
    error: BaseException | None = None


def verify(plan: VerifyPlan, system: System) -> Verified:
    """Always ends in a verdict, and in a record where one can be put; then, if it was stopped or
    drkit itself failed, in that."""
    run = _Run(plan=plan, system=system, watch=Stopwatch(system), began=system.now())
    try:
        _go(run)
    except BaseException as error:  # noqa: BLE001  an interrupted drill is evidence, too
        run.error = error
        run.failure = Failure(
            phase=run.watch.phase,
            cause=cause_of(error, run.watch.phase),
            sqlstate=error.sqlstate if isinstance(error, PostgresError) else "",
        )
    result = _recorded(run, Verified(drill=_drill(run), answers=tuple(run.answers), error=None))
    if run.failure is not None and run.failure.cause in ("interrupted", "bug"):
        assert run.error is not None
        raise run.error
    return replace(result, error=result.error or _verdict_error(run, result.drill))


def _go(run: _Run) -> None:
    plan, watch, system = run.plan, run.watch, run.system
    with watch.at("P2"):
        run.domain = _counted(plan.find())
        keys = plan.identities()
        if not keys:
            raise _no_identity()
    with watch.at("P3"):
        run.seen = look(run.domain)
        run.checks.append(_history(run.seen))
        found = believed(run.seen)
        run.snapshot = pick(found, plan.word) if plan.at is None else pick_at(found, plan.at)
        run.checks.append(complete(run.snapshot))
    way = _way(run.snapshot)
    with ExitStack() as stack:
        with watch.at("P2"):
            run.folder = stack.enter_context(way.room(_room(plan, run.snapshot), system))
            run.locality = realism.locality(run.domain.repository.store.url, run.folder)
        with watch.at("P3"):
            reader = stack.enter_context(opened(run.domain, run.snapshot, keys, system))
            stage = _stage(run, reader, run.snapshot, run.folder)
        run.tried = stack.enter_context(way.trial(stage))
        watch.count("P4", fetched=_fetched(run.domain))
        with watch.at("P7"):
            _ask(run, run.tried)


def _no_identity() -> KeyMissing:
    return KeyMissing(
        "no identity was given: without the private key no restore can be tried",
        hint="--identity FILE, DRKIT_IDENTITY_FILE, or verify.scratch.identity in the policy",
    )


def _way(snapshot: Snapshot) -> Way:
    found = WAYS.get(snapshot.facts.kind)
    if found is None:
        raise ConfigError(f"this drkit does not know how to try a backup of {snapshot.facts.kind}")
    return found


def _room(plan: VerifyPlan, snapshot: Snapshot) -> ScratchPlan:
    made = scratch_plan(plan.scratch, plan.state, snapshot.facts.bytes)
    if plan.scratch.folder is None and snapshot.facts.kind == "files":
        # The default one must let in who runs servers; this one lets in nobody.
        return replace(made, folder=made.folder.with_name(f"{made.folder.name}-files"))
    return made


def _stage(run: _Run, reader: SnapshotReader, snapshot: Snapshot, folder: Path) -> Stage:
    return Stage(
        folder=folder,
        snapshot=snapshot,
        reader=reader,
        recorded=reader.lines().head.recorded,
        scratch=run.plan.scratch,
        binaries=run.plan.binaries,
        watch=run.watch,
        system=run.system,
    )


def _counted(domain: Domain) -> Domain:
    repository = domain.repository
    return replace(domain, repository=replace(repository, store=Counted(repository.store)))


def _fetched(domain: Domain) -> int:
    store = domain.repository.store
    assert isinstance(store, Counted)
    return store.fetched


def _history(seen: Seen) -> Checked:
    """Whether the list that the snapshot was taken from can be believed."""
    odd = len(seen.tampered)
    return Checked(
        id="history",
        level=0,
        required=True,
        result="fail" if odd else "pass",
        message=f"{odd} signs of tampering" if odd else "no sign of tampering",
        figures={"snapshots": len(seen.snapshots), "signs": odd},
    )


def complete(snapshot: Snapshot) -> Checked:
    """A source that was damaged or partly unreadable is never proven by what could be read."""
    bad = snapshot.facts.damaged
    return Checked(
        id="complete",
        level=0,
        required=True,
        result="fail" if bad else "pass",
        message="it was not complete when it was taken" if bad else "complete when it was taken",
    )


def _ask(run: _Run, tried: Tried) -> None:
    until = run.system.monotonic() + run.plan.budget.total_seconds()
    restored = replace(tried.restored, left=lambda: until - run.system.monotonic())
    for question in tried.questions:
        begun = run.system.monotonic()
        answer = question.check(restored)
        ms = round((run.system.monotonic() - begun) * 1000)
        run.answers.append((question, answer))
        run.checks.append(checked(question, answer, ms))


def checked(question: Question, answer: Answer, ms: int) -> Checked:
    return Checked(
        id=question.id,
        level=question.level,
        required=question.required,
        result=answer.level if answer.ran else "not run",
        message=answer.message,
        ms=ms,
        figures=dict(answer.figures),
    )


def _drill(run: _Run) -> Drill:
    plan, snapshot = run.plan, run.snapshot
    way = None if snapshot is None else WAYS.get(snapshot.facts.kind)
    measured = run.watch.milliseconds()
    parts = drill.phases(measured, {}, () if way is None else way.apart, run.watch.bytes)
    took = drill.times(parts)
    judged = drill.judge(run.failure, took, run.checks, plan.aims)
    domain = run.domain
    return Drill(
        domain="" if domain is None else domain.id,
        store="" if domain is None else domain.repository.store_id,
        target=plan.target,
        began=run.began,
        snapshot=None if snapshot is None else _taken(snapshot),
        phases=parts,
        times=took,
        loss=None if snapshot is None else drill.loss(snapshot.begun, snapshot.ended, run.began),
        aims=plan.aims,
        checks=tuple(run.checks),
        level=drill.level_reached(run.checks),
        not_checked=() if run.tried is None else run.tried.not_checked,
        verdict=judged.verdict,
        exit=judged.exit,
        reasons=judged.reasons,
        failure=run.failure,
        machine=realism.machine("" if domain is None else domain.repository.id),
        realism={
            "locality": run.locality,
            "cache": realism.UNKNOWN,
            "key_path": plan.key_path,
        },
        versions=realism.versions({} if run.tried is None else run.tried.versions),
        cleanup={} if run.folder is None else {"folder_gone": not run.folder.exists()},
    )


def _taken(snapshot: Snapshot) -> Taken:
    return Taken(
        generation=snapshot.generation,
        session=snapshot.session,
        hash=snapshot.hash,
        kind=snapshot.kind,
        source=snapshot.facts.kind,
    )


def _verdict_error(run: _Run, judged: Drill) -> DrkitError | None:
    """NOT_RUN ends in what stopped it; a verdict in the code of its own."""
    if judged.verdict == "PASS":
        return None
    hint = run.error.hint if isinstance(run.error, DrkitError) else None
    if judged.verdict == "NOT_RUN":
        if isinstance(run.error, DrkitError):
            return run.error
        return DiskError(f"the restore could not be tried: {str(run.error).lower()}")
    said = "; ".join(judged.reasons)
    if isinstance(run.error, DrkitError):
        said = f"{said}: {run.error.message}"
    return ObjectiveMissed(f"{judged.verdict}: {said}", hint=hint)


def _recorded(run: _Run, result: Verified) -> Verified:
    witness, domain = run.plan.witness, run.domain
    if domain is None:
        return replace(result, untold="the repository could not be opened: there is no record")
    if witness is None:
        return replace(result, untold="this machine has no signing key: there is no record")
    if not may_testify(witness.signer, domain.pins):
        why = "this machine's key is not pinned as a verifier: nobody would believe its record"
        return replace(result, untold=why)
    try:
        return replace(result, record=_append(run, domain, witness, result.drill))
    except DrkitError as error:
        said = f"{result.drill.verdict}, but no evidence of it could be put: {error.message}"
        return replace(result, error=_as(error, said))


def _as(error: DrkitError, message: str) -> DrkitError:
    if isinstance(error, Damaged):
        return type(error)(message, hint=error.hint)
    return StoreError(message, hint=error.hint)


def _append(run: _Run, domain: Domain, by: Witness, judged: Drill) -> str:
    lock = evidence_lock(by.rules, run.system.now())
    chain = Chain(locked(domain.repository.store, lock), by.state, by.signer, run.system)
    heads = () if run.seen is None else run.seen.history.heads()
    commits = [CommitHead(domain=domain.id, generation=g, hash=hash) for g, hash in heads]
    return chain.append(KIND, by.subject, body(judged, newest=_is_newest(run)), commits)


def _is_newest(run: _Run) -> bool:
    """Of its generation: the next one would be built on it."""
    if run.seen is None or run.snapshot is None:
        return False
    own = [s for s in run.seen.snapshots if s.generation == run.snapshot.generation]
    return own[-1].session == run.snapshot.session


def body(judged: Drill, *, newest: bool) -> dict[str, object]:
    """With its word about the generation, as `read_proofs` looks for it: an older snapshot shows
    nothing of what only newer ones hold."""
    fields = plain(judged)
    assert isinstance(fields, dict)
    taken = judged.snapshot
    if taken is None:
        return fields
    about = {"domain": judged.domain, "generation": taken.generation, "store": judged.store}
    if not judged.store:
        del about["store"]
    if drill.harmed(judged.failure, judged.checks):
        return fields | {DAMAGED: [about]}
    if newest and drill.sound(judged.failure, judged.checks, judged.aims):
        return fields | {PROVEN: [about]}
    return fields


def cause_of(error: BaseException, phase: PhaseId) -> Cause:
    """Where it happened tells a bad copy from a bad day."""
    if isinstance(error, KeyMissing):
        return "no key" if phase == "P2" else "key"
    if isinstance(error, PostgresError):
        return "server" if phase in ("P5", "P6") else "postgres"
    return next((cause for kinds, cause in _CAUSES if isinstance(error, kinds)), "bug")


_CAUSES: tuple[tuple[tuple[type[BaseException], ...], Cause], ...] = (
    ((Damaged,), "damage"),
    ((ConfigError, SourceError), "configuration"),
    ((StoreError, DiskError, OSError, MemoryError), "store"),
    ((Busy,), "busy"),
    ((UsageError,), "usage"),
    ((KeyboardInterrupt,), "interrupted"),
)

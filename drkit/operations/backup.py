"""One policy's backup: what is due, the run lock, the session, and what came of it in words."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from drkit.crypto.recipients import parse_recipient
from drkit.crypto.sign import SignerKey
from drkit.errors import CantBuild, ConfigError, Damaged, DrkitError, Tampering
from drkit.events import Event, Finished, Started
from drkit.model import schedule
from drkit.model.finding import Finding, worst
from drkit.model.policy import Policy
from drkit.model.snapshot import BackupKind, Snapshot
from drkit.operations import state
from drkit.operations.copy import Copied, CopyTo, behind, copy_all, job_of, not_copied
from drkit.operations.reading import strange, with_memory
from drkit.operations.sources import opened_source
from drkit.postgres.shape import KIND as POSTGRES
from drkit.repository.base import Done, SessionPlan
from drkit.repository.history import read_commits
from drkit.repository.repository import Repository, domain_id
from drkit.repository.session import back_up
from drkit.repository.signed import Origin
from drkit.source import Source
from drkit.system import System


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupPlan:
    policy: Policy
    repository: Repository
    state: Path
    kind: BackupKind | None  # None: what the schedule says
    apart: tuple[Path, ...] = ()  # never part of a backup: the stores, where they are folders
    copies: tuple[CopyTo, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    done: Done | None  # None: nothing was due
    reason: str  # why this kind, or why none
    seconds: float = 0
    warnings: tuple[Finding, ...] = ()
    copies: tuple[Copied, ...] = ()  # those that were behind

    @property
    def errors(self) -> tuple[DrkitError, ...]:
        """What is wrong with a backup that was committed nevertheless."""
        return (*self._own(), *(not_copied(c) for c in self.copies if c.error is not None))

    def _own(self) -> Iterator[DrkitError]:
        if self.done is None:
            return
        bad = worst(self.done.findings)
        if bad is not None:
            yield Tampering(f"{bad.message}; a backup was committed", hint=bad.hint)
        elif self.done.facts.damaged:
            yield _incomplete(self.done)


def _incomplete(done: Done) -> Damaged:
    counts = done.facts.details
    if done.facts.kind == POSTGRES:
        return Damaged(
            "committed, but pages of the cluster are damaged on its own disk; the warnings name "
            "files and blocks",
            hint="look for what they belong to: select pg_filenode_relation(0, NUMBER), then "
            "pg_amcheck; take it out of an older snapshot, and test the disk. The next backups "
            "are fulls until it is gone",
        )
    unread, torn = (int(counts.get(word, 0)) for word in ("unreadable", "torn"))
    parts = [f"{unread:,} could not be read"] if unread else []
    parts += [f"{torn:,} changed while they were read"] if torn else []
    said = ", ".join(parts) or "a part of the source could not be read"
    return Damaged(
        f"committed, but not complete: {said}",
        hint="the warnings name them; exclude them, or say `unreadable: warn` in the policy",
    )


def run(plan: BackupPlan, system: System) -> Backup:
    policy = plan.policy
    signer = pinned_signer(policy, plan.state)
    odd_home = strange(plan.repository, policy, plan.state)
    if odd_home is not None:
        raise Tampering(f"{odd_home.message}; nothing was backed up", hint=odd_home.hint)
    domain = domain_id(plan.repository.id, policy.domain_name, policy.source.part)
    folder = state.prepare_domain(plan.state, domain)
    with state.locked(folder, policy.name):
        plan = replace(plan, repository=with_memory(plan.repository, folder))
        history = read_commits(plan.repository, domain, policy.encryption.signers)
        snapshots = history.snapshots
        due = _due(plan, snapshots, system)
        odd = () if due.warning is None else (_clock(due.warning),)
        job = job_of(policy, plan.repository, plan.state)
        if due.kind is None:
            late = behind(job, plan.copies, history.heads())
            copies = copy_all(job, late, system)
            return Backup(done=None, reason=due.reason, warnings=odd, copies=copies)
        kind: BackupKind | None = "full" if due.kind == "full" else None
        begun = system.monotonic()
        wanted = partial(_session, plan, domain, folder, signer, kind)
        done = _capture(plan, wanted, snapshots, system)
        seconds = system.monotonic() - begun
        state.note_repository(plan.state, policy.domain_name, plan.repository.id)
        copies = copy_all(job, plan.copies, system)
    return Backup(
        done=done,
        reason=due.reason,
        seconds=seconds,
        copies=copies,
        warnings=(*odd, *_instead(done, due.kind, snapshots)),
    )


def _due(plan: BackupPlan, snapshots: list[Snapshot], system: System) -> schedule.Due:
    if plan.kind is not None:
        return schedule.Due(kind=plan.kind, reason="asked for")
    runs = tuple(schedule.Run(kind=s.kind, begun=s.begun) for s in snapshots)
    # Whether one is possible is the session's to find out: it takes a full when not.
    history = schedule.History(runs=runs, incremental=bool(runs))
    return schedule.due(plan.policy.schedule, history, system.now())


def _clock(warning: str) -> Finding:
    return Finding(level="warn", what="clock", message=warning, hint="compare it with: date")


def _instead(done: Done, wanted: BackupKind, snapshots: list[Snapshot]) -> tuple[Finding, ...]:
    if done.kind == wanted or not snapshots:
        return ()
    return (
        Finding(
            level="warn",
            what="kind",
            message=f"no incremental was possible: {done.why}",
            hint="a full backup was taken instead; the next ones are small again",
        ),
    )


def pinned_signer(policy: Policy, folder: Path) -> SignerKey:
    """Before any work: what this key signs would be believed by nobody if it weren't pinned."""
    state.check(state.prepare(folder))
    key = state.signer(folder)
    writers = policy.encryption.signers.writers
    if writers and key.public not in writers:
        raise ConfigError(
            f"{policy.name}: this machine's key is not among its writers: {key.public_text}",
            hint=f"add it under encryption: signers: writers: in {policy.origin}",
        )
    return key


def _session(
    plan: BackupPlan,
    domain: str,
    folder: Path,
    signer: SignerKey,
    kind: BackupKind | None,
    origin: Origin,
) -> SessionPlan:
    policy = plan.policy
    return SessionPlan(
        repository=plan.repository.id,
        domain=domain,
        part=policy.source.part,
        kind=kind,
        recipients=tuple(parse_recipient(text) for text in policy.encryption.recipients),
        signer=signer,
        pins=policy.encryption.signers,
        policy=policy.text,
        state=folder,
        origin=origin,
        compression=policy.repository.compression,
        verify=policy.repository.verify,
        rules=policy.retention,
        task=f"{policy.name}: backup",
    )


def _capture(
    plan: BackupPlan,
    wanted: Callable[[Origin], SessionPlan],
    snapshots: list[Snapshot],
    system: System,
) -> Done:
    watched = _Told(system.tell, snapshots[-1] if snapshots else None)
    heard = replace(system, tell=watched)
    end = schedule.expected_end(plan.policy.schedule, system.now())
    task = f"{plan.policy.name}: backup"
    apart = (*plan.apart, plan.state)
    try:
        with opened_source(plan.policy, apart, task, heard) as opened:
            session = replace(wanted(opened.origin), expected_end=end, unfit=opened.unfit)
            return _backed_up(plan.repository, session, opened.source, heard)
    except KeyboardInterrupt as stop:
        stop.add_note(f"{plan.policy.name}: {watched.left()}")
        raise
    finally:
        watched.end(task)


def _backed_up(
    repository: Repository, session: SessionPlan, source: Source, system: System
) -> Done:
    """What turns out only under way to be no base for an incremental costs one broken-off run."""
    try:
        return back_up(repository, session, source, system)
    except CantBuild as why:
        return back_up(repository, replace(session, kind="full", why=why.message), source, system)


class _Told:
    """Passes events on, with the last backup's size as a guess, and knows how far it came."""

    def __init__(self, tell: Callable[[Event], None], last: Snapshot | None) -> None:
        self._tell = tell
        self._last = last
        self._captured = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started) and event.total_bytes is None and self._last is not None:
            facts = self._last.facts
            event = replace(event, total_bytes=facts.bytes, total_items=facts.files)
        if isinstance(event, Finished):
            self._captured = True  # all is read; what is left to send goes on
        else:
            self._tell(event)

    def end(self, task: str) -> None:
        self._tell(Finished(task=task))

    def left(self) -> str:
        if self._captured:
            return "stopped while it was being committed: drkit list shows whether it counts"
        return "nothing was committed; what is in the store already does no harm"

"""Second stores: each gets every committed session; what could not be copied is caught up later."""

import shlex
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from drkit.errors import ConfigError, Damaged, DrkitError, NotFound, StoreError, Tampering
from drkit.model.finding import Finding, worst
from drkit.model.pins import Pins
from drkit.model.policy import Policy
from drkit.model.retention import LockMode, Rules
from drkit.operations import state
from drkit.operations.reading import with_memory
from drkit.repository import names
from drkit.repository.base import known_heads, note_heads
from drkit.repository.copies.copier import copy_domain
from drkit.repository.copies.evidence import copy_evidence
from drkit.repository.copies.plan import CopyDone, CopyPlan, Until
from drkit.repository.history import Heads, domains, missing, read_commits
from drkit.repository.repository import Repository, domain_id, join, open_repository
from drkit.repository.signed import Open
from drkit.stores import folder_of, plain_url
from drkit.stores.base import Lock, Store
from drkit.stores.locked import evidence_lock, lock_until, locked
from drkit.stores.probe import brief_lock, probe
from drkit.system import System

_MEMORY = "copied.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyTo:
    url: str
    open: Callable[[], Store]
    anew: bool = False  # asked for by its address: made again where it was lost


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyJob:
    """One domain, and where it goes."""

    name: str  # of the policy
    source: Repository
    domain: str
    pins: Pins
    rules: Rules = field(default_factory=Rules)
    state: Path | None = None  # drkit's state folder; None: this machine remembers nothing

    @property
    def spool(self) -> Path:
        """For objects on their way to a store that has no disk here."""
        if self.state is None:
            return Path(tempfile.gettempdir())
        return state.domain_folder(self.state, self.domain) / "spool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What came of one copy."""

    url: str
    done: CopyDone | None = None
    error: DrkitError | None = None

    @property
    def complete(self) -> bool:
        return self.done is not None and self.error is None and self.done.complete


def job_of(policy: Policy, source: Repository, folder: Path) -> CopyJob:
    return CopyJob(
        name=policy.name,
        source=source,
        domain=domain_id(source.id, policy.domain_name, policy.source.part),
        pins=policy.encryption.signers,
        rules=policy.retention,
        state=folder,
    )


def jobs_of(source: Repository, pins: Pins) -> list[CopyJob]:
    """All that a repository holds, without a policy: nothing is locked, and nothing remembered."""
    return [CopyJob(name=id[:8], source=source, domain=id, pins=pins) for id in domains(source)]


def fit(store: Store, lock: LockMode | None, system: System) -> list[Finding]:
    """Made ready and probed; a store that nothing is safe in is refused."""
    store.prepare()
    wanted = brief_lock(lock, system.now()) if lock is not None and store.locks else None
    found = probe(store, system.random_bytes, wanted)
    failed = next((finding for finding in found if finding.level == "fail"), None)
    if failed is not None:
        raise StoreError(
            f"{store.url} is not fit for a repository: {failed.what}: {failed.message}",
            hint=failed.hint,
        )
    return found


def joined(
    store: Store, source: Repository, rules: Rules, system: System, *, known: bool
) -> Repository:
    """The copy there; at the first time it is probed and made.

    Where one was before and is no more, none is made: a disk may be missing at its place.
    """
    if not known:
        store.prepare()
    try:
        there = open_repository(store)
    except ConfigError:
        if known:
            raise
        fit(store, rules.lock, system)
        there = join(locked(store, lock_until(rules, system.now())), source, system)
    return replace(there, store=store, copy=True)


def copy_all(job: CopyJob, targets: Sequence[CopyTo], system: System) -> tuple[Copied, ...]:
    """One that fails stops none of the others; who stops it is told where it is not yet."""
    done: list[Copied] = []
    try:
        for target in targets:
            done.append(_tried(job, target, system))  # noqa: PERF401  it may be stopped midway
    except KeyboardInterrupt as stop:
        left = ", ".join(plain_url(target.url) for target in targets[len(done) :])
        stop.add_note(
            f"{job.name}: committed, not copied to {left} yet: the next drkit backup catches up"
        )
        raise
    return tuple(done)


def _tried(job: CopyJob, target: CopyTo, system: System) -> Copied:
    try:
        store = target.open()
        known = not target.anew and target.url in known_copies(job)
        if known and holds_nothing(store, target.url):
            raise ConfigError(
                f"{store.url} holds no drkit repository, and this machine has filled it before",
                hint=gone_hint(job.name, target.url),
            )
        there = joined(store, job.source, job.rules, system, known=known)
        before = read_commits(job.source, job.domain, job.pins).heads()
        done, held = _looked_at(job, there, copy_one(job, there, system))
        trouble = _trouble(done)
        if trouble is None and done.complete:
            _note_held(job, there, held)
            _remember(job, target.url, before)
    except DrkitError as error:
        return Copied(url=target.url, error=error)
    return Copied(url=target.url, done=done, error=trouble)


def holds_nothing(store: Store, url: str) -> bool:
    """No repository there: a folder may itself be missing, and its disk with it."""
    folder = folder_of(url)
    try:
        if folder is not None:
            folder.stat()
    except FileNotFoundError:
        return True
    except OSError:
        pass  # the store says it better
    try:
        store.size(names.REPOSITORY)
    except NotFound:
        return True
    return False


def gone_hint(name: str, url: str) -> str:
    mount = "" if folder_of(url) is None else "if its disk is only not mounted: mount it; "
    return f"{mount}if it is really lost: drkit copy {name} --to {shlex.quote(url)} makes it anew"


def copy_one(job: CopyJob, there: Repository, system: System) -> CopyDone:
    """Sessions, then evidence: what evidence speaks of is there before it."""
    plan = CopyPlan(
        source=job.source,
        destination=there,
        domain=job.domain,
        pins=job.pins,
        spool=job.spool,
        task=f"{job.name}: copy to {there.store.url}",
        until=until(job.rules, system),
    )
    done = copy_domain(plan, system)
    evidence = copy_evidence(plan, system)
    return replace(
        done,
        objects=done.objects + evidence.objects,
        bytes=done.bytes + evidence.bytes,
        findings=(*done.findings, *evidence.findings),
    )


def until(rules: Rules, system: System) -> Until:
    """How long what is put at a copy stays locked: of a generation, or of evidence."""

    def lock(opened: Open | None) -> Lock | None:
        if opened is None:
            return evidence_lock(rules, system.now())
        return lock_until(rules, opened.expected_end)

    return lock


def _looked_at(job: CopyJob, there: Repository, done: CopyDone) -> tuple[CopyDone, Heads]:
    """What is odd at the copy itself, and its heads now."""
    folder = _memory(job, there)
    history = read_commits(with_memory(there, folder), job.domain, job.pins)
    found = history.tampered()
    if folder is not None:
        found += missing(history, known_heads(folder))
    return replace(done, findings=(*done.findings, *found)), history.heads()


def _memory(job: CopyJob, there: Repository) -> Path | None:
    """What this machine remembers of the copy."""
    if job.state is None:
        return None
    folder = state.memory_folder(job.state, job.domain, there)
    return state.prepare_below(job.state, folder)


def _note_held(job: CopyJob, there: Repository, held: Heads) -> None:
    """What this copy was seen to hold must stay there."""
    folder = _memory(job, there)
    if folder is not None:
        note_heads(folder, held)


def _remember(job: CopyJob, url: str, before: Heads) -> None:
    """That it lacks nothing up to here."""
    if job.state is not None:
        path = state.prepare_domain(job.state, job.domain) / _MEMORY
        state.replace_file(path, msgspec.json.encode(known_copies(job) | {url: before}))


def known_copies(job: CopyJob) -> dict[str, Heads]:
    """By address: those that this machine has filled, and what home was when it last did."""
    if job.state is None:
        return {}
    path = state.domain_folder(job.state, job.domain) / _MEMORY
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Heads])
    except (OSError, msgspec.MsgspecError):
        return {}


def behind(job: CopyJob, targets: Iterable[CopyTo], heads: Heads) -> list[CopyTo]:
    """Those that may lack something, as far as this machine remembers: nothing is asked."""
    known = known_copies(job)
    return [target for target in targets if known.get(target.url) != heads]


def not_copied(copied: Copied) -> DrkitError:
    """Of a backup that is committed."""
    error = copied.error
    assert error is not None
    said = f"committed, not copied to {plain_url(copied.url)}: {error.message}"
    if isinstance(error, Damaged):
        return type(error)(said, hint=error.hint)
    next_ = "the next drkit backup catches up"
    return StoreError(said, hint=f"{error.hint}; {next_}" if error.hint else next_)


def _trouble(done: CopyDone) -> DrkitError | None:
    bad = worst(done.findings)
    if bad is None:
        return None
    return (Tampering if bad.what == "tampering" else Damaged)(bad.message, hint=bad.hint)

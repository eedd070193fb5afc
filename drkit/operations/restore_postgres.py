"""A cluster's snapshot made a folder that a server starts on; proven so, unless told not to."""

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from drkit.crypto.recipients import Identity
from drkit.errors import ConfigError, DrkitError
from drkit.events import Advanced, Event, Finished, Started, Warned
from drkit.model.finding import Finding
from drkit.model.lsn import show_lsn
from drkit.model.policy import Policy
from drkit.model.snapshot import Snapshot
from drkit.operations import state
from drkit.operations.reading import Seen, opened, policy_of
from drkit.postgres import leftovers
from drkit.postgres.binaries import Binaries, find_binaries
from drkit.postgres.fitness import settings_in
from drkit.postgres.layout import Laid, LayoutPlan, Prepared, lay_out, prepare
from drkit.postgres.processes import Somebody, ids, somebody
from drkit.postgres.recovery import Opened, OpenPlan, open_copy, prepare_only
from drkit.postgres.tablespaces import Disk, Tablespace, disks
from drkit.repository.reader import SnapshotReader
from drkit.system import System

_RATE = 100 << 20  # bytes a second, where none was measured
_START = 2.0  # seconds for a server to start, recover and stop, at least
_RATES = "restored.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPlan:
    seen: Seen
    snapshot: Snapshot
    identities: tuple[Identity, ...]
    into: Path
    tablespaces: Mapping[str, Path] = field(default_factory=dict)
    prepare_only: bool = False

    @property
    def task(self) -> str:
        return f"{self.seen.domain.name or self.snapshot.facts.label}: restore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What a restore of a cluster left."""

    version: str
    tablespaces: tuple[Tablespace, ...]
    start: str  # the command
    configured: bool  # with its own postgresql.conf
    checked: int  # files compared with the server's own checksums
    findings: tuple[Finding, ...]
    opened: Opened | None = None  # None: it was never started

    @property
    def reached(self) -> str | None:
        return None if self.opened is None else show_lsn(self.opened.reached)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPreview:
    version: str
    tablespaces: tuple[Tablespace, ...]
    disks: tuple[Disk, ...]
    binaries: Binaries | None
    missing: ConfigError | None  # why there are none
    seconds: float  # expected
    measured: bool  # by an earlier restore on this machine; else assumed


class _Rate(msgspec.Struct):
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Everything that can be refused was looked at; nothing is written yet."""

    plan: ClusterPlan
    reader: SnapshotReader
    layout: LayoutPlan
    prepared: Prepared
    policy: Policy | None
    who: Somebody | None

    @property
    def user(self) -> str | None:
        return None if self.who is None else self.who[0]

    def binaries(self, system: System) -> Binaries:
        return find_binaries(self.prepared.shape.major, system, _wanted(self.policy), self.user)


def preview_cluster(plan: ClusterPlan, system: System) -> ClusterPreview:
    with _looked_over(plan, system) as run:
        shape, tablespaces = run.prepared.shape, run.prepared.tablespaces
        binaries = missing = None
        try:
            binaries = run.binaries(system)
        except ConfigError as error:
            missing = _without(error)
    rate = _rate(plan)
    per_second = _RATE if rate is None else max(rate.bytes / max(rate.seconds, 0.001), 1)
    return ClusterPreview(
        version=shape.version,
        tablespaces=tablespaces,
        disks=tuple(disks(plan.into, shape.bytes, tablespaces)),
        binaries=binaries,
        missing=missing,
        seconds=_START + shape.total / per_second,
        measured=rate is not None,
    )


def restore_cluster(plan: ClusterPlan, system: System) -> Ready:
    begun = system.monotonic()
    try:
        with _looked_over(plan, system) as run:
            binaries = None if plan.prepare_only else _needed(run, system)
            laid = _laid_out(run, binaries, system)
        ready = _readied(run, laid, binaries, system)
        with state.disk("write to", plan.into):
            leftovers.remove_marker(plan.into)
    except BaseException as error:
        _note_tablespaces(plan, error)
        raise
    _note_rate(plan, system.monotonic() - begun)
    return ready


@contextmanager
def _looked_over(plan: ClusterPlan, system: System) -> Iterator[_Run]:
    heard = replace(system, tell=_as_one(plan.task, system.tell))
    with opened(plan.seen.domain, plan.snapshot, plan.identities, heard) as reader:
        head = reader.lines().head
        policy = plan.seen.domain.policy or policy_of(head)
        who = somebody(None if policy is None else policy.verify.scratch.user)
        layout = LayoutPlan(
            into=plan.into,
            tablespaces=plan.tablespaces,
            owner=ids(who),
            recorded=head.recorded,
        )
        prepared = prepare(reader, plan.snapshot, layout)
        yield _Run(
            plan=plan, reader=reader, layout=layout, prepared=prepared, policy=policy, who=who
        )


def _as_one(task: str, tell: Callable[[Event], None]) -> Callable[[Event], None]:
    """A tree is written in several goes; a person sees one bar."""

    def heard(event: Event) -> None:
        if isinstance(event, Advanced):
            tell(replace(event, task=task))
        elif isinstance(event, Warned):
            tell(event)

    return heard


def _wanted(policy: Policy | None) -> Path | None:
    """A policy may come from another machine, out of the manifest."""
    postgres = None if policy is None else policy.source.postgres
    folder = None if postgres is None else postgres.binaries
    return folder if folder is not None and folder.is_dir() else None


def _needed(run: _Run, system: System) -> Binaries:
    try:
        return run.binaries(system)
    except ConfigError as error:
        raise _without(error) from error


def _without(error: ConfigError) -> ConfigError:
    hint = "--prepare-only writes the files without them, to be started elsewhere"
    return ConfigError(error.message, hint=f"{error.hint}; {hint}" if error.hint else hint)


def _laid_out(run: _Run, binaries: Binaries | None, system: System) -> Laid:
    plan, shape = run.plan, run.prepared.shape
    system.tell(Started(task=plan.task, total_bytes=shape.total, total_items=shape.files))
    # With a server's programs at hand its own checks the pages, five times as fast, at the end.
    pages = binaries is None or not binaries.has("pg_checksums")
    layout = replace(run.layout, pages=pages)
    laid = lay_out(run.reader, plan.snapshot, layout, system, run.prepared)
    system.tell(Finished(task=plan.task))
    return laid


def _readied(run: _Run, laid: Laid, binaries: Binaries | None, system: System) -> Ready:
    plan = run.plan
    said = (
        f"Restored from snapshot {plan.snapshot.session[:8]} of {plan.snapshot.facts.label}",
        f"which was complete at {plan.snapshot.ended.isoformat(timespec='seconds')}.",
    )
    done: Opened | None = None
    if binaries is None:
        findings = prepare_only(laid, said)
    else:
        open_plan = OpenPlan(laid=laid, binaries=binaries, user=run.user, said=said)
        done = open_copy(open_plan, system)
        findings = done.findings
    return Ready(
        version=laid.shape.version,
        tablespaces=laid.tablespaces,
        start=start_command(laid.data, binaries, run.who),
        configured=laid.shape.configured,
        checked=laid.checked,
        findings=findings,
        opened=done,
    )


def start_command(data: Path, binaries: Binaries | None, who: Somebody | None) -> str:
    """What a person types; it names what the original's configuration would look for elsewhere."""
    folder = data.absolute()
    program = "pg_ctl" if binaries is None else binaries.program("pg_ctl")
    words = [program, "-D", str(folder), "-l", str(folder / "server.log"), "-w"]
    odd = [f"-c {name}={shlex.quote(place)}" for name, place in _elsewhere(folder)]
    if odd:
        words += ["-o", " ".join(odd)]
    prefix = "" if who is None else f"runuser -u {who[0]} -- "
    return prefix + shlex.join([*words, "start"])


def _elsewhere(data: Path) -> Iterator[tuple[str, str]]:
    found = settings_in(data)
    if Path(found.get("data_directory", data)).resolve() != data.resolve():
        yield "data_directory", str(data)
    for name, own in (("hba_file", "pg_hba.conf"), ("ident_file", "pg_ident.conf")):
        if name in found and not (data / found[name]).exists():
            yield name, str(data / own)


def _note_tablespaces(plan: ClusterPlan, error: BaseException) -> None:
    """Beside the restored folder itself, of which its caller tells."""
    for place in plan.tablespaces.values():
        try:
            left = any(place.iterdir())
        except OSError:
            continue
        if left and (plan.into / leftovers.MARKER).exists():
            error.add_note(f"{place} holds a part of it")


def _rate(plan: ClusterPlan) -> _Rate | None:
    memory = plan.seen.domain.state
    if memory is None:
        return None
    try:
        return msgspec.json.decode((memory / _RATES).read_bytes(), type=_Rate)
    except (OSError, msgspec.MsgspecError):
        return None


def _note_rate(plan: ClusterPlan, seconds: float) -> None:
    """For the next one's --dry-run; a machine without this policy's memory gets none."""
    memory = plan.seen.domain.state
    if memory is None or not memory.is_dir() or plan.prepare_only:
        return
    made = _Rate(bytes=plan.snapshot.facts.bytes, seconds=seconds)
    try:
        state.replace_file(memory / _RATES, msgspec.json.encode(made))
    except DrkitError:
        return  # the restore is done; its speed is a nicety

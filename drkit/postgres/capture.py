"""One backup of a cluster: its files by one connection, the WAL they need by another."""

import select
from contextlib import ExitStack
from dataclasses import dataclass

from drkit.errors import CantBuild, PostgresError
from drkit.model.entry import Entry
from drkit.model.lsn import Position, parse_lsn, show_lsn
from drkit.model.snapshot import Facts
from drkit.postgres import basebackup, sent
from drkit.postgres.basebackup import Begun, Wanted
from drkit.postgres.damage import Damage
from drkit.postgres.facts import record
from drkit.postgres.intake import Intake, Shape
from drkit.postgres.limits import Limits, read_limits
from drkit.postgres.meter import Meter
from drkit.postgres.plan import PhysicalPlan
from drkit.postgres.refusals import silent
from drkit.postgres.server import ServerFacts
from drkit.postgres.state import Method, State, encode
from drkit.postgres.walcarry import WalCarry, reserve
from drkit.postgres.wire import Wire, connect, to_database
from drkit.source import Cut, Save
from drkit.system import System

KIND = "postgres-physical"
_MANIFEST = "backup_manifest"  # as pg_verifybackup reads it


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    plan: PhysicalPlan
    server: ServerFacts
    method: Method  # of the generation
    parent: State | None  # None: a full

    @property
    def native(self) -> State | None:
        """What an increment of the server's own builds on."""
        return self.parent if self.method == "native" else None

    @property
    def kind(self) -> str:
        return "full" if self.parent is None else self.method


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """A backup that has come whole."""

    begun: Begun
    end: Position
    damaged: bool
    damage: Damage
    intake: Intake
    wal: WalCarry


def capture(task: Task, sql: Wire, save: Save, system: System) -> Facts:
    plan = task.plan
    meter = Meter(system, plan.task)
    save.recorded = record(sql, lambda name: _connected(plan, system, name))
    with ExitStack() as held:
        base = held.enter_context(_connected(plan, system))
        side = held.enter_context(_connected(plan, system))
        wal = WalCarry(side, save, task.server.segment_size, system)
        slot = reserve(side, system)
        begun = basebackup.begin(base, _wanted(task), plan.checkpoint_wait)
        _check(task, begun)
        limits = _limits(task, sql, begun)
        wal.start(slot, begun.start)
        meter.begin(sum(t.size for t in begun.tablespaces))
        damage = Damage(begun.start.lsn, meter.warn)
        intake = Intake(save, _shape(task, begun, limits), damage, meter)
        base.heard = damage.heard
        basebackup.receive(base, begun, intake, Watch(base, wal, plan.silence, system).idle)
        told = basebackup.finish(base, plan.silence)
        base.close()
        end = _end(begun, told or _asked(sql, begun))
        # A primary goes on to the next segment then; a standby may be idle.
        more = told is not None and not task.server.in_recovery
        wal.finish(end, plan.wal_wait, more=more)
    taken = _Taken(
        begun=begun, end=end, damaged=told is None, damage=damage, intake=intake, wal=wal
    )
    facts = _kept(task, taken, save, sql)
    for note in facts.notes:
        meter.warn(note)
    meter.end()
    return facts


def _connected(plan: PhysicalPlan, system: System, database: str | None = None) -> Wire:
    """To that database, or for replication."""
    dsn = plan.dsn if database is None else to_database(plan.dsn, database)
    wire = connect(dsn, system, replication=database is None)
    wire.patience = plan.answer
    return wire


def _wanted(task: Task) -> Wanted:
    plan = task.plan
    manifest = b"" if task.native is None else task.native.manifest
    return Wanted(label=f"drkit {plan.name}", max_rate=plan.max_rate, manifest=manifest)


def _check(task: Task, begun: Begun) -> None:
    parent = task.parent
    if parent is None:
        return
    if begun.start.timeline != parent.timeline:
        raise CantBuild(timeline_changed(parent.timeline, begun.start.timeline))
    if begun.start.lsn < parent.start_lsn:
        raise CantBuild(
            f"the server is at {show_lsn(begun.start.lsn)}, "
            f"before the last backup's {show_lsn(parent.start_lsn)}"
        )


def timeline_changed(old: int, new: int) -> str:
    return f"the timeline changed from {old} to {new}"


def _limits(task: Task, sql: Wire, begun: Begun) -> Limits | None:
    return None if task.native is None else read_limits(sql, task.native.start, begun.start)


def _shape(task: Task, begun: Begun, limits: Limits | None) -> Shape:
    cut = Cut.PLAIN if task.method == "native" else Cut.PAGES
    return Shape(relations=cut, tablespaces=begun.tablespaces, limits=limits)


class Watch:
    """Waits for both connections while the files come, but not for ever."""

    def __init__(self, base: Wire, wal: WalCarry, patience: float, system: System) -> None:
        self._base = base
        self._wal = wal
        self._patience = patience
        self._system = system
        self._heard = system.monotonic()
        self._poll = select.poll()
        self._poll.register(base.fileno, select.POLLIN)
        self._poll.register(wal.fileno, select.POLLIN)

    def idle(self) -> None:
        base, wal = self._base, self._wal
        ready = {fd for fd, _ in self._poll.poll(1000 * min(self._patience, base.look))}
        if base.tls or base.fileno in ready:
            base.absorb()
        if base.tls or wal.fileno in ready:
            wal.absorb()
            wal.pump()
        now = self._system.monotonic()
        if base.fileno in ready:
            self._heard = now
        elif now - self._heard >= self._patience:
            raise silent(base.where, self._patience)


def _asked(sql: Wire, begun: Begun) -> Position:
    """A server that sent bad pages does not say where it ended: it is not before this."""
    ((lsn,),) = sql.query(
        "select case when pg_is_in_recovery() then pg_last_wal_replay_lsn()"
        " else pg_current_wal_flush_lsn() end"
    )
    return Position(timeline=begun.start.timeline, lsn=parse_lsn(lsn or ""))


def _end(begun: Begun, end: Position) -> Position:
    if end.timeline != begun.start.timeline:
        raise PostgresError(
            f"the server was promoted while the backup ran: it began on timeline "
            f"{begun.start.timeline} and ended on {end.timeline}",
            hint="run drkit backup again: it takes a full",
        )
    return end


def _kept(task: Task, taken: _Taken, save: Save, sql: Wire) -> Facts:
    intake, wal = taken.intake, taken.wal
    listed = bytes(intake.listed)
    if listed or not taken.damaged:
        sent.compare(listed, intake.came)
    if task.native is None:  # of an increment it lists files that no snapshot holds
        intake.keep(Entry(path=_MANIFEST, mode=0o600, size=len(listed)), listed)
    save.state = encode(_state(task, taken, listed))
    return Facts(
        kind=KIND,
        label=sql.where,
        system=task.server.system_id,
        files=intake.files + wal.files,
        bytes=intake.bytes + wal.size,
        damaged=taken.damaged,
        notes=tuple(taken.damage.lines()),
        details=_details(task, taken),
    )


def _state(task: Task, taken: _Taken, listed: bytes) -> State:
    return State(
        method=task.method,
        system_id=task.server.system_id,
        server=task.server.major,
        timeline=taken.begun.start.timeline,
        start_lsn=taken.begun.start.lsn,
        damaged=taken.damaged,
        manifest=listed if task.method == "native" else b"",
    )


def _details(task: Task, taken: _Taken) -> dict[str, str | int]:
    server = task.server
    return {
        "version": server.version.split()[0],
        "version_num": server.version_num,
        "timeline": taken.begun.start.timeline,
        "start_lsn": show_lsn(taken.begun.start.lsn),
        # of a damaged one the server doesn't tell it: there it is only not later than this
        **({} if taken.damaged else {"end_lsn": show_lsn(taken.end.lsn)}),
        "checksums": "on" if server.checksums else "off",
        "segment_size": server.segment_size,
        "method": task.kind,
        "standby": int(server.in_recovery),
        "wal_bytes": taken.wal.bytes,
        "tablespaces": len(taken.begun.tablespaces) - 1,
        "databases": server.databases,
    }

"""A laid-out folder made a server's that is ready: recovered, asked, checked, stopped."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drkit.errors import Damaged, DiskError, PostgresError
from drkit.model.finding import Finding
from drkit.model.lsn import parse_lsn, show_lsn
from drkit.postgres import leftovers
from drkit.postgres.binaries import ENVIRONMENT, Binaries
from drkit.postgres.cluster import Running, ServerPlan, started
from drkit.postgres.control import read_control
from drkit.postgres.fitness import collations, extensions, libraries, outside, preloaded
from drkit.postgres.layout import Laid
from drkit.postgres.written import _NAMED
from drkit.system import System

# `immediate` ends at the end of the backup, or the server stops with FATAL. The WAL for it lies in
# pg_wal; a recovery wants a command to be set, and this one says of any other that it isn't there.
TARGET = {
    "restore_command": "false",
    "recovery_target": "immediate",
    "recovery_target_action": "promote",
    "recovery_target_timeline": "current",
}
# A standby's backup may end with the very record that makes it consistent, and a server looks at
# this target only when it reads one more. Without any it stops with FATAL as well, where the WAL
# ends too early.
_TO_THE_END = {"recovery_target": ""}
_OTHER_TARGETS = ("lsn", "name", "time", "xid")
_SIGNAL = "recovery.signal"
_STEP = 0.02
_REACHED = "consistent recovery state reached"
_BAD = re.compile("PANIC: |FATAL: |invalid page|page verification failed")
_HARMLESS = re.compile("FATAL:  the database system is (starting up|not (yet )?accepting)")
_CHECKSUM = re.compile(r'checksum verification failed in file "([^"]*)", block (\d+)')
_WRITE = (
    "begin; create temporary table drkit_restored (n int) on commit drop; "
    "insert into drkit_restored values (1); commit"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPlan:
    laid: Laid
    binaries: Binaries
    user: str | None = None  # who runs it when drkit is root
    timeout: float = 24 * 3600.0
    said: tuple[str, ...] = field(default=())  # where it comes from, for the marked block


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    seconds: float  # until it was open
    timeline: int
    reached: int  # the last position that was replayed
    pages: bool  # their checksums were checked
    findings: tuple[Finding, ...]


def open_copy(plan: OpenPlan, system: System) -> Opened:
    laid = plan.laid
    with _disk(laid.data):
        _put_signal(laid)
    begun = system.monotonic()
    with started(server_plan(plan), system) as running:
        _wait(running, plan.timeout, system)
        seconds = system.monotonic() - begun
        reached = _proven(running, laid)
        running.query(_WRITE)
        findings = (*extensions(running), *collations(running))
    control = read_control(laid.data)
    if control.state != "shut down":
        raise PostgresError(f"the server did not stop cleanly: pg_control says {control.state}")
    pages = control.checksums and _check_pages(laid, plan.binaries, system)
    with _disk(laid.data):
        place = leftovers.place_of(laid.data)
        leftovers.add_block(place, _why(plan.said), leftovers.QUIET)
    wanted = preloaded(laid.data, laid.recorded)
    findings += (*libraries(wanted, plan.binaries), *outside(laid.data))
    return Opened(
        seconds=seconds,
        timeline=control.timeline,
        reached=reached,
        pages=pages,
        findings=findings,
    )


def prepare_only(laid: Laid, said: tuple[str, ...]) -> tuple[Finding, ...]:
    """The start is a person's: what the recovery needs stands in the marked block."""
    with _disk(laid.data):
        _put_signal(laid)
        place = leftovers.place_of(laid.data)
        # Before the one that counts: a server that meets another behind it refuses to start.
        others = {f"recovery_target_{name}": "" for name in _OTHER_TARGETS}
        leftovers.add_block(place, _why(said), leftovers.QUIET | others | target(laid))
    return tuple(outside(laid.data))


def _why(said: tuple[str, ...]) -> tuple[str, ...]:
    return (
        *said,
        "So that it takes nothing from the original, and puts nothing over its archive.",
        "It is on a new timeline: the next backup must be a full.",
    )


def target(laid: Laid) -> dict[str, str]:
    return TARGET | (_TO_THE_END if laid.shape.standby else {})


def _put_signal(laid: Laid) -> None:
    leftovers.Place(folder=laid.data, owner=laid.owner).write(_SIGNAL, "")


def server_plan(plan: OpenPlan) -> ServerPlan:
    laid = plan.laid
    return ServerPlan(
        data=laid.data,
        binaries=plan.binaries,
        settings=target(laid),
        minimums={k: v for k, v in _recorded_minimums(laid.recorded) if isinstance(v, int)},
        libraries=preloaded(laid.data, laid.recorded),
        superuser=str(laid.recorded.get("superuser") or "postgres"),
        home=_home(laid.recorded),
        user=plan.user,
        kept=True,
        writable=True,
        timeout=plan.timeout,
    )


def _home(recorded: Mapping[str, Any]) -> str:
    """A database that lets in: `postgres` may have been dropped, `template1` be closed."""
    listed = recorded.get("databases")
    noted = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    names = [str(one.get("name")) for one in noted if one.get("allow")]
    usual = [name for name in ("postgres", "template1") if name in names]
    return next(iter((*usual, *names)), "template1")


def _recorded_minimums(recorded: Mapping[str, Any]) -> Iterable[tuple[str, object]]:
    said = recorded.get("recovery")
    return said.items() if isinstance(said, Mapping) else ()


def _wait(running: Running, timeout: float, system: System) -> None:
    """It answers from consistency on; what counts is that recovery has ended."""
    until = system.monotonic() + timeout
    while running.query("select pg_is_in_recovery()") != [("f",)]:
        if system.monotonic() > until:
            raise PostgresError(f"the restored server was still in recovery after {timeout:.0f} s")
        system.sleep(_STEP)


def _proven(running: Running, laid: Laid) -> int:
    lines = running.log_lines()
    bad = [line for line in lines if _BAD.search(line) and not _HARMLESS.search(line)]
    if bad:
        raise PostgresError(f"the restored server's log says: {bad[0]}")
    if not any(_REACHED in line for line in lines):
        raise PostgresError("the restored server's log doesn't say that it became consistent")
    ((said,),) = running.query("select pg_last_wal_replay_lsn()")
    reached = parse_lsn(said or "0/0")
    if laid.end_lsn is not None and reached < laid.end_lsn:
        raise Damaged(
            f"the restored server opened at {show_lsn(reached)}, before the end of its backup "
            f"at {show_lsn(laid.end_lsn)}"
        )
    return reached


def _check_pages(laid: Laid, binaries: Binaries, system: System) -> bool:
    """By the server's own program, which reads five times as fast; it wants a stopped folder."""
    if not binaries.has("pg_checksums"):
        return False
    argv = [binaries.program("pg_checksums"), "--check", "-D", str(laid.data)]
    ran = system.run(argv, env=ENVIRONMENT, user=laid.owner)
    if not ran.code:
        return True
    said = ran.err.decode("utf-8", "replace")
    bad = [f"{path}, block {block}" for path, block in _CHECKSUM.findall(said)]
    more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    shown = ", ".join(bad[:_NAMED]) or said.strip().rpartition("\n")[2]
    raise Damaged(
        f"pages of the restored cluster are damaged: {shown}{more}",
        hint=f"{laid.data} stays as it is, to look at; restore an older snapshot or a copy",
    )


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        raise DiskError(f"can't write {error.filename or path}: {said}") from error

"""drkit restore --verify: the drill, without a folder to keep."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from drkit.cli.output import Output, iso
from drkit.cli.reading import Asked, identities, looked_at, readable
from drkit.cli.several import Outcome, each
from drkit.cli.wiring import World
from drkit.errors import Exit, UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from drkit.crypto.recipients import Identity
    from drkit.model.drill import Checked, Drill
    from drkit.model.policy import Policy
    from drkit.operations.reading import Domain
    from drkit.operations.scrub import Witness
    from drkit.operations.verify import Verified, VerifyPlan

_MARKS = {"pass": "ok", "warn": "warning", "fail": "FAILED", "not run": "not run"}
_MOST = 20  # names printed of one check


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """As it was typed."""

    at: str | None = None
    snapshot: str | None = None
    refused: bool = False  # with a folder, paths or a switch that belong to a restore for keeps


def run(world: World, name: str | None, asked: Asked, choice: Choice) -> int:
    """Of one policy or of all; an exit code as `drkit restore` gives it."""
    if choice.at is not None and choice.snapshot is not None:
        raise UsageError("--at and --snapshot exclude each other")
    if choice.refused:
        raise UsageError(
            "--verify tries all of a snapshot in a scratch folder, and keeps nothing of it",
            hint="leave --into, --as-root, --dry-run and PATHs away",
        )
    moment = _moment(world, choice.at)
    typed = cache(lambda: identities(world, asked.identity_files))  # stdin is read once
    if asked.repository is not None:
        return _of_repository(world, name, asked, _Wanted(choice.snapshot, moment, typed))
    wanted = _Wanted(choice.snapshot, moment, typed)
    return each(
        world,
        () if name is None else (name,),
        "drills",
        lambda policy: _told(world, policy.name, _plan(world, policy, asked, wanted)),
    )


@dataclass(frozen=True, slots=True)
class _Wanted:
    snapshot: str | None
    at: "datetime | None"
    keys: "Callable[[], tuple[Identity, ...]]"


def _moment(world: World, at: str | None) -> "datetime | None":
    from drkit.operations.reading import moment

    if at is None:
        return None
    now = world.system.now()
    zone = now.astimezone().tzinfo
    assert zone is not None
    return moment(at, now, zone)


def _plan(world: World, policy: "Policy", asked: Asked, wanted: _Wanted) -> "VerifyPlan":
    from drkit.operations.reading import domain_of
    from drkit.operations.verify import VerifyPlan

    folder = world.state(policy)

    def find() -> "Domain":
        return domain_of(readable(world, policy, asked.store), policy, folder)

    return VerifyPlan(
        name=policy.name,
        find=find,
        identities=lambda: wanted.keys() or _of_policy(world, policy),
        scratch=policy.verify.scratch,
        binaries=None if policy.source.postgres is None else policy.source.postgres.binaries,
        objectives=policy.objectives,
        state=folder,
        word=wanted.snapshot or "latest",
        at=wanted.at,
        witness=_witness(world, policy),
        key_path="typed" if "-" in asked.identity_files else "local",
    )


def _of_policy(world: World, policy: "Policy") -> "tuple[Identity, ...]":
    file = policy.verify.scratch.identity
    return () if file is None else identities(world, (str(file),))


def _witness(world: World, policy: "Policy") -> "Witness | None":
    from drkit.operations.scrub import Witness
    from drkit.operations.state import find_signer

    folder = world.state(policy)
    key = find_signer(folder)
    if key is None:
        return None
    subject = f"{policy.name}/{policy.source.part}"
    return Witness(signer=key, state=folder, subject=subject, rules=policy.retention)


def _of_repository(world: World, name: str | None, asked: Asked, wanted: _Wanted) -> int:
    from drkit.operations.reading import find_domain
    from drkit.operations.verify import VerifyPlan

    names = () if name is None else (name,)

    def find() -> "Domain":
        return find_domain(looked_at(world, names, asked, wanted.keys()).seen, None).domain

    plan = VerifyPlan(
        name=name or asked.repository or "",
        find=find,
        identities=wanted.keys,
        state=world.state(),
        word=wanted.snapshot or "latest",
        at=wanted.at,
        key_path="typed" if "-" in asked.identity_files else "local",
    )
    document, error = _told(world, plan.name, plan)
    world.out.document({"drills": [document]})
    if error is not None:
        world.out.error(error)
    return Exit.FINE if error is None else int(error.exit_code)


def _told(world: World, name: str, plan: "VerifyPlan") -> Outcome:
    from drkit.operations.verify import verify

    found = verify(plan, world.system)
    say(world.out, name, found)
    return document(found), found.error


def document(found: "Verified") -> dict[str, object]:
    names = {question.id: answer.names for question, answer in found.answers if answer.names}
    return {"drill": found.drill, "names": names, "evidence": found.record}


def say(out: Output, name: str, found: "Verified") -> None:
    drill = found.drill
    _say_what(out, name, drill)
    for check in drill.checks:
        _say_check(out, name, check, found)
    if drill.not_checked:
        out.line(f"{name}: not checked: {'; '.join(drill.not_checked)}")
    _say_times(out, name, drill)
    _say_loss(out, name, drill)
    if not all(drill.cleanup.values()):
        out.warn(f"{name}: the scratch folder could not be removed; the next run tries it again")
    out.line(f"{name}: {headline(drill)}")
    if found.record is not None:
        out.detail(f"{name}: evidence: {found.record}")
    elif found.untold:
        out.warn(f"{name}: {found.untold}", "drkit key show prints this machine's key")


def _say_what(out: Output, name: str, drill: "Drill") -> None:
    taken, point = drill.snapshot, drill.loss
    if taken is not None and point is not None:
        out.line(f"{name}: tried snapshot {taken.session[:8]} ({taken.kind}) of {iso(point.ended)}")


def _say_check(out: Output, name: str, check: "Checked", found: "Verified") -> None:
    line = f"{name}: L{check.level} {check.id}: {_MARKS[check.result]}: {check.message}"
    names = next((a.names for q, a in found.answers if q.id == check.id), ())
    if check.result == "pass":
        out.line(line)
        for one in names:
            out.detail(f"{name}:   {one}")
        return
    hint = next((a.hint for q, a in found.answers if q.id == check.id), None)
    out.warn(line, hint)
    for one in names[:_MOST]:
        out.warn(f"{name}:   {one}")


def _say_times(out: Output, name: str, drill: "Drill") -> None:
    for phase in drill.phases:
        if phase.how in ("measured", "allowance"):
            how = "" if phase.how == "measured" else " (allowed, not measured)"
            out.detail(f"{name}: {phase.id} {phase.name}: {_long(phase.ms)}{how}")
    absent = [phase.name for phase in drill.phases if phase.how == "absent"]
    if drill.times.service_ms is not None and absent:
        out.line(f"{name}: no time was allowed for {', '.join(absent)}: they count as 0")


def _say_loss(out: Output, name: str, drill: "Drill") -> None:
    point, aim = drill.loss, drill.aims.rpo_ms
    if point is None:
        return
    ages = f"{_long(point.at_least_ms)} to {_long(point.at_most_ms)}"
    if aim is not None and point.at_most_ms > aim:
        out.warn(f"{name}: its state is {ages} old, more than the rpo of {_long(aim)}")
    else:
        out.line(f"{name}: what was written in the last {ages} is not in it")


def headline(drill: "Drill") -> str:
    """PASS at level 3: open after 4 s, proven after 5 s, back after 6 s (rto 4 h)."""
    took, aim = drill.times, drill.aims.rto_ms
    said = f"{drill.verdict} at level {drill.level}"
    if took.service_ms is None or took.open_ms is None or took.data_ms is None:
        return said
    promised = "no rto is promised" if aim is None else f"rto {_long(aim)}"
    return (
        f"{said}: open after {_long(took.open_ms)}, proven after {_long(took.data_ms)}, "
        f"back after {_long(took.service_ms)} ({promised}; class {drill.rank}"
        f"{': indicative' if drill.rank == 'C' else ''})"
    )


def _long(ms: int) -> str:
    from datetime import timedelta

    from drkit.model.units import roughly

    return f"{ms} ms" if ms < 1000 else roughly(timedelta(milliseconds=ms))

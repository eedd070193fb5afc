"""The stores, the backups in them, and every copy: what doctor asks of them."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from drkit.errors import DrkitError, Exit
from drkit.model import schedule
from drkit.model.finding import Finding, Level
from drkit.model.policy import Policy
from drkit.model.units import roughly
from drkit.operations.credentials import examine_offline
from drkit.operations.doctor_copies import missing, placed, same
from drkit.operations.doctor_plan import (
    NO_PROMISE,
    Checked,
    DoctorPlan,
    Place,
    asked,
    failed,
    finding,
    room,
)
from drkit.operations.reading import Seen, domain_of, look
from drkit.repository import names
from drkit.repository.repository import Repository, body, open_repository, tool
from drkit.stores import folder_of
from drkit.stores.base import Store
from drkit.stores.probe import brief_lock, probe
from drkit.system import System

_OBJECT_LIMIT = 4 << 20
_APART = timedelta(minutes=1)
_FAR_APART = timedelta(hours=1)


def examine_stores(plan: DoctorPlan, system: System) -> list[Checked]:
    found, home = _home(plan, system)
    for place in plan.copies:
        found += _copy(plan, place, home, system)
    return found


def _home(plan: DoctorPlan, system: System) -> tuple[list[Checked], Repository | None]:
    opened: list[Repository] = []

    def store() -> Iterator[Finding]:
        opened.append(open_repository(plan.home.open()))
        yield finding("pass", "store", f"{opened[0].store.url}, repository {opened[0].id[:8]}")

    found = examine_offline(plan, plan.home, system)
    if failed(found):
        return found, None
    found += asked("store", Exit.STORE, store)
    if not opened:
        return found, None
    found += _asked_of(plan, opened[0].store, "", system)
    found += _room(plan.home, "")
    found += asked("exit path", Exit.DAMAGED, lambda: _exit_path(plan, opened[0]))
    return found + _backups(plan, opened[0], system), opened[0]


def _copy(plan: DoctorPlan, place: Place, home: Repository | None, system: System) -> list[Checked]:
    opened: list[Repository] = []

    def copy() -> Iterator[Finding]:
        store = place.open()
        lacking = missing(plan, place, store, home)
        if lacking is not None:
            yield lacking
            return
        opened.append(replace(open_repository(store), copy=True))
        yield same(opened[0], home)

    found = examine_offline(plan, place, system)
    if failed(found):
        return found
    found += asked("copy place", Exit.CONFIGURATION, lambda: placed(plan, place))
    here = asked("copy", Exit.STORE, copy)
    found += here
    if not opened:
        return found
    found += _asked_of(plan, opened[0].store, "copy ", system)
    found += _room(place, "copy ")
    if failed(here):  # another repository: its history says nothing about this policy
        return found
    return found + asked("copy history", Exit.DAMAGED, lambda: _copy_history(plan, opened[0]))


def _copy_history(plan: DoctorPlan, copy: Repository) -> Iterator[Finding]:
    seen = look(domain_of(copy, plan.policy, plan.state))
    if not seen.tampered:
        message = f"{len(seen.snapshots)} to restore from, no tampering seen"
        yield finding("pass", "copy history", message)
    for one in seen.tampered:
        yield replace(one, what=f"copy {one.what}")


def _room(place: Place, which: str) -> list[Checked]:
    folder = folder_of(place.url)
    if folder is None:
        return []
    what = f"{which}room"
    return asked(what, Exit.STORE, lambda: [room(what, folder)])


def _asked_of(plan: DoctorPlan, store: Store, which: str, system: System) -> list[Checked]:
    """`which` stands before the name of each check."""
    return [
        *asked(f"{which}probe", Exit.STORE, lambda: _probed(plan, store, which, system)),
        *asked(f"{which}clock", Exit.STORE, lambda: _clocks(store, which, system)),
    ]


def _probed(plan: DoctorPlan, store: Store, which: str, system: System) -> Iterator[Finding]:
    mode = plan.policy.retention.lock
    lock = brief_lock(mode, system.now()) if mode is not None and store.locks else None
    found = probe(store, system.random_bytes, lock)
    bad = [finding for finding in found if finding.level != "pass"]
    if not bad:
        yield finding(
            "pass", f"{which}probe", f"{len(found)} questions, all answered as they must be"
        )
    yield from (replace(finding, what=f"{which}{finding.what}") for finding in bad)
    if mode is not None and not store.locks:
        message = f"{store.url} can't lock objects: only the policy's other stores do"
        yield finding("warn", f"{which}lock", message, "keep who may delete there few")
    if any(f.what == "deleting" and f.message == "allowed" for f in found):
        hint = "give this machine create and read only; run forget elsewhere"
        locked = any(f.what == "lock" and f.level == "pass" for f in found)
        what = (
            f"until a lock is over nothing goes; after it, {NO_PROMISE}" if locked else NO_PROMISE
        )
        yield finding("warn", f"{which}rights", f"this machine may delete there: {what}", hint)


def _clocks(store: Store, which: str, system: System) -> Iterator[Finding]:
    """By an object put just now."""
    name = f"probe/{system.random_bytes(16).hex()}/clock"
    store.put(name, body(b"clock"))
    now = system.now()
    listed = [item.modified for item in store.list(name)]
    with suppress(DrkitError):  # it may not: then the object stays, and does no harm
        store.delete(name)
    if not listed:
        yield finding("fail", f"{which}clock", "an object just put is not listed")
        return
    apart = abs(now - listed[0])
    level: Level = "fail" if apart > _FAR_APART else "warn" if apart > _APART else "pass"
    hint = None if level == "pass" else "set both clocks: retention counts under both times"
    yield finding(level, f"{which}clock", f"{roughly(apart)} from the store's", hint)


def _exit_path(plan: DoctorPlan, repository: Repository) -> Iterator[Finding]:
    for name in (names.FORMAT, names.RESTORE):
        own = hashlib.sha256(tool(name)).hexdigest()
        held = hashlib.sha256(repository.store.read(name, _OBJECT_LIMIT)).hexdigest()
        if own == held:
            yield finding("pass", name, f"is this version's, sha256 {own[:16]}…")
        elif name == names.FORMAT:
            hint = "it only explains; the one of your version is in drkit's own documents"
            yield finding("warn", name, "was written by another version, or changed", hint)
        else:
            yield _other_script(plan, repository, held)


def _other_script(plan: DoctorPlan, repository: Repository, held: str) -> Finding:
    """An older drkit's script is named by the commits that drkit signed."""
    seen = look(domain_of(repository, plan.policy, plan.state))
    signed = [s for s in seen.snapshots if s.pinned and s.tools.get(names.RESTORE) == held]
    if signed:
        said = f"is that of the drkit which made {signed[-1].session[:8]}, sha256 {held[:16]}…"
        return finding("pass", names.RESTORE, said, None)
    hint = "never run it: take restore.py from a release, and find out who may write to the store"
    said = f"is no script that drkit put there: sha256 {held[:16]}…"
    return finding("fail", names.RESTORE, said, hint)


# --- the backups


def _backups(plan: DoctorPlan, repository: Repository, system: System) -> list[Checked]:
    seen: list[Seen] = []

    def history() -> Iterator[Finding]:
        seen.append(look(domain_of(repository, plan.policy, plan.state)))
        odd = [f for f in seen[0].findings if f.what != "unpinned"]
        if not odd:
            count = len(seen[0].snapshots)
            yield finding("pass", "history", f"{count} to restore from, nothing odd about them")
        yield from odd

    found = asked("history", Exit.DAMAGED, history)
    if not seen:
        return found
    now = system.now()
    found += asked("last", Exit.MISSED, lambda: _last(plan.policy, seen[0], now))
    return found + asked("open runs", Exit.BUSY, lambda: _open_runs(plan.policy, seen[0], now))


def _last(policy: Policy, seen: Seen, now: datetime) -> Iterator[Finding]:
    if not seen.snapshots:
        yield finding("warn", "last backup", "none yet", f"drkit backup {policy.name}")
        return
    for what, rule, ended in _successes(policy, seen):
        if rule is None:
            continue
        if ended is None:
            yield finding("warn", f"last {what}", "none yet", f"drkit backup {policy.name}")
            continue
        late = now - ended > schedule.longest_interval(rule) + timedelta(hours=1)
        message = f"{roughly(now - ended)} ago; {rule} is asked for"
        hint = f"see why: drkit backup {policy.name}; is cron running it?" if late else None
        yield finding("fail" if late else "pass", f"last {what}", message, hint)
    if seen.snapshots[-1].facts.damaged:
        hint = "drkit backup names what could not be read"
        yield finding("warn", "complete", "the last backup was not complete", hint)


def _successes(
    policy: Policy, seen: Seen
) -> Sequence[tuple[str, schedule.Rule | None, datetime | None]]:
    fulls = [s.ended for s in seen.snapshots if s.kind == "full"]
    rules = policy.schedule
    newest = seen.snapshots[-1].ended
    return (
        ("full", rules.full, fulls[-1] if fulls else None),
        ("backup", rules.incremental, newest),
    )


def _open_runs(policy: Policy, seen: Seen, now: datetime) -> Iterator[Finding]:
    begun = [
        stored.modified
        for g in seen.history.generations.values()
        if not g.swept
        for stored in g.open_sessions.values()
    ]
    stale = [moment for moment in begun if now - moment > policy.retention.patience]
    if stale:
        message = f"{len(stale)} broken off, the oldest {roughly(now - min(stale))} ago"
        yield finding("warn", "open runs", message, "drkit forget --apply ends them for good")
    else:
        yield finding("pass", "open runs", f"{len(begun)} without an outcome yet")

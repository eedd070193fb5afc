"""What could fail at night, looked at now: answers, each with its exit code and its fix."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from drkit.config import Environment
from drkit.errors import ConfigError, DrkitError, Exit
from drkit.model import schedule
from drkit.model.finding import Finding, Level
from drkit.model.policy import Policy
from drkit.model.units import roughly, size_in_words
from drkit.operations import state
from drkit.operations.backup import pinned_signer
from drkit.operations.reading import Seen, domain_of, look
from drkit.repository import names
from drkit.repository.repository import Repository, body, open_repository, tool
from drkit.stores.base import Store
from drkit.stores.probe import probe
from drkit.system import System

_ROOM_LOW, _ROOM_NONE = 1 << 30, 64 << 20
_OBJECT_LIMIT = 4 << 20
_APART = timedelta(minutes=1)
_FAR_APART = timedelta(hours=1)
_CRON_FILES = ("/etc/crontab", "/etc/cron.d", "/etc/systemd/system", "/var/spool/cron")
_SECRET = b"AGE-SECRET-KEY-1"
_NO_PROMISE = "promise 1 (a stolen host reads and deletes nothing) does not hold here"


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorPlan:
    policy: Policy
    state: Path
    env: Environment
    open_store: Callable[[], Store]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    finding: Finding
    code: Exit  # of a failure


def examine(plan: DoctorPlan, system: System) -> list[Checked]:
    """In the order in which a person would mend it."""
    here: list[tuple[str, Exit, Callable[[], Iterable[Finding]]]] = [
        ("policy", Exit.CONFIGURATION, lambda: _policy(plan.policy)),
        ("source", Exit.CONFIGURATION, lambda: _source(plan.policy)),
        ("state folder", Exit.STORE, lambda: _state(plan.state)),
        ("signer", Exit.CONFIGURATION, lambda: _signer(plan)),
        ("identities", Exit.KEY, lambda: _identities(plan)),
        ("schedule", Exit.CONFIGURATION, lambda: _installed(system)),
    ]
    found = [one for what, code, ask in here for one in _asked(what, code, ask)]
    return [*found, *_stored(plan, system)]


def _asked(what: str, code: Exit, ask: Callable[[], Iterable[Finding]]) -> list[Checked]:
    """What a check can't find out is a failure."""
    try:
        return [Checked(finding=finding, code=code) for finding in ask()]
    except DrkitError as error:
        failed = _finding("fail", what, error.message, error.hint)
        return [Checked(finding=failed, code=Exit(error.exit_code))]
    except OSError as error:
        failed = _finding("fail", what, f"{error.filename}: {(error.strerror or '').lower()}")
        return [Checked(finding=failed, code=Exit.STORE)]


def _finding(level: Level, what: str, message: str, hint: str | None = None) -> Finding:
    return Finding(level=level, what=what, message=message, hint=hint)


# --- this machine


def _policy(policy: Policy) -> Iterator[Finding]:
    yield _finding("pass", "policy", f"{policy.origin} is valid")
    count = len(policy.encryption.recipients)
    if count > 1:
        yield _finding("pass", "recipients", f"{count} recipients")
    else:
        yield _finding(
            "warn",
            "recipients",
            "one alone: when its key is lost, so is every backup",
            "drkit key new --to FILE, and add its public key to the policy",
        )
    if not policy.encryption.signers.writers:
        yield _finding(
            "warn",
            "pins",
            "no signer is pinned: whoever can write to the store could make backups",
            "add encryption: signers: to the policy; drkit init prints this machine's key",
        )


def _source(policy: Policy) -> Iterator[Finding]:
    root = policy.source.files.root
    if not root.is_dir():
        raise ConfigError(f"{root} is no folder", hint="is its disk mounted?")
    if not os.access(root, os.R_OK | os.X_OK):
        raise ConfigError(f"{root} can't be read by this user", hint="run as one who may")
    yield _finding("pass", "source", f"{root} can be read")


def _state(folder: Path) -> Iterator[Finding]:
    if not folder.exists():
        raise ConfigError(f"{folder} is not there", hint="drkit init makes it")
    state.check(folder)
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"{folder} can't be written", hint="see that its disk is writable")
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    level: Level = "fail" if free < _ROOM_NONE else "warn" if free < _ROOM_LOW else "pass"
    hint = None if level == "pass" else "make room there"
    yield _finding(level, "state folder", f"{folder}, {size_in_words(free)} free", hint)


def _signer(plan: DoctorPlan) -> Iterator[Finding]:
    if not plan.state.exists():
        raise ConfigError("no state folder, so no signing key", hint="drkit init makes one")
    key = pinned_signer(plan.policy, plan.state)
    pins = plan.policy.encryption.signers
    pinned = "pinned" if key.public in pins.writers else "nobody is pinned"
    yield _finding("pass", "signer", f"{key.public_text[:20]}…: {pinned}")
    if pins.maintainers and key.public not in pins.maintainers:
        message = "this machine's key is no maintainer: forget --apply runs elsewhere"
        yield _finding("pass", "maintainer", message)


def _identities(plan: DoctorPlan) -> Iterator[Finding]:
    """A host that can open backups is one whose thief can."""
    found = [path for path in _files(plan.state) if _holds_identity(path)]
    if plan.env.identity_file is not None and Path(plan.env.identity_file).exists():
        found.append(Path(plan.env.identity_file))
    if not found:
        yield _finding("pass", "identities", f"none in {plan.state}; elsewhere was not looked")
        return
    where = ", ".join(str(path) for path in found)
    hint = "move it to the machine that restores; this one needs public keys only"
    yield _finding("warn", "identities", f"{where} opens backups: {_NO_PROMISE}", hint)


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if stat.S_ISREG(path.lstat().st_mode))
    except FileNotFoundError:
        return []


def _holds_identity(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _SECRET in file.read(64 << 10).upper()
    except OSError:
        return False


def _installed(system: System) -> Iterator[Finding]:
    where = _crontab(system) or next((p for p in _cron_files() if _mentions(p)), None)
    if where:
        yield _finding("pass", "installed", f"{where} calls drkit")
        return
    message = "nothing found that calls drkit backup: no crontab, /etc/cron.d, systemd unit"
    yield _finding(
        "warn", "installed", message, "drkit init prints cron lines (it changes nothing)"
    )


def _crontab(system: System) -> str | None:
    try:
        ran = system.run(["crontab", "-l"])
    except OSError:
        return None
    return "crontab" if ran.code == 0 and _calls(ran.out) else None


def _cron_files() -> Iterator[str]:
    for top in _CRON_FILES:
        if os.path.isfile(top):
            yield top
        for folder, _, files in os.walk(top):
            yield from (os.path.join(folder, name) for name in sorted(files))


def _mentions(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return _calls(file.read(256 << 10))
    except OSError:
        return False


def _calls(text: bytes) -> bool:
    lines = (line.strip() for line in text.splitlines())
    return any(b"drkit" in line and not line.startswith(b"#") for line in lines)


# --- the store


def _stored(plan: DoctorPlan, system: System) -> list[Checked]:
    opened: list[Repository] = []

    def store() -> Iterator[Finding]:
        opened.append(open_repository(plan.open_store()))
        yield _finding("pass", "store", f"{opened[0].store.url}, repository {opened[0].id[:8]}")

    found = _asked("store", Exit.STORE, store)
    if not opened:
        return found
    repository = opened[0]
    found += _asked("probe", Exit.STORE, lambda: _probed(repository.store, system))
    found += _asked("clock", Exit.STORE, lambda: _clocks(repository.store, system))
    found += _asked("exit path", Exit.DAMAGED, lambda: _exit_path(plan, repository))
    return found + _backups(plan, repository, system)


def _probed(store: Store, system: System) -> Iterator[Finding]:
    found = probe(store, system.random_bytes)
    bad = [finding for finding in found if finding.level != "pass"]
    if not bad:
        yield _finding("pass", "probe", f"{len(found)} questions, all answered as they must be")
    yield from bad
    if any(f.what == "deleting" and f.message == "allowed" for f in found):
        hint = "give this machine create and read only; run forget elsewhere"
        yield _finding("warn", "rights", f"this machine may delete there: {_NO_PROMISE}", hint)


def _clocks(store: Store, system: System) -> Iterator[Finding]:
    """By an object put just now."""
    name = f"probe/{system.random_bytes(16).hex()}/clock"
    store.put(name, body(b"clock"))
    now = system.now()
    listed = [item.modified for item in store.list(name)]
    with suppress(DrkitError):  # it may not: then the object stays, and does no harm
        store.delete(name)
    if not listed:
        yield _finding("fail", "clock", "an object just put is not listed")
        return
    apart = abs(now - listed[0])
    level: Level = "fail" if apart > _FAR_APART else "warn" if apart > _APART else "pass"
    hint = None if level == "pass" else "set both clocks: retention counts under both times"
    yield _finding(level, "clock", f"{roughly(apart)} from the store's", hint)


def _exit_path(plan: DoctorPlan, repository: Repository) -> Iterator[Finding]:
    for name in (names.FORMAT, names.RESTORE):
        own = hashlib.sha256(tool(name)).hexdigest()
        held = hashlib.sha256(repository.store.read(name, _OBJECT_LIMIT)).hexdigest()
        if own == held:
            yield _finding("pass", name, f"is this version's, sha256 {own[:16]}…")
        elif name == names.FORMAT:
            hint = "it only explains; the one of your version is in drkit's own documents"
            yield _finding("warn", name, "was written by another version, or changed", hint)
        else:
            yield _other_script(plan, repository, held)


def _other_script(plan: DoctorPlan, repository: Repository, held: str) -> Finding:
    """An older drkit's script is named by the commits that drkit signed."""
    seen = look(domain_of(repository, plan.policy, plan.state))
    signed = [s for s in seen.snapshots if s.pinned and s.tools.get(names.RESTORE) == held]
    if signed:
        said = f"is that of the drkit which made {signed[-1].session[:8]}, sha256 {held[:16]}…"
        return _finding("pass", names.RESTORE, said, None)
    hint = "never run it: take restore.py from a release, and find out who may write to the store"
    said = f"is no script that drkit put there: sha256 {held[:16]}…"
    return _finding("fail", names.RESTORE, said, hint)


# --- the backups


def _backups(plan: DoctorPlan, repository: Repository, system: System) -> list[Checked]:
    seen: list[Seen] = []

    def history() -> Iterator[Finding]:
        seen.append(look(domain_of(repository, plan.policy, plan.state)))
        odd = [f for f in seen[0].findings if f.what != "unpinned"]
        if not odd:
            count = len(seen[0].snapshots)
            yield _finding("pass", "history", f"{count} to restore from, nothing odd about them")
        yield from odd

    found = _asked("history", Exit.DAMAGED, history)
    if not seen:
        return found
    now = system.now()
    found += _asked("last", Exit.MISSED, lambda: _last(plan.policy, seen[0], now))
    return found + _asked("open runs", Exit.BUSY, lambda: _open_runs(plan.policy, seen[0], now))


def _last(policy: Policy, seen: Seen, now: datetime) -> Iterator[Finding]:
    if not seen.snapshots:
        yield _finding("warn", "last backup", "none yet", f"drkit backup {policy.name}")
        return
    for what, rule, ended in _successes(policy, seen):
        if rule is None:
            continue
        if ended is None:
            yield _finding("warn", f"last {what}", "none yet", f"drkit backup {policy.name}")
            continue
        late = now - ended > schedule.longest_interval(rule) + timedelta(hours=1)
        message = f"{roughly(now - ended)} ago; {rule} is asked for"
        hint = f"see why: drkit backup {policy.name}; is cron running it?" if late else None
        yield _finding("fail" if late else "pass", f"last {what}", message, hint)
    if seen.snapshots[-1].facts.damaged:
        hint = "drkit backup names what could not be read"
        yield _finding("warn", "complete", "the last backup was not complete", hint)


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
        yield _finding("warn", "open runs", message, "drkit forget --apply ends them for good")
    else:
        yield _finding("pass", "open runs", f"{len(begun)} without an outcome yet")

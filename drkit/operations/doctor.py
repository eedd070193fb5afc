"""What could fail at night, looked at now: answers, each with its exit code and its fix."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from drkit.errors import ConfigError, Exit
from drkit.model.finding import Finding
from drkit.model.policy import Policy
from drkit.operations import state
from drkit.operations.backup import pinned_signer
from drkit.operations.doctor_plan import NO_PROMISE, Checked, DoctorPlan, asked, finding, room
from drkit.operations.doctor_stores import examine_stores
from drkit.system import System

_CRON_FILES = ("/etc/crontab", "/etc/cron.d", "/etc/systemd/system", "/var/spool/cron")
_SECRET = b"AGE-SECRET-KEY-1"


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
    found = [one for what, code, ask in here for one in asked(what, code, ask)]
    return [*found, *_server(plan, system), *examine_stores(plan, system)]


def _server(plan: DoctorPlan, system: System) -> list[Checked]:
    if plan.policy.source.postgres is None:
        return []
    from drkit.operations.doctor_postgres import examine_server  # noqa: PLC0415  loads libpq

    return examine_server(plan, system)


# --- this machine


def _policy(policy: Policy) -> Iterator[Finding]:
    yield finding("pass", "policy", f"{policy.origin} is valid")
    count = len(policy.encryption.recipients)
    if count > 1:
        yield finding("pass", "recipients", f"{count} recipients")
    else:
        yield finding(
            "warn",
            "recipients",
            "one alone: when its key is lost, so is every backup",
            "drkit key new --to FILE, and add its public key to the policy",
        )
    if not policy.encryption.signers.writers:
        yield finding(
            "warn",
            "pins",
            "no signer is pinned: whoever can write to the store could make backups",
            "add encryption: signers: to the policy; drkit init prints this machine's key",
        )


def _source(policy: Policy) -> Iterator[Finding]:
    if policy.source.files is None:
        return
    root = policy.source.files.root
    if not root.is_dir():
        raise ConfigError(f"{root} is no folder", hint="is its disk mounted?")
    if not os.access(root, os.R_OK | os.X_OK):
        raise ConfigError(f"{root} can't be read by this user", hint="run as one who may")
    yield finding("pass", "source", f"{root} can be read")


def _state(folder: Path) -> Iterator[Finding]:
    if not folder.exists():
        raise ConfigError(f"{folder} is not there", hint="drkit init makes it")
    state.check(folder)
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"{folder} can't be written", hint="see that its disk is writable")
    yield room("state folder", folder)


def _signer(plan: DoctorPlan) -> Iterator[Finding]:
    if not plan.state.exists():
        raise ConfigError("no state folder, so no signing key", hint="drkit init makes one")
    key = pinned_signer(plan.policy, plan.state)
    pins = plan.policy.encryption.signers
    pinned = "pinned" if key.public in pins.writers else "nobody is pinned"
    yield finding("pass", "signer", f"{key.public_text[:20]}…: {pinned}")
    if pins.maintainers and key.public not in pins.maintainers:
        message = "this machine's key is no maintainer: forget --apply runs elsewhere"
        yield finding("pass", "maintainer", message)


def _identities(plan: DoctorPlan) -> Iterator[Finding]:
    """A host that can open backups is one whose thief can."""
    found = [path for path in _files(plan.state) if _holds_identity(path)]
    if plan.env.identity_file is not None and Path(plan.env.identity_file).exists():
        found.append(Path(plan.env.identity_file))
    if not found:
        yield finding("pass", "identities", f"none in {plan.state}; elsewhere was not looked")
        return
    where = ", ".join(str(path) for path in found)
    hint = "move it to the machine that restores; this one needs public keys only"
    yield finding("warn", "identities", f"{where} opens backups: {NO_PROMISE}", hint)


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
        yield finding("pass", "installed", f"{where} calls drkit")
        return
    message = "nothing found that calls drkit backup: no crontab, /etc/cron.d, systemd unit"
    yield finding("warn", "installed", message, "drkit init prints cron lines (it changes nothing)")


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

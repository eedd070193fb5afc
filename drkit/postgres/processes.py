"""Processes of this machine: who runs servers, who is alive, and which servers work in a folder."""

import os
import pwd
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from drkit.errors import ConfigError
from drkit.system import System

_PROC = Path("/proc")
_BOOT = _PROC / "sys/kernel/random/boot_id"
_STEP = 0.02

Somebody = tuple[str, int, int]  # name, user, group


def somebody(user: str | None) -> Somebody | None:
    """Who runs servers when drkit is root; None: drkit's own user."""
    if os.geteuid() != 0:
        return None
    for name in (user,) if user else ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        if found.pw_uid == 0:
            raise ConfigError(
                f"{name} is root, and PostgreSQL refuses to run as root",
                hint="verify.scratch.user: another user",
            )
        return found.pw_name, found.pw_uid, found.pw_gid
    raise ConfigError(
        f"there is no user {user or 'postgres, nor nobody,'} to run a server",
        hint=f"useradd --system {user or 'postgres'}, or set verify.scratch.user",
    )


def ids(who: Somebody | None) -> tuple[int, int] | None:
    return None if who is None else who[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A number alone is used again."""

    boot: str
    pid: int
    start: int  # clock ticks since the boot; 0 where nobody says


def myself() -> Identity:
    return Identity(boot=_boot(), pid=os.getpid(), start=_start(os.getpid()) or 0)


def is_alive(who: Identity) -> bool:
    """A file that outlived a reboot names nobody."""
    if who.boot != _boot():
        return False
    if not _PROC.joinpath("self").exists():
        return _exists(who.pid)
    return _start(who.pid) == who.start


def servers_in(folder: Path) -> list[int]:
    """Servers that work there, in their data folder, or were started with a file of it."""
    inside = os.path.realpath(folder)
    return [pid for pid in _pids() if _serves(pid, inside)]


def end_all(find: Callable[[], list[int]], system: System, patience: float = 10.0) -> bool:
    """As an immediate shutdown, then by force; whether they are gone."""
    for number in (signal.SIGQUIT, signal.SIGKILL):
        for pid in find():
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        until = system.monotonic() + patience
        while find() and system.monotonic() < until:
            system.sleep(_STEP)
    return not find()


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


def _start(pid: int) -> int | None:
    """The name before it may hold anything, brackets and spaces too."""
    try:
        stat = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    fields = stat.rpartition(b")")[2].split()
    return None if fields[0] == b"Z" else int(fields[19])


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _pids() -> Iterator[int]:
    try:
        names = os.listdir(_PROC)
    except OSError:
        return
    yield from (int(name) for name in names if name.isdecimal())


def _serves(pid: int, inside: str) -> bool:
    try:
        program = os.readlink(_PROC / str(pid) / "exe").removesuffix(" (deleted)")
        works_in = os.readlink(_PROC / str(pid) / "cwd").removesuffix(" (deleted)")
        words = _PROC.joinpath(str(pid), "cmdline").read_bytes()
    except OSError:
        return False
    if not program.endswith("/postgres"):
        return False
    return Path(works_in).is_relative_to(inside) or os.fsencode(f"={inside}/") in words

"""Folders for a while: marked while their run lives, removed with it, or by the next run."""

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from drkit.errors import ConfigError, DiskError
from drkit.events import Warned
from drkit.model import policy
from drkit.model.units import size_in_words
from drkit.postgres.processes import (
    Identity,
    Somebody,
    end_all,
    ids,
    is_alive,
    myself,
    servers_in,
    somebody,
)
from drkit.system import System

ROOTS = Path("/var/tmp/drkit-scratch")  # noqa: S108  checked to be drkit's own
_PREFIX = "drkit-"
_MARK = ".mark"
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_LONGEST = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ScratchPlan:
    folder: Path  # where scratch things are made
    user: str | None = None  # who runs servers when drkit is root
    memory: int = 256 << 20
    need: int = 0  # bytes that must be free


def scratch_plan(wanted: policy.Scratch, state: Path, need: int = 0) -> ScratchPlan:
    """As a policy wants it; `state`: its state folder."""
    default = ROOTS if os.geteuid() == 0 else state / "scratch"
    return ScratchPlan(
        folder=wanted.folder or default, user=wanted.user, memory=wanted.memory, need=need
    )


@contextmanager
def scratch(plan: ScratchPlan, system: System) -> Iterator[Path]:
    """Owned by who runs servers; its servers are stopped, and it is gone, at the end."""
    who = somebody(plan.user)
    prepare(plan.folder, who, system)
    sweep(plan.folder, system)
    check_room(plan)
    with marked(plan.folder, who, system) as folder:
        yield folder


def check_room(plan: ScratchPlan) -> None:
    with _disk("look at", plan.folder):
        found = os.statvfs(plan.folder)
    free = found.f_bavail * found.f_frsize
    if free < plan.need:
        raise DiskError(
            f"not enough room in {plan.folder}: it takes {size_in_words(plan.need)}, "
            f"{size_in_words(free)} are free",
            hint="verify.scratch.folder: a folder with more room",
        )


def prepare(folder: Path, who: Somebody | None, system: System) -> None:
    """Made where it is missing; closed to others, but for who runs servers."""
    mode = 0o700 if who is None else 0o711
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    with _disk("make", folder):
        for path in reversed(missing):
            with suppress(FileExistsError):
                path.mkdir()
                path.chmod(mode)
        found = folder.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigError(f"the scratch folder {folder} is no folder")
    if found.st_uid not in (os.geteuid(), who[1] if who else -1):
        raise ConfigError(
            f"the scratch folder {folder} belongs to user {found.st_uid}, not to {os.geteuid()}",
            hint="verify.scratch.folder: a folder of your own",
        )
    if found.st_mode & 0o002:
        raise ConfigError(
            f"everybody may write to the scratch folder {folder}", hint=f"chmod o-w {folder}"
        )
    check_entry(folder, who, system)


def check_entry(folder: Path, who: Somebody | None, system: System) -> None:
    """Asked as that user: modes alone don't tell what access lists and mounts allow."""
    if who is None or _can(folder, who, system):
        return
    way = (*reversed(folder.parents), folder)
    closed = next((path for path in way if not _can(path, who, system)), folder)
    raise ConfigError(
        f"{who[0]}, who runs servers for root, can't enter {closed}",
        hint=f"chmod o+x {closed}, or verify.scratch.folder: a folder that {who[0]} can enter",
    )


def _can(folder: Path, who: Somebody, system: System) -> bool:
    argv = ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)]
    return bool(system.run(argv, user=ids(who)).code == 0)


@contextmanager
def marked(parent: Path, who: Somebody | None, system: System) -> Iterator[Path]:
    """A new folder in `parent`, with a mark beside it."""
    mark = _claim(parent, system)
    try:
        with _disk("make", mark.folder):
            mark.folder.mkdir(mode=0o700)
            if who is not None:
                os.chown(mark.folder, who[1], who[2])
        yield mark.folder
    finally:
        _remove(mark, system)


def sweep(parent: Path, system: System) -> None:
    """What killed runs left behind; never what a living one uses."""
    with _disk("look at", parent):
        paths = sorted(parent.glob(f"{_PREFIX}*{_MARK}"))
    for path in paths:
        mark = _adopt(path)
        if mark is None:
            continue
        served = bool(servers_in(mark.folder))
        if _remove(mark, system):
            what = "its server was stopped and it was removed" if served else "it was removed"
            system.tell(Warned(message=f"{mark.folder} was left behind by a killed run: {what}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    """Locked as long as the run lives: the lock ends with it, however it ends, on any host."""

    path: Path
    fd: int

    @property
    def folder(self) -> Path:
        return self.path.with_suffix("")


def _claim(parent: Path, system: System) -> _Mark:
    while True:
        path = parent / f"{_PREFIX}{system.random_bytes(6).hex()}{_MARK}"
        with _disk("write", path):
            try:
                fd = os.open(path, _NEW, 0o600)
            except FileExistsError:
                continue
        mark = _Mark(path=path, fd=fd)
        if _locked(fd) and _is_there(mark):  # else a sweep was faster
            with _disk("write", path):
                os.write(fd, msgspec.json.encode(myself()))
            return mark
        os.close(fd)


def _adopt(path: Path) -> _Mark | None:
    """A mark whose run is dead; None: somebody's, or nobody's business."""
    try:
        fd = os.open(path, _OLD)
    except OSError:
        return None
    mark = _Mark(path=path, fd=fd)
    if _is_own(fd) and _locked(fd) and _is_there(mark) and not _lives(fd):
        return mark
    os.close(fd)
    return None


def _is_own(fd: int) -> bool:
    """In /tmp anybody can put a mark."""
    found = os.fstat(fd)
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: the process says if it lives
        return True
    return True


def _is_there(mark: _Mark) -> bool:
    try:
        return os.path.samestat(os.lstat(mark.path), os.fstat(mark.fd))
    except FileNotFoundError:
        return False


def _lives(fd: int) -> bool:
    """Where there are no locks. A mark that was never written has no run, and no folder yet."""
    try:
        who = msgspec.json.decode(os.pread(fd, _LONGEST, 0), type=Identity)
    except msgspec.MsgspecError:
        return False
    return is_alive(who)


def _remove(mark: _Mark, system: System) -> bool:
    """The mark last: what can't be removed now is found by the next run."""
    try:
        gone = end_all(lambda: servers_in(mark.folder), system)
        if os.path.lexists(mark.folder):
            shutil.rmtree(mark.folder)
        if gone:
            mark.path.unlink(missing_ok=True)
        return gone
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        hint = "the next run tries it again"
        system.tell(Warned(message=f"can't remove {mark.folder}: {said}", hint=hint))
        return False
    finally:
        os.close(mark.fd)


@contextmanager
def _disk(what: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        raise DiskError(f"can't {what} {path}: {said}") from error

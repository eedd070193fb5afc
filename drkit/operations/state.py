"""The state folder of this machine: its signing key, a folder for each domain, the run lock."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from drkit.crypto.sign import SignerKey, new_signer, signer_from_text, signer_to_text
from drkit.errors import Busy, ConfigError, DiskError
from drkit.repository.repository import Repository
from drkit.system import System

SIGNER = "signer.key"
_LONGEST_KEY_FILE = 4096
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def disk(what: str, path: Path) -> Iterator[None]:
    """What the local disk refuses, in a person's words."""
    try:
        yield
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        hint = "run it as the user who owns it" if isinstance(error, PermissionError) else None
        raise DiskError(f"can't {what} {path}: {said}", hint=hint) from error


def prepare(folder: Path) -> Path:
    """Made when it isn't there; refused when somebody else could read or change it."""
    with disk("make the state folder", folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    check(folder)
    return folder


def check(folder: Path) -> None:
    with disk("look at the state folder", folder):
        found = folder.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigError(f"the state folder {folder} is no folder")
    if found.st_uid != os.geteuid():
        raise ConfigError(
            f"the state folder {folder} belongs to user {found.st_uid}, not to {os.geteuid()}",
            hint="one user runs everything of a policy: run it as that one, or set DRKIT_STATE",
        )
    if found.st_mode & 0o077:
        raise ConfigError(
            f"others may enter the state folder {folder} (mode {found.st_mode & 0o7777:04o})",
            hint=f"chmod 700 {folder}",
        )


def write_new(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Created, never replaced, and on the disk when it returns."""
    with disk("write", path):
        fd = os.open(path, _NEW, mode)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(data)
            os.fsync(fd)
        except BaseException:
            path.unlink()
            raise
        finally:
            os.close(fd)
        sync_folder(path.parent)


def replace_file(path: Path, data: bytes) -> None:
    """The old or the new content, whatever happens in between."""
    new = path.with_name(path.name + ".new")
    with disk("write", path):
        with new.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def find_signer(folder: Path) -> SignerKey | None:
    path = folder / SIGNER
    with disk("read", path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        try:
            _check_private(os.fstat(fd), path)
            text = os.read(fd, _LONGEST_KEY_FILE)
        finally:
            os.close(fd)
    return signer_from_text(text.decode("utf-8", "replace"))


def _check_private(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"{path} is no file")
    if found.st_mode & 0o077 or found.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            f"{path} may be read by others (mode {found.st_mode & 0o7777:04o}, "
            f"owner {found.st_uid}): whoever has it can forge backups of this machine",
            hint=f"chmod 600 {path}; if it was open for long: drkit key rotate POLICY --signer",
        )


def signer(folder: Path) -> SignerKey:
    found = find_signer(folder)
    if found is None:
        raise ConfigError(
            f"no signing key in {folder}: this machine was not set up, or lost its state",
            hint="drkit init (it joins what exists), or drkit key rotate POLICY --signer",
        )
    return found


def make_signer(folder: Path, system: System) -> SignerKey:
    key = new_signer(system.random_bytes(32))
    write_new(folder / SIGNER, signer_to_text(key).encode())
    return key


def domain_folder(folder: Path, domain: str) -> Path:
    return folder / "domains" / domain


def prepare_domain(folder: Path, domain: str) -> Path:
    return prepare_below(folder, domain_folder(folder, domain))


def prepare_below(folder: Path, path: Path) -> Path:
    """Each level private: `parents=True` would give them the umask's mode."""
    prepare(folder)
    with disk("make", path):
        for level in (*reversed(path.relative_to(folder).parents[:-1]), path.relative_to(folder)):
            (folder / level).mkdir(mode=0o700, exist_ok=True)
    return path


def memory_folder(folder: Path, domain: str, repository: Repository) -> Path:
    """What this machine remembers of a domain in one store: of home, the domain's own folder."""
    home = domain_folder(folder, domain)
    return home / "copies" / (repository.store_id or "unknown") if repository.copy else home


_HOMES = "homes.json"


def known_repository(folder: Path, policy: str) -> str | None:
    """Where this machine's backups of that policy are: another one there is not what it seems."""
    return _homes(folder).get(policy)


def note_repository(folder: Path, policy: str, repository: str) -> None:
    homes = _homes(folder)
    if homes.get(policy) != repository:
        homes[policy] = repository
        replace_file(folder / _HOMES, msgspec.json.encode(homes))


def _homes(folder: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode((folder / _HOMES).read_bytes(), type=dict[str, str])
    except (OSError, msgspec.MsgspecError):
        return {}


@contextmanager
def locked(domain: Path, name: str) -> Iterator[None]:
    """One run of a domain on this machine: it saves work; no safety hangs on it."""
    path = domain / "lock"
    with disk("open", path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with disk("lock", path):
            _take(fd, name)
        yield
    finally:
        os.close(fd)


def _take(fd: int, name: str) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
        who = f" (process {holder})" if holder.isdigit() else ""
        raise Busy(
            f"another run of {name} is under way on this machine{who}",
            hint="wait for it to end; a run that died holds nothing",
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, b"%d\n" % os.getpid(), 0)

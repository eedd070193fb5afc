"""A file that holds a secret: read without waiting, told of without showing the secret."""

import os
import pwd
import re
import stat
from dataclasses import dataclass

from drkit.errors import ConfigError
from drkit.model.finding import Finding

_LARGEST = 64 << 10
_PATH_LIKE = re.compile(r"['\"]?[/~.][^\n{}]{0,254}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    path: str
    said_by: str  # who named it

    @property
    def shown(self) -> str:
        """Some put the key itself where its path belongs: that is not shown."""
        short = len(self.path) < 20 or (len(self.path) <= 100 and self.path.endswith(".json"))
        if not self.path.isprintable() or "{" in self.path or "BEGIN" in self.path:
            return f"the value of {self.said_by}"
        if short or _PATH_LIKE.fullmatch(self.path):
            return self.path
        return f"the value of {self.said_by}"


def read_secret(place: Place) -> bytes:
    """Never waits: a fifo would."""
    _refuse_the_key_itself(place)
    try:
        fd = os.open(place.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise _unopened(place, error) from None
    try:
        return _read(fd, place)
    except OSError as error:
        raise _unopened(place, error) from None
    finally:
        os.close(fd)


def _read(fd: int, place: Place) -> bytes:
    there = os.fstat(fd)
    if not stat.S_ISREG(there.st_mode):
        raise ConfigError(f"{place.shown} is {_kind(there.st_mode)}, not a file", hint=_name(place))
    if there.st_size > _LARGEST:
        raise ConfigError(
            f"{place.shown} is {there.st_size} bytes: too large for a key, which has about 2400",
            hint=_name(place),
        )
    return os.read(fd, _LARGEST + 1)


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a pipe" if stat.S_ISFIFO(mode) else "a device"


def _name(place: Place) -> str:
    return f"name the key's file in {place.said_by}"


def _refuse_the_key_itself(place: Place) -> None:
    bare = place.path.strip().strip("'\"").strip()
    encoded = len(bare) > 100 and bare.startswith(
        ("ewo", "eyJ")
    )  # base64 of {" and of { with a line end
    if encoded or bare.startswith(("{", "-----BEGIN")):
        raise ConfigError(
            f"{place.said_by} holds the key itself, where the path of its file belongs",
            hint=f"write it to a file of mode 0600, and {_name(place)}",
        )


def _unopened(place: Place, error: OSError | ValueError) -> ConfigError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return _not_found(place)
    if isinstance(error, PermissionError):
        return ConfigError(
            f"{place.shown} can't be read by {user()}: permission denied",
            hint="chown it to the user who runs drkit, mode 0600; see its folders, too",
        )
    said = (error.strerror or "").lower() if isinstance(error, OSError) else ""
    said = said or "that is no path"
    return ConfigError(f"{place.shown} can't be read: {said}", hint=_name(place))


def _not_found(place: Place) -> ConfigError:
    path = place.path
    message = f"{place.shown} was not found"
    if path != path.strip():
        return ConfigError(f"{message}: it has spaces around it", hint=f"mend {place.said_by}")
    if path[0] in "'\"":
        return ConfigError(
            f"{message}: it has quotes around it",
            hint=f"take them out of {place.said_by}: an env file keeps them",
        )
    if path.startswith("~"):
        return ConfigError(
            f"{message}: ~ is not expanded here",
            hint=f"only a shell does that: write the whole path in {place.said_by}",
        )
    if not path.startswith("/"):
        return ConfigError(
            f"{message} in {_here()} as {user()}",
            hint=f"cron and systemd start elsewhere: write the whole path in {place.said_by}",
        )
    return ConfigError(f"{message} as {user()}", hint=f"see {place.said_by}: is it of this host?")


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "a folder that is gone"


def user() -> str:
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def open_to_others(what: str, path: str) -> Finding | None:
    """No reason to stop, but to warn: for a file that holds a secret."""
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except (OSError, ValueError):
        return None
    if not mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        return None
    does = "read" if mode & stat.S_IROTH else "changed"
    return Finding(
        level="warn",
        what=what,
        message=f"{path} can be {does} by other users of this machine (mode {mode:04o})",
        hint=f"chmod 600 {path}",
    )

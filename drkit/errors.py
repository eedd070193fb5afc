"""Every deliberate error: its class, its exit code, and the hint that says what to do next."""

from enum import IntEnum


class Exit(IntEnum):
    FINE = 0
    BUG = 1
    USAGE = 2
    CONFIGURATION = 3
    POSTGRES = 4
    STORE = 5
    BUSY = 6
    KEY = 7
    DAMAGED = 8
    MISSED = 9
    INTERRUPTED = 130


class DrkitError(Exception):
    """Something a person or a machine can cause; never a bug in drkit."""

    exit_code = Exit.USAGE

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(DrkitError):
    exit_code = Exit.USAGE


class ConfigError(DrkitError):
    exit_code = Exit.CONFIGURATION


class SourceError(DrkitError):
    """What is to be backed up can't be read."""

    exit_code = Exit.CONFIGURATION


class PostgresError(DrkitError):
    """The server, or what it says: down, refused, too old, not as it was."""

    exit_code = Exit.POSTGRES

    def __init__(self, message: str, *, hint: str | None = None, sqlstate: str = "") -> None:
        super().__init__(message, hint=hint)
        self.sqlstate = sqlstate  # five characters; empty when it was not the server that said it


class CantBuild(DrkitError):
    """Nothing can be added to the generation: a full is taken instead, and says why."""

    exit_code = Exit.POSTGRES


class StoreError(DrkitError):
    """A store was not reached, refused, or answered nonsense; a transient one may be retried."""

    exit_code = Exit.STORE

    def __init__(self, message: str, *, hint: str | None = None, transient: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.transient = transient


class NotFound(StoreError):
    """The object is not there (an authoritative answer)."""


class AlreadyExists(StoreError):
    """A create-if-absent put met an object of that name (an authoritative answer)."""


class Busy(DrkitError):
    """Another run is in the way, or fenced this one."""

    exit_code = Exit.BUSY


class KeyMissing(DrkitError):
    """No identity given opens it."""

    exit_code = Exit.KEY


class Damaged(DrkitError):
    """Bytes that are not what was sealed, signed or promised."""

    exit_code = Exit.DAMAGED


class Tampering(Damaged):
    """Bytes that somebody without a pinned key has put, or taken away."""


class DiskError(DrkitError):
    """The local disk (state, destination) refused: full, read-only, failing."""

    exit_code = Exit.STORE


class ObjectiveMissed(DrkitError):
    exit_code = Exit.MISSED

"""What drkit needs of a store: dumb objects by name, created once, never changed."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from drkit.errors import StoreError
from drkit.model.retention import LockMode

_PART = r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,254}"
_NAME = re.compile(rf"{_PART}(/{_PART})*")
_PREFIX = re.compile(rf"({_PART}/)*({_PART})?")
LONGEST_NAME = 1024  # what S3 and GCS allow


def check_name(name: str) -> None:
    if len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
        raise StoreError(f"{name[:LONGEST_NAME]!r} is no object name")


def check_prefix(prefix: str) -> None:
    if len(prefix) > LONGEST_NAME or not _PREFIX.fullmatch(prefix):
        raise StoreError(f"{prefix[:LONGEST_NAME]!r} is no beginning of an object name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What a listing says; in a bucket with versions, always of an object's oldest version."""

    name: str
    size: int
    modified: datetime  # by the store's own clock, aware
    odd: str = ""  # what drkit never does: "is hidden by a later delete", "has 2 versions"


def name_of(found: Stored | str) -> str:
    """Of an object or a folder."""
    return found if isinstance(found, str) else found.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """The store itself refuses to delete or change the object before that time."""

    mode: LockMode
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The fixed bytes of an object: in memory, or in an open local file.

    The file is read by position; its offset never moves, and it is never closed.
    """

    size: int
    sha256: bytes
    data: bytes | None = None
    fd: int | None = None
    lock: Lock | None = None  # set for stores that have `locks`, and for no others

    def pieces(self, length: int = 1 << 20) -> Iterator[bytes]:
        if self.data is not None:
            yield self.data
            return
        assert self.fd is not None
        for offset in range(0, self.size, length):
            yield os.pread(self.fd, min(length, self.size - offset), offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a store of the cloud needs to know beyond its URL."""

    connections: int | None = None  # requests at once; None: what suits its kind
    google_credentials: str | None = None  # GOOGLE_APPLICATION_CREDENTIALS: a file
    first_byte: float = 30.0  # seconds to connect, and of silence while bytes are awaited
    whole: float = 600.0  # seconds for one request with its body


class Store(Protocol):
    """Names are relative, of [A-Za-z0-9._+-] parts joined by '/', none with a dot first.

    Errors are NotFound, AlreadyExists, StoreError.
    """

    url: str  # as a person knows it: without options
    lanes: int  # how many requests at once pay off
    locks: bool  # whether an object can be locked against deletion

    def prepare(self) -> None:
        """Make the place where a repository will be, if it isn't there: for `init` alone."""

    def put(self, name: str, body: Body) -> None:
        """Create if absent, durable when it returns; AlreadyExists otherwise, whatever is there."""

    def read(self, name: str, limit: int) -> bytes:
        """The whole object, at most `limit` bytes: a larger one is a StoreError."""

    def read_into(self, name: str, offset: int, view: memoryview) -> None:
        """Fill the view from there; an object that ends earlier is a StoreError."""

    def size(self, name: str) -> int: ...
    def list(self, prefix: str) -> Iterator[Stored]:
        """Every object whose name begins with prefix, in name order."""

    def level(self, prefix: str) -> Iterator[Stored | str]:
        """In name order: objects without another '/' behind prefix, and folders of all others.

        A folder ends with its '/'. It may be empty, and what is in it need not be drkit's.
        """

    def delete(self, name: str) -> None:
        """Gone when it returns; NotFound when it was not there."""

    def staging(self) -> Path | None:
        """A local folder on the store's own file system.

        A nameless file made there (O_TMPFILE without O_EXCL) is put by a link, without a copy.
        """

    def close(self) -> None: ...

"""A policy: what is protected, where, for whom, when, and for how long. All defaults stand here."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

from drkit.model.pins import Pins
from drkit.model.retention import Rules
from drkit.model.schedule import Schedule

VERSION = 1
PARTS = ("files", "physical")  # of a domain: what its id is made from, beside a name

Unreadable = Literal["fail", "warn"]
Verify = Literal["all", "sampled", "none"]
Method = Literal["physical"]
Wal = Literal["none"]
Incremental = Literal["auto", "native", "stream"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    root: Path
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    one_file_system: bool = False
    unreadable: Unreadable = "fail"
    xattrs: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    dsn: str  # as libpq reads it, without a password
    method: Method = "physical"
    wal: Wal = "none"  # each backup carries the WAL it needs
    incremental: Incremental = "auto"
    max_rate: int | None = None  # bytes a second that the server sends at most
    binaries: Path | None = None  # the bin folder of a server of that major version


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One kind."""

    files: Files | None = None
    postgres: Postgres | None = None

    @property
    def part(self) -> str:
        """What the domain's id is made from, beside the policy's name."""
        return "files" if self.postgres is None else self.postgres.method


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    store: str  # home: where sessions begin
    copies: tuple[str, ...] = ()
    compression: int = 3  # zstd's level
    bandwidth: int | None = None  # bytes a second
    connections: int | None = None
    verify: Verify = "sampled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Encryption:
    recipients: tuple[str, ...]  # age1…, in the order of the file
    single_recipient: bool = False
    signers: Pins = field(default_factory=Pins.none)


@dataclass(frozen=True, slots=True, kw_only=True)
class Objectives:
    """Promises of the policy's author. Nothing measures them yet."""

    rpo: timedelta | None = None
    rto: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """Where a restore is tried."""

    folder: Path | None = None  # None: `scratch` in the state folder; for root below /var/tmp
    memory: int = 256 << 20  # bytes of shared_buffers and work, together
    user: str | None = None  # who runs the server when drkit is root
    identity: Path | None = None  # the private key that opens what is tried


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    scratch: Scratch = field(default_factory=Scratch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    version: int
    name: str
    id: str | None = None
    source: Source
    repository: Repository
    encryption: Encryption
    schedule: Schedule = field(default_factory=Schedule)
    retention: Rules = field(default_factory=Rules)
    objectives: Objectives = field(default_factory=Objectives)
    verify: Verification = field(default_factory=Verification)
    state: Path | None = None
    text: str = field(default="", repr=False, compare=False)  # the file as it was, for the manifest
    origin: str = field(default="", compare=False)  # where it was read, for messages

    @property
    def domain_name(self) -> str:
        """What the domain's id is made from; `id` keeps it when the policy gets another name."""
        return self.id or self.name

"""A policy: what is protected, where, for whom, when, and for how long. All defaults stand here."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

from drkit.model.pins import Pins
from drkit.model.retention import Rules
from drkit.model.schedule import Schedule

VERSION = 1

Unreadable = Literal["fail", "warn"]
Verify = Literal["all", "sampled", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    root: Path
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    one_file_system: bool = False
    unreadable: Unreadable = "fail"
    xattrs: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    files: Files


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    store: str  # home: where sessions begin
    copies: tuple[str, ...] = ()
    compression: int = 3  # zstd's level
    bandwidth: int | None = None  # bytes a second
    connections: int | None = None
    verify: Verify = "all"


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
    state: Path | None = None
    text: str = field(default="", repr=False, compare=False)  # the file as it was, for the manifest
    origin: str = field(default="", compare=False)  # where it was read, for messages

    @property
    def domain_name(self) -> str:
        """What the domain's id is made from; `id` keeps it when the policy gets another name."""
        return self.id or self.name

"""What a committed session left: who made it, of what, when, and how to find its bytes."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

BackupKind = Literal["full", "incremental"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Signed and in clear beside every backup: hosts without an identity plan with it."""

    kind: str  # files, postgres-physical, …
    label: str  # what a person calls it
    system: str | None = None  # its own id, where it has one (PostgreSQL's)
    files: int = 0
    bytes: int = 0  # of the source, as restored
    damaged: bool = False  # the source itself was damaged or partly unreadable: exit 8
    notes: tuple[str, ...] = ()  # what a restorer should know (unreadable files), a line each
    details: dict[str, str | int] = field(default_factory=dict)  # the source's own: LSNs, versions


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    domain: str  # all ids are 32 hex digits
    generation: str
    session: str
    kind: BackupKind
    parent: str | None
    begun: datetime
    ended: datetime
    stored: datetime  # the store's own time of the outcome
    facts: Facts
    hash: str  # SHA-256 of the outcome object, hex
    heads: tuple[tuple[str, str], ...]  # (generation, hash) of the commits it had seen
    manifest: tuple[int, str]  # size and SHA-256
    packlist: tuple[int, str]
    added: int = 0  # bytes this session put
    tools: dict[str, str] = field(default_factory=dict)  # restore.py as its writer had it: SHA-256
    signer: str = ""  # "ed25519:…" as it signed
    pinned: bool = False  # the signer is pinned as a writer; without a policy nothing is
    recipients: tuple[str, ...] = ()  # fingerprints, from the generation's `open`

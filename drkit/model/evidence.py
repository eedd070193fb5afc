"""What a drill, a run or an auditor leaves behind, as one link of a signer's chain."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta

Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Number = Annotated[int, Meta(ge=1)]

FIRST = "0" * 64  # what the first record of a chain names as its previous


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainHead:
    """The newest record of another signer's chain, as this one saw it."""

    signer: str
    seq: Number
    hash: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitHead:
    """A commit this record saw that no other named."""

    domain: str
    generation: str
    hash: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    signer: str  # "ed25519:…"
    seq: Number
    prev: Hash  # SHA-256 of the object before, hex
    at: datetime
    kind: str  # drill_run, backup_run, slot, review …
    subject: str  # policy, policy/part, bucket or group
    heads: tuple[ChainHead, ...] = ()
    commits: tuple[CommitHead, ...] = ()
    body: dict[str, Any] = field(default_factory=dict)  # JSON without floats: count milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A record as it was read: its signature fits, and this is its object's hash."""

    record: Record
    hash: str

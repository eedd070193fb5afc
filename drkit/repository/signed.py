"""The small signed objects that say what happened to a generation, a session, the WAL."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Final, TypeVar

import msgspec

from drkit.crypto.sign import (
    FRAME,
    LIMIT,
    SignerKey,
    canonical,
    open_signed,
    parse_canonical,
    sign_object,
    signer_text,
)
from drkit.errors import Damaged
from drkit.model.snapshot import BackupKind, Facts

SMALL: Final = 4 << 10  # begin and commit: read for every session of every listing

Id = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
Hash = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Size = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """The place an object's name gives it; what it says of itself must be the same."""

    repository: str
    domain: str
    generation: str | None = None  # None: a floor
    session: str | None = None  # None: of the generation as a whole
    lsn: int | None = None  # of a floor


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    kind: str
    system: str | None  # which thing it is; only what has an id of its own (PostgreSQL) says so


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    kind: str
    part: str
    writer: str  # "ed25519:…", the key that signs this
    recipients: tuple[str, ...]  # fingerprints
    source: Origin
    created: datetime
    expected_end: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    kind: BackupKind
    parent: Id | None
    begun: datetime
    start_lsn: Size | None  # a lower bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    kind: BackupKind
    parent: Id | None
    begun: datetime
    ended: datetime
    heads: tuple[tuple[Id, Hash], ...]  # (generation, hash) of commits seen that no other names
    facts: Facts
    packlist: tuple[Size, Hash]  # size and SHA-256
    manifest: tuple[Size, Hash]
    tools: dict[str, Hash] = field(default_factory=dict)  # restore.py: its SHA-256
    added: Size = 0  # bytes this session put


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    reason: str
    by: str
    at: datetime
    scope: str | None = None  # the id of the store for which alone it speaks: "not here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    by: str
    at: datetime
    reason: str
    plan: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    by: str
    at: datetime
    reason: str
    plan: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """WAL below it may be gone."""

    lsn: Size
    at: datetime


Object = Open | Begin | Commit | Fence | Closed | Expired | Floor
T = TypeVar("T", bound=Open | Begin | Commit | Fence | Closed | Expired | Floor)
B = TypeVar("B")

_LIMITS: dict[type[object], int] = {Begin: SMALL, Commit: SMALL}
_PLACE = ("repository", "domain", "generation", "session")
_WIDTHS = (400, 100, 40)


def encode(obj: Object, where: Where, key: SignerKey) -> bytes:
    if isinstance(obj, Open) and obj.writer != key.public_text:
        raise ValueError("an open is signed by the writer it names")
    if isinstance(obj, Commit):
        obj = _fitting(obj, where)
    limit = _LIMITS.get(type(obj), LIMIT)
    return sign_object(key, _type(obj), _payload(obj, where), limit)


def decode(cls: type[T], data: bytes, where: Where) -> tuple[T, bytes]:
    """The object and the public key that signed it; whether that is pinned is another question."""
    return _decode(cls, data, where, None)


def _decode(
    cls: type[T], data: bytes, where: Where, fields: dict[str, object] | None
) -> tuple[T, bytes]:
    """`fields`: of the payload, where it was parsed already."""
    kind, limit = cls.__name__.lower(), _LIMITS.get(cls, LIMIT)
    public, payload = open_signed(kind, data, limit)
    fields = parse_canonical(payload, limit) if fields is None else fields
    _check_place(kind, fields, where)
    obj = built(cls, fields)
    if obj is None or _payload(obj, where) != payload:
        raise Damaged(f"the signed {kind} {_at(where)} hasn't the fields of format 1")
    if isinstance(obj, Open) and obj.writer != signer_text(public):
        raise Damaged(f"the open {_at(where)} names another writer than the one who signed it")
    return obj, public


def decode_outcome(data: bytes, where: Where) -> tuple[Commit | Fence, bytes]:
    fields = parse_canonical(data[FRAME:], LIMIT)
    if fields.get("type") == "commit":
        return _decode(Commit, data, where, fields)
    if fields.get("type") == "fence":
        return _decode(Fence, data, where, fields)
    raise Damaged(f"the outcome {_at(where)} is neither a commit nor a fence")


def is_pinned(public: bytes, pinned: frozenset[bytes]) -> bool:
    return public in pinned


def time_text(at: datetime) -> str:
    if at.tzinfo is None:
        raise ValueError("a time without a zone")
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def plain(value: object) -> object:
    """As JSON holds it: times in UTC as text, tuples as lists, text that UTF-8 can hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [plain(inner) for inner in value]
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value


def shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def built(cls: type[B], fields: dict[str, object]) -> B | None:
    """None unless these are its fields; that no others are there shows when it is encoded again."""
    try:
        obj = msgspec.convert(fields, cls)
        plain(obj)
    except (ValueError, OverflowError):
        return None
    return obj


def _type(obj: Object) -> str:
    return type(obj).__name__.lower()


def _at(where: Where) -> str:
    if where.session is not None:
        return f"of session {where.session}"
    if where.generation is not None:
        return f"of generation {where.generation}"
    return f"of domain {where.domain}"


def _place(where: Where) -> dict[str, object]:
    said = {name: getattr(where, name) for name in _PLACE}
    return {name: value for name, value in said.items() if value is not None}


def _check_place(kind: str, fields: dict[str, object], where: Where) -> None:
    for name in _PLACE:
        if fields.get(name) != getattr(where, name):
            raise Damaged(f"swapped: the signed {kind} {_at(where)} says another {name} of itself")
    if kind == "floor" and fields.get("lsn") != where.lsn:
        raise Damaged(f"swapped: the signed floor {_at(where)} says another LSN of itself")


def _payload(obj: Object, where: Where) -> bytes:
    fields = plain(obj)
    assert isinstance(fields, dict)
    return canonical(fields | _place(where) | {"type": _type(obj)})


def _fitting(commit: Commit, where: Where) -> Commit:
    """Cut what only explains: notes, long details, then heads (the next commit names those)."""
    for attempt in _shorter(commit):
        if FRAME + len(_payload(attempt, where)) <= SMALL:
            return attempt
    return commit


def _shorter(commit: Commit) -> Iterator[Commit]:
    yield commit
    facts = commit.facts
    for width in _WIDTHS:
        notes = tuple(shortened(note, width) for note in facts.notes)
        facts = replace(facts, notes=notes, label=shortened(facts.label, width))
        yield replace(commit, facts=facts)
    notes = facts.notes
    while notes:
        notes = notes[: len(notes) // 2]
        more = f"… and {len(facts.notes) - len(notes)} more"
        yield replace(commit, facts=replace(facts, notes=(*notes, more)))
    facts = replace(facts, notes=("…",) if facts.notes else ())
    for width in _WIDTHS:
        facts = replace(facts, details=_cut_details(facts.details, width))
        yield replace(commit, facts=facts)
    heads = commit.heads
    while heads:
        heads = heads[: len(heads) // 2]
        yield replace(commit, facts=facts, heads=heads)
    details = facts.details
    while details:
        details = dict(list(details.items())[: len(details) // 2])
        yield replace(commit, facts=replace(facts, details=details | {"more": "…"}), heads=())


def _cut_details(details: dict[str, str | int], width: int) -> dict[str, str | int]:
    return {k: shortened(v, width) if isinstance(v, str) else v for k, v in details.items()}

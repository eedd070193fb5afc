"""Listings held against packlists: is everything that a commit needs there, with its size."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from drkit.errors import Damaged, NotFound, StoreError
from drkit.model.snapshot import Snapshot
from drkit.repository import names
from drkit.repository.history import Generation
from drkit.repository.transfer import askers, gathered
from drkit.stores.base import Store

LIMIT = 64 << 20  # names some 500,000 packs, 16 TiB

Kind = Literal["missing", "size", "hash", "unreadable", "unparsable", "record"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One object that is not what a commit says of it."""

    kind: Kind
    name: str  # the object's full name
    generation: str
    session: str  # whose object it is
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Promised:
    """An object as a packlist or a commit describes it."""

    name: str
    session: str
    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Packlist:
    packs: Mapping[str, tuple[int, bytes]]  # last part of the name → size and SHA-256
    uses: tuple[str, ...]  # sessions whose packs are referenced


class _Packlist(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    packs: tuple[tuple[str, int, str], ...]
    uses: tuple[str, ...]


Read = Packlist | Fault
Known = dict[tuple[str, str], Packlist]  # generation and session; what was signed never changes

_PACK = re.compile(r"([0-9a-f]{32})-[0-9]{6}")
_ID = re.compile(r"[0-9a-f]{32}")
_HASH = re.compile(r"[0-9a-f]{64}")


def read_packlists(store: Store, generation: Generation, known: Known) -> dict[str, Read]:
    """Of every commit that counts; `known` saves reading one twice."""
    new = [s for s in generation.commits if (generation.id, s) not in known]
    answers = gathered(new, lambda s: _read(store, generation.commits[s]), askers(store.lanes))
    read = dict(zip(new, answers, strict=True))
    for session, answer in read.items():
        if isinstance(answer, Packlist):
            known[generation.id, session] = answer
    return {s: read.get(s) or known[generation.id, s] for s in generation.commits}


def listing_faults(generation: Generation, lists: Mapping[str, Read]) -> list[Fault]:
    """What a commit needs and the listing does not show, or shows with another size."""
    return [
        fault
        for session, read in lists.items()
        for fault in _session_faults(generation, generation.commits[session], read, lists)
    ]


def hit(faults: Iterable[Fault], lists: Mapping[str, Read]) -> set[str]:
    """Sessions of the generation that may lack something for these faults."""
    lost: set[str] = set()
    for fault in faults:
        lost.add(fault.session)
        if "/packs/" in fault.name or "/packlist/" in fault.name:
            users = (
                s for s, r in lists.items() if isinstance(r, Packlist) and fault.session in r.uses
            )
            lost.update(users)
    return lost


def promised(generation: Generation, lists: Mapping[str, Read]) -> Iterator[Promised]:
    """Every pack and manifest that a commit vouches for, each once."""
    for session, read in lists.items():
        snapshot = generation.commits[session]
        name = names.manifest(snapshot.domain, generation.id, session)
        size, sha256 = snapshot.manifest
        yield Promised(name=name, session=session, size=size, sha256=bytes.fromhex(sha256))
        if isinstance(read, Packlist):
            folder = names.packs(snapshot.domain, generation.id)
            for last, (length, digest) in read.packs.items():
                yield Promised(name=folder + last, session=session, size=length, sha256=digest)


def _session_faults(
    generation: Generation, snapshot: Snapshot, read: Read, lists: Mapping[str, Read]
) -> Iterator[Fault]:
    session = snapshot.session
    manifest = names.manifest(snapshot.domain, generation.id, session)
    yield from _listed(snapshot, manifest, snapshot.manifest[0], generation.manifests.get(session))
    if isinstance(read, Fault):
        yield read
        return
    folder = names.packs(snapshot.domain, generation.id)
    for last, (size, _) in read.packs.items():
        yield from _listed(snapshot, folder + last, size, generation.packs.get(last))
    for used in read.uses:
        if used not in lists:
            name = names.outcome(snapshot.domain, generation.id, used)
            what = f"session {session} uses packs of session {used}, whose commit is not there"
            yield _fault(snapshot, "missing", name, what)


def _listed(snapshot: Snapshot, name: str, size: int, found: int | None) -> Iterator[Fault]:
    if found is None:
        yield _fault(snapshot, "missing", name, f"{name} is missing")
    elif found != size:
        yield _fault(snapshot, "size", name, f"{name} has {found} bytes, and must have {size}")


def _fault(snapshot: Snapshot, kind: Kind, name: str, message: str) -> Fault:
    return Fault(
        kind=kind,
        name=name,
        generation=snapshot.generation,
        session=snapshot.session,
        message=message,
    )


def _read(store: Store, snapshot: Snapshot) -> Read:
    name = names.packlist(snapshot.domain, snapshot.generation, snapshot.session)
    size, sha256 = snapshot.packlist
    try:
        data = store.read(name, LIMIT)
    except NotFound:
        return _fault(snapshot, "missing", name, f"{name} is missing")
    except StoreError as error:
        if error.transient:
            raise
        return _fault(snapshot, "unreadable", name, f"{name} can't be read: {error.message}")
    if len(data) != size:
        what = f"{name} has {len(data)} bytes, and must have {size}"
        return _fault(snapshot, "size", name, what)
    if hashlib.sha256(data).hexdigest() != sha256:
        what = f"{name} is not the packlist that was signed"
        return _fault(snapshot, "hash", name, what)
    try:
        return _parsed(data, snapshot.session)
    except Damaged as error:
        return _fault(snapshot, "unparsable", name, f"{name}: {error.message}")


def _parsed(data: bytes, session: str) -> Packlist:
    """Signed bytes may still be nonsense: a writer's key can be stolen."""
    try:
        said = msgspec.json.decode(data, type=_Packlist)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Damaged(f"it is no packlist: {error}") from error
    for last, size, sha256 in said.packs:
        fits = _PACK.fullmatch(last)
        if fits is None or fits[1] != session or size < 0 or not _HASH.fullmatch(sha256):
            raise Damaged(f"it names a pack that can't be one of session {session}")
    if not all(_ID.fullmatch(used) for used in said.uses):
        raise Damaged("it uses a session that can't be one")
    packs = {last: (size, bytes.fromhex(sha256)) for last, size, sha256 in said.packs}
    return Packlist(packs=packs, uses=said.uses)

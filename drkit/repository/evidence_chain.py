"""Evidence in the store: what it says of generations, and how one more record is put."""

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from drkit.crypto.sign import SignerKey, parse_signer
from drkit.errors import AlreadyExists, Damaged, DiskError, NotFound, StoreError, Tampering
from drkit.model.evidence import FIRST, ChainHead, CommitHead, Link, Record
from drkit.model.finding import Finding
from drkit.model.pins import Pins
from drkit.repository import names
from drkit.repository.evidence import decode, encode, hash_of, verify_chain
from drkit.repository.history import odd_versions
from drkit.repository.repository import Repository, body
from drkit.repository.small import LIMIT, Answer, of, read_smalls
from drkit.stores.base import Store, Stored
from drkit.system import System

_HINT = "find out who has rights on the store; the records in the state folder are the other half"

# A record's body may name generations: {"domain", "generation", "store"?} in a list under one of
# these; with a store they are of what lies in that one.
PROVEN = "proven"
DAMAGED = "damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One record's word about one generation, under both clocks."""

    generation: str
    at: datetime  # as its signer says
    stored: datetime  # by the store's clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Proofs:
    proven: Mapping[str, datetime] = field(default_factory=dict)
    damaged: Mapping[str, datetime] = field(default_factory=dict)  # and not proven since
    findings: tuple[Finding, ...] = ()


Links = dict[str, Link]  # by name: what was read once never changes


def may_testify(signer: SignerKey, pins: Pins) -> bool:
    return not pins.verifiers or signer.public in pins.verifiers


def read_proofs(repository: Repository, domain: str, pins: Pins, known: Links) -> Proofs:
    """What holds in this store: damage seen in another one is that one's."""
    store = repository.store
    findings: list[Finding] = []
    proven: list[Said] = []
    damaged: list[Said] = []
    links: list[Link] = []
    listed = list(store.list(names.EVIDENCE))
    fit = [s for s in listed if s.size <= LIMIT and s.name not in known]
    answers = read_smalls(repository, fit)
    for stored in listed:
        findings += odd_versions(stored)
        link = _link(answers, stored, known, findings)
        if link is None:
            continue
        links.append(link)
        if pins.verifiers and parse_signer(link.record.signer) not in pins.verifiers:
            continue
        about = domain, repository.store_id
        proven += _said(link.record, PROVEN, about, stored)
        damaged += _said(link.record, DAMAGED, about, stored)
    findings += _chain_findings(links, pins)
    return Proofs(
        proven=_newest(proven),
        damaged=_unhealed(damaged, proven),
        findings=tuple(findings),
    )


def _link(
    answers: dict[str, Answer], stored: Stored, known: Links, findings: list[Finding]
) -> Link | None:
    if stored.name not in known:
        if stored.size > LIMIT:
            findings.append(_tampering(f"{stored.name} is larger than evidence can be"))
            return None
        try:
            known[stored.name] = decode(of(answers, stored.name), stored.name)
        except (Damaged, NotFound) as error:
            findings.append(_tampering(error.message))
            return None
    return known[stored.name]


def _said(record: Record, key: str, about: tuple[str, str], stored: Stored) -> Iterator[Said]:
    domain, store = about
    said = record.body.get(key)
    for one in said if isinstance(said, list) else ():
        here = isinstance(one, dict) and one.get("store") in (None, store)
        if here and one.get("domain") == domain:
            generation = one.get("generation")
            if isinstance(generation, str):
                yield Said(generation=generation, at=record.at, stored=stored.modified)


def _newest(said: Iterable[Said]) -> dict[str, datetime]:
    newest: dict[str, datetime] = {}
    for one in said:
        newest[one.generation] = max(one.stored, newest.get(one.generation, one.stored))
    return newest


def _unhealed(damaged: Sequence[Said], proven: Sequence[Said]) -> dict[str, datetime]:
    """Damage counts until a proof is later by both clocks: a clock set wrong heals nothing."""
    open_: dict[str, datetime] = {}
    for hurt in damaged:
        proofs = [p for p in proven if p.generation == hurt.generation]
        if any(p.at > hurt.at and p.stored > hurt.stored for p in proofs):
            continue
        newest = max([hurt.stored, *(p.stored for p in proofs)])  # never before a proof
        open_[hurt.generation] = max(newest, open_.get(hurt.generation, newest))
    return open_


def _chain_findings(links: Sequence[Link], pins: Pins) -> Iterator[Finding]:
    trusted = pins
    if not pins.verifiers:  # nobody is pinned: then that is no finding here
        signers = frozenset(parse_signer(link.record.signer) for link in links)
        trusted = replace(pins, verifiers=signers)
    yield from (_tampering(line) for line in verify_chain(links, trusted))


def _tampering(message: str) -> Finding:
    return Finding(level="fail", what="tampering", message=message, hint=_HINT)


class Chain:
    """One signer's chain, held under a lock of this machine while a record is added."""

    def __init__(self, store: Store, state: Path, signer: SignerKey, system: System) -> None:
        self._store = store
        self._signer = signer
        self._system = system
        self._folder = state / "evidence" / signer.public.hex()

    def append(
        self, kind: str, subject: str, content: dict[str, object], commits: Iterable[CommitHead]
    ) -> str:
        """Its name in the store. Kept in the state first: a crash between loses nothing."""
        with self._locked():
            listed = self._listed()
            self._put_again(listed)
            number, prev = self._end(listed)
            record = Record(
                signer=self._signer.public_text,
                seq=number,
                prev=prev,
                at=self._system.now(),
                kind=kind,
                subject=subject,
                heads=tuple(self._heads()),
                commits=tuple(commits),
                body=content,
            )
            data = encode(record, self._signer)
            self._keep(number, data)
            self._put(number, data)
            return self._name(number)

    def _name(self, number: int) -> str:
        return names.evidence(self._signer.public.hex(), number)

    def _listed(self) -> set[int]:
        prefix = names.evidences(self._signer.public.hex())
        parsed = (names.parse(stored.name) for stored in self._store.list(prefix))
        return {name.number for name in parsed if name is not None and name.number is not None}

    def _kept(self) -> list[int]:
        return sorted(int(p.name) for p in self._folder.iterdir() if p.name.isdigit())

    def _put_again(self, listed: set[int]) -> None:
        """What a killed run kept and did not put."""
        for number in self._kept():
            if number not in listed:
                self._put(number, self._read_kept(number))
                listed.add(number)

    def _end(self, listed: set[int]) -> tuple[int, str]:
        """The number of the next record, and the hash of the one before it."""
        kept = self._kept()
        last = max([0, *kept, *listed])
        if not last:
            return 1, FIRST
        if last in kept:
            return last + 1, hash_of(self._read_kept(last))
        return last + 1, decode(self._store.read(self._name(last), LIMIT), self._name(last)).hash

    def _heads(self) -> Iterator[ChainHead]:
        """The newest record of every other chain that is there."""
        newest: dict[str, int] = {}
        for stored in self._store.list(names.EVIDENCE):
            name = names.parse(stored.name)
            if name is not None and name.signer is not None and name.number is not None:
                newest[name.signer] = max(name.number, newest.get(name.signer, 0))
        newest.pop(self._signer.public.hex(), None)
        for signer, number in sorted(newest.items())[:100]:
            at = names.evidence(signer, number)
            try:
                link = decode(self._store.read(at, LIMIT), at)
            except (Damaged, StoreError):
                continue
            yield ChainHead(signer=link.record.signer, seq=number, hash=link.hash)

    def _put(self, number: int, data: bytes) -> None:
        name = self._name(number)
        try:
            self._store.put(name, body(data))
        except AlreadyExists:
            if self._store.read(name, LIMIT) != data:
                raise Tampering(
                    f"{name} holds another record than this machine made: the chain is forked",
                    hint="does another machine use the same key? each needs its own: drkit key new",
                ) from None

    def _keep(self, number: int, data: bytes) -> None:
        with _disk(self._folder):
            path = self._folder / f"{number:08d}"
            new = path.with_suffix(".new")
            with new.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _read_kept(self, number: int) -> bytes:
        with _disk(self._folder):
            return (self._folder / f"{number:08d}").read_bytes()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with _disk(self._folder):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskError(
            f"the evidence in {folder} could not be kept: {error.strerror}",
            hint="free some room there, or give this user rights on it",
        ) from error

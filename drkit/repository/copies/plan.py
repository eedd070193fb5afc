"""Two stores of one repository held against each other: what is committed in one alone."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from drkit.crypto.sign import signer_text
from drkit.errors import ConfigError, Damaged, StoreError
from drkit.model.finding import Finding
from drkit.model.pins import Pins
from drkit.model.snapshot import Snapshot
from drkit.repository import names
from drkit.repository.copies.carry import read_all
from drkit.repository.history import snapshot_of
from drkit.repository.repository import Repository
from drkit.repository.signed import Commit, Expired, Fence, Open, Where, decode, decode_outcome
from drkit.stores.base import Lock, Store, Stored

LIMIT = 64 << 10
WHO = "find out who has rights on the store"
NEXT_FULL = "the next full backup is copied again: drkit backup --full takes one now"

Until = Callable[[Open | None], Lock | None]  # None: what belongs to no generation


def unlocked(_opened: Open | None) -> Lock | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyPlan:
    source: Repository
    destination: Repository
    domain: str
    pins: Pins
    spool: Path  # for objects on their way, where the destination has no staging of its own
    task: str = "copy"  # what progress is told under
    until: Until = unlocked


Left = tuple[str, str, str]  # generation, session, why


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyDone:
    copied: tuple[tuple[str, str], ...]  # generation and session, in their order
    there: int  # sessions that were there already
    objects: int  # put by this run
    bytes: int
    left: tuple[Left, ...]
    never: tuple[Left, ...] = ()  # of those, what no copy will bring any more
    findings: tuple[Finding, ...]

    @property
    def complete(self) -> bool:
        return set(self.left) <= set(self.never)


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """A commit of the source, and its bytes as they stand there."""

    snapshot: Snapshot
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """What the source has committed and the destination not."""

    sessions: tuple[Committed, ...]  # that a copy would bring, parents first
    there: int
    left: tuple[Left, ...]  # that no copy will bring any more
    findings: tuple[Finding, ...]
    newest: tuple[str, str] | None = None  # generation and session of the source's last outcome


@dataclass(slots=True, kw_only=True)
class _Shown:
    """One generation in one listing."""

    outcomes: dict[str, Stored] = field(default_factory=dict)
    closed: bool = False
    expired: bool = False


@dataclass(slots=True, kw_only=True)
class _Found:
    commits: list[Committed] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def check_pair(source: Repository, destination: Repository) -> None:
    if source.id != destination.id:
        raise ConfigError(
            f"{destination.store.url} holds repository {destination.id}, "
            f"{source.store.url} holds {source.id}: neither is a copy of the other",
            hint="see the addresses under stores: and copies: in the policy",
        )
    if source.store.url == destination.store.url or source.store_id == destination.store_id != "":
        raise ConfigError(
            f"{source.store.url} and {destination.store.url} are one store: both are called "
            f"{source.store_id or 'the same'}",
            hint="two addresses of one place? if it was cloned by other means, remove "
            f"{names.STORE} from the clone: drkit gives it an id of its own",
        )


def pending(source: Repository, destination: Repository, domain: str, pins: Pins) -> Pending:
    """Two listings, and the outcomes that only one of them shows."""
    check_pair(source, destination)
    here = _shown(source.store, domain)  # its outcomes first: what they name is there by now
    there = _shown(destination.store, domain)
    asked = _Asked(source=source, destination=destination, domain=domain, pins=pins)
    lacking = _lacking(here, there)
    found = _Found()
    gone = _expired(asked, [g for g in lacking if here[g].expired], found)
    wanted = [(g, s) for g in lacking if g not in gone for s in lacking[g]]
    _read_commits(asked, wanted, here, found)
    waiting = _sifted(asked, there, found)
    total = sum(len(shown.outcomes) for shown in here.values())
    return Pending(
        sessions=tuple(ordered(waiting)),
        there=total - sum(map(len, lacking.values())),
        left=tuple(found.left),
        findings=tuple(found.findings),
        newest=_newest(here),
    )


def _newest(here: Mapping[str, _Shown]) -> tuple[str, str] | None:
    times = [(o.modified, g, s) for g, shown in here.items() for s, o in shown.outcomes.items()]
    return max(times)[1:] if times else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    source: Repository
    destination: Repository
    domain: str
    pins: Pins

    def where(self, generation: str, session: str | None = None) -> Where:
        return Where(
            repository=self.source.id, domain=self.domain, generation=generation, session=session
        )

    def read(self, store: Store, wanted: Iterable[str]) -> Mapping[str, bytes | StoreError]:
        return read_all(store, wanted, LIMIT)


def _shown(store: Store, domain: str) -> dict[str, _Shown]:
    found: dict[str, _Shown] = {}
    for stored in store.list(names.generations(domain)):
        name = names.parse(stored.name)
        if name is None or name.generation is None:
            continue
        shown = found.setdefault(name.generation, _Shown())
        if name.kind == "outcome" and name.session is not None:
            shown.outcomes[name.session] = stored
        shown.closed = shown.closed or name.kind == "closed"
        shown.expired = shown.expired or name.kind == "expired"
    return found


def _lacking(here: Mapping[str, _Shown], there: Mapping[str, _Shown]) -> dict[str, list[str]]:
    """An outcome of another size is another one: a fence has never the size of a commit."""
    nothing = _Shown()
    lacking: dict[str, list[str]] = {}
    for generation, shown in here.items():
        held = there.get(generation, nothing).outcomes
        for session, stored in shown.outcomes.items():
            if session not in held or held[session].size != stored.size:
                lacking.setdefault(generation, []).append(session)
    return lacking


def _expired(asked: _Asked, generations: Iterable[str], found: _Found) -> set[str]:
    """Only a pinned maintainer's word lets go what was committed."""
    at = {names.expired(asked.domain, g): g for g in generations}
    gone = set()
    for name, data in asked.read(asked.source.store, at).items():
        public, why = b"", data.message if isinstance(data, StoreError) else ""
        if isinstance(data, bytes):
            try:
                _, public = decode(Expired, data, asked.where(at[name]))
            except Damaged as error:
                why = error.message
        pinned = asked.pins.maintainers
        if public and (not pinned or public in pinned):
            gone.add(at[name])
        else:
            found.findings.append(tampering(f"{name}: {why or _unpinned(public)}"))
    return gone


def _read_commits(
    asked: _Asked,
    wanted: Iterable[tuple[str, str]],
    here: Mapping[str, _Shown],
    found: _Found,
) -> None:
    at = {names.outcome(asked.domain, g, s): (g, s) for g, s in wanted}
    answers = asked.read(asked.source.store, at)
    for name in sorted(answers):
        generation, session = at[name]
        data, where = answers[name], asked.where(generation, session)
        if isinstance(data, StoreError):
            found.findings.append(tampering(f"{name}: {data.message}"))
            continue
        said = believed(data, where, asked.pins)
        if isinstance(said, Commit):
            stored = here[generation].outcomes[session]
            found.commits.append(committed(said, data, where, stored.modified))
        elif isinstance(said, str):
            found.findings.append(tampering(f"{name}: {said}"))


def believed(data: bytes, where: Where, pins: Pins) -> Commit | Fence | str:
    """Or why nobody believes it."""
    try:
        said, public = decode_outcome(data, where)
    except Damaged as error:
        return error.message
    trusted = pins.maintainers if isinstance(said, Fence) else pins.writers
    return _unpinned(public) if trusted and public not in trusted else said


def _unpinned(public: bytes) -> str:
    return f"signed by {signer_text(public)}, which the policy does not pin"


def committed(commit: Commit, data: bytes, where: Where, stored: datetime) -> Committed:
    return Committed(snapshot=snapshot_of(where, stored, commit, data), data=data)


def _sifted(asked: _Asked, there: Mapping[str, _Shown], found: _Found) -> list[Committed]:
    """Without what the destination refuses for good: closed, expired or fenced there."""
    shut = {g: _shut(shown) for g, shown in there.items() if shown.closed or shown.expired}
    taken = _taken(asked, there, found)
    fenced = {g for (g, _), why in taken.items() if why}
    waiting = []
    for one in found.commits:
        g, s = one.snapshot.generation, one.snapshot.session
        why = shut.get(g) or taken.get((g, s), REST if g in fenced else "")
        if why:
            found.left.append((g, s, why))
        else:
            waiting.append(one)
    return waiting


REST = "another session of its generation was fenced there, or its place is taken"


def _shut(shown: _Shown) -> str:
    return "its generation is expired there" if shown.expired else "its generation is closed there"


def _taken(asked: _Asked, there: Mapping[str, _Shown], found: _Found) -> dict[tuple[str, str], str]:
    """Of commits in whose place the destination has something else: why they can't be copied."""
    at = {
        names.outcome(asked.domain, g, s): (g, s)
        for g, s in ((c.snapshot.generation, c.snapshot.session) for c in found.commits)
        if g in there and s in there[g].outcomes
    }
    answers = asked.read(asked.destination.store, at)
    whys: dict[tuple[str, str], str] = {}
    for name in sorted(answers):
        why, finding = refusal(answers[name], asked.where(*at[name]))
        whys[at[name]] = why
        if not (there[at[name][0]].closed or there[at[name][0]].expired):
            found.findings.append(finding)
    return whys


def refusal(data: bytes | StoreError, where: Where) -> tuple[str, Finding]:
    """What stands at the destination in the place of a commit."""
    try:
        fence = isinstance(data, bytes) and isinstance(decode_outcome(data, where)[0], Fence)
    except Damaged:
        fence = False
    if fence:
        finding = Finding(
            level="warn",
            what="copy",
            message=f"session {where.session} was fenced at the copy before it was there whole: "
            f"the rest of generation {where.generation} is not copied",
            hint=NEXT_FULL,
        )
        return "fenced at the copy", finding
    what = f"the outcome of session {where.session} is another one at the copy than here"
    return "its outcome there is another one", tampering(what)


def ordered(commits: Iterable[Committed]) -> Iterator[Committed]:
    """Oldest first, and parents before their children whatever the clocks said."""
    by_session = {c.snapshot.session: c for c in commits}
    given: set[str] = set()
    for first in sorted(by_session.values(), key=lambda c: (c.snapshot.ended, c.snapshot.session)):
        chain = [first]
        while (parent := chain[-1].snapshot.parent) in by_session and len(chain) < len(by_session):
            chain.append(by_session[parent])
        for one in reversed(chain):
            if one.snapshot.session not in given:
                given.add(one.snapshot.session)
                yield one


def tampering(message: str) -> Finding:
    return Finding(level="fail", what="tampering", message=message, hint=WHO)

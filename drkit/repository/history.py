"""What the store says happened in a domain, and who signed it."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush

from drkit.crypto.sign import signer_text
from drkit.errors import Damaged, NotFound, StoreError
from drkit.model.finding import Finding
from drkit.model.pins import Pins
from drkit.model.snapshot import Snapshot
from drkit.repository import names
from drkit.repository.repository import Repository
from drkit.repository.signed import (
    Closed,
    Commit,
    Expired,
    Fence,
    Open,
    Where,
    decode,
    decode_outcome,
)
from drkit.stores.base import Store, Stored

_LIMIT = 64 << 10
Heads = tuple[tuple[str, str], ...]  # generation and hash of commits
_CLOCKS_APART = timedelta(hours=1)


@dataclass(slots=True, kw_only=True)
class Generation:
    id: str
    open: Open | None = None
    opened: datetime | None = None  # by the store's clock
    begins: dict[str, Stored] = field(default_factory=dict)
    outcomes: dict[str, Stored] = field(default_factory=dict)
    packs: dict[str, int] = field(default_factory=dict)  # last part of the name → size
    manifests: dict[str, int] = field(default_factory=dict)
    packlists: dict[str, int] = field(default_factory=dict)
    commits: dict[str, Snapshot] = field(default_factory=dict)
    fences: dict[str, Fence] = field(default_factory=dict)
    closed: bool = False  # presence is enough: it stops writers
    expired: bool = False  # a pinned maintainer's only: it hides commits
    swept: bool = False  # anything stands at `expired`

    @property
    def open_sessions(self) -> dict[str, Stored]:
        return {s: b for s, b in self.begins.items() if s not in self.outcomes}


@dataclass(slots=True, kw_only=True)
class History:
    domain: str
    generations: dict[str, Generation] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def snapshots(self) -> list[Snapshot]:
        """What can be restored, oldest first."""
        hidden = {g.id for g in self.generations.values() if g.expired}
        return [s for s in _in_order(self.commits) if s.generation not in hidden]

    @property
    def commits(self) -> list[Snapshot]:
        """All that count, expired ones too: they prove that nothing was taken away."""
        return [s for g in self.generations.values() for s in g.commits.values()]

    def heads(self) -> tuple[tuple[str, str], ...]:
        named = {hash for s in self.commits for _, hash in s.heads}
        return tuple(sorted((s.generation, s.hash) for s in self.commits if s.hash not in named))

    def tampered(self) -> list[Finding]:
        return [f for f in self.findings if f.level == "fail"]


def read_history(repository: Repository, domain: str, pins: Pins) -> History:
    history = History(domain=domain)
    for stored in repository.store.list(names.generations(domain)):
        _sort_in(history, stored)
    for generation in history.generations.values():
        _read_generation(repository, history, generation, pins)
    _check_chain(history)
    return history


def read_generation(repository: Repository, domain: str, id: str, pins: Pins) -> Generation:
    """One generation, listed now."""
    history = History(domain=domain)
    for stored in repository.store.list(names.generation(domain, id)):
        _sort_in(history, stored)
    generation = history.generations.get(id) or Generation(id=id)
    _read_generation(repository, history, generation, pins)
    return generation


def domains(repository: Repository) -> list[str]:
    found = set()
    for stored in repository.store.list(names.DOMAINS):
        name = names.parse(stored.name)
        if name is not None and name.kind in {"open", "outcome"} and name.domain:
            found.add(name.domain)
    return sorted(found)


def _sort_in(history: History, stored: Stored) -> None:
    name = names.parse(stored.name)
    if name is None or name.generation is None:
        history.findings.append(_tampering(f"{stored.name} is no name that drkit gives"))
        return
    g = history.generations.setdefault(name.generation, Generation(id=name.generation))
    session = name.session or ""
    match name.kind:
        case "begin":
            g.begins[session] = stored
        case "outcome":
            g.outcomes[session] = stored
        case "pack":
            g.packs[stored.name.rpartition("/")[2]] = stored.size
        case "manifest":
            g.manifests[session] = stored.size
        case "packlist":
            g.packlists[session] = stored.size
        case "closed":
            g.closed = True
        case "expired":
            g.swept = True
        case "open":
            g.opened = stored.modified
        case _:
            pass


def _read_generation(repository: Repository, history: History, g: Generation, pins: Pins) -> None:
    where = Where(repository=repository.id, domain=history.domain, generation=g.id)
    if g.opened is not None:
        g.open = _opened(repository, history, where, pins)
    if g.closed:
        _maintained(repository, history, Closed, where, pins)
    if g.swept:
        g.expired = _maintained(repository, history, Expired, where, pins)
    for session, stored in g.outcomes.items():
        _outcome(repository, history, g, session, stored, pins)


def _small(store: Store, name: str) -> bytes:
    """One object too large must not keep everything else from being listed."""
    try:
        return store.read(name, _LIMIT)
    except NotFound:
        raise
    except StoreError as error:
        if error.transient or (size := store.size(name)) <= _LIMIT:
            raise
        raise Damaged(f"{name} has {size} bytes, more than drkit ever gives it") from error


def _opened(repository: Repository, history: History, where: Where, pins: Pins) -> Open | None:
    name = names.opened(where.domain, where.generation or "")
    try:
        found, public = decode(Open, _small(repository.store, name), where)
    except (Damaged, NotFound) as error:
        history.findings.append(_tampering(f"{name}: {error.message}"))
        return None
    if pins.writers and public not in pins.writers:
        history.findings.append(_foreign(f"generation {where.generation}", public))
        return None
    return found


def _maintained(
    repository: Repository,
    history: History,
    cls: type[Closed] | type[Expired],
    where: Where,
    pins: Pins,
) -> bool:
    """Whether a pinned maintainer said so; without pins, whether it is signed at all."""
    kind = cls.__name__.lower()
    name = f"{names.generation(where.domain, where.generation or '')}{kind}"
    try:
        _, public = decode(cls, _small(repository.store, name), where)
    except (Damaged, NotFound) as error:
        history.findings.append(_tampering(f"{name}: {error.message}"))
        return False
    if pins.maintainers and public not in pins.maintainers:
        history.findings.append(_foreign(f"`{kind}` of generation {where.generation}", public))
        return False
    return True


def _outcome(
    repository: Repository,
    history: History,
    g: Generation,
    session: str,
    stored: Stored,
    pins: Pins,
) -> None:
    where = Where(repository=repository.id, domain=history.domain, generation=g.id, session=session)
    try:
        data = _small(repository.store, stored.name)
        found, public = decode_outcome(data, where)
    except (Damaged, NotFound) as error:
        history.findings.append(_tampering(f"{stored.name}: {error.message}"))
        return
    trusted = pins.maintainers if isinstance(found, Fence) else pins.writers
    if trusted and public not in trusted:
        history.findings.append(_foreign(f"the outcome of session {session}", public))
    elif isinstance(found, Fence):
        g.fences[session] = found
    else:
        _check_clocks(history, session, stored, found)
        recipients = () if g.open is None else g.open.recipients
        g.commits[session] = replace(
            _snapshot(where, stored, found, data),
            signer=signer_text(public),
            pinned=bool(trusted),
            recipients=recipients,
        )


def _snapshot(where: Where, stored: Stored, commit: Commit, data: bytes) -> Snapshot:
    return Snapshot(
        domain=where.domain,
        generation=where.generation or "",
        session=where.session or "",
        kind=commit.kind,
        parent=commit.parent,
        begun=commit.begun,
        ended=commit.ended,
        stored=stored.modified,
        facts=commit.facts,
        hash=hashlib.sha256(data).hexdigest(),
        heads=commit.heads,
        manifest=commit.manifest,
        packlist=commit.packlist,
        added=commit.added,
        tools=commit.tools,
    )


def _check_clocks(history: History, session: str, stored: Stored, commit: Commit) -> None:
    if abs(stored.modified - commit.ended) <= _CLOCKS_APART:
        return
    history.findings.append(
        Finding(
            level="warn",
            what="clock",
            message=f"session {session}: its writer says it ended "
            f"{commit.ended:%Y-%m-%d %H:%M}, its store {stored.modified:%Y-%m-%d %H:%M}",
            hint="compare the clocks of both; retention counts under both times",
        )
    )


def _in_order(commits: Iterable[Snapshot]) -> Iterator[Snapshot]:
    """By time, but after all that it had seen: a clock that was ahead once hides nothing newer."""
    known = {s.hash: s for s in commits}
    after: dict[str, list[str]] = {hash: [] for hash in known}
    waits: dict[str, int] = {}
    for s in known.values():
        seen = {hash for _, hash in s.heads} & known.keys()
        waits[s.hash] = len(seen)
        for hash in seen:
            after[hash].append(s.hash)
    ready = [(s.ended, s.session, s.hash) for s in known.values() if not waits[s.hash]]
    heapify(ready)
    while ready:
        first = known[heappop(ready)[2]]
        yield first
        for hash in after[first.hash]:
            waits[hash] -= 1
            if not waits[hash]:
                heappush(ready, (known[hash].ended, known[hash].session, hash))


def _check_chain(history: History) -> None:
    """A commit that another one names and the store doesn't hold was taken away."""
    held = {s.hash for s in history.commits}
    for snapshot in history.commits:
        for generation, hash in snapshot.heads:
            if hash not in held:
                history.findings.append(
                    _tampering(
                        f"a backup of generation {generation} that session {snapshot.session} "
                        "had seen is gone, and drkit never deletes one"
                    )
                )


def _tampering(message: str) -> Finding:
    return Finding(
        level="fail",
        what="tampering",
        message=message,
        hint="find out who has rights on the store; restore from a copy until it is clear",
    )


def _foreign(what: str, public: bytes) -> Finding:
    return _tampering(f"{what} is signed by {signer_text(public)}, which the policy does not pin")


def lost_heads(history: History, heads: Heads) -> Heads:
    """Commits this machine once saw and the store no longer holds: rolled back."""
    held = {s.hash for s in history.commits}
    return tuple((generation, hash) for generation, hash in heads if hash not in held)


def missing(history: History, heads: Heads) -> list[Finding]:
    return [
        replace(
            _tampering(
                f"the backup of generation {g} that this machine has seen is not in the store"
            ),
            hint="find out who has rights on the store; once it is explained, remove heads.json "
            "of this domain in the state folder, and drkit no longer says so",
        )
        for g, _ in lost_heads(history, heads)
    ]

"""What the store says happened in a domain, and who signed it."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from drkit.crypto.sign import signer_text
from drkit.errors import Damaged, NotFound
from drkit.model.finding import Finding
from drkit.model.pins import Pins
from drkit.model.snapshot import Snapshot
from drkit.repository import names
from drkit.repository.ahead import NOTHING, Ahead, outlined
from drkit.repository.order import in_order
from drkit.repository.outline import domains_of
from drkit.repository.repository import Repository
from drkit.repository.signed import (
    Closed,
    Commit,
    Expired,
    Fence,
    Open,
    Where,
    decode,
)
from drkit.repository.small import Answer, of, read_smalls
from drkit.stores.base import Store, Stored

Heads = tuple[tuple[str, str], ...]  # generation and hash of commits
_CLOCKS_APART = timedelta(hours=1)
_KEPT = frozenset({"open", "begin", "outcome", "closed", "expired", "evidence"})


@dataclass(slots=True, kw_only=True)
class Parts:
    """Of a generation what is not signed by itself; by the last part of the name, with its size."""

    packs: dict[str, int] = field(default_factory=dict)
    manifests: dict[str, int] = field(default_factory=dict)
    packlists: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Generation:
    id: str
    open: Open | None = None
    opened: datetime | None = None  # by the store's clock
    begins: dict[str, Stored] = field(default_factory=dict)
    outcomes: dict[str, Stored] = field(default_factory=dict)
    parts: Parts | None = None  # None: nobody has listed them
    commits: dict[str, Snapshot] = field(default_factory=dict)
    fences: dict[str, Fence] = field(default_factory=dict)
    closed: bool = False  # presence is enough: it stops writers
    expired: bool = False  # a pinned maintainer's only: it hides commits
    swept: bool = False  # anything stands at `expired`
    marks: list[Stored] = field(default_factory=list)  # open, closed, expired

    @property
    def open_sessions(self) -> dict[str, Stored]:
        return {s: b for s, b in self.begins.items() if s not in self.outcomes}

    @property
    def packs(self) -> dict[str, int]:
        return self._listed().packs

    @property
    def manifests(self) -> dict[str, int]:
        return self._listed().manifests

    @property
    def packlists(self) -> dict[str, int]:
        return self._listed().packlists

    def _listed(self) -> Parts:
        """Not knowing of any pack must never look like there being none."""
        if self.parts is None:
            raise AssertionError(f"what generation {self.id} consists of was not listed")
        return self.parts


@dataclass(slots=True, kw_only=True)
class History:
    domain: str
    whole: bool = True  # with what each generation consists of
    generations: dict[str, Generation] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def snapshots(self) -> list[Snapshot]:
        """What can be restored, oldest first."""
        hidden = {g.id for g in self.generations.values() if g.expired}
        return [s for s in in_order(self.commits) if s.generation not in hidden]

    @property
    def commits(self) -> list[Snapshot]:
        """All that count, expired ones too: they prove that nothing was taken away."""
        return [s for g in self.generations.values() for s in g.commits.values()]

    def heads(self) -> tuple[tuple[str, str], ...]:
        named = {hash for s in self.commits for _, hash in s.heads}
        return tuple(sorted((s.generation, s.hash) for s in self.commits if s.hash not in named))

    def generation(self, id: str) -> Generation:
        if id not in self.generations:
            self.generations[id] = Generation(id=id, parts=Parts() if self.whole else None)
        return self.generations[id]

    def tampered(self) -> list[Finding]:
        return [f for f in self.findings if f.level == "fail"]


def read_history(repository: Repository, domain: str, pins: Pins) -> History:
    """With all packs: as many requests as there are thousands of objects."""
    history = History(domain=domain)
    return _understood(repository, history, repository.store.list(names.generations(domain)), pins)


def read_commits(repository: Repository, domain: str, pins: Pins) -> History:
    """The same but for what generations consist of: nobody can ask it for packs.

    What is odd in the folders of packs, manifests and packlists is left to a scrub.
    """
    history = History(domain=domain, whole=False)
    found, ahead = outlined(repository, domain)
    for id in found.generations:
        history.generation(id)  # of some that is all that is known
    return _understood(repository, history, found.objects, pins, ahead)


def _understood(
    repository: Repository,
    history: History,
    listed: Iterable[Stored],
    pins: Pins,
    ahead: Ahead = NOTHING,
) -> History:
    for stored in listed:
        _sort_in(history, stored)
        history.findings += odd_versions(stored)
    history.generations = dict(sorted(history.generations.items()))
    _read(repository, history, pins, ahead)
    _check_chain(history, copy=repository.copy)
    return history


def read_generation(repository: Repository, domain: str, id: str, pins: Pins) -> Generation:
    """One generation, listed now."""
    history = _one(repository.store, domain, id)
    _read(repository, history, pins)
    return history.generations[id]


def list_generation(store: Store, domain: str, id: str) -> Generation:
    """What stands in it, by its names alone: nothing is read."""
    return _one(store, domain, id).generations[id]


def _one(store: Store, domain: str, id: str) -> History:
    history = History(domain=domain)
    history.generation(id)
    for stored in store.list(names.generation(domain, id)):
        _sort_in(history, stored)
    return history


def domains(repository: Repository) -> list[str]:
    return domains_of(repository.store)


def _sort_in(history: History, stored: Stored) -> None:
    name = names.parse(stored.name)
    if name is None or name.generation is None:
        history.findings.append(_tampering(f"{stored.name} is no name that drkit gives"))
        return
    g = history.generation(name.generation)
    session = name.session or ""
    match name.kind:
        case "begin":
            g.begins[session] = stored
        case "outcome":
            g.outcomes[session] = stored
        case "open" | "closed" | "expired":
            _mark(g, name.kind, stored)
        case "pack" | "manifest" | "packlist" if g.parts is not None:
            _add(g.parts, name.kind, stored)
        case _:
            pass


def _add(parts: Parts, kind: str, stored: Stored) -> None:
    last = stored.name.rpartition("/")[2]
    by_kind = {"pack": parts.packs, "manifest": parts.manifests, "packlist": parts.packlists}
    by_kind[kind][last] = stored.size


def _mark(g: Generation, kind: str, stored: Stored) -> None:
    g.marks.append(stored)
    g.closed = g.closed or kind == "closed"
    g.swept = g.swept or kind == "expired"
    g.opened = stored.modified if kind == "open" else g.opened


def odd_versions(stored: Stored) -> Iterator[Finding]:
    """Packs and manifests are a scrub's to look at: a forget deletes them one day."""
    name = names.parse(stored.name)
    if stored.odd and name is not None and name.kind in _KEPT:
        yield _tampering(f"{stored.name} {stored.odd}, and drkit puts it once and never deletes it")


def _read(repository: Repository, history: History, pins: Pins, ahead: Ahead = NOTHING) -> None:
    found = history.generations.values()
    signed = [stored for g in found for stored in (*g.marks, *g.outcomes.values())]
    source = _Source(
        repository=repository.id,
        copy=repository.copy,
        pins=pins,
        answers=read_smalls(repository, signed),
        ahead=ahead,
    )
    for generation in history.generations.values():
        _read_generation(source, history, generation)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    repository: str
    copy: bool
    pins: Pins
    answers: dict[str, Answer]
    ahead: Ahead

    def get(self, name: str) -> bytes:
        return of(self.answers, name)


def _read_generation(source: _Source, history: History, g: Generation) -> None:
    where = Where(repository=source.repository, domain=history.domain, generation=g.id)
    if g.opened is not None:
        g.open = _opened(source, history, where)
    if g.closed:
        _maintained(source, history, Closed, where)
    if g.swept:
        g.expired = _maintained(source, history, Expired, where)
    for session, stored in g.outcomes.items():
        _outcome(source, history, g, session, stored)


def _opened(source: _Source, history: History, where: Where) -> Open | None:
    name = names.opened(where.domain, where.generation or "")
    try:
        found, public = decode(Open, source.get(name), where)
    except (Damaged, NotFound) as error:
        history.findings.append(_tampering(f"{name}: {error.message}"))
        return None
    if source.pins.writers and public not in source.pins.writers:
        history.findings.append(_foreign(f"generation {where.generation}", public))
        return None
    return found


def _maintained(
    source: _Source, history: History, cls: type[Closed] | type[Expired], where: Where
) -> bool:
    """Whether a pinned maintainer said so; without pins, whether it is signed at all."""
    kind = cls.__name__.lower()
    name = f"{names.generation(where.domain, where.generation or '')}{kind}"
    try:
        _, public = decode(cls, source.get(name), where)
    except (Damaged, NotFound) as error:
        history.findings.append(_tampering(f"{name}: {error.message}"))
        return False
    if source.pins.maintainers and public not in source.pins.maintainers:
        history.findings.append(_foreign(f"`{kind}` of generation {where.generation}", public))
        return False
    return True


def _outcome(
    source: _Source, history: History, g: Generation, session: str, stored: Stored
) -> None:
    where = Where(
        repository=source.repository, domain=history.domain, generation=g.id, session=session
    )
    pins = source.pins
    try:
        data = source.get(stored.name)
        found, public = source.ahead.outcome(stored.name, data, where)
    except (Damaged, NotFound) as error:
        history.findings.append(_tampering(f"{stored.name}: {error.message}"))
        return
    trusted = pins.maintainers if isinstance(found, Fence) else pins.writers
    if trusted and public not in trusted:
        history.findings.append(_foreign(f"the outcome of session {session}", public))
    elif isinstance(found, Fence):
        g.fences[session] = found
    else:
        if not source.copy:  # there it may have come any time later
            _check_clocks(history, session, stored, found)
        recipients = () if g.open is None else g.open.recipients
        g.commits[session] = replace(
            snapshot_of(where, stored.modified, found, data),
            signer=signer_text(public),
            pinned=bool(trusted),
            recipients=recipients,
        )


def snapshot_of(where: Where, stored: datetime, commit: Commit, data: bytes) -> Snapshot:
    return Snapshot(
        domain=where.domain,
        generation=where.generation or "",
        session=where.session or "",
        kind=commit.kind,
        parent=commit.parent,
        begun=commit.begun,
        ended=commit.ended,
        stored=stored,
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


def _check_chain(history: History, *, copy: bool) -> None:
    """A commit that another one names and the store doesn't hold was taken away, or not copied."""
    held = {s.hash for s in history.commits}
    for snapshot in history.commits:
        for generation, hash in snapshot.heads:
            if hash in held:
                continue
            what = f"a backup of generation {generation} that session {snapshot.session} had seen"
            history.findings.append(
                _not_copied(what)
                if copy
                else _tampering(f"{what} is gone, and drkit never deletes one")
            )


def _not_copied(what: str) -> Finding:
    return Finding(
        level="warn",
        what="not copied",
        message=f"{what} is not in this copy",
        hint="drkit copy catches up, unless the first store has let it go since",
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

"""What a forget looks at, and what it would let go: nothing here changes the store."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from drkit.model import retention
from drkit.model.finding import Finding
from drkit.model.pins import Pins
from drkit.model.retention import CLOCKS_APART, Rules
from drkit.model.units import in_words, roughly
from drkit.repository import names
from drkit.repository.evidence_chain import Links, Proofs, read_proofs
from drkit.repository.history import Generation, History, read_history
from drkit.repository.packlists import Known, hit, listing_faults, read_packlists
from drkit.repository.repository import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgetting:
    """What a forget is asked."""

    domain: str
    rules: Rules  # with the patience
    pins: Pins
    task: str = "forget"  # what progress is told under
    pace: timedelta | None = None  # how often the schedule asks for a backup


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Signed bytes read once; listings are never kept."""

    packlists: Known = field(default_factory=dict)
    links: Links = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """All that a decision hangs on, from one look."""

    history: History
    lost: Mapping[str, set[str]]  # generation → sessions of it that lack something
    proofs: Proofs
    expired: Mapping[str, datetime]  # generations with objects left → the store's time of `expired`

    @property
    def generations(self) -> Mapping[str, Generation]:
        return self.history.generations


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    generation: str
    keep: bool
    reasons: tuple[str, ...]
    backups: int
    newest: datetime | None  # as signed
    bytes: int  # in the store
    closed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """What still lies in an expired generation."""

    generation: str
    objects: int
    bytes: int
    due: datetime  # one patience after `expired`
    allowed: bool  # this plan lets the generation go, whoever said `expired`
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetPlan:
    id: str
    domain: str
    made: datetime
    rules: Rules
    fates: tuple[Fate, ...]  # oldest first; expired generations have none
    fence: tuple[tuple[str, str], ...]  # generation and session: begun longer ago than the patience
    remains: tuple[Remains, ...]
    findings: tuple[Finding, ...]

    @property
    def expire(self) -> tuple[str, ...]:
        return tuple(fate.generation for fate in self.fates if not fate.keep)

    @property
    def keep(self) -> tuple[str, ...]:
        return tuple(fate.generation for fate in self.fates if fate.keep)


# --- looking


def look(repository: Repository, ask: Forgetting, seen: Seen | None = None) -> Looked:
    seen = seen or Seen()
    store = repository.store
    history = read_history(repository, ask.domain, ask.pins)
    lost: dict[str, set[str]] = {}
    expired: dict[str, datetime] = {}
    for g in history.generations.values():
        if not g.expired:
            lists = read_packlists(store, g, seen.packlists)
            lost[g.id] = hit(listing_faults(g, lists), lists)
        elif any(leftovers(ask.domain, g)):
            name = names.expired(ask.domain, g.id)
            expired.update((g.id, s.modified) for s in store.list(name) if s.name == name)
    proofs = read_proofs(repository, ask.domain, ask.pins, seen.links)
    return Looked(history=history, lost=lost, proofs=proofs, expired=expired)


def leftovers(domain: str, g: Generation) -> Iterator[tuple[str, int]]:
    """Names and sizes of what expiry deletes: packs, manifests, packlists, nothing else."""
    folder = names.packs(domain, g.id)
    yield from ((folder + last, size) for last, size in g.packs.items())
    yield from ((names.manifest(domain, g.id, s), size) for s, size in g.manifests.items())
    yield from ((names.packlist(domain, g.id, s), size) for s, size in g.packlists.items())


# --- deciding


def decide(looked: Looked, ask: Forgetting, now: datetime) -> retention.Plan:
    """The whole decision, the same at every look."""
    generations = [_modelled(g, looked) for g in looked.generations.values() if _dated(g)]
    return retention.plan(generations, ask.rules, now, ask.pace)


def decide_remains(looked: Looked, ask: Forgetting, now: datetime) -> dict[str, retention.Decision]:
    """As if nobody had said `expired`: a forgetter deletes only what its own plan lets go.

    What may be swept already counts as incomplete, so that it lets nothing else go.
    """
    if not looked.expired:
        return {}
    generations = []
    for g in filter(_dated, looked.generations.values()):
        model = _modelled(g, looked)
        if g.id in looked.expired:
            commits = tuple(replace(c, complete=False) for c in model.commits)
            model = replace(model, commits=commits, expired=False)
        generations.append(model)
    plan = retention.plan(generations, ask.rules, now, ask.pace)
    return {d.generation: d for d in plan.decisions if d.generation in looked.expired}


def stale_sessions(
    looked: Looked, patience: timedelta, now: datetime
) -> tuple[tuple[str, str], ...]:
    """Without outcome for longer than the patience, by the store's time, in every generation."""
    return tuple(
        (g.id, session)
        for g in looked.generations.values()
        for session, begin in sorted(g.open_sessions.items())
        if now - begin.modified > patience
    )


def _dated(g: Generation) -> bool:
    """Without open, begin or outcome nobody knows what it is: it is left alone, with a finding."""
    return bool(g.opened or g.begins or g.outcomes)


def _modelled(g: Generation, looked: Looked) -> retention.Generation:
    lost = looked.lost.get(g.id, set())
    commits = tuple(
        retention.Commit(session=s, ended=c.ended, stored=c.stored, complete=s not in lost)
        for s, c in g.commits.items()
    )
    pending = tuple(
        retention.Pending(session=s, begun=b.modified) for s, b in g.open_sessions.items()
    )
    dates = [stored.modified for stored in (*g.begins.values(), *g.outcomes.values())]
    return retention.Generation(
        id=g.id,
        opened=g.opened or min(dates),
        commits=commits or _unreadable(g),
        pending=pending,
        closed=g.closed,
        expired=g.expired,
        proven=looked.proofs.proven.get(g.id),
        damaged=looked.proofs.damaged.get(g.id),
    )


def _unreadable(g: Generation) -> tuple[retention.Commit, ...]:
    """Outcomes that nobody pinned has signed hold their own generation, and replace nothing.

    A writer missing in the policy must not cost its backups: they stay for `keep`, and are told.
    """
    return tuple(
        retention.Commit(session=s, ended=o.modified, stored=o.modified, complete=False)
        for s, o in g.outcomes.items()
        if s not in g.fences
    )


# --- planning


def planned(looked: Looked, ask: Forgetting, now: datetime) -> ForgetPlan:
    decision = decide(looked, ask, now)
    fates = tuple(_fate(looked, ask, d) for d in decision.decisions)
    words = f"{ask.domain} {now.isoformat()} {fates}"
    return ForgetPlan(
        id=hashlib.sha256(words.encode()).hexdigest()[:16],
        domain=ask.domain,
        made=now,
        rules=ask.rules,
        fates=fates,
        fence=stale_sessions(looked, ask.rules.patience, now),
        remains=tuple(_remains(looked, ask, now)),
        findings=tuple(_findings(looked, ask, decision, now)),
    )


def _fate(looked: Looked, ask: Forgetting, decision: retention.Decision) -> Fate:
    g = looked.generations[decision.generation]
    return Fate(
        generation=g.id,
        keep=decision.keep,
        reasons=decision.reasons,
        backups=len(g.commits),
        newest=max((c.ended for c in g.commits.values()), default=None),
        bytes=sum(size for _, size in leftovers(ask.domain, g)),
        closed=g.closed,
    )


def _remains(looked: Looked, ask: Forgetting, now: datetime) -> Iterator[Remains]:
    for id, decision in decide_remains(looked, ask, now).items():
        sizes = [size for _, size in leftovers(ask.domain, looked.generations[id])]
        yield Remains(
            generation=id,
            objects=len(sizes),
            bytes=sum(sizes),
            due=looked.expired[id] + ask.rules.patience,
            allowed=not decision.keep,
            reasons=decision.reasons,
        )


# --- what is odd


def _findings(
    looked: Looked, ask: Forgetting, decision: retention.Plan, now: datetime
) -> Iterator[Finding]:
    yield from (f for f in looked.history.findings if f.what != "clock")  # the plan sums them up
    yield from looked.proofs.findings
    foreign = {g.id for g in looked.generations.values() if not g.commits and _unreadable(g)}
    for found in decision.findings:
        if not any(found.message.startswith(f"generation {id}:") for id in foreign):
            yield found
    yield from _ahead(looked, now)
    yield from _open_sessions(looked, ask, now)
    yield from _empty(looked)
    yield from _kept_remains(looked, ask, now)


def _ahead(looked: Looked, now: datetime) -> Iterator[Finding]:
    times = [
        stored.modified
        for g in looked.generations.values()
        for stored in (*g.begins.values(), *g.outcomes.values())
    ]
    if times and max(times) - now > CLOCKS_APART:
        yield Finding(
            level="warn",
            what="clocks",
            message=f"the store's newest object is from {roughly(max(times) - now)} ahead of "
            "this machine's clock",
            hint="compare the clocks of this machine and of the store",
        )


def _open_sessions(looked: Looked, ask: Forgetting, now: datetime) -> Iterator[Finding]:
    open_ = [b for g in looked.generations.values() for b in g.open_sessions.values()]
    stale = stale_sessions(looked, ask.rules.patience, now)
    young = len(open_) - len(stale)
    if young:
        newest = roughly(now - max(b.modified for b in open_))
        yield Finding(
            level="pass",
            what="open sessions",
            message=f"{young} without outcome, the newest began {newest} ago",
        )
    if stale:
        yield Finding(
            level="warn",
            what="open sessions",
            message=f"{len(stale)} began more than {in_words(ask.rules.patience)} ago and never "
            f"ended (session {stale[0][1]}): they are fenced",
            hint="a backup was killed, or hangs: see its log",
        )


def _empty(looked: Looked) -> Iterator[Finding]:
    for g in looked.generations.values():
        if not _dated(g):
            what = "holds objects and no begin: nobody knows whose they are, they are left alone"
        elif g.opened is None and g.commits and not g.expired:
            what = "has lost its `open`"
        else:
            continue
        yield Finding(
            level="fail",
            what="tampering",
            message=f"generation {g.id} {what}",
            hint="find out who has rights on the store",
        )
    live = [g for g in looked.generations.values() if not g.expired and _dated(g)]
    bare = [g.id for g in live if not g.commits and not _unreadable(g)]
    if bare:
        yield Finding(
            level="warn",
            what="no backup",
            message=f"{len(bare)} generations hold no backup ({bare[0]})",
            hint="a first backup failed or is running: see its log",
        )


def _kept_remains(looked: Looked, ask: Forgetting, now: datetime) -> Iterator[Finding]:
    for id, decision in decide_remains(looked, ask, now).items():
        if decision.keep:
            yield Finding(
                level="warn",
                what="expired",
                message=f"generation {id} is expired, and this plan would keep it "
                f"({', '.join(decision.reasons)}): nothing of it is deleted",
                hint="who ran that forget, and with which retention?",
            )

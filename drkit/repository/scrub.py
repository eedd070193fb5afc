"""A scrub: listings against packlists (0), every byte's hash (1), every record opened (2)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from drkit.errors import StoreError
from drkit.events import Advanced, Finished, Started
from drkit.model.evidence import CommitHead
from drkit.model.finding import Finding
from drkit.model.pins import Pins
from drkit.repository import names
from drkit.repository.base import known_heads
from drkit.repository.evidence_chain import DAMAGED, read_proofs
from drkit.repository.history import Generation, History, missing, read_generation, read_history
from drkit.repository.packlists import (
    Fault,
    Promised,
    Read,
    hit,
    listing_faults,
    promised,
    read_packlists,
)
from drkit.repository.repository import Repository, open_repository
from drkit.repository.scrub_files import Bad, Hit, Opened, Unwrap, maybe_hit
from drkit.repository.scrub_odd import odd
from drkit.repository.scrub_progress import Mark, Progress
from drkit.repository.scrub_read import Answer, Item, ObjectReader, last_part
from drkit.repository.transfer import parallel
from drkit.system import System

_SAID = 50  # faults and hits that evidence names; its object has 64 KiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrub:
    """What a scrub is asked."""

    domain: str
    level: Literal[0, 1, 2]
    pins: Pins
    unwrap: Unwrap | None = None  # with an identity; level 2 needs it, others name the hit files
    state: Path | None = None  # the domain's folder: without it nothing is resumed
    bytes: int | None = None  # read at most about so much
    duration: timedelta | None = None  # and at most so long
    task: str = "scrub"  # what progress is told under


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrubResult:
    level: int
    domain: str
    snapshots: int  # that can be seen
    since: datetime  # when this round began: what was read since is counted as read
    objects: int  # read by this run
    bytes: int
    left: int  # objects of this round that no run has read yet
    faults: tuple[Fault, ...]
    hits: tuple[Hit, ...]
    findings: tuple[Finding, ...]
    heads: tuple[CommitHead, ...]
    evidence: str | None = None  # the record's name, where one was put

    @property
    def complete(self) -> bool:
        return not self.left


@dataclass(slots=True, kw_only=True)
class _Part:
    """One generation's share."""

    generation: Generation
    lists: Mapping[str, Read]
    faults: dict[str, Fault] = field(default_factory=dict)  # by object: the first one tells
    bad: dict[str, set[int]] = field(default_factory=dict)  # pack → where records don't open

    def add(self, fault: Fault) -> None:
        self.faults.setdefault(fault.name, fault)


def run(repository: Repository, ask: Scrub, system: System) -> ScrubResult:
    """Puts nothing."""
    if ask.level == 2 and ask.unwrap is None:
        raise ValueError("level 2 needs an identity")
    history = read_history(repository, ask.domain, ask.pins)
    parts = [_part(repository, g) for g in history.generations.values() if not g.expired]
    key = f"{repository.store_id}/{ask.level}"
    with Progress(ask.state, key, system) as progress:
        work = _Work(repository, ask, system, progress)
        system.tell(_started(ask, parts))
        if ask.level == 1:
            work.hashes(parts)
        elif ask.level == 2:
            work.records(parts)
        system.tell(Finished(task=ask.task))
        left = work.finish(parts)
        since = progress.began
    gone = _settle(repository, ask, parts)
    hits = [h for part in parts if part.faults for h in _hits(repository, ask, part, system)]
    proofs = read_proofs(repository, ask.domain, ask.pins, {})
    return ScrubResult(
        level=ask.level,
        domain=ask.domain,
        snapshots=len(history.snapshots),
        since=since,
        objects=work.objects,
        bytes=work.bytes,
        left=left,
        faults=tuple(f for part in parts for f in part.faults.values()),
        hits=tuple(hits),
        findings=(
            *history.findings,
            *_rolled_back(history, ask.state),
            *proofs.findings,
            *odd(repository, history, _lists(parts)),
            *gone,
        ),
        heads=tuple(
            CommitHead(domain=ask.domain, generation=g, hash=hash) for g, hash in history.heads()
        ),
    )


def testimony(result: ScrubResult, store: str) -> dict[str, object]:
    """The body of the evidence: what was read, and which generations are hit, in that store."""
    hurt = sorted({fault.generation for fault in result.faults})
    about = {"domain": result.domain} | ({"store": store} if store else {})
    return {
        DAMAGED: [about | {"generation": g} for g in hurt],
        "level": result.level,
        "objects": result.objects,
        "bytes": result.bytes,
        "faults": [{"kind": f.kind, "name": f.name} for f in result.faults[:_SAID]],
        "all_faults": len(result.faults),
        "hits": [{"generation": h.generation, "session": h.session} for h in result.hits[:_SAID]],
        "all_hits": len(result.hits),
    }


def _rolled_back(history: History, state: Path | None) -> list[Finding]:
    return [] if state is None else missing(history, known_heads(state))


def _part(repository: Repository, generation: Generation) -> _Part:
    lists = read_packlists(repository.store, generation, {})
    part = _Part(generation=generation, lists=lists)
    for fault in listing_faults(generation, lists):
        part.add(fault)
    return part


def _lists(parts: Sequence[_Part]) -> dict[str, Mapping[str, Read]]:
    return {part.generation.id: part.lists for part in parts}


def _started(ask: Scrub, parts: Sequence[_Part]) -> Started:
    if not ask.level:
        return Started(task=ask.task)
    sizes = [p.size for part in parts for p in promised(part.generation, part.lists)]
    return Started(task=ask.task, total_bytes=sum(sizes), total_items=len(sizes))


class _Work:
    """What levels 1 and 2 read, within the budget, the oldest first."""

    def __init__(
        self, repository: Repository, ask: Scrub, system: System, progress: Progress
    ) -> None:
        self._repository = repository
        self._ask = ask
        self._system = system
        self._progress = progress
        self._until = (
            None if ask.duration is None else system.monotonic() + ask.duration.total_seconds()
        )
        self._answers: list[Answer] = []
        self.objects = 0
        self.bytes = 0

    def hashes(self, parts: Sequence[_Part]) -> None:
        by_id = {part.generation.id: part for part in parts}
        self._read([item for part in parts for item in self._items(part)], by_id, lambda i: i)

    def records(self, parts: Sequence[_Part]) -> None:
        """A generation at a time, the one with the object longest unread first."""
        pending = [(items, part) for part in parts if (items := self._items(part))]
        pending.sort(key=lambda pair: min(self._last(item) for item in pair[0]))
        for items, part in pending:
            if self._spent():
                return
            self._records(items, part)

    def _records(self, items: list[Item], part: _Part) -> None:
        unwrap = self._ask.unwrap
        assert unwrap is not None
        with closing(Opened(self._repository, part.generation, unwrap, self._system)) as opened:
            for fault in opened.load(part.lists, None):
                part.add(fault)
            wanted = [item for item in items if item.promised.name not in part.faults]
            self._read(
                wanted, {part.generation.id: part}, lambda i: _keyed(i, part, opened, unwrap)
            )

    def _items(self, part: _Part) -> list[Item]:
        """Not read in this round; what the listing has told already needs no reading."""
        return [
            Item(generation=part.generation.id, promised=p, size=p.size)
            for p in promised(part.generation, part.lists)
            if p.name not in part.faults
            and not self._progress.done(part.generation.id, last_part(p.name))
        ]

    def _last(self, item: Item) -> Mark:
        return self._progress.last(item.generation, last_part(item.promised.name))

    def _spent(self) -> bool:
        if self._ask.bytes is not None and self.bytes >= self._ask.bytes:
            return True
        return self._until is not None and self._system.monotonic() >= self._until

    def _read(
        self, items: list[Item], parts: Mapping[str, _Part], dressed: Callable[[Item], Item]
    ) -> None:
        ids = self._repository.raw_id, bytes.fromhex(self._ask.domain)
        items.sort(key=lambda item: (self._last(item), item.promised.name))
        try:
            parallel(self._given(items, parts, dressed), lambda: self._reader(ids))
        finally:
            self._drain(parts)

    def _given(
        self, items: list[Item], parts: Mapping[str, _Part], dressed: Callable[[Item], Item]
    ) -> Iterator[Item]:
        """Counted when handed out, so that a budget is kept whatever the readers do."""
        for item in items:
            self._drain(parts)
            if self._spent():
                return
            self.objects += 1
            self.bytes += item.promised.size
            yield dressed(item)

    @contextmanager
    def _reader(self, ids: tuple[bytes, bytes]) -> Iterator[Callable[[Item], None]]:
        reader = ObjectReader(self._repository.store, ids)
        yield lambda item: self._answers.append(reader.read(item))

    def _drain(self, parts: Mapping[str, _Part]) -> None:
        """In the calling thread, which alone owns progress and findings."""
        while self._answers:
            answer = self._answers.pop()
            item, part = answer.item, parts[answer.item.generation]
            for fault in answer.faults:
                part.add(fault)
            if answer.bad:
                part.bad[_pack(item.promised.name)] = set(answer.bad)
            if not answer.faults:
                self._progress.mark(item.generation, last_part(item.promised.name))
            self._system.tell(Advanced(task=self._ask.task, bytes=item.promised.size, items=1))

    def finish(self, parts: Sequence[_Part]) -> int:
        """How much of the round is left; a round that is through begins anew next time."""
        if not self._ask.level:
            return 0
        self._progress.forget_others({part.generation.id for part in parts})
        left = sum(len(self._items(part)) for part in parts)
        if not left:
            self._progress.finish()
        return left


def _keyed(item: Item, part: _Part, opened: Opened, unwrap: Unwrap) -> Item:
    name = item.promised.name
    if "/packs/" not in name:
        return item
    snapshot = part.generation.commits[item.promised.session]
    return Item(
        generation=item.generation,
        promised=item.promised,
        size=item.size,
        rows=opened.rows(_pack(name)),
        unwrap=lambda envelope: unwrap(envelope, snapshot),
    )


def _pack(name: str) -> str:
    return name.rpartition("/")[2]


# --- after the reading


def _settle(repository: Repository, ask: Scrub, parts: list[_Part]) -> list[Finding]:
    """Before damage is told: is it still this repository, and did a forget take the generation?"""
    hurt = [part for part in parts if part.faults]
    if hurt and open_repository(repository.store).id != repository.id:
        raise StoreError(f"{repository.store.url} became another repository while it was read")
    gone = []
    for part in hurt:
        now = read_generation(repository, ask.domain, part.generation.id, ask.pins)
        if now.expired:
            parts.remove(part)
            gone.append(
                Finding(
                    level="pass",
                    what="expired",
                    message=f"generation {part.generation.id} was let go while it was read",
                )
            )
    return gone


def _hits(repository: Repository, ask: Scrub, part: _Part, system: System) -> list[Hit]:
    """Which snapshots, and with an identity which files."""
    if ask.unwrap is None:
        return list(maybe_hit(part.generation, hit(part.faults.values(), part.lists)))
    packs = frozenset(_pack(name) for name in part.faults if "/packs/" in name)
    with closing(Opened(repository, part.generation, ask.unwrap, system)) as opened:
        for fault in opened.load(part.lists, packs):
            part.add(fault)
        ids = repository.raw_id, bytes.fromhex(ask.domain)
        reader = ObjectReader(repository.store, ids)
        records = {
            pack: frozenset(_bad_records(reader, part, opened, ask.unwrap, pack)) for pack in packs
        }
        return list(opened.hits(Bad(records=records)))


def _bad_records(
    reader: ObjectReader, part: _Part, opened: Opened, unwrap: Unwrap, pack: str
) -> Sequence[int]:
    """Of one faulty pack: read (again) with its records, as far as it goes."""
    if pack in part.bad:
        return tuple(part.bad[pack])
    session = pack.partition("-")[0]
    rows = opened.rows(pack)
    size = part.generation.packs.get(pack)
    if size is None:
        return [row.at for row in rows]
    end = max((row.at + row.stored for row in rows), default=0)
    whole = Promised(
        name=names.pack(
            part.generation.commits[session].domain,
            part.generation.id,
            session,
            int(pack.partition("-")[2]),
        ),
        session=session,
        size=min(size, end),
        sha256=b"",
    )
    snapshot = part.generation.commits[session]
    item = Item(
        generation=part.generation.id,
        promised=whole,
        size=size,
        rows=rows,
        unwrap=lambda envelope: unwrap(envelope, snapshot),
    )
    return reader.read(item).bad

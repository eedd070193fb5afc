"""Objects that live backups need and a store has lost, put back from another store."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from drkit.errors import AlreadyExists, Damaged
from drkit.events import Advanced, Finished, Started
from drkit.model.finding import Finding
from drkit.model.pins import Pins
from drkit.repository import names
from drkit.repository.copies.carry import Unfit, fetched, lanes, readable, with_buffers
from drkit.repository.copies.plan import LIMIT, NEXT_FULL, Until, check_pair, pending, unlocked
from drkit.repository.history import Generation, read_history
from drkit.repository.pack import waiting_room
from drkit.repository.packlists import Fault, Packlist, Promised, Read, promised, read_packlists
from drkit.repository.repository import Repository, body
from drkit.repository.signed import Begin, Open, Where, decode
from drkit.stores.base import Body
from drkit.stores.locked import locked
from drkit.system import System

_BY_HAND = "nothing is overwritten: take it away there by hand, with all its versions, and run "
_STUCK = _BY_HAND + f"drkit repair again; or {NEXT_FULL}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repairing:
    """What a repair is asked: `destination` is mended from `source`."""

    source: Repository
    destination: Repository
    domain: str
    pins: Pins
    spool: Path  # for objects on their way, where the destination has no staging of its own
    faults: tuple[Fault, ...] = ()  # what a scrub of the destination found
    dry_run: bool = False
    task: str = "repair"
    until: Until = unlocked
    copying: str = "drkit copy"  # the command for what was never here


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairDone:
    dry_run: bool  # nothing was put: `mended` would be
    mended: tuple[str, ...]
    bytes: int
    lost: tuple[tuple[str, str], ...]  # names that could not be mended, and why
    expired: tuple[str, ...]  # generations that lack something and are let go: left as they are
    uncopied: int  # backups of the source that were never here: for `drkit copy`
    findings: tuple[Finding, ...]


@dataclass(slots=True, kw_only=True)
class _Tally:
    mended: list[tuple[str, int]] = field(default_factory=list)  # many threads append
    lost: dict[str, str] = field(default_factory=dict)
    expired: list[str] = field(default_factory=list)


def repair(ask: Repairing, system: System) -> RepairDone:
    """Only what is missing can be put: what stands there with other bytes is told."""
    check_pair(ask.source, ask.destination)
    history = read_history(ask.destination, ask.domain, ask.pins)
    tally = _Tally()
    system.tell(Started(task=ask.task))
    for g in history.generations.values():
        if g.commits and not g.expired:
            _Mending(ask, g, tally, system).mend()
        elif g.expired and any(f.generation == g.id for f in ask.faults):
            tally.expired.append(g.id)
    system.tell(Finished(task=ask.task))
    waiting = pending(ask.source, ask.destination, ask.domain, ask.pins)
    return RepairDone(
        dry_run=ask.dry_run,
        mended=tuple(sorted(name for name, _ in tally.mended)),
        bytes=sum(size for _, size in tally.mended),
        lost=tuple(sorted(tally.lost.items())),
        expired=tuple(tally.expired),
        uncopied=len(waiting.sessions),
        findings=(
            *_findings(history.tampered(), tally),
            *_uncopied(ask, len(waiting.sessions)),
        ),
    )


def _findings(found: Sequence[Finding], tally: _Tally) -> Iterator[Finding]:
    yield from found
    for name, why in sorted(tally.lost.items()):
        hint = _STUCK if "stands there" in why else f"see another store; {NEXT_FULL}"
        yield Finding(level="fail", what="repair", message=f"{name}: {why}", hint=hint)


def _uncopied(ask: Repairing, count: int) -> Iterator[Finding]:
    """Never copied, or their outcomes were lost: a copy brings either."""
    if count:
        what = "1 backup of {} is" if count == 1 else f"{count:,} backups of {{}} are"
        yield Finding(
            level="warn",
            what="copy",
            message=f"{what.format(ask.source.store.url)} not here",
            hint=ask.copying,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Need:
    """An object of a live backup; `sha256` is None for what is signed in itself."""

    name: str
    size: int | None
    promised: Promised | None = None
    cls: type[Open] | type[Begin] | None = None
    where: Where | None = None


class _Mending:
    """One generation that is not expired."""

    def __init__(self, ask: Repairing, g: Generation, tally: _Tally, system: System) -> None:
        self._ask = ask
        self._g = g
        self._tally = tally
        self._system = system
        self._here = ask.source.store
        self._there = locked(ask.destination.store, ask.until(g.open))
        self._bad = {f.name for f in ask.faults if f.kind in {"hash", "record", "unreadable"}}

    def mend(self) -> None:
        """The small ones first: without a packlist nobody knows which packs there must be."""
        self._put(self._wrong(self._small_needs()))
        self._put(self._wrong(self._large_needs()))

    def _sizes(self) -> dict[str, int]:
        domain, g = self._ask.domain, self._g
        return {s.name: s.size for s in self._there.list(names.generation(domain, g.id))}

    def _wrong(self, needs: Iterable[_Need]) -> list[_Need]:
        """What is missing; what can't be mended is noted."""
        sizes = self._sizes()
        missing = []
        for need in needs:
            found = sizes.get(need.name)
            if found is None:
                missing.append(need)
            elif need.name in self._bad:
                self._tally.lost[need.name] = "it stands there damaged"
            elif need.size not in (None, found):
                why = f"it stands there with {found} bytes and must have {need.size}"
                self._tally.lost[need.name] = why
        return missing

    def _small_needs(self) -> Iterator[_Need]:
        domain, g = self._ask.domain, self._g
        opened = Where(repository=self._ask.source.id, domain=domain, generation=g.id)
        yield _Need(name=names.opened(domain, g.id), size=None, cls=Open, where=opened)
        for session, snapshot in g.commits.items():
            where = Where(
                repository=self._ask.source.id, domain=domain, generation=g.id, session=session
            )
            name = names.begin(domain, g.id, session)
            yield _Need(name=name, size=None, cls=Begin, where=where)
            size, sha256 = snapshot.packlist
            what = Promised(
                name=names.packlist(domain, g.id, session),
                session=session,
                size=size,
                sha256=bytes.fromhex(sha256),
            )
            yield _Need(name=what.name, size=size, promised=what)

    def _large_needs(self) -> Iterator[_Need]:
        lists = self._lists()
        for what in promised(self._g, lists):
            yield _Need(name=what.name, size=what.size, promised=what)

    def _lists(self) -> Mapping[str, Read]:
        """Of here what is whole here; else of the source: the commit vouches for either."""
        lists = read_packlists(self._there, self._g, {})
        lost = [s for s, read in lists.items() if isinstance(read, Fault)]
        if lost:
            part = Generation(id=self._g.id, commits={s: self._g.commits[s] for s in lost})
            lists |= read_packlists(self._here, part, {})
        for session in lost:
            name = names.packlist(self._ask.domain, self._g.id, session)
            if isinstance(lists[session], Packlist) and name not in self._mended():
                self._tally.lost.setdefault(name, "it stands there with other bytes")
        return lists

    def _mended(self) -> set[str]:
        return {name for name, _ in self._tally.mended}

    def _put(self, needs: list[_Need]) -> None:
        if not needs:
            return
        if self._ask.dry_run:
            for need in needs:
                self._would(need)
            return
        if names.expired(self._ask.domain, self._g.id) in self._sizes():
            self._tally.expired.append(self._g.id)
            return
        spool = waiting_room(self._there, self._ask.spool)[0]
        put: list[tuple[_Need, int]] = []

        def one(need: _Need, buffer: memoryview) -> None:
            try:
                with self._fetched(need, spool, buffer) as found, suppress(AlreadyExists):
                    self._there.put(need.name, found)
                    put.append((need, found.size))
            except Damaged as error:
                self._tally.lost[need.name] = error.message

        with_buffers(needs, one, lanes(self._here, self._there))
        self._look_again(put)

    def _look_again(self, put: list[tuple[_Need, int]]) -> None:
        sizes = self._sizes()
        for need, size in put:
            if sizes.get(need.name) == size:
                self._tally.mended.append((need.name, size))
                self._system.tell(Advanced(task=self._ask.task, bytes=size, items=1))
            else:
                self._tally.lost[need.name] = "it was put, and is not listed"
        if names.expired(self._ask.domain, self._g.id) in sizes:
            self._tally.expired.append(self._g.id)

    @contextmanager
    def _fetched(self, need: _Need, spool: Path, buffer: memoryview) -> Iterator[Body]:
        if need.promised is not None:
            with fetched(need.promised, self._here, spool, buffer) as found:
                yield found
        else:
            yield body(self._signed(need))

    def _signed(self, need: _Need) -> bytes:
        """Of an `open` or a begin: no hash of it stands anywhere, its signature has to do."""
        assert need.cls is not None
        assert need.where is not None
        with readable(need.name, self._here):
            data = self._here.read(need.name, LIMIT)
        _, public = decode(need.cls, data, need.where)
        if self._ask.pins.writers and public not in self._ask.pins.writers:
            raise Unfit(f"{need.name} is signed by a key that the policy does not pin")
        return data

    def _would(self, need: _Need) -> None:
        """As far as it can be told without reading it."""
        try:
            with readable(need.name, self._here):
                size = self._here.size(need.name)
        except Unfit as error:
            self._tally.lost[need.name] = error.message
            return
        if need.size in (None, size):
            self._tally.mended.append((need.name, size))
        else:
            why = f"it has {size} bytes in {self._here.url} and must have {need.size}"
            self._tally.lost[need.name] = why

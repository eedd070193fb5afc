"""A domain's sessions copied to another store, byte for byte, without keys; the order counts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TypeVar

from drkit.errors import AlreadyExists, Damaged, DrkitError, NotFound, StoreError
from drkit.events import Advanced, Finished, Started
from drkit.model.finding import Finding
from drkit.model.snapshot import Snapshot
from drkit.repository import names
from drkit.repository.copies.carry import Unfit, carry, readable
from drkit.repository.copies.plan import (
    LIMIT,
    NEXT_FULL,
    Committed,
    CopyDone,
    CopyPlan,
    Left,
    Pending,
    believed,
    committed,
    ordered,
    pending,
    refusal,
    tampering,
)
from drkit.repository.copies.wal import WalCopy
from drkit.repository.history import Generation, list_generation
from drkit.repository.pack import waiting_room
from drkit.repository.packlists import (
    Fault,
    Packlist,
    Promised,
    Read,
    listing_faults,
    promised,
    read_packlists,
)
from drkit.repository.repository import body
from drkit.repository.signed import Begin, Commit, Open, Where, decode
from drkit.stores.locked import locked
from drkit.system import System

T = TypeVar("T", Open, Begin)


class _Leave(DrkitError):
    """This session is not copied; `rest`: nor are the others of its generation."""

    def __init__(self, why: str, finding: Finding | None = None, *, rest: bool = False) -> None:
        super().__init__(why)
        self.finding = finding
        self.rest = rest


@dataclass(slots=True, kw_only=True)
class _Tally:
    plan: CopyPlan
    system: System
    left: list[Left]
    never: tuple[Left, ...]
    findings: list[Finding]
    copied: list[tuple[str, str]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)  # of what was put; many threads append

    def put(self, size: int) -> None:
        self.sizes.append(size)
        self.read(size)

    def read(self, size: int) -> None:
        """Told before it is put: a large one takes its time."""
        self.system.tell(Advanced(task=self.plan.task, bytes=size))

    def done(self, found: Pending) -> CopyDone:
        return CopyDone(
            copied=tuple(self.copied),
            there=found.there,
            objects=len(self.sizes),
            bytes=sum(self.sizes),
            left=tuple(self.left),
            never=self.never,
            findings=tuple(dict.fromkeys(self.findings)),
        )


def copy_domain(plan: CopyPlan, system: System) -> CopyDone:
    """What the destination lacks, oldest first; run again, it goes on where it was."""
    found = pending(plan.source, plan.destination, plan.domain, plan.pins)
    tally = _Tally(
        plan=plan,
        system=system,
        left=list(found.left),
        never=found.left,
        findings=list(found.findings),
    )
    total = sum(c.snapshot.added for c in found.sessions)
    system.tell(Started(task=plan.task, total_bytes=total, total_items=len(found.sessions)))
    wal = WalCopy(plan, tally.findings, tally.put)
    for sessions in _by_generation(found.sessions):
        _GenerationCopy(plan, sessions, wal, tally).copy()
    wal.catch_up(found.newest)
    system.tell(Finished(task=plan.task))
    return tally.done(found)


def _by_generation(sessions: Sequence[Committed]) -> Iterator[list[Committed]]:
    groups: dict[str, list[Committed]] = {}
    for one in sessions:
        groups.setdefault(one.snapshot.generation, []).append(one)
    yield from (list(ordered(group)) for group in groups.values())


class _GenerationCopy:
    """Each step is one of the protocol's, at the destination."""

    def __init__(
        self, plan: CopyPlan, sessions: list[Committed], wal: WalCopy, tally: _Tally
    ) -> None:
        self._plan = plan
        self._sessions = sessions
        self._wal = wal
        self._tally = tally
        self._id = sessions[0].snapshot.generation
        self._here = plan.source.store
        self._there = plan.destination.store  # after `open`: locked as that says
        self._opened = False
        self._commits: dict[str, Committed | None] = {c.snapshot.session: c for c in sessions}

    def copy(self) -> None:
        for number, one in enumerate(self._sessions):
            try:
                self._session(one)
            except _Leave as leave:
                if leave.finding is not None:
                    self._tally.findings.append(leave.finding)
                rest = self._sessions[number:] if leave.rest else [one]
                left = ((self._id, c.snapshot.session, leave.message) for c in rest)
                self._tally.left.extend(left)
                if leave.rest:
                    return

    def _session(self, one: Committed) -> None:
        self._begin(one.snapshot)
        g = self._look(one.snapshot)
        lists = self._packs(one.snapshot, g)
        self._wal.copy(one.snapshot)
        self._check(one.snapshot, lists)
        self._outcome(one)
        self._tally.copied.append((self._id, one.snapshot.session))
        self._tally.system.tell(Advanced(task=self._plan.task, items=1))

    def _where(self, session: str | None = None) -> Where:
        return Where(
            repository=self._plan.source.id,
            domain=self._plan.domain,
            generation=self._id,
            session=session,
        )

    # 2
    def _begin(self, snapshot: Snapshot) -> None:
        """Put before anything else: whoever closes the generation there sees this session."""
        if not self._opened:
            name = names.opened(self._plan.domain, self._id)
            data, opened = self._small(Open, name, self._where())
            self._there = locked(self._there, self._plan.until(opened))
            self._put_same(name, data)
            self._opened = True
        name = names.begin(self._plan.domain, self._id, snapshot.session)
        self._put_same(name, self._small(Begin, name, self._where(snapshot.session))[0])

    def _small(self, cls: type[T], name: str, where: Where) -> tuple[bytes, T]:
        """Damaged or foreign it must not stand there as good: a name is given once."""
        try:
            with readable(name, self._here):
                data = self._here.read(name, LIMIT)
            said, public = decode(cls, data, where)
        except Unfit as error:
            self._unfit(error)
        except Damaged as error:
            raise _Leave("damaged here", tampering(f"{name}: {error.message}")) from error
        pinned = self._plan.pins.writers
        if pinned and public not in pinned:
            what = f"{name} is signed by a key that the policy does not pin"
            raise _Leave("not of a pinned writer", tampering(what))
        return data, said

    def _put_same(self, name: str, data: bytes) -> None:
        try:
            self._there.put(name, body(data))
        except AlreadyExists:
            if self._there.read(name, LIMIT) != data:
                what = f"{name} is another one at the copy than here"
                raise _Leave("taken there by something else", tampering(what)) from None
        else:
            self._tally.put(len(data))

    def _unfit(self, error: Unfit) -> NoReturn:
        finding = Finding(
            level="fail",
            what="damage",
            message=f"{error.message}: its session is not copied",
            hint=f"drkit scrub tells what is hit; {NEXT_FULL}",
        )
        raise _Leave("missing or damaged here", finding) from error

    # 3
    def _look(self, snapshot: Snapshot) -> Generation:
        """A listing without what was just put can't be trusted to show what others have put."""
        g = list_generation(self._there, self._plan.domain, self._id)
        if snapshot.session not in g.begins:
            raise StoreError(
                f"{self._there.url} does not list what was just put there of session "
                f"{snapshot.session}: it is not copied",
                hint="is it still the same disk or bucket? check the store with: drkit doctor",
            )
        if g.closed or g.swept:
            how = "expired" if g.swept else "closed"
            raise _Leave(f"its generation is {how} there", rest=True)
        if self._wal.below_floor(snapshot):
            raise _Leave("it starts below the WAL floor there", rest=True)
        if snapshot.parent is not None and not self._stands_there(snapshot.parent, g):
            raise _Leave(f"session {snapshot.parent}, on which it builds, is not there")
        return g

    def _stands_there(self, session: str, g: Generation) -> bool:
        """The very commit that the source has: nothing else has its size."""
        held, known = g.outcomes.get(session), self._commit(session)
        return held is not None and known is not None and held.size == len(known.data)

    def _commit(self, session: str) -> Committed | None:
        """As the source has it."""
        if session not in self._commits:
            self._commits[session] = self._read_commit(session)
        return self._commits[session]

    def _read_commit(self, session: str) -> Committed | None:
        name = names.outcome(self._plan.domain, self._id, session)
        try:
            data = self._here.read(name, LIMIT)
        except NotFound:
            return None
        said = believed(data, self._where(session), self._plan.pins)
        if not isinstance(said, Commit):
            return None
        return committed(said, data, self._where(session), said.ended)

    # 4
    def _packs(self, snapshot: Snapshot, g: Generation) -> dict[str, Read]:
        """What is there with its size is not sent again; `_check` looks at all of it."""
        lists = read_packlists(self._here, self._of(snapshot), {})
        read = lists[snapshot.session]
        if isinstance(read, Fault):
            self._unfit(Unfit(read.message))
        missing = [what for what in self._objects(snapshot, lists) if self._lacks(what, g)]
        if missing:
            spool = waiting_room(self._there, self._plan.spool)[0]
            try:
                self._carry(missing, spool)
            except Unfit as error:
                self._unfit(error)
        return lists | self._used(read, g)

    def _carry(self, missing: list[Promised], spool: Path) -> None:
        sizes = self._tally.sizes
        carry(
            missing,
            self._here,
            self._there,
            spool,
            lambda what: sizes.append(what.size),
            self._tally.read,
        )

    def _of(self, *snapshots: Snapshot) -> Generation:
        return Generation(id=self._id, commits={s.session: s for s in snapshots})

    def _objects(self, snapshot: Snapshot, lists: dict[str, Read]) -> list[Promised]:
        """Packs, then manifest and packlist."""
        size, sha256 = snapshot.packlist
        packlist = Promised(
            name=names.packlist(self._plan.domain, self._id, snapshot.session),
            session=snapshot.session,
            size=size,
            sha256=bytes.fromhex(sha256),
        )
        manifest, *packs = promised(self._of(snapshot), lists)
        return [*packs, manifest, packlist]

    def _lacks(self, what: Promised, g: Generation) -> bool:
        last = what.name.rpartition("/")[2]
        sizes = {"pack": g.packs, "manifest": g.manifests, "packlist": g.packlists}
        said = names.parse(what.name)
        assert said is not None
        found = sizes[said.kind].get(last)
        if found is None or found == what.size:
            return found is None
        raise _Leave(
            "a name of it is taken there by something else",
            Finding(
                level="fail",
                what="damage",
                message=f"{what.name} has {found} bytes at the copy, and must have {what.size}: "
                "its session is not copied",
                hint=f"nothing is overwritten: take it away there by hand; or {NEXT_FULL}",
            ),
        )

    def _used(self, read: Packlist, g: Generation) -> dict[str, Read]:
        """Of the sessions whose packs are referenced, as the copy holds them."""
        used = [self._commit(session) for session in read.uses if self._stands_there(session, g)]
        snapshots = [one.snapshot for one in used if one is not None]
        return read_packlists(self._there, self._of(*snapshots), {})

    # 5
    def _check(self, snapshot: Snapshot, lists: dict[str, Read]) -> None:
        """All that the packlist names, own and used, and the WAL: seen in a listing."""
        g = list_generation(self._there, self._plan.domain, self._id)
        g.commits = {s: c.snapshot for s in lists if (c := self._commit(s)) is not None}
        lacking = [fault.message for fault in listing_faults(g, lists)]
        if g.packlists.get(snapshot.session) != snapshot.packlist[0]:
            lacking.append(f"the packlist of session {snapshot.session} is not listed")
        lacking += self._wal.lacking(snapshot)
        if lacking:
            more = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
            finding = Finding(
                level="fail",
                what="copy",
                message=f"session {snapshot.session} is not whole at the copy: {lacking[0]}{more}",
                hint="run drkit copy again; drkit repair puts back what earlier sessions lack",
            )
            raise _Leave("not whole there", finding)

    # 6
    def _outcome(self, one: Committed) -> None:
        """Byte for byte; what reads back decides."""
        session = one.snapshot.session
        name = names.outcome(self._plan.domain, self._id, session)
        refused: StoreError | None = None
        try:
            self._there.put(name, body(one.data))
            self._tally.put(len(one.data))
        except AlreadyExists:
            pass
        except StoreError as error:
            refused = error
        try:
            found = self._there.read(name, LIMIT)
        except StoreError as error:
            raise refused or error from error
        if found != one.data:
            why, finding = refusal(found, self._where(session))
            raise _Leave(why, finding, rest=True)
        if refused is not None and not refused.transient:  # there, and perhaps not durable
            raise refused

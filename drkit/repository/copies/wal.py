"""WAL brought to another store: from a commit's start on, as far as there is any."""

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from drkit.errors import AlreadyExists, Damaged
from drkit.model.finding import Finding
from drkit.model.snapshot import Snapshot
from drkit.repository import names
from drkit.repository.copies.carry import Unfit, fetched_as_is, lanes, with_buffers
from drkit.repository.copies.plan import LIMIT, WHO, CopyPlan, believed
from drkit.repository.names import Name
from drkit.repository.pack import waiting_room
from drkit.repository.signed import Commit, Where
from drkit.repository.wal_floor import END, SEGMENT, START, span_of
from drkit.repository.walobject import LARGEST, Place, read_header
from drkit.stores.base import Body, Store
from drkit.stores.locked import locked


@dataclass(frozen=True, slots=True, kw_only=True)
class _Range:
    start: int
    end: int
    segment: int


def _range(snapshot: Snapshot) -> _Range | None:
    """None: its source has no WAL."""
    details = snapshot.facts.details
    start, end, segment = (details.get(key) for key in (START, END, SEGMENT))
    if not isinstance(start, int) or not isinstance(segment, int) or segment <= 0:
        return None
    return _Range(start=start, end=end if isinstance(end, int) else start, segment=segment)


class WalCopy:
    """Of one domain; each object is sealed and signed on its own."""

    def __init__(self, plan: CopyPlan, findings: list[Finding], put: Callable[[int], None]) -> None:
        self._plan = plan
        self._findings = findings
        self._put = put
        self._here = plan.source.store
        self._there = locked(plan.destination.store, plan.until(None))
        self._listed: dict[str, int] | None = None
        self._held: dict[str, int] | None = None
        self._tried: set[str] = set()

    def _names(self) -> dict[str, int]:
        """Listed after the outcomes: what those need is there by now."""
        if self._listed is None:
            self._listed = self._wal(self._here)
        return self._listed

    def _at_copy(self) -> dict[str, int]:
        if self._held is None:
            self._held = self._wal(self._there)
        return self._held

    def _wal(self, store: Store) -> dict[str, int]:
        return {s.name: s.size for s in store.list(names.wal(self._plan.domain))}

    def _floor(self) -> int:
        """Anything that stands there counts."""
        listed = self._there.list(names.floors(self._plan.domain))
        said = (names.parse(stored.name) for stored in listed)
        return max((n.lsn for n in said if n is not None and n.lsn is not None), default=0)

    def below_floor(self, snapshot: Snapshot) -> bool:
        wanted = _range(snapshot)
        return wanted is not None and wanted.start < self._floor()

    def copy(self, snapshot: Snapshot) -> None:
        wanted = _range(snapshot)
        if wanted is not None:
            self._bring(wanted.start, wanted.segment)

    def catch_up(self, newest: tuple[str, str] | None) -> None:
        """What came since the last copied session; holes that a killed run left are filled."""
        if newest is None or not self._names():
            return
        wanted = self._range_of(*newest)
        if wanted is None:
            return
        spans = (span_of(said, wanted.segment) for said in _parsed(self._at_copy()))
        starts = [span[0] for span in spans if span is not None]
        if starts:
            self._bring(max(min(starts), self._floor()), wanted.segment)

    def _range_of(self, generation: str, session: str) -> _Range | None:
        where = Where(
            repository=self._plan.source.id,
            domain=self._plan.domain,
            generation=generation,
            session=session,
        )
        data = self._here.read(names.outcome(where.domain, generation, session), LIMIT)
        said = believed(data, where, self._plan.pins)
        if not isinstance(said, Commit):
            return None
        details = said.facts.details
        segment = details.get(SEGMENT)
        if not isinstance(segment, int) or segment <= 0:
            return None
        return _Range(start=0, end=0, segment=segment)

    def _bring(self, start: int, segment: int) -> None:
        held = self._at_copy()
        missing = []
        for name, size in self._names().items():
            if name in self._tried or not _reaches(name, start, segment):
                continue
            self._tried.add(name)
            if name not in held:
                missing.append((name, size))
            elif held[name] != size:
                self._odd(f"{name} is another one at the copy than here")
        if missing:
            spool = waiting_room(self._there, self._plan.spool)[0]

            def one(what: tuple[str, int], buffer: memoryview) -> None:
                try:
                    with fetched_as_is(*what, self._here, spool, buffer) as found:
                        self._carried(what[0], found)
                except Unfit:
                    pass  # gone meanwhile, or unreadable: whoever needs it will miss it
                except Damaged as error:
                    self._odd(error.message)

            with_buffers(missing, one, lanes(self._here, self._there))

    def _carried(self, name: str, found: Body) -> None:
        if found.size > LARGEST + (LARGEST >> 4):
            raise Damaged(f"{name} is larger than WAL can be")
        signer = _signer(found, self._place(name))
        pinned = self._plan.pins.writers
        if pinned and signer not in pinned:
            raise Damaged(f"{name} is signed by a key that the policy does not pin")
        try:
            self._there.put(name, found)
        except AlreadyExists:
            return
        self._put(found.size)

    def _place(self, name: str) -> Place:
        return Place(repository=self._plan.source.id, domain=self._plan.domain, name=name)

    def _odd(self, message: str) -> None:
        self._findings.append(Finding(level="fail", what="tampering", message=message, hint=WHO))

    def lacking(self, snapshot: Snapshot) -> list[str]:
        """Of the WAL from its start to its end, by a listing."""
        wanted = _range(snapshot)
        if wanted is None:
            return []
        held = list(_parsed(self._wal(self._there)))
        return [
            f"the WAL at {start:X} is not there"
            for start in range(
                wanted.start - wanted.start % wanted.segment, wanted.end + 1, wanted.segment
            )
            if not _covered(start, min(wanted.end - start, wanted.segment), wanted.segment, held)
        ]


def _parsed(listed: dict[str, int]) -> Iterator[Name]:
    yield from (said for name in listed if (said := names.parse(name)) is not None)


def _reaches(name: str, start: int, segment: int) -> bool:
    """Whether a restore from there may need it."""
    said = names.parse(name)
    if said is None or said.kind not in {"wal", "piece", "conflict"}:
        return False
    span = span_of(said, segment)
    return span is None or span[1] > start


def _covered(start: int, length: int, segment: int, held: list[Name]) -> bool:
    """As a segment, or as pieces from its begin without a hole."""
    at = [said for said in held if (span := span_of(said, segment)) and span[0] == start]
    if any(said.kind == "wal" and len(said.file or "") == 24 for said in at):
        return True
    reach = 0
    pieces = sorted((s.start or 0, s.end or 0) for s in at if s.kind == "piece")
    for first, last in pieces:
        if first <= reach:
            reach = max(reach, last)
    return reach >= length


def _signer(found: Body, place: Place) -> bytes:
    """Whoever signed it; a large one is looked at in its file."""
    if found.data is not None:
        return read_header(found.data, place).signer
    assert found.fd is not None
    # not closed by hand: an error's traceback may still look into it
    whole = mmap.mmap(found.fd, found.size, prot=mmap.PROT_READ)
    return read_header(memoryview(whole), place).signer

"""A forget carried out: closed, fences, a second look, expired, deletes; the order counts."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from drkit.crypto.sign import SignerKey
from drkit.errors import ConfigError, Damaged, NotFound, StoreError
from drkit.events import Advanced, Finished, Started
from drkit.model import retention
from drkit.model.finding import Finding
from drkit.model.retention import CLOCKS_APART
from drkit.model.units import roughly
from drkit.repository import names
from drkit.repository.expiry import (
    ForgetPlan,
    Forgetting,
    Looked,
    Seen,
    decide,
    decide_remains,
    leftovers,
    look,
    stale_sessions,
)
from drkit.repository.forget_wal import forget_wal
from drkit.repository.repository import Repository, open_repository, put_if_absent
from drkit.repository.signed import Closed, Expired, Fence, Where, decode, encode
from drkit.repository.transfer import parallel
from drkit.system import System

_LIMIT = 64 << 10
_DELETERS = 8  # requests in flight: a delete is a round trip and nothing else


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetDone:
    plan: str
    closed: tuple[str, ...]
    fenced: tuple[tuple[str, str], ...]  # generation and session
    expired: tuple[str, ...]
    spared: tuple[tuple[str, str], ...]  # generation and why
    waiting: tuple[tuple[str, datetime], ...]  # generations expired too recently, and until when
    deleted: int
    freed: int  # bytes
    refused: tuple[tuple[str, str], ...]  # names, and what the store said
    floor: int | None  # the WAL floor put
    findings: tuple[Finding, ...]


@dataclass(slots=True, kw_only=True)
class _Tally:
    closed: list[str] = field(default_factory=list)
    fenced: list[tuple[str, str]] = field(default_factory=list)
    expired: list[str] = field(default_factory=list)
    spared: list[tuple[str, str]] = field(default_factory=list)
    waiting: list[tuple[str, datetime]] = field(default_factory=list)
    deleted: list[int] = field(default_factory=list)  # sizes
    refused: list[tuple[str, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def forget(
    repository: Repository, plan: ForgetPlan, ask: Forgetting, signer: SignerKey, system: System
) -> ForgetDone:
    _may(repository, plan, ask, signer)
    run = _Run(repository, plan, ask, signer, system)
    system.tell(Started(task=ask.task))
    first = look(repository, ask, run.seen)
    going = run.still_going(first)
    run.close(going)
    run.fence(going, first)
    second = look(repository, ask, run.seen)
    now = run.store_now()
    run.expire(going, second, now)
    run.sweep(second, now)
    floor, gone = forget_wal(repository, ask, signer, second, now)
    for batch in gone:
        run.delete(batch)
    system.tell(Finished(task=ask.task))
    return run.done(floor)


def _may(repository: Repository, plan: ForgetPlan, ask: Forgetting, signer: SignerKey) -> None:
    """Asked again now: a newer drkit may have been here since the plan was made."""
    if open_repository(repository.store).id != repository.id:
        raise Damaged(f"{repository.store.url} is another repository than it was")
    if plan.domain != ask.domain:
        raise ValueError("a plan is applied to its own domain")
    if ask.pins.maintainers and signer.public not in ask.pins.maintainers:
        raise ConfigError(
            f"this machine's key {signer.public_text} is not pinned as a maintainer: nobody would "
            "believe its forget",
            hint="run it where the maintainer's key is, or pin this one under encryption: signers",
        )


class _Run:
    def __init__(
        self,
        repository: Repository,
        plan: ForgetPlan,
        ask: Forgetting,
        signer: SignerKey,
        system: System,
    ) -> None:
        self._repository = repository
        self._store = repository.store
        self._plan = plan
        self._ask = ask
        self._signer = signer
        self._system = system
        self._tally = _Tally()
        self._made: list[str] = []  # generations whose `closed` this very run has put
        self.seen = Seen()

    # 1, 2
    def still_going(self, looked: Looked) -> list[retention.Decision]:
        """Decided again at the time of use; what is spared here is left as it was."""
        decisions = _by_generation(decide(looked, self._ask, self._system.now()))
        going = []
        for id in self._plan.expire:
            decision = decisions.get(id)
            if decision is None:  # another forget has expired it
                continue
            if decision.keep:
                self._tally.spared.append((id, ", ".join(decision.reasons)))
            else:
                going.append(decision)
        return going

    # 3
    def close(self, going: Sequence[retention.Decision]) -> None:
        for decision in going:
            closed = Closed(
                by=self._signer.public_text,
                at=self._system.now(),
                reason="; ".join(decision.reasons),
                plan=self._plan.id,
            )
            data = encode(closed, self._where(decision.generation), self._signer)
            name = names.closed(self._ask.domain, decision.generation)
            if put_if_absent(self._store, name, data):
                self._made.append(decision.generation)
            self._tally.closed.append(decision.generation)

    # 4
    def fence(self, going: Sequence[retention.Decision], looked: Looked) -> None:
        """Begins are listed after `closed` is there: a writer that is not seen here sees that."""
        for decision in going:
            for session in self._without_outcome(decision.generation):
                self._fence(decision.generation, session, "its generation is let go")
        patience = self._ask.rules.patience
        for generation, session in stale_sessions(looked, patience, self._system.now()):
            if generation not in {d.generation for d in going}:
                self._fence(generation, session, f"no outcome after {roughly(patience)}")

    def _without_outcome(self, generation: str) -> list[str]:
        domain = self._ask.domain
        begun = self._sessions(names.begins(domain, generation))
        ended = set(self._sessions(names.outcomes(domain, generation)))
        return [session for session in begun if session not in ended]

    def _sessions(self, prefix: str) -> list[str]:
        parsed = (names.parse(stored.name) for stored in self._store.list(prefix))
        return [name.session for name in parsed if name is not None and name.session is not None]

    def _fence(self, generation: str, session: str, reason: str) -> None:
        """What is there first counts: a commit is honoured, another fence is as good.

        It speaks for this store alone: of two that went apart, each holds sessions of the other.
        """
        fence = Fence(
            reason=reason,
            by=self._signer.public_text,
            at=self._system.now(),
            scope=self._repository.store_id or None,
        )
        data = encode(fence, self._where(generation, session), self._signer)
        name = names.outcome(self._ask.domain, generation, session)
        if put_if_absent(self._store, name, data):
            self._tally.fenced.append((generation, session))

    # 5
    def store_now(self) -> datetime:
        """The earlier of this machine's clock and the store's, where this run can know that one."""
        now = self._system.now()
        if not self._made:
            return now
        name = names.closed(self._ask.domain, self._made[-1])
        put = [s.modified for s in self._store.list(name) if s.name == name]
        if put and abs(now - put[0]) > CLOCKS_APART:
            apart = roughly(abs(now - put[0]))
            self._tally.findings.append(
                Finding(
                    level="warn",
                    what="clocks",
                    message=f"the store's clock and this machine's are {apart} apart: "
                    "the earlier one counts",
                    hint="set the wrong one right: what is too old is decided with it",
                )
            )
        return min([now, *put])

    # 5, 6
    def expire(self, going: Sequence[retention.Decision], looked: Looked, now: datetime) -> None:
        decisions = _by_generation(decide(looked, self._ask, now))
        gone = {d.generation for d in going if _goes(decisions.get(d.generation), looked)}
        for decision in going:
            if decision.generation not in gone:
                self._stays_closed(decision.generation, decisions, looked)
            elif not _sound_outside(looked, gone):
                self._tally.spared.append((decision.generation, "no sound backup would be left"))
            else:
                self._expire(decision)

    def _stays_closed(
        self, id: str, decisions: dict[str, retention.Decision], looked: Looked
    ) -> None:
        g = looked.generations.get(id)
        if g is not None and g.expired:  # by another forget, in the meantime
            return
        decision = decisions.get(id)
        begun = g is not None and g.open_sessions and decision is not None and not decision.keep
        why = (
            "a session began meanwhile"
            if begun
            else ", ".join(decision.reasons if decision else ())
        )
        self._tally.spared.append((id, f"{why}; it stays closed, the next backup there is a full"))

    def _expire(self, decision: retention.Decision) -> None:
        id = decision.generation
        expired = Expired(
            by=self._signer.public_text,
            at=self._system.now(),
            reason="; ".join(decision.reasons),
            plan=self._plan.id,
        )
        name = names.expired(self._ask.domain, id)
        data = encode(expired, self._where(id), self._signer)
        if put_if_absent(self._store, name, data) or self._is_expired(name, id):
            self._tally.expired.append(id)
            due = self._system.now() + self._ask.rules.patience
            self._tally.waiting.append((id, due))

    def _is_expired(self, name: str, id: str) -> bool:
        """Another forget was faster, or somebody took the name."""
        try:
            _, public = decode(Expired, self._store.read(name, _LIMIT), self._where(id))
        except (Damaged, StoreError) as error:
            public, why = b"", error.message
        else:
            why = "its signer is not pinned as a maintainer"
        pinned = self._ask.pins.maintainers
        if public and (not pinned or public in pinned):
            return True
        self._tally.findings.append(
            Finding(
                level="fail",
                what="tampering",
                message=f"generation {id} can't be let go: `expired` is taken by something else: "
                f"{why}",
                hint="find out who has rights on the store, and take it away there",
            )
        )
        self._tally.spared.append((id, "its `expired` is taken by something else"))
        return False

    # 7
    def sweep(self, looked: Looked, now: datetime) -> None:
        """Of what the plan has shown, and a look just now lets go again."""
        shown = {remains.generation for remains in self._plan.remains if remains.allowed}
        for id, decision in decide_remains(looked, self._ask, now).items():
            due = looked.expired[id] + self._ask.rules.patience
            if decision.keep or id not in shown:
                continue
            if now < due:
                self._tally.waiting.append((id, due))
            else:
                self.delete(leftovers(self._ask.domain, looked.generations[id]))

    def delete(self, objects: Iterable[tuple[str, int]]) -> None:
        parallel(objects, lambda: _plain(self._delete), _DELETERS)

    def _delete(self, one: tuple[str, int]) -> None:
        """Refused: told, and tried again by the next forget. Gone already: fine."""
        name, size = one
        try:
            self._store.delete(name)
        except NotFound:
            return
        except StoreError as error:
            if error.transient:
                raise
            self._tally.refused.append((name, error.message))
            return
        self._tally.deleted.append(size)
        self._system.tell(Advanced(task=self._ask.task, bytes=size, items=1))

    def _where(self, generation: str, session: str | None = None) -> Where:
        return Where(
            repository=self._repository.id,
            domain=self._ask.domain,
            generation=generation,
            session=session,
        )

    def done(self, floor: int | None) -> ForgetDone:
        tally = self._tally
        return ForgetDone(
            plan=self._plan.id,
            closed=tuple(tally.closed),
            fenced=tuple(tally.fenced),
            expired=tuple(tally.expired),
            spared=tuple(tally.spared),
            waiting=tuple(tally.waiting),
            deleted=len(tally.deleted),
            freed=sum(tally.deleted),
            refused=tuple(sorted(tally.refused)),
            floor=floor,
            findings=tuple(tally.findings),
        )


def _by_generation(plan: retention.Plan) -> dict[str, retention.Decision]:
    return {decision.generation: decision for decision in plan.decisions}


def _goes(decision: retention.Decision | None, looked: Looked) -> bool:
    """Nothing goes with a session in it whose end nobody has put."""
    if decision is None or decision.keep:
        return False
    return not looked.generations[decision.generation].open_sessions


def _sound_outside(looked: Looked, gone: set[str]) -> bool:
    """The last line of defence, whatever the plan says: one sound backup is left to see."""
    return any(
        g.commits
        and not g.expired
        and not looked.lost.get(g.id)
        and g.id not in looked.proofs.damaged
        for g in looked.generations.values()
        if g.id not in gone
    )


@contextmanager
def _plain(
    handle: Callable[[tuple[str, int]], None],
) -> Iterator[Callable[[tuple[str, int]], None]]:
    yield handle

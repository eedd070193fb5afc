"""A store that loses answers, refuses, goes down, or answers something else than it holds."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from drkit.errors import StoreError
from drkit.stores.base import Body, Store, Stored
from drkit.stores.retry import Retrying
from drkit.system import System
from tests.fixtures.faulty_store import (
    Call,
    Fault,
    FaultyStore,
    number,
    numbers,
    on,
    put_of,
    refused,
    taken,
    unanswered,
)
from tests.fixtures.ledger import Ended, Ledger, change, soon, world

Prepare = Callable[[Ledger], None]
HASTY = System(now=soon, sleep=lambda _: None)  # tries again at once


def full(ledger: Ledger) -> None:
    """The first backup is next."""


def incremental(ledger: Ledger) -> None:
    for seed in (1, 2):
        ledger.run(ledger.world.back_up)
        change(ledger.world.tree, seed)


@pytest.fixture(params=[full, incremental])
def prepare(request: pytest.FixtureRequest) -> Prepare:
    return request.param  # type: ignore[no-any-return]


@dataclass(slots=True, kw_only=True)
class Bench:
    """The same backup again and again, each time in a world of its own and with another fault."""

    root: Path
    prepare: Prepare
    count: int = 0

    def calls(self) -> list[Call]:
        ledger = self.ledger()
        counting = FaultyStore(ledger.world.store)
        ledger.world.back_up(counting)
        return counting.calls

    def ledger(self) -> Ledger:
        self.count += 1
        ledger = Ledger(world=world(self.root / str(self.count)))
        self.prepare(ledger)
        return ledger

    def run(
        self, fault: Fault, wrapped: Callable[[Store], Store] = lambda store: store
    ) -> tuple[Ended, Ledger]:
        ledger = self.ledger()
        store = wrapped(FaultyStore(ledger.world.store, fault))
        return ledger.run(lambda: ledger.world.back_up(store)), ledger


@pytest.fixture
def bench(tmp_path: Path, prepare: Prepare) -> Bench:
    return Bench(root=tmp_path, prepare=prepare)


def retrying(store: Store) -> Store:
    return Retrying(store, HASTY)


def is_outcome(call: Call) -> bool:
    return call.kind == "outcome" and call.verb == "put"


def test_an_answer_that_gets_lost(bench: Bench) -> None:
    for call in bench.calls():
        ended, ledger = bench.run(Fault(after=on(number(call.number), unanswered)))
        if is_outcome(call):
            assert ended.session, f"{call}: it is there, and reads back: {ended}"
        else:
            assert (ended.code, ended.session) == (5, ""), f"{call}: {ended}"
        ledger.settle()


def test_a_request_that_gets_lost(bench: Bench) -> None:
    calls = bench.calls()
    for call in calls:
        ended, ledger = bench.run(Fault(before=on(number(call.number), unanswered)))
        assert (ended.code, ended.session) == (5, ""), f"{call}: {ended}"
        last = call.kind == "outcome" and call.number > len(calls) - 2
        assert ("outcome unknown" in ended.message) == last, f"{call}: {ended}"
        ledger.settle()


def test_with_retries_nothing_of_it_is_felt(bench: Bench) -> None:
    for call in bench.calls():
        once = on(number(call.number), unanswered)
        burst = on(numbers(call.number, call.number + 3), unanswered)
        for fault in (Fault(after=once), Fault(before=once), Fault(before=burst)):
            ended, ledger = bench.run(fault, retrying)
            assert ended.session, f"{call}: {ended}"
            ledger.settle()


def test_a_store_that_goes_down_for_good(bench: Bench) -> None:
    for call in bench.calls():
        for hook in (unanswered, refused):
            down = Fault(before=on(numbers(call.number), hook))
            ended, ledger = bench.run(down)
            assert (ended.code, ended.session) == (5, ""), f"{call}: {ended}"
            ledger.settle()


def test_retries_end_and_say_what_was_answered(bench: Bench) -> None:
    for call in bench.calls()[::3]:
        down = Fault(before=on(numbers(call.number), unanswered))
        ended, ledger = bench.run(down, retrying)
        assert ended.code == 5
        assert "connection reset by peer" in ended.message
        ledger.settle()


def test_a_refused_call(bench: Bench) -> None:
    for call in bench.calls():
        ended, ledger = bench.run(Fault(before=on(number(call.number), refused)))
        assert (ended.code, ended.session) == (5, ""), f"{call}: {ended}"
        assert "403" in ended.message
        ledger.settle()


PUTS = ("open", "begin", "pack", "packlist", "manifest", "outcome")


@pytest.mark.parametrize("kind", PUTS)
def test_a_condition_refused_though_nothing_is_there(bench: Bench, kind: str) -> None:
    ended, ledger = bench.run(Fault(before=first_of(kind, taken)))
    if kind == "pack" or (kind == "open" and bench.prepare is incremental):
        assert ended.session, f"{kind}: {ended}"
    else:
        assert ended.code == 5, f"{kind}: {ended}"
    ledger.settle()


def first_of(kind: str, hook: Callable[[Call], None]) -> Callable[[Call], None]:
    met: list[Call] = []

    def once(call: Call) -> None:
        if put_of(kind)(call) and not met:
            met.append(call)
            hook(call)

    return once


@pytest.mark.parametrize("kind", PUTS)
@pytest.mark.parametrize("size", [0, 10, 1000, 100_000])
def test_foreign_bytes_were_there_first(bench: Bench, kind: str, size: int) -> None:
    ledger = bench.ledger()

    def plant(call: Call) -> None:
        data = bytes(size)
        body = Body(size=size, sha256=hashlib.sha256(data).digest(), data=data)
        ledger.world.store.put(call.name, body)

    store = FaultyStore(ledger.world.store, Fault(before=first_of(kind, plant)))
    ended = ledger.run(lambda: ledger.world.back_up(store))
    if kind == "pack" or (kind == "open" and bench.prepare is incremental):
        assert ended.session, f"{kind}: {ended}"
    else:
        assert ended.code in (5, 6), f"{kind}: {ended}"
        assert ended.hint, f"{kind}: {ended}"
    ledger.tampered = kind in ("open", "outcome")
    ledger.settle()


def test_a_store_that_calls_every_name_taken(tmp_path: Path) -> None:
    """The next number and the next, but not for ever."""
    ended, ledger = Bench(root=tmp_path, prepare=full).run(Fault(before=on(put_of("pack"), taken)))
    assert (ended.code, ended.session) == (5, "")
    assert "already there" in ended.message
    ledger.settle()


def flipped(n: int) -> Callable[[Call, memoryview], None]:
    def answer(call: Call, view: memoryview) -> None:
        if call.number == n:
            view[len(view) // 2] ^= 0x10

    return answer


def test_a_read_that_returns_other_bytes(bench: Bench) -> None:
    """Never a success that isn't one: another look at the store, then, shows what was right."""
    calls = bench.calls()
    for call in calls:
        if call.verb not in ("read", "read_into"):
            continue
        ended, ledger = bench.run(Fault(answer=flipped(call.number)))
        assert ended.code in (5, 8) or ended.findings or ended.session, f"{call}: {ended}"
        if call.verb == "read_into" or call.number == len(calls):
            assert ended.code == 5, f"{call}: {ended}"
        ledger.settle()


def test_a_body_that_is_cut(bench: Bench) -> None:
    for call in bench.calls():
        if call.verb not in ("read", "read_into"):
            continue
        ended, ledger = bench.run(Fault(after=on(number(call.number), cut)))
        assert (ended.code, ended.session) == (5, ""), f"{call}: {ended}"
        ledger.settle()


def cut(call: Call) -> None:
    raise StoreError(f"{call.name} ends before its end")


def stale(n: int, newest: int) -> Fault:
    """The n-th call, a listing, misses so many of the newest objects."""

    def listed(call: Call, found: list[Stored]) -> Iterable[Stored]:
        if call.number != n:
            return found
        hidden = sorted(found, key=lambda s: s.modified)[-newest:]
        return [s for s in found if s not in hidden]

    return Fault(listed=listed)


@pytest.mark.parametrize("newest", [1, 2, 3, 8])
def test_a_listing_that_lags(bench: Bench, newest: int) -> None:
    for call in bench.calls():
        if call.verb == "list":
            ended, ledger = bench.run(stale(call.number, newest))
            assert ended.session or ended.code in (5, 8), f"{call}: {ended}"
            if ended.session and ledger.copies.keys() - {ended.session}:
                assert ended.kind == "incremental" or ended.findings, f"{call}: {ended}"
            ledger.settle()


def test_every_listing_lags(bench: Bench) -> None:
    """What was put is never listed: nothing may be committed."""
    ledger = bench.ledger()
    there = {s.name for s in ledger.world.store.list("")}
    fault = Fault(listed=lambda _call, found: [s for s in found if s.name in there])
    store = FaultyStore(ledger.world.store, fault)
    ended = ledger.run(lambda: ledger.world.back_up(store))
    assert ended.code in (5, 8), ended
    ledger.settle()


@pytest.mark.parametrize("transient", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_listing_that_breaks_off(bench: Bench, share: float, transient: bool) -> None:
    """It must never look like the end of the list."""
    for call in bench.calls():
        if call.verb != "list":
            continue
        for wrapped in (lambda store: store, retrying):
            ended, ledger = bench.run(broken(call.number, share, transient), wrapped)
            if transient and wrapped is retrying:
                assert ended.session, f"{call}: {ended}"
            else:
                assert ended.code == 5, f"{call}: {ended}"
                assert "broke off" in ended.message
            ledger.settle()


def broken(n: int, share: float, transient: bool) -> Fault:
    def listed(call: Call, found: list[Stored]) -> Iterator[Stored]:
        if call.number != n:
            yield from found
            return
        yield from found[: int(len(found) * share)]
        raise StoreError("the listing broke off", transient=transient)

    return Fault(listed=listed)

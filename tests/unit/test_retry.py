"""Retries: how often, how long, what is not retried, lost answers, the circuit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drkit.errors import AlreadyExists, NotFound, StoreError
from drkit.stores.base import Body, Stored
from drkit.stores.memory import MemoryStore
from drkit.stores.retry import Patience, Retrying
from drkit.system import System
from tests.fixtures.kinds import body

MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class World:
    """A clock that only sleeping moves."""

    clock: float = 0.0
    slept: list[float] = field(default_factory=list)
    random: Callable[[int], bytes] = lambda size: b"\xff" * size

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock += seconds

    def system(self) -> System:
        return System(
            now=lambda: MIDNIGHT + timedelta(seconds=self.clock),
            monotonic=lambda: self.clock,
            sleep=self.sleep,
            random_bytes=self.random,
        )


DOWN = StoreError("503 slow down", hint="look at the server", transient=True)


class Stumbling(MemoryStore):
    """Fails before or after its next calls, as its script says; listings break where it says."""

    def __init__(self, *script: str) -> None:
        super().__init__(lambda: MIDNIGHT, url="stumbling://")
        self.script = list(script)
        self.calls = 0
        self.breaks: list[int] = []

    def _turn(self, when: str) -> None:
        if self.script and self.script[0] == when:
            self.script.pop(0)
            raise DOWN
        if when == "after" and self.script and self.script[0] == "fine":
            self.script.pop(0)

    def put(self, name: str, body: Body) -> None:
        self.calls += 1
        self._turn("before")
        super().put(name, body)
        self._turn("after")

    def size(self, name: str) -> int:
        self.calls += 1
        self._turn("before")
        return super().size(name)

    def delete(self, name: str) -> None:
        super().delete(name)
        self._turn("after")

    def list(self, prefix: str) -> Iterator[Stored]:
        for number, item in enumerate(super().list(prefix)):
            if self.breaks and self.breaks[0] <= number:
                self.breaks.pop(0)
                raise DOWN
            yield item


def test_a_transient_error_is_tried_again_with_doubling_pauses() -> None:
    world, store = World(), Stumbling(*["before"] * 9)
    Retrying(store, world.system()).put("x", body(b"1"))
    assert store.calls == 10
    wanted = [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert world.slept == pytest.approx(wanted)


def test_the_jitter_is_full() -> None:
    steps = iter(range(0, 256, 16))
    world = World(random=lambda size: bytes([next(steps)] * size))
    patience = Patience(first=8.0, longest=8.0)
    Retrying(Stumbling(*["before"] * 16), world.system(), patience).put("x", body(b"1"))
    assert min(world.slept) == 0
    assert max(world.slept) > 7
    assert world.slept == sorted(world.slept)


def test_answers_are_final() -> None:
    world = World()
    store = MemoryStore(lambda: MIDNIGHT)
    retrying = Retrying(store, world.system())
    retrying.put("x", body(b"1"))
    with pytest.raises(AlreadyExists):
        retrying.put("x", body(b"1"))
    for ask in (retrying.size, retrying.delete):
        with pytest.raises(NotFound):
            ask("nothing")
    with pytest.raises(StoreError, match="more than"):
        retrying.read("x", 0)
    assert world.slept == []


def test_the_last_error_says_what_was_asked_answered_and_tried() -> None:
    world, store = World(), Stumbling(*["before"] * 1000)
    with pytest.raises(StoreError) as caught:
        Retrying(store, world.system()).put("packs/p", body(b"1"))
    assert caught.value.message == (
        f"put packs/p at stumbling://: {store.calls} tries in 300 s, the last answer: 503 slow down"
    )
    assert caught.value.hint == "look at the server"
    assert sum(world.slept) == pytest.approx(300)


def test_an_end_comes_even_where_the_clock_stands_still() -> None:
    world, store = World(random=bytes), Stumbling(*["before"] * 1000)
    with pytest.raises(StoreError, match="100 tries in 0 s"):
        Retrying(store, world.system()).size("x")


@pytest.mark.parametrize("script", [["after"], ["before", "after"], ["after", "before", "before"]])
def test_a_put_whose_answer_was_lost_is_looked_at(script: list[str]) -> None:
    world, store = World(), Stumbling(*script)
    data = bytes(range(256)) * 10_000
    Retrying(store, world.system()).put("x", body(data))
    assert store.read("x", len(data)) == data
    assert store.script == []


@pytest.mark.parametrize("foreign", [b"other", b"longer than mine", b""])
def test_foreign_bytes_are_no_success_after_a_lost_answer(foreign: bytes) -> None:
    world, store = World(), Stumbling("fine", "before")
    store.put("x", body(foreign))
    with pytest.raises(AlreadyExists):
        Retrying(store, world.system()).put("x", body(b"mine!"))
    assert store.read("x", 100) == foreign


def test_a_delete_whose_answer_was_lost_is_done() -> None:
    world, store = World(), Stumbling("fine", "after")
    store.put("x", body(b"1"))
    Retrying(store, world.system()).delete("x")
    with pytest.raises(NotFound):
        store.size("x")


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 30), st.lists(st.integers(0, 30), max_size=12))
def test_a_broken_listing_goes_on_without_a_gap_or_a_repeat(count: int, breaks: list[int]) -> None:
    world, store = World(), Stumbling()
    for number in range(count):
        store.put(f"{number:03d}", body(b"x"))
    store.breaks = breaks
    found = [item.name for item in Retrying(store, world.system()).list("")]
    assert found == [f"{number:03d}" for number in range(count)]


def test_a_slow_reader_of_a_listing_uses_up_no_patience() -> None:
    world, store = World(), Stumbling()
    for number in range(5):
        store.put(f"{number}", body(b"x"))
    store.breaks = [3, 3]
    found = []
    for item in Retrying(store, world.system()).list(""):
        found.append(item.name)
        world.clock += 1000
    assert found == ["0", "1", "2", "3", "4"]


def circuit(failures: int) -> tuple[World, Stumbling, Retrying]:
    """A store that just failed so many requests."""
    world = World()
    patience = Patience(deadline=10.0, failures=3, rest=60.0)
    store = Stumbling(*["before"] * 10_000)
    retrying = Retrying(store, world.system(), patience)
    for _ in range(failures):
        with pytest.raises(StoreError, match="tries in 10 s"):
            retrying.size("x")
    return world, store, retrying


def test_the_circuit_opens_and_says_since_when_and_why() -> None:
    world, store, retrying = circuit(3)
    calls, slept = store.calls, len(world.slept)
    asks: list[Callable[[], object]] = [
        lambda: retrying.size("x"),
        lambda: retrying.put("x", body(b"1")),
        lambda: list(retrying.list("")),
    ]
    for ask in asks:
        with pytest.raises(StoreError) as caught:
            ask()
        assert caught.value.message == (
            "stumbling:// not asked, it is down since 2026-01-01T00:00:30Z: 503 slow down"
        )
        assert caught.value.hint
    assert (store.calls, len(world.slept)) == (calls, slept)


def test_a_resting_circuit_lets_one_single_try_through() -> None:
    world, store, retrying = circuit(3)
    world.clock += 61
    calls = store.calls
    with pytest.raises(StoreError, match="1 try in 0 s"):
        retrying.size("x")
    with pytest.raises(StoreError, match="since 2026-01-01T00:00:30Z"):
        retrying.size("x")
    assert store.calls == calls + 1


def test_an_answer_closes_the_circuit() -> None:
    world, store, retrying = circuit(3)
    world.clock += 61
    store.script.clear()
    with pytest.raises(NotFound):
        retrying.size("x")
    store.script = ["before", "before"]
    retrying.put("x", body(b"1"))
    assert retrying.size("x") == 1


def test_an_answer_in_between_keeps_the_circuit_closed() -> None:
    _, store, retrying = circuit(2)
    store.script.clear()
    retrying.put("x", body(b"1"))
    store.script = ["before"] * 10_000
    for _ in range(2):
        with pytest.raises(StoreError, match="tries in 10 s"):
            retrying.size("x")
    store.script = ["before"]
    assert retrying.size("x") == 1

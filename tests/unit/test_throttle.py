"""The bandwidth limit: never more than the rate, one allowance for all."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drkit.errors import ConfigError
from drkit.stores.memory import MemoryStore
from drkit.stores.throttle import Throttled
from drkit.system import System
from tests.fixtures.kinds import body

RATE = 1000.0


@dataclass
class World:
    clock: float = 0.0

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.clock += seconds

    def system(self) -> System:
        return System(monotonic=lambda: self.clock, sleep=self.sleep)


def throttled() -> tuple[World, Throttled]:
    world = World()
    return world, Throttled(MemoryStore(System().now), RATE, world.system())


def test_puts_are_paid_for_before_they_go() -> None:
    world, store = throttled()
    store.put("a", body(bytes(1000)))
    assert world.clock == 0  # the allowance of one quiet second
    store.put("b", body(bytes(2500)))
    assert world.clock == pytest.approx(2.5)
    assert store.size("b") == 2500


def test_reads_are_metered_too() -> None:
    world, store = throttled()
    store.put("a", body(bytes(1000)))
    store.read_into("a", 0, memoryview(bytearray(500)))
    assert world.clock == pytest.approx(0.5)
    store.read("a", 1000)
    assert world.clock == pytest.approx(1.5)


def test_listing_looking_and_deleting_cost_nothing() -> None:
    world, store = throttled()
    store.put("a", body(bytes(1000)))
    assert [found.name for found in store.list("")] == ["a"]
    assert store.size("a") == 1000
    store.delete("a")
    assert world.clock == 0


def test_a_quiet_hour_saves_up_one_second() -> None:
    world, store = throttled()
    world.clock += 3600
    store.put("a", body(bytes(1000)))
    assert world.clock == 3600
    store.put("b", body(bytes(1000)))
    assert world.clock == pytest.approx(3601)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5000), st.floats(0, 5)), max_size=30))
def test_the_rate_holds_over_every_stretch(puts: list[tuple[int, float]]) -> None:
    world, store = throttled()
    moved: list[tuple[float, int]] = []
    for number, (size, pause) in enumerate(puts):
        store.put(f"{number}", body(bytes(size)))
        moved.append((world.clock, size))
        world.clock += pause
    for first in range(len(moved)):
        begun = moved[first][0] - moved[first][1] / RATE
        for last in range(first, len(moved)):
            total = sum(size for _, size in moved[first : last + 1])
            assert total <= RATE * (moved[last][0] - begun + 1.0) + 1e-6


def test_a_bandwidth_of_nothing_is_an_error_of_the_configuration() -> None:
    for rate in (0.0, -1.0):
        with pytest.raises(ConfigError):
            Throttled(MemoryStore(System().now), rate, System())

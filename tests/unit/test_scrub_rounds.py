from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from drkit.errors import Damaged, StoreError
from drkit.operations.scrub import scrub
from drkit.repository.scrub import ScrubResult
from tests.fixtures.faulty_store import Call, Fault, FaultyStore
from tests.fixtures.forgets import Kill, copied, objects_of
from tests.fixtures.repo import DAY, Repo
from tests.fixtures.scrubs import Level, Scene, ask, flip, read, scene


@pytest.fixture
def s(tmp_path: Path) -> Scene:
    return scene(tmp_path)


def reads(
    r: Repo, level: Level, state: Path, budget: int | None = None
) -> tuple[ScrubResult, list[str]]:
    """The result, and which objects were read for it."""
    store = FaultyStore(r.store)
    made = replace(ask(r, level), state=state, bytes=budget)
    result = scrub(replace(r.repository, store=store), made, r.system, lambda _: None)
    return result, [c.name for c in store.calls if c.verb == "read_into"]


def test_a_budget_is_kept_and_the_next_run_goes_on(s: Scene) -> None:
    state = s.r.state()
    total = read(s.r, 1).objects
    seen: list[str] = []
    left = total
    runs = 0
    while left:
        result, names_ = reads(s.r, 1, state, 1)
        assert len(names_) == 1
        assert result.left == left - 1
        seen += names_
        left = result.left
        runs += 1
    assert runs == total == len(set(seen))
    again, _ = reads(s.r, 1, state)
    assert again.objects == total  # a new round


def test_the_oldest_comes_first(s: Scene) -> None:
    state = s.r.state()
    _, first = reads(s.r, 1, state, 1)
    s.r.clock.move(DAY)
    reads(s.r, 1, state)
    s.r.clock.move(DAY)
    _, again = reads(s.r, 1, state, 1)
    assert again == first


def test_a_budget_of_time(s: Scene) -> None:
    ticks = iter(range(10_000))
    system = replace(s.r.system, monotonic=lambda: float(next(ticks)))
    made = replace(ask(s.r, 1), duration=timedelta(seconds=4), state=s.r.state())
    result = scrub(s.r.repository, made, system, lambda _: None)
    assert result.left > 0
    assert not result.complete


@pytest.mark.parametrize("clock", [-4000 * DAY, 4000 * DAY])
def test_a_wrong_clock_makes_nothing_count_as_read(s: Scene, clock: timedelta) -> None:
    state = s.r.state()
    right = s.r.clock.at
    s.r.clock.at += clock
    total = reads(s.r, 1, state)[0].objects
    s.r.clock.at = right
    assert reads(s.r, 1, state)[0].objects == total
    assert reads(s.r, 1, state)[0].objects == total


def test_damage_does_not_count_as_read(s: Scene) -> None:
    state = s.r.state()
    pack = s.packs(s.full)[0]
    flip(s.r, pack, -3)
    for _ in range(2):
        with pytest.raises(Damaged):
            reads(s.r, 1, state)


def test_damage_seen_by_a_run_that_failed_is_seen_again(s: Scene) -> None:
    """The round goes on, and what was bad in it was never reported."""
    state = s.r.state()
    first, *_, end = reads(s.r, 1, s.r.root / "elsewhere")[1]
    first, end = min(first, end), max(first, end)
    flip(s.r, first, -3)

    def down(call: Call) -> None:
        if call.name == end:
            raise StoreError("down", transient=True)

    repository = replace(s.r.repository, store=FaultyStore(s.r.store, Fault(before=down)))
    with pytest.raises(StoreError, match="down"):
        scrub(repository, replace(ask(s.r, 1), state=state), s.r.system, lambda _: None)
    with pytest.raises(Damaged):
        reads(s.r, 1, state)


def test_killed_and_run_again(s: Scene) -> None:
    state = s.r.state()
    total = read(s.r, 1).objects

    def kill(call: Call) -> None:
        if call.verb == "read_into" and call.name == s.packs(s.other)[-1]:
            raise Kill

    repository = replace(s.r.repository, store=FaultyStore(s.r.store, Fault(before=kill)))
    with pytest.raises(Kill):
        scrub(repository, replace(ask(s.r, 1), state=state), s.r.system, lambda _: None)
    result, _ = reads(s.r, 1, state)
    assert 0 < result.objects < total
    assert result.complete


def test_another_store_has_rounds_of_its_own(s: Scene) -> None:
    state = s.r.state()
    total = reads(s.r, 1, state)[0].objects
    reads(s.r, 1, state, 1)
    copy = replace(s.r.repository, store=copied(objects_of(s.r), s.r), store_id="another")
    made = replace(ask(s.r, 1), state=state)
    assert scrub(copy, made, s.r.system, lambda _: None).objects == total


@pytest.mark.parametrize("junk", [b"", b"{", b'{"rounds": 3}', b"\xff"])
def test_broken_progress_costs_a_round(s: Scene, junk: bytes) -> None:
    (s.r.state() / "scrub.json").write_bytes(junk)
    assert reads(s.r, 1, s.r.state())[0].complete


def test_level_two_in_portions(s: Scene) -> None:
    state = s.r.state()
    portions: list[ScrubResult] = []
    while not portions or not portions[-1].complete:
        portions.append(reads(s.r, 2, state, 100_000)[0])
    assert 1 < len(portions) < 20
    assert sum(portion.objects for portion in portions) == read(s.r, 1).objects

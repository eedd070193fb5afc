"""Several machines and a forget on one domain at once; and clocks that jump."""

import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from drkit.repository.base import Done
from drkit.system import System
from tests.fixtures.faulty_store import Call, Fault, FaultyStore
from tests.fixtures.ledger import Ledger, change, soon, world


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(world=world(tmp_path / "world"))


def machines(ledger: Ledger, count: int) -> list[Callable[[], Done]]:
    runs: list[Callable[[], Done]] = []
    for i in range(count):
        state = ledger.world.root / f"state {i}"
        state.mkdir()
        runs.append(partial(ledger.world.back_up, state=state))
    return runs


def test_machines_with_states_of_their_own(ledger: Ledger) -> None:
    runs = machines(ledger, 4)
    for seed in range(4):
        kinds = {found.kind for found in ledger.together(runs)}
        assert kinds == {"full" if seed == 0 else "incremental"}
        change(ledger.world.tree, seed)
    history = ledger.world.history()
    assert len(history.generations) == 4
    assert len(history.snapshots) == 16
    ledger.settle()


def test_runs_with_one_state(ledger: Ledger) -> None:
    for seed in range(5):
        found = ledger.together([ledger.world.back_up] * 3)
        done = [one for one in found if one.session]
        assert done, found
        assert {(one.code, one.error) for one in found if one.error} <= {(6, "Busy")}, found
        change(ledger.world.tree, seed)
    ledger.settle()


def test_fulls_with_one_state(ledger: Ledger) -> None:
    for _ in range(3):
        found = ledger.together([lambda: ledger.world.back_up(kind="full")] * 3)
        assert {(one.code, one.error) for one in found if one.error} <= {(6, "Busy")}, found
        assert any(one.session for one in found)
    ledger.settle()


def test_a_forget_between_them(ledger: Ledger) -> None:
    """Without patience and keeping nothing: as unkind as a forget can be."""
    runs = machines(ledger, 2)
    assert ledger.run(ledger.world.back_up).session

    def forgets() -> None:
        for _ in range(3):
            ledger.world.forget()

    for seed in range(4):
        found = ledger.together([*runs, forgets])[:2]
        assert all(one.session or one.code == 6 for one in found), found
        assert ledger.world.history().snapshots
        change(ledger.world.tree, seed)
    ledger.world.forget()
    assert ledger.world.history().snapshots
    ledger.settle()


def clock(*times: datetime) -> Callable[[], datetime]:
    """One after the other, round and round."""
    turns = itertools.cycle(times)
    return lambda: next(turns)


def at(year: int) -> datetime:
    return datetime(year, 1, 1, tzinfo=UTC)


CLOCKS = {
    "1970": clock(at(1970)),
    "2100": clock(at(2100)),
    "9999": clock(datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    "back and forth in one run": clock(at(2100), at(1970), at(2030)),
    "backward by hours": clock(*(soon() - timedelta(hours=i) for i in range(50))),
}


@pytest.mark.parametrize("now", CLOCKS.values(), ids=CLOCKS)
def test_a_clock_that_is_wrong(ledger: Ledger, now: Callable[[], datetime]) -> None:
    """It decides nothing but what is due and what is kept."""
    kinds = []
    for seed in range(4):
        system = System(now=now) if seed % 2 else None
        kinds.append(ledger.run(partial(ledger.world.back_up, system=system)).kind)
        change(ledger.world.tree, seed)
    assert kinds == ["full", "incremental", "incremental", "incremental"]
    findings = ledger.world.history().findings
    assert {f.what for f in findings} <= {"clock"}
    ledger.settle()


def test_the_newest_is_the_one_that_knew_the_others(ledger: Ledger) -> None:
    """A commit names those before it: a clock that was ahead once hides no later backup."""
    made = []
    for seed, year in enumerate((2100, 2026, 1970, 2027)):
        system = System(now=clock(at(year)))
        made.append(ledger.run(partial(ledger.world.back_up, system=system)).session)
        change(ledger.world.tree, seed)
    assert [s.session for s in ledger.world.history().snapshots] == made
    ledger.settle()


def test_the_expected_end_by_a_wrong_clock(ledger: Ledger) -> None:
    """Beyond it a full is taken, and it says so."""
    ledger.world.plan = replace(ledger.world.plan, expected_end=at(2050))
    assert ledger.run(ledger.world.back_up).kind == "full"
    ended = ledger.run(lambda: ledger.world.back_up(system=System(now=clock(at(2100)))))
    assert (ended.kind, "expected end" in ended.why) == ("full", True)
    ledger.settle()


def test_a_run_beside_every_call_of_another(ledger: Ledger) -> None:
    """Interleaved at each call: machine B backs up completely while A is in the middle."""
    b = ledger.world.root / "b"
    b.mkdir()
    seen: list[int] = []
    alone = threading.Lock()

    def also(call: Call) -> None:
        with alone:  # packs are put from two threads
            seen.append(call.number)
            ledger.world.back_up(state=b)

    store = FaultyStore(ledger.world.store, Fault(before=also))
    tree = ledger.copy()
    done = ledger.world.back_up(store)
    assert done.session in ledger.committed(tree)
    assert len(seen) > 10
    assert len(ledger.world.history().snapshots) == len(seen) + 1
    ledger.settle()

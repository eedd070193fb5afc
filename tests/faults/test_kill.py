"""A backup killed at every call to its store: before the call, and after it took effect."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.fixtures.faulty_store import Call, Fault, FaultyStore, Hook, die, number, on
from tests.fixtures.ledger import Ledger, change, world

Prepare = Callable[[Ledger], None]


def first(ledger: Ledger) -> None:
    """A full backup is next."""


def third(ledger: Ledger) -> None:
    """An incremental on an incremental is next."""
    for seed in (1, 2):
        ledger.run(ledger.world.back_up)
        change(ledger.world.tree, seed)


def another_full(ledger: Ledger) -> None:
    """A full beside a generation that is there: the memory was lost."""
    third(ledger)
    (ledger.world.plan.state / "cache.sqlite").unlink()


def calls_of(root: Path, prepare: Prepare) -> list[Call]:
    ledger = Ledger(world=world(root))
    prepare(ledger)
    counting = FaultyStore(ledger.world.store)
    ledger.world.back_up(counting)
    return counting.calls


def at(call: Call, hook: Hook) -> Iterator[tuple[str, Fault]]:
    yield "before", Fault(before=on(number(call.number), hook))
    yield "after", Fault(after=on(number(call.number), hook))


@pytest.mark.parametrize("prepare", [first, third, another_full])
def test_killed_at_every_call(tmp_path: Path, prepare: Prepare) -> None:
    calls = calls_of(tmp_path / "count", prepare)
    assert {c.kind for c in calls if c.verb == "put"} >= {"begin", "pack", "manifest", "outcome"}
    outcome = next(c.number for c in calls if c.verb == "put" and c.kind == "outcome")
    for call in calls:
        for when, fault in at(call, die):
            ledger = Ledger(world=world(tmp_path / f"{call.number} {when}"))
            prepare(ledger)
            made, before = ledger.world, len(ledger.copies)
            store = FaultyStore(made.store, fault)
            ended = ledger.run(partial(made.back_up, store), apart=True)
            assert ended.killed, f"{call} {when}: {ended}"
            late = call.number > outcome or (call.number == outcome and when == "after")
            assert len(ledger.copies) - before == late, f"{call} {when}"
            kept = prepare is third
            assert ledger.settle().kind == ("incremental" if kept else "full")

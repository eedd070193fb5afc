"""A writer stopped at each call; a forget that takes it for dead; the writer goes on."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.faulty_store import Call, Fault, FaultyStore, number, on, stop
from tests.fixtures.ledger import Ended, Ledger, change, child, world

Meanwhile = Callable[[Ledger], None]


def ledger_of(root: Path, backups: int) -> Ledger:
    ledger = Ledger(world=world(root))
    for seed in range(backups):
        ledger.run(ledger.world.back_up)
        change(ledger.world.tree, seed)
    return ledger


def a_forget(ledger: Ledger) -> None:
    """Fences what has no outcome; the generation stays open."""
    assert ledger.world.forget().expired == ()


def a_full_and_a_forget(ledger: Ledger) -> None:
    """Another machine's full lets the old generation go: closed, fenced, expired, deleted."""
    state = ledger.world.root / "another machine"
    state.mkdir()
    assert ledger.run(lambda: ledger.world.back_up(state=state)).kind == "full"
    ledger.world.forget()


def calls_of(root: Path, backups: int) -> list[Call]:
    ledger = ledger_of(root, backups)
    counting = FaultyStore(ledger.world.store)
    ledger.world.back_up(counting)
    return counting.calls


def stopped(ledger: Ledger, call: Call, when: str, meanwhile: Meanwhile) -> Ended:
    hook = on(number(call.number), stop)
    fault = Fault(before=hook) if when == "before" else Fault(after=hook)
    store = FaultyStore(ledger.world.store, fault)
    tree = ledger.copy()
    writer = child(lambda: ledger.world.back_up(store))
    try:
        assert writer.stopped(), f"{call}: did not get there"
        ledger.committed(tree)
        meanwhile(ledger)
    finally:
        os.kill(writer.pid, signal.SIGCONT)
    found = writer.wait()
    ledger.note([found], tree)
    return found


@pytest.mark.parametrize("backups", [0, 2], ids=["full", "incremental"])
@pytest.mark.parametrize("meanwhile", [a_forget, a_full_and_a_forget])
def test_stopped_at_every_call(tmp_path: Path, backups: int, meanwhile: Meanwhile) -> None:
    calls = calls_of(tmp_path / "count", backups)
    begin = next(c.number for c in calls if c.verb == "put" and c.kind == "begin")
    outcome = next(c.number for c in calls if c.verb == "put" and c.kind == "outcome")
    for call in calls:
        for when in ("before", "after"):
            ledger = ledger_of(tmp_path / f"{call.number} {when}", backups)
            found = stopped(ledger, call, when, meanwhile)
            here = f"{call} {when}: {found}"
            place = (call.number, when == "after")
            if place < (begin, True):  # nobody knew of it; what it builds on may be closed
                assert found.session or found.error == "Busy", here
                assert found.session or meanwhile is a_full_and_a_forget, here
            elif place < (outcome, True):
                assert (found.code, found.error) == (6, "Busy"), here
                assert found.hint, here
            else:
                assert found.session, here
            ledger.settle()

"""A copy beside forgets, backups, other copies, stale listings: at every call to either store."""

from contextlib import suppress
from pathlib import Path

import pytest

from drkit.errors import NotFound, StoreError
from drkit.repository.copies.plan import CopyDone
from drkit.repository.forgetter import ForgetDone
from drkit.stores.base import Store
from tests.fixtures.copies import (
    clone,
    copied,
    held,
    joined,
    odd,
    same,
    sessions,
    sides,
    sound,
    through,
    two_generations,
)
from tests.fixtures.faulty_store import Call, Fault, FaultyStore, number, on
from tests.fixtures.forgets import apply
from tests.fixtures.repo import DAY, HOUR, Repo, sample


@pytest.fixture
def r(tmp_path: Path) -> Repo:
    return two_generations(tmp_path)


def test_a_forget_at_the_destination_at_every_call(r: Repo) -> None:
    """It lets go what is old there, closes, fences; what stays visible is whole."""
    r.clock.move(9 * DAY)
    r.full(5)
    r.back_up(sample(5) | {"more": b"5"})
    r.clock.move(DAY + HOUR)
    bare = joined(r)
    fenced = 0
    for side, n in list(sides(r, bare))[::3]:
        there = clone(r, bare)
        told: list[ForgetDone] = []

        def meanwhile(_: Call, there: Store = there, told: list[ForgetDone] = told) -> None:
            r.clock.move(DAY + HOUR)  # begins there are older than the patience now
            told.append(apply(r, store=there))
            r.clock.move(-DAY - HOUR)

        fault = Fault(before=on(number(n), meanwhile))
        done = copied(r, there, through=through(r, there, side, fault))
        sound(r, there)
        fenced += len(told[0].fenced)
        assert {s for _, s in done.copied} == sessions(r, there) or told[0].expired
        if told[0].fenced:
            assert any("fenced" in why for _, _, why in done.left)
            assert any("fenced" in f.message for f in done.findings)
        again = copied(r, there)
        assert {s for _, s, _ in again.left} >= {s for _, s, _ in done.left}
        sound(r, there)
        assert odd(r, there) == []
    assert fenced > 6


def test_a_forget_at_the_source_at_every_call(r: Repo) -> None:
    """It expires and, a patience later, sweeps what is being copied."""
    r.clock.move(9 * DAY)
    r.full(5)
    base, bare = clone(r, r.store), joined(r)
    short = 0
    for side, n in list(sides(r, bare))[::3]:
        here, there = clone(r, base), clone(r, bare)

        def meanwhile(_: Call, here: Store = here) -> None:
            apply(r, store=here)
            r.clock.move(DAY + HOUR)
            apply(r, store=here)
            r.clock.move(-DAY - HOUR)

        fault = Fault(before=on(number(n), meanwhile))
        pair = (
            (FaultyStore(here, fault), there)
            if side == "here"
            else (here, FaultyStore(there, fault))
        )
        done = copied(r, there, here, through=pair)
        short += bool(done.left)
        sound(r, there)
        assert sessions(r, there) >= sessions(r, here)
        assert len(done.copied) + len(done.left) <= 5
        assert copied(r, there, here).left == ()  # what is expired here is nobody's business
        same(r, there, here)
    assert short > 4


def test_a_pack_that_goes_in_between(r: Repo) -> None:
    """Every pack of the source, taken away at the first read of any object."""
    bare = joined(r)
    packs = [s.name for s in r.store.list("domains/") if "/packs/" in s.name]
    for name in packs:
        here, there = clone(r, r.store), clone(r, bare)

        def gone(_: Call, here: Store = here, name: str = name) -> None:
            with suppress(NotFound):
                here.delete(name)

        first = Fault(before=on(lambda call: call.verb == "read_into", gone))
        done = copied(r, there, here, through=(FaultyStore(here, first), there))
        session = name.rpartition("/")[2].partition("-")[0]
        assert session in {s for _, s, _ in done.left}
        assert any(name in f.message for f in done.findings)
        sound(r, there)
        held(here)[name] = held(r.store)[name]
        done = copied(r, there, here)
        assert done.left == ()
        same(r, there)


def test_listings_of_the_destination_that_are_stale(r: Repo) -> None:
    """Each listing in turn shows what was there before this run: never a commit too early."""
    bare = joined(r)
    whole = clone(r, bare)
    copy = FaultyStore(whole)
    copied(r, whole, through=(r.store, copy))
    for call in [c for c in copy.calls if c.verb == "list"]:
        there = clone(r, bare)
        fault = Fault(listed=lambda c, found, n=call.number: [] if c.number == n else found)  # type: ignore[misc]
        stopped = False
        try:
            done = copied(r, there, through=(r.store, FaultyStore(there, fault)))
            stopped = bool(done.left)
        except StoreError as error:
            stopped = "does not list" in error.message
        assert stopped or call.number == 1 or "/wal/" in call.name
        sound(r, there)
        assert copied(r, there).left == ()
        same(r, there)


def test_listings_of_the_source_that_are_stale(r: Repo) -> None:
    """Names that are not listed yet are not copied yet."""
    bare = joined(r)
    names_ = [s.name for s in r.store.list("domains/")]
    for hidden in names_[::2]:
        there = clone(r, bare)
        fault = Fault(listed=lambda _, found, h=hidden: [s for s in found if s.name != h])  # type: ignore[misc]
        copied(r, there, through=(FaultyStore(r.store, fault), there))
        sound(r, there)
        assert copied(r, there).left == ()
        same(r, there)


def test_two_copies_at_once_at_every_call(r: Repo) -> None:
    bare = joined(r)
    for side, n in list(sides(r, bare))[::2]:
        there = clone(r, bare)
        other: list[CopyDone] = []

        def meanwhile(_: Call, there: Store = there, other: list[CopyDone] = other) -> None:
            other.append(copied(r, there))

        fault = Fault(before=on(number(n), meanwhile))
        done = copied(r, there, through=through(r, there, side, fault))
        assert done.left == other[0].left == ()
        assert done.findings == other[0].findings == ()
        same(r, there)


def test_a_backup_at_every_call(r: Repo) -> None:
    """A session begun and ended while others are copied comes with the next copy, at the latest."""
    bare, base = joined(r), clone(r, r.store)
    calls = list(sides(r, bare))
    for count, (side, n) in enumerate(calls[::4]):
        here, there = clone(r, base), clone(r, bare)

        def meanwhile(_: Call, here: Store = here, count: int = count) -> None:
            r.back_up(sample(count), "full", store=here, host=f"host {count}")

        fault = Fault(before=on(number(n), meanwhile))
        pair = (
            (FaultyStore(here, fault), there)
            if side == "here"
            else (here, FaultyStore(there, fault))
        )
        assert copied(r, there, here, through=pair).left == ()
        sound(r, there)
        copied(r, there, here)
        same(r, there, here)

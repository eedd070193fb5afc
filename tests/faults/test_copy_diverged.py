"""Two stores that went apart: copied both ways each holds all, and either restores all of it."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from drkit.repository import names
from drkit.repository.copies.evidence import copy_evidence
from drkit.repository.signed import Fence, Where, decode_outcome
from drkit.stores.base import Store
from tests.fixtures.copies import (
    clone,
    copied,
    empty,
    evidence,
    held,
    joined,
    odd,
    plan,
    same,
    sessions,
    sound,
)
from tests.fixtures.faulty_store import Fault, FaultyStore, number, on
from tests.fixtures.forgets import Kill, apply, begin_only, kill, taken, witnessed
from tests.fixtures.repo import DAY, HOUR, Repo, repo, sample

Pair = tuple[Store, Store]


@pytest.fixture
def r(tmp_path: Path) -> Repo:
    return repo(tmp_path)


@pytest.fixture
def pair(r: Repo) -> Pair:
    """Both hold a full and an incremental; each got an incremental of that generation, a full of
    its own, an incremental on it, and a session that never ended, all without the other."""
    r.full(1)
    r.back_up(sample(1) | {"a": b"1"})
    there = joined(r)
    copied(r, there)
    shutil.copytree(r.root / "host", r.root / "host 2")
    for store, host, seed in ((r.store, "host", 10), (there, "host 2", 20)):
        r.clock.move(HOUR)
        r.back_up(sample(1) | {"b": b"%d" % seed}, store=store, host=host)
        r.back_up(sample(seed), "full", store=store, host=host)
        r.back_up(sample(seed) | {"c": b"%d" % seed}, store=store, host=host)
        begin_only(r, store)
    return r.store, there


def heads(r: Repo, store: Store) -> set[str]:
    return {hash for _, hash in r.history(store).heads()}


def test_both_ways_give_the_union(r: Repo, pair: Pair) -> None:
    one, other = pair
    all_ = sessions(r, one) | sessions(r, other)
    assert (len(sessions(r, one)), len(sessions(r, other)), len(all_)) == (5, 5, 8)
    newest = heads(r, one) | heads(r, other)
    first, second = copied(r, other, one), copied(r, one, other)
    assert (len(first.copied), len(second.copied)) == (3, 3)
    assert first.left == second.left == ()
    assert first.findings == second.findings == ()
    for store in pair:
        assert sessions(r, store) == all_
        assert heads(r, store) == newest
        assert r.history(store).tampered() == []
        sound(r, store)
    assert copied(r, other, one).objects == copied(r, one, other).objects == 0


def test_a_third_store_built_from_both(r: Repo, pair: Pair) -> None:
    third = joined(r, empty(r, "third"))
    for store in pair:
        assert copied(r, third, store).left == ()
    all_ = sessions(r, pair[0]) | sessions(r, pair[1])
    for store in pair:
        assert isinstance(store, type(third))
        held(store).clear()
    assert sessions(r, third) == all_
    assert r.history(third).tampered() == []
    sound(r, third)


def test_the_next_backup_goes_on_from_either(r: Repo, pair: Pair) -> None:
    one, other = pair
    copied(r, other, one)
    copied(r, one, other)
    done = r.back_up(sample(10) | {"d": b"4"}, store=other)  # one's host, at the other store
    assert (done.kind, done.findings) == ("incremental", ())
    assert len(heads(r, other)) == 1
    copied(r, one, other)
    same(r, one, other)


def test_killed_at_every_call_in_both_directions(r: Repo, pair: Pair) -> None:
    one, other = pair
    bare = (clone(r, one), clone(r, other))
    counting = FaultyStore(bare[1])
    copied(r, bare[1], one, through=(one, counting))
    killed = 0
    for n in range(1, len(counting.calls) + 1, 3):
        a, b = clone(r, one), clone(r, other)
        fault = Fault(before=on(number(n), kill))
        for here, there in ((a, b), (b, a)):
            try:
                copied(r, there, here, through=(here, FaultyStore(there, fault)))
            except Kill:
                killed += 1
            sound(r, there)
        for here, there in ((b, a), (a, b)):
            assert copied(r, there, here).left == ()
        assert sessions(r, a) == sessions(r, b)
        assert len(sessions(r, a)) == 8
        sound(r, a)
        sound(r, b)
    assert killed > 12


def test_a_forget_at_both_in_between(r: Repo, pair: Pair) -> None:
    """Fences speak for one store; what either lets go stays gone there and is not lost here."""
    one, other = pair
    r.clock.move(2 * DAY)
    for store in pair:
        assert len(apply(r, store=store).fenced) == 1
    assert copied(r, other, one).left == copied(r, one, other).left == ()
    assert sessions(r, one) == sessions(r, other)
    r.clock.move(7 * DAY + HOUR)  # at a copy a backup is as old as its arrival
    done = r.full(5)
    gone = apply(r).expired
    assert len(gone) == 3
    copied(r, other, one)
    copied(r, one, other)
    assert sessions(r, one) == {done.session}
    assert len(sessions(r, other)) == 9
    for store in pair:
        sound(r, store)
        assert odd(r, store) == []


def test_a_session_fenced_while_it_came_is_whole_where_it_began(r: Repo, pair: Pair) -> None:
    one, other = pair
    counting = FaultyStore(clone(r, one))
    copied(r, clone(r, one), other, through=(other, counting))
    outcome = next(c for c in counting.calls if c.verb == "put" and c.kind == "outcome")

    def meanwhile(_: object) -> None:
        r.clock.move(2 * DAY)
        apply(r, store=one)
        r.clock.move(-2 * DAY)

    fault = Fault(before=on(number(outcome.number), meanwhile))
    done = copied(r, one, other, through=(other, FaultyStore(one, fault)))
    assert {why for _, _, why in done.left} == {"fenced at the copy"}
    generation, session, _ = done.left[0]
    data = held(one)[names.outcome(r.domain, generation, session)][0]
    where = Where(
        repository=r.repository.id, domain=r.domain, generation=generation, session=session
    )
    fence, _ = decode_outcome(data, where)
    assert isinstance(fence, Fence)
    assert fence.scope  # it says nothing of the store where the session is committed
    for _ in range(2):
        copied(r, other, one)
        copied(r, one, other)
    assert session in sessions(r, other)
    assert len(sessions(r, other)) == 8
    assert len(sessions(r, one)) == 8 - len(done.left)
    sound(r, one)
    sound(r, other)


# --- evidence


def records(store: Store) -> dict[str, bytes]:
    return {s.name: store.read(s.name, s.size) for s in store.list(names.EVIDENCE)}


def test_chains_come_in_their_order_and_go_both_ways(r: Repo, pair: Pair) -> None:
    one, other = pair
    generation = r.history().snapshots[0].generation
    for _ in range(3):
        witnessed(r, "proven", generation)
    assert evidence(r, other, one).objects == 3
    assert evidence(r, other, one).objects == 0
    assert evidence(r, one, other).findings == ()
    assert records(one) == records(other)
    lost, new = joined(r, empty(r, "new")), [*records(one)]
    for n in range(3):
        faulty = FaultyStore(lost, Fault(after=on(lambda c: c.verb == "put", kill)))
        with pytest.raises(Kill):
            evidence_through(r, faulty, lost)
        assert [*records(lost)] == new[: n + 1]
    assert evidence(r, lost).objects == 0


def evidence_through(r: Repo, faulty: FaultyStore, store: Store) -> None:
    made = plan(r, store)
    copy_evidence(replace(made, destination=replace(made.destination, store=faulty)), r.system)


@pytest.mark.parametrize("which", [0, 2])
def test_a_forked_chain_is_told_and_nothing_is_put_behind_it(
    r: Repo, pair: Pair, which: int
) -> None:
    one, other = pair
    generation = r.history().snapshots[0].generation
    for _ in range(3):
        witnessed(r, "proven", generation)
    name = [*records(one)][which]
    taken(replace(r, store=other), name, b"another")
    done = evidence(r, other, one)
    assert any(name in f.message and "forked" in f.message for f in done.findings)
    assert done.objects == 0


def test_damaged_and_foreign_evidence_is_not_copied(r: Repo, pair: Pair) -> None:
    one, other = pair
    generation = r.history().snapshots[0].generation
    for _ in range(3):
        witnessed(r, "proven", generation)
    objects = held(one)
    name = [*records(one)][1]
    objects[name] = (objects[name][0][:-1] + b" ", objects[name][1])
    done = evidence(r, other, one)
    assert done.objects == 1
    assert any(name in f.message for f in done.findings)

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from drkit.repository.forgetter import ForgetDone
from drkit.stores.base import Store
from drkit.stores.memory import MemoryStore
from tests.fixtures.faulty_store import Call, Fault, FaultyStore, number, on
from tests.fixtures.forgets import (
    Kill,
    apply,
    begin_only,
    copied,
    daily,
    kill,
    objects_of,
    plan,
    whole,
)
from tests.fixtures.repo import DAY, HOUR, Repo, repo, sample


@pytest.fixture(params=["memory", "local"])
def r(request: pytest.FixtureRequest, tmp_path: Path) -> Repo:
    return repo(tmp_path, local=request.param == "local")


@pytest.fixture
def m(tmp_path: Path) -> Repo:
    return repo(tmp_path)


def scene(r: Repo, *, swept: bool) -> None:
    """Something to close, to fence, to expire; and, a patience later, to sweep."""
    daily(r, 2)
    begin_only(r)
    r.clock.move(10 * DAY)
    r.full(7)
    begin_only(r)
    r.clock.move(DAY + HOUR)
    if swept:
        apply(r)
        r.clock.move(DAY + HOUR)
        r.full(8)
        r.clock.move(7 * DAY)


@pytest.mark.parametrize("swept", [False, True])
def test_killed_at_every_call(m: Repo, swept: bool) -> None:
    scene(m, swept=swept)
    base = dict(objects_of(m))
    counting = FaultyStore(copied(base, m))
    made = plan(m)
    apply(m, made, store=counting)
    total = len(counting.calls)
    assert total > 20
    states = m.root / "states"
    shutil.copytree(m.root / "host", states)
    seen = [m.objects(copied(base, m))]
    for n in range(1, total + 1):
        store = copied(base, m)
        dead = on(from_(n), kill)
        try:
            apply(m, made, store=FaultyStore(store, Fault(before=dead)))
        except Kill:
            pass
        else:
            assert n > total - 8  # deletes run side by side: a listing may save the last ones
        if m.objects(store) not in seen:  # most calls only read: what they leave is known
            seen.append(m.objects(store))
            survives(m, store, states)
    assert len(seen) > 5


def from_(n: int) -> Callable[[Call], bool]:
    return lambda call: call.number >= n


def survives(m: Repo, store: MemoryStore, states: Path) -> None:
    """List, restore every one that can be seen, forget again, back up, restore that."""
    history = m.history(store)
    assert history.tampered() == []
    assert history.snapshots
    whole(m, store)
    again = apply(m, store=store)
    assert again.refused == ()
    whole(m, store)
    shutil.rmtree(m.root / "host")
    shutil.copytree(states, m.root / "host")
    done = m.back_up(sample(11), store=store)
    assert done.session in {s.session for s in m.history(store).snapshots}
    whole(m, store)
    assert apply(m, store=store).expired == ()


def test_a_second_forget_at_every_call_of_the_first(m: Repo) -> None:
    scene(m, swept=False)
    base = dict(objects_of(m))
    counting = FaultyStore(copied(base, m))
    made = plan(m)
    wanted = apply(m, made, store=counting)
    for n in range(1, len(counting.calls) + 1):
        store = copied(base, m)
        other: list[ForgetDone] = []

        def meanwhile(_call: Call, store: Store = store, other: list[ForgetDone] = other) -> None:
            other.append(apply(m, store=store))

        first = apply(m, made, store=FaultyStore(store, Fault(before=on(number(n), meanwhile))))
        assert set(first.expired) | set(other[0].expired) == set(wanted.expired)
        assert m.history(store).tampered() == []
        whole(m, store)


def test_a_backup_at_every_call_of_a_forget(m: Repo) -> None:
    scene(m, swept=False)
    base = dict(objects_of(m))
    counting = FaultyStore(copied(base, m))
    made = plan(m)
    apply(m, made, store=counting)
    shutil.copytree(m.root / "host", m.root / "states")
    for n in range(1, len(counting.calls) + 1):
        store = copied(base, m)
        shutil.rmtree(m.root / "host")
        shutil.copytree(m.root / "states", m.root / "host")

        def meanwhile(_call: Call, store: Store = store) -> None:
            m.back_up(sample(12), store=store)

        apply(m, made, store=FaultyStore(store, Fault(before=on(number(n), meanwhile))))
        assert m.history(store).tampered() == []
        assert m.contents[m.history(store).snapshots[-1].session] == sample(12)
        whole(m, store)

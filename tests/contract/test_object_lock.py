"""Object lock: with all rights there are, what was locked is neither gone nor other than it was."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from drkit.model.finding import Finding
from drkit.model.retention import LockMode, Rules
from drkit.repository import names
from drkit.repository.base import Done
from drkit.stores.base import Lock, Store, Stored
from drkit.stores.locked import Locked
from tests.fixtures import forgets
from tests.fixtures.kinds import body
from tests.fixtures.lockable import PLACES, Place
from tests.fixtures.repo import Repo, sample

SIGNED = {"open", "begin", "outcome"}  # of a session: a second version of one is tampering


@pytest.fixture(params=sorted(PLACES))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with PLACES[request.param](tmp_path) as made:
        yield made


def until(r: Repo, place: Place, units: float, mode: LockMode = "compliance") -> Lock:
    return Lock(mode=mode, until=r.clock.now() + units * place.unit)


def locked_full(place: Place, units: float = 1000, seed: int = 0) -> Done:
    r = place.r
    held = Locked(r.store, until(r, place, units))
    return r.back_up(sample(seed), "full", store=held, host=f"host-{seed}")


def listed(place: Place) -> dict[str, Stored]:
    """By a machine that comes new to it."""
    return {s.name: s for s in place.opened().list(f"domains/{place.r.domain}/")}


def whole(r: Repo, store: Store, count: int) -> list[Finding]:
    history = r.history(store)
    assert len(history.snapshots) == count
    for snapshot in history.snapshots:
        assert r.restore(snapshot, store) == r.contents[snapshot.session]
    return history.tampered()


def kind_of(name: str) -> str:
    parsed = names.parse(name)
    return "" if parsed is None else parsed.kind


def test_without_a_lock_the_same_credentials_destroy_everything(place: Place) -> None:
    """Otherwise the next test proves nothing."""
    r = place.r
    r.full()
    for name in listed(place):
        for version in place.owner.versions(name):
            assert place.owner.destroy(name, version) in (200, 204)
    assert listed(place) == {}


@pytest.mark.parametrize("mode", ["compliance", "governance"])
def test_nothing_of_a_locked_session_is_destroyed(place: Place, mode: LockMode) -> None:
    r = place.r
    r.back_up(sample(), "full", store=Locked(r.store, until(r, place, 1000, mode)))
    before = listed(place)
    assert {kind_of(name) for name in before} > SIGNED
    for name in before:
        (version,) = place.owner.versions(name)
        assert place.owner.destroy(name, version) == 403
    assert listed(place) == before
    assert whole(r, place.opened(), 1) == []


def test_a_lock_is_not_shortened_and_not_taken_off(place: Place) -> None:
    r = place.r
    locked_full(place)
    soon = r.clock.now() + place.unit
    for name in listed(place):
        (version,) = place.owner.versions(name)
        assert place.owner.shorten(name, version, soon) in (400, 403)
        assert place.owner.destroy(name, version) == 403
    assert whole(r, place.opened(), 1) == []


def test_a_delete_only_hides_and_is_tampering(place: Place) -> None:
    r = place.r
    locked_full(place)
    names_ = list(listed(place))
    for name in names_:
        assert place.owner.hide(name) in (200, 204)
    found = listed(place)
    assert list(found) == names_
    assert {stored.odd for stored in found.values()} == {"is hidden by a later delete"}
    told = whole(r, place.opened(), 1)
    assert {kind_of(f.message.split()[0]) for f in told} == SIGNED
    assert all(f.what == "tampering" and "is hidden by a later delete" in f.message for f in told)


def test_of_two_versions_the_oldest_counts(place: Place) -> None:
    r = place.r
    locked_full(place)
    before = listed(place)
    for name in before:
        assert place.owner.overwrite(name, b"instead") == 200
    found = listed(place)
    assert {stored.odd for stored in found.values()} == {"has 2 versions"}
    assert {n: s.size for n, s in found.items()} == {n: s.size for n, s in before.items()}
    told = whole(r, place.opened(), 1)
    assert {kind_of(f.message.split()[0]) for f in told} == SIGNED


def test_hidden_and_put_anew_the_oldest_still_counts(place: Place) -> None:
    r = place.r
    locked_full(place)
    for name in listed(place):
        place.owner.hide(name)
        assert place.owner.overwrite(name, b"instead") == 200
    assert whole(r, place.opened(), 1) != []


def test_the_next_backup_is_taken_all_the_same(place: Place) -> None:
    """A thief who spoils names stops nobody."""
    r = place.r
    done = locked_full(place)
    place.owner.overwrite(names.outcome(r.domain, done.generation, done.session), b"instead")
    store = place.opened()
    more = r.back_up(sample() | {"more": b"more"}, store=store, host="host-0")
    assert any(f.what == "tampering" for f in more.findings)
    whole(r, place.opened(), 2)


def test_a_lock_ends(place: Place) -> None:
    r, store = place.r, place.opened()
    Locked(store, until(r, place, 4)).put("probe/x", body(b"x"))
    (version,) = place.owner.versions("probe/x")
    assert place.owner.destroy("probe/x", version) == 403
    r.clock.move(5 * place.unit)
    store.delete("probe/x")
    assert list(store.list("probe/")) == []


def test_forget_says_what_a_lock_refuses_and_until_when(place: Place) -> None:
    r = place.r
    rules = Rules(keep=2 * place.unit, patience=place.unit)
    lock = until(r, place, 1000)
    old = locked_full(place, 1000, 1)
    r.clock.move(3 * place.unit)
    locked_full(place, 1000, 2)
    first = forgets.apply(r, rules=rules)
    assert first.expired == (old.generation,)
    r.clock.move(1.5 * place.unit)
    second = forgets.apply(r, rules=rules)
    assert second.deleted == 0
    refused = dict(second.refused)
    assert {kind_of(name) for name in refused} == {"pack", "manifest", "packlist"}
    assert all(f"{lock.until:%Y-%m-%dT%H:%M}" in message for message in refused.values())
    assert [s.generation for s in r.history(place.opened()).snapshots] != [old.generation]
    whole(r, place.opened(), 1)


def test_forget_does_later_what_the_lock_refused(tmp_path: Path) -> None:
    """Where the clock can be set."""
    with PLACES["gcs"](tmp_path) as place:
        r, day = place.r, place.unit
        old = locked_full(place, 20, 1)
        r.clock.move(10 * day)
        locked_full(place, 40, 2)
        assert forgets.apply(r).expired == (old.generation,)
        r.clock.move(2 * day)
        refused = forgets.apply(r).refused
        assert refused
        r.clock.move(9 * day)
        done = forgets.apply(r)
        assert (done.refused, done.deleted) == ((), len(refused))
        assert forgets.left(r, old.generation) == {"begin", "outcome", "open", "closed", "expired"}
        whole(r, place.opened(), 1)

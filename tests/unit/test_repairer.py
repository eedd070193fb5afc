"""What a store has lost comes back from another one; what can't be mended is named."""

from dataclasses import replace
from pathlib import Path

import pytest

from drkit.repository import names
from drkit.repository.copies.copier import copy_domain
from drkit.repository.copies.repairer import RepairDone, Repairing, repair
from drkit.repository.packlists import Fault as Found
from drkit.stores.base import Store
from tests.fixtures.copies import at, copied, empty, held, joined, mended, plan, same, sound
from tests.fixtures.faulty_store import Call, Fault, FaultyStore, number, on
from tests.fixtures.forgets import Kill, apply, daily, kill
from tests.fixtures.repo import DAY, Repo, repo, sample

KINDS = ["open", "begin", "pack", "manifest", "packlist"]


@pytest.fixture
def r(tmp_path: Path) -> Repo:
    made = repo(tmp_path)
    daily(made, 2)
    return made


@pytest.fixture
def there(r: Repo) -> Store:
    store = joined(r)
    copied(r, store)
    return store


def of(kind: str, store: Store) -> list[str]:
    return sorted(n for n in held(store) if (p := names.parse(n)) and p.kind == kind)


def test_a_whole_store_needs_nothing(r: Repo, there: Store) -> None:
    done = mended(r, there, r.store)
    assert done == RepairDone(
        dry_run=False, mended=(), bytes=0, lost=(), expired=(), uncopied=0, findings=()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_object_of_a_kind_comes_back(r: Repo, there: Store, kind: str) -> None:
    before = r.objects(there)
    lost = of(kind, there)
    for name in lost:
        del held(there)[name]
    after = r.objects(there)
    shown = mended(r, there, r.store, dry_run=True)
    assert r.objects(there) == after
    done = mended(r, there, r.store)
    assert done.mended == shown.mended == tuple(lost)
    assert done.bytes == shown.bytes == sum(len(before[name]) for name in lost)
    assert (done.lost, done.findings) == ((), ())
    assert r.objects(there) == before
    same(r, there)


def test_the_home_store_is_mended_from_its_copy(r: Repo, there: Store) -> None:
    """Everything but outcomes is gone."""
    before = r.objects()
    for kind in KINDS:
        for name in of(kind, r.store):
            del held(r.store)[name]
    done = mended(r, r.store, there)
    assert (done.lost, done.findings) == ((), ())
    assert r.objects() == before
    assert r.back_up(sample(1) | {"x": b"1"}).kind == "incremental"


def test_killed_at_every_call(r: Repo, there: Store) -> None:
    whole = r.objects(there)
    for kind in ("pack", "manifest", "packlist", "begin"):
        del held(there)[of(kind, there)[1]]
    broken = dict(held(there))
    counting = FaultyStore(there)
    ask = asked(r, there)
    repair(replace(ask, destination=replace(ask.destination, store=counting)), r.system)
    for call in counting.calls:
        held(there).clear()
        held(there).update(broken)
        faulty = FaultyStore(there, Fault(before=on(number(call.number), kill)))
        with pytest.raises(Kill):
            repair(replace(ask, destination=replace(ask.destination, store=faulty)), r.system)
        assert mended(r, there, r.store).lost == ()
        assert r.objects(there) == whole


def asked(r: Repo, there: Store) -> Repairing:
    return Repairing(
        source=at(r.store),
        destination=at(there),
        domain=r.domain,
        pins=r.pins,
        spool=r.root / "spool",
    )


@pytest.mark.parametrize("kind", ["pack", "manifest", "packlist"])
def test_what_stands_there_with_another_size_is_told(r: Repo, there: Store, kind: str) -> None:
    name = of(kind, there)[0]
    data, when = held(there)[name]
    held(there)[name] = (data[:-1], when)
    done = mended(r, there, r.store)
    assert [n for n, _ in done.lost] == [name]
    (found,) = done.findings
    assert (found.level, name in found.message) == ("fail", True)
    assert "by hand" in (found.hint or "")
    del held(there)[name]
    assert mended(r, there, r.store).mended == (name,)
    same(r, there)


def test_what_a_scrub_found_is_told(r: Repo, there: Store) -> None:
    name = of("pack", there)[0]
    generation, session = name.split("/")[3], name.rpartition("/")[2][:32]
    fault = Found(kind="hash", name=name, generation=generation, session=session, message="x")
    done = repair(replace(asked(r, there), faults=(fault,)), r.system)
    assert done.lost == ((name, "it stands there damaged"),)
    assert "by hand" in (done.findings[0].hint or "")


def test_a_packlist_with_other_bytes_is_told(r: Repo, there: Store) -> None:
    name = of("packlist", there)[0]
    data, when = held(there)[name]
    held(there)[name] = (data[:-2] + b" \n", when)
    pack = of("pack", there)[0]
    del held(there)[pack]
    done = mended(r, there, r.store)
    assert done.lost == ((name, "it stands there with other bytes"),)
    assert done.mended == (pack,)  # the other store's says which there must be


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_a_source_that_is_damaged_itself_mends_nothing(
    r: Repo, there: Store, kind: str, how: str
) -> None:
    name = of(kind, there)[0]
    del held(there)[name]
    data, when = held(r.store).pop(name)
    if how != "gone":
        other = data[:50] + bytes([data[50] ^ 1]) + data[51:] if how == "flipped" else data[:-1]
        held(r.store)[name] = (other, when)
    done = mended(r, there, r.store)
    assert [n for n, _ in done.lost] == [name]
    assert done.findings[0].level == "fail"
    assert name not in held(there)


def test_an_expired_generation_is_left(r: Repo, there: Store) -> None:
    r.clock.move(9 * DAY)
    r.full(5)
    copied(r, there)
    assert apply(r, store=there).expired
    name = of("pack", there)[0]
    del held(there)[name]
    done = mended(r, there, r.store)
    assert (done.mended, done.lost) == ((), ())
    fault = Found(
        kind="missing", name=name, generation=name.split("/")[3], session="x", message="x"
    )
    done = repair(replace(asked(r, there), faults=(fault,)), r.system)
    assert done.expired == (name.split("/")[3],)
    assert name not in held(there)


def test_expired_while_it_is_mended(r: Repo, there: Store) -> None:
    """Seen at the next look: what is put there is swept with the rest."""
    r.clock.move(9 * DAY)
    r.full(5)
    copied(r, there)
    lost = of("pack", there)[:2]
    for name in lost:
        del held(there)[name]
    base = dict(held(there))
    ask = asked(r, there)
    counting = FaultyStore(there)
    repair(replace(ask, destination=replace(ask.destination, store=counting)), r.system)
    seen = 0
    for call in counting.calls:
        held(there).clear()
        held(there).update(base)

        def meanwhile(_: Call) -> None:
            apply(r, store=there)

        faulty = FaultyStore(there, Fault(before=on(number(call.number), meanwhile)))
        done = repair(replace(ask, destination=replace(ask.destination, store=faulty)), r.system)
        seen += bool(done.expired)
        sound(r, there)
    assert seen


def test_what_was_never_here_is_for_copy(r: Repo, there: Store) -> None:
    r.full(6)
    done = mended(r, there, r.store)
    assert (done.mended, done.uncopied) == ((), 1)
    assert [(f.level, f.what) for f in done.findings] == [("warn", "copy")]
    assert "drkit copy" in (done.findings[0].hint or "")


def test_a_lost_used_pack_then_goes_on(r: Repo, there: Store) -> None:
    new = r.back_up(sample(1) | {"new": b"3"})
    lost = of("pack", there)[0], next(n for n in of("pack", there) if new.generation in n)
    for name in set(lost):
        del held(there)[name]
    assert copy_domain(plan(r, there), r.system).left
    assert set(mended(r, there, r.store).mended) == set(lost)
    assert copy_domain(plan(r, there), r.system).left == ()
    same(r, there)


def test_from_a_third_store_that_has_not_all(r: Repo, there: Store) -> None:
    third = joined(r, empty(r, "third"))
    copied(r, third)
    held(third).pop(of("pack", third)[0])
    for name in of("pack", there):
        del held(there)[name]
    first = mended(r, there, third)
    assert [n for n, _ in first.lost] == [of("pack", r.store)[0]]
    assert mended(r, there, r.store).lost == ()
    same(r, there)

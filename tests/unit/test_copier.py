"""A second store: joined, filled, caught up, refused; what is not copied is said."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from drkit.errors import ConfigError
from drkit.events import Advanced, Event, Finished, Started
from drkit.model.pins import Pins
from drkit.repository import names
from drkit.repository.copies.copier import copy_domain
from drkit.repository.copies.plan import pending
from drkit.repository.repository import create, join
from drkit.repository.signed import Closed, Expired, Fence, Open, Where, decode, encode
from drkit.stores.base import Body, Lock
from drkit.stores.memory import MemoryStore
from tests.fixtures.copies import at, copied, empty, held, joined, plan, same, sessions
from tests.fixtures.faulty_store import Fault, FaultyStore, on
from tests.fixtures.forgets import Kill, apply, begin_only, daily, kill, taken
from tests.fixtures.repo import DAY, Repo, repo, sample


@pytest.fixture(params=["memory", "local"])
def r(request: pytest.FixtureRequest, tmp_path: Path) -> Repo:
    made = repo(tmp_path, local=request.param == "local")
    daily(made, 2)
    return made


@pytest.fixture
def m(tmp_path: Path) -> Repo:
    made = repo(tmp_path)
    daily(made, 2)
    return made


def order(r: Repo) -> list[tuple[str, str]]:
    return [(s.generation, s.session) for s in r.history().snapshots]


# --- joining


def test_a_copy_is_the_same_repository_in_a_store_of_its_own(r: Repo) -> None:
    store = empty(r)
    there = join(store, r.repository, r.system)
    assert (there.id, there.document) == (r.repository.id, r.repository.document)
    assert there.store_id not in {"", r.repository.store_id}
    assert [s.name for s in store.list("")] == [
        "FORMAT.md", "repository.json", "restore.py", "store.json",
    ]  # fmt: skip
    before = r.objects(store)
    assert join(store, r.repository, r.system) == there
    assert r.objects(store) == before


def test_a_killed_join_is_completed(r: Repo) -> None:
    for n in range(4):
        store, puts = empty(r), iter(range(9))
        hook = on(lambda c, n=n, puts=puts: c.verb == "put" and next(puts) == n, kill)  # type: ignore[misc]
        with pytest.raises(Kill):
            join(FaultyStore(store, Fault(before=hook)), r.repository, r.system)
        there = join(store, r.repository, r.system)
        assert there.store_id
        assert len(r.objects(store)) == 4


def test_a_store_of_another_repository_is_refused(r: Repo) -> None:
    store = empty(r)
    other = create(store, r.system)
    before = r.objects(store)
    with pytest.raises(ConfigError) as caught:
        join(store, r.repository, r.system)
    assert other.id in caught.value.message
    assert r.repository.id in caught.value.message
    assert r.objects(store) == before
    foreign = replace(plan(r, joined(r)), destination=other)
    with pytest.raises(ConfigError, match="neither is a copy"):
        copy_domain(foreign, r.system)


def test_backups_without_their_repository_are_refused(r: Repo) -> None:
    store = joined(r)
    copied(r, store)
    store.delete(names.REPOSITORY)
    with pytest.raises(ConfigError, match="holds objects of a repository"):
        join(store, r.repository, r.system)
    assert names.REPOSITORY not in r.objects(store)


def test_a_store_is_no_copy_of_itself(r: Repo) -> None:
    with pytest.raises(ConfigError, match="one store"):
        copied(r, r.store)
    twin = MemoryStore(r.clock.store_now, url="memory://clone")
    for name, data in r.objects().items():
        taken(replace(r, store=twin), name, data)
    with pytest.raises(ConfigError, match="one store") as caught:
        copied(r, twin)
    assert names.STORE in (caught.value.hint or "")


# --- copying


def test_everything_comes_and_is_restored_from_the_copy_alone(r: Repo) -> None:
    there = joined(r)
    assert sessions(r, there) == set()
    done = copied(r, there)
    assert list(done.copied) == order(r)
    assert (done.there, done.left, done.findings) == (0, (), ())
    theirs, ours = r.objects(there), r.objects()
    assert {n: d for n, d in theirs.items() if "domains/" in n} == {
        n: d for n, d in ours.items() if "domains/" in n
    }
    moved = [len(d) for n, d in theirs.items() if "domains/" in n]
    assert (done.objects, done.bytes) == (len(moved), sum(moved))
    same(r, there)
    newest = r.history(there).snapshots[-1]
    r.store = there
    assert r.restore(newest) == r.contents[newest.session]


def test_a_second_copy_does_nothing_and_a_third_brings_what_is_new(r: Repo) -> None:
    there = joined(r)
    copied(r, there)
    again = copied(r, there)
    assert (again.copied, again.there, again.objects, again.bytes) == ((), 4, 0, 0)
    done = r.back_up(sample(7))
    new = copied(r, there)
    assert new.copied == ((done.generation, done.session),)
    assert new.there == 4
    same(r, there)


def test_a_quiet_copy_asks_two_listings_and_little_more(m: Repo) -> None:
    there = joined(m)
    copied(m, there)
    here, copy = FaultyStore(m.store), FaultyStore(there)
    copied(m, there, through=(here, copy))
    assert [c.verb for c in copy.calls] == ["list"]
    assert [c.verb for c in here.calls] == ["list", "list"]  # and the WAL


def test_a_large_object_goes_by_way_of_a_file(tmp_path: Path) -> None:
    made = repo(tmp_path)
    made.back_up({"large": os.urandom(3 << 20)}, "full")
    there = joined(made)
    copied(made, there)
    same(made, there)
    assert list((tmp_path / "spool").iterdir()) == []


def test_sessions_that_never_ended_and_fenced_ones_are_not_copied(r: Repo) -> None:
    begin_only(r)
    r.clock.move(2 * DAY)
    apply(r)  # fences it
    begin_only(r)
    assert [f for g in r.history().generations.values() for f in g.fences]
    there = joined(r)
    done = copied(r, there)
    assert len(done.copied) == 4
    assert (done.left, done.findings) == ((), ())
    assert not any(g.fences for g in r.history(there).generations.values())
    assert copied(r, there).objects == 0
    assert pending(at(r.store), at(there), r.domain, r.pins).sessions == ()


def test_what_is_expired_here_is_not_copied_and_what_expired_there_stays_so(m: Repo) -> None:
    there, late = joined(m), joined(m, empty(m, "late"))
    copied(m, there)
    m.clock.move(9 * DAY)
    newest = m.full(5)
    copied(m, there)
    assert apply(m, store=there).expired
    gone = {s.session for s in m.history().snapshots} - {newest.session}
    m.clock.move(2 * DAY)
    apply(m, store=there)  # sweeps
    assert copied(m, there).objects == 0
    assert sessions(m, there) == {newest.session}
    apply(m)
    assert copied(m, late).copied == ((newest.generation, newest.session),)
    assert sessions(m, late) == {newest.session}
    assert len(gone) == 4


def where(r: Repo, generation: str, session: str | None = None) -> Where:
    return Where(
        repository=r.repository.id, domain=r.domain, generation=generation, session=session
    )


def test_a_generation_closed_there_is_left_and_said(m: Repo) -> None:
    there = joined(m)
    (first, second) = dict.fromkeys(g for g, _ in order(m))
    closed = Closed(by="k", at=m.clock.at, reason="old", plan="x")
    taken(
        replace(m, store=there),
        names.closed(m.domain, first),
        encode(closed, where(m, first), m.keeper),
    )
    done = copied(m, there)
    assert {g for g, _ in done.copied} == {second}
    assert [(g, why) for g, _, why in done.left] == [(first, "its generation is closed there")] * 2
    assert not [n for n in m.objects(there) if f"/{first}/begin" in n]


@pytest.mark.parametrize("scoped", [True, False])
def test_a_fence_there_leaves_the_rest_and_the_next_full_heals(m: Repo, scoped: bool) -> None:
    there = joined(m)
    generation, session = order(m)[0]
    fence = Fence(reason="slow", by="k", at=m.clock.at, scope="a" * 32 if scoped else None)
    name = names.outcome(m.domain, generation, session)
    taken(replace(m, store=there), name, encode(fence, where(m, generation, session), m.keeper))
    for _ in range(2):
        done = copied(m, there)
        assert [(g, s) for g, s, _ in done.left] == order(m)[:2]
        (found,) = done.findings
        assert (found.level, found.what) == ("warn", "copy")
        assert "fenced at the copy" in found.message
        assert "--full" in (found.hint or "")
    assert sessions(m, there) == {s for _, s in order(m)[2:]}
    m.full(9)
    assert len(copied(m, there).copied) == 1


def test_an_outcome_of_something_else_there_is_tampering(m: Repo) -> None:
    there = joined(m)
    generation, session = order(m)[0]
    taken(replace(m, store=there), names.outcome(m.domain, generation, session), b"x")
    done = copied(m, there)
    assert [(f.level, f.what) for f in done.findings] == [("fail", "tampering")]
    assert len(done.left) == 2


# --- what is not as it was signed


def flip(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


HURT: dict[str, Callable[[bytes], bytes | None]] = {
    "flipped": flip,
    "cut": lambda data: data[:-1],
    "gone": lambda data: None,
}


@pytest.mark.parametrize("how", HURT)
@pytest.mark.parametrize("kind", ["pack", "manifest", "packlist", "begin", "open"])
def test_a_damaged_object_is_not_copied_as_good(m: Repo, kind: str, how: str) -> None:
    generation, session = order(m)[0]
    objects = held(m.store)
    hurt = [n for n in objects if (p := names.parse(n)) and p.kind == kind and generation in n]
    name = next(n for n in sorted(hurt) if kind == "open" or session in n)
    data, when = objects.pop(name)
    if (left := HURT[how](data)) is not None:
        objects[name] = (left, when)
    there = joined(m)
    done = copied(m, there)
    assert [(g, s) for g, s, _ in done.left] == order(m)[:2]
    assert any(name in f.message and f.level == "fail" for f in done.findings)
    assert name not in held(there)
    assert sessions(m, there) == {s for _, s in order(m)[2:]}
    objects[name] = (data, when)
    assert len(copied(m, there).copied) == 2
    same(m, there)


def test_an_outcome_that_nobody_believes_is_not_copied(m: Repo) -> None:
    m.back_up(sample(3), "full", signer=m.stranger, host="elsewhere")
    generation, session = order(m)[0]
    objects = held(m.store)
    name = names.outcome(m.domain, generation, session)
    objects[name] = (flip(objects[name][0]), objects[name][1])
    done = copied(m, joined(m))
    assert len(done.copied) == 2
    assert {f.what for f in done.findings} == {"tampering"}
    assert m.stranger.public_text in " ".join(f.message for f in done.findings)
    there = joined(m, empty(m, "all"))
    assert len(copy_domain(plan(m, there, pins=Pins.none()), m.system).copied) == 3


def test_only_a_pinned_maintainer_lets_go_what_is_copied(m: Repo) -> None:
    generation = order(m)[0][0]
    expired = Expired(by="k", at=m.clock.at, reason="mine", plan="x")
    data = encode(expired, where(m, generation), m.stranger)
    taken(m, names.expired(m.domain, generation), data)
    done = copied(m, joined(m))
    assert len(done.copied) == 4
    assert [f.what for f in done.findings] == ["tampering"]


@pytest.mark.parametrize("kind", ["pack", "manifest", "packlist", "begin", "open"])
def test_a_name_that_is_taken_there(m: Repo, kind: str) -> None:
    generation, session = order(m)[0]
    there = joined(m)
    found = [n for n in held(m.store) if (p := names.parse(n)) and p.kind == kind]
    name = next(n for n in sorted(found) if generation in n and (kind == "open" or session in n))
    taken(replace(m, store=there), name, b"x")
    done = copied(m, there)
    assert [(g, s) for g, s, _ in done.left] == order(m)[:2]
    assert any(f.level == "fail" and name in f.message for f in done.findings)
    assert len(done.copied) == 2


def test_a_used_pack_that_the_copy_lost_stops_what_builds_on_it(m: Repo) -> None:
    there = joined(m)
    copied(m, there)
    new = m.back_up(sample(1) | {"new": b"3"})
    lost = next(n for n in sorted(held(there)) if f"{order(m)[2][1]}-000000" in n)
    del held(there)[lost]
    done = copied(m, there)
    assert [(g, s) for g, s, _ in done.left] == [(new.generation, new.session)]
    assert any(lost in f.message and "repair" in (f.hint or "") for f in done.findings)


# --- pending, locks, progress


def test_pending_is_what_a_copy_would_bring(m: Repo) -> None:
    there = joined(m)
    asked = (at(m.store), at(there), m.domain, m.pins)
    found = pending(*asked)
    assert [(s.snapshot.generation, s.snapshot.session) for s in found.sessions] == order(m)
    copied(m, there)
    assert pending(*asked).sessions == ()
    assert pending(*asked).there == 4
    begin_only(m)
    new = m.full(9)
    here, copy = FaultyStore(m.store), FaultyStore(there)
    found = pending(at(here, asked[0]), at(copy, asked[1]), m.domain, m.pins)
    assert [s.snapshot.session for s in found.sessions] == [new.session]
    assert [c.verb for c in here.calls] == ["list", "read"]
    assert [c.verb for c in copy.calls] == ["list"]


class Locking(MemoryStore):
    """Remembers what it was asked to lock."""

    locks = True

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__(now, url="memory://locking")
        self.until: dict[str, Lock | None] = {}

    def put(self, name: str, body: Body) -> None:
        super().put(name, body)
        self.until[name] = body.lock


def test_every_object_of_a_generation_is_locked_as_its_open_says(m: Repo) -> None:
    there = Locking(m.clock.store_now)
    joined(m, there)

    def until(opened: Open | None) -> Lock | None:
        at = m.clock.at if opened is None else opened.created
        return Lock(mode="compliance", until=at + timedelta(days=30))

    copied(m, there, until=until)
    for name, lock in there.until.items():
        if name.startswith(names.DOMAINS):
            generation = name.split("/")[3]
            data = there.read(names.opened(m.domain, generation), 9999)
            said, _ = decode(Open, data, where(m, generation))
            assert lock == until(said)


def test_progress_is_told(m: Repo) -> None:
    told: list[Event] = []
    m.system = replace(m.system, tell=told.append)
    done = copied(m, joined(m))
    (started,) = [e for e in told if isinstance(e, Started)]
    assert started.total_items == 4
    assert sum(e.bytes for e in told if isinstance(e, Advanced)) == done.bytes
    assert sum(e.items for e in told if isinstance(e, Advanced)) == 4
    assert isinstance(told[-1], Finished)
    assert started.total_bytes
    assert started.total_bytes <= done.bytes

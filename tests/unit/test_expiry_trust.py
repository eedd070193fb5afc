from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from drkit.crypto.sign import SignerKey
from drkit.errors import ConfigError, Damaged, Tampering
from drkit.model.retention import Rules
from drkit.operations.forget import trouble
from drkit.repository import names
from drkit.repository.evidence_chain import DAMAGED, PROVEN
from drkit.repository.expiry import look
from drkit.repository.forgetter import _sound_outside
from drkit.repository.signed import Closed, Expired, Fence, Where, encode
from tests.fixtures.forgets import (
    apply,
    ask,
    begin_only,
    daily,
    kinds,
    left,
    objects_of,
    plan,
    reasons,
    taken,
    visible,
    whole,
    witnessed,
)
from tests.fixtures.repo import DAY, HOUR, START, Repo, repo, sample


@pytest.fixture(params=["memory", "local"])
def r(request: pytest.FixtureRequest, tmp_path: Path) -> Repo:
    return repo(tmp_path, local=request.param == "local")


@pytest.fixture
def m(tmp_path: Path) -> Repo:
    return repo(tmp_path)


# --- what must be believed, and what not


@pytest.mark.parametrize("what", ["pack", "packlist", "manifest", "truncated", "swapped"])
def test_nothing_goes_for_a_newer_one_that_is_not_sound(m: Repo, what: str) -> None:
    old = m.full(1)
    m.clock.move(20 * DAY)
    new = m.full(2)
    snapshot = m.history().snapshots[-1]
    objects = objects_of(m)
    packs = sorted(n for n in objects if f"/packs/{new.session}" in n)
    if what == "pack":
        m.store.delete(packs[0])
    elif what == "truncated":
        data, at = objects[packs[0]]
        objects[packs[0]] = (data[:-1], at)
    elif what == "swapped":
        list_name = names.packlist(m.domain, new.generation, new.session)
        other = names.packlist(m.domain, old.generation, old.session)
        objects[list_name] = objects[other]
    else:
        kind = names.packlist if what == "packlist" else names.manifest
        m.store.delete(kind(m.domain, snapshot.generation, snapshot.session))
    made = plan(m)
    assert made.expire == ()
    assert reasons(made, old.generation) == ("newer generation is not sound",)
    assert ("fail", "sound") in kinds(made.findings)
    assert apply(m, made).expired == ()
    assert m.history().snapshots[0].generation == old.generation


def test_the_last_line_of_defence_is_no_plans_to_cross(m: Repo) -> None:
    """Whatever a plan says: one sound backup is left to see."""
    ids = daily(m, 2)
    looked = look(m.repository, ask(m))
    assert _sound_outside(looked, {ids[0]})
    assert not _sound_outside(looked, set(ids))
    witnessed(m, DAMAGED, ids[1])
    assert not _sound_outside(look(m.repository, ask(m)), {ids[0]})
    assert _sound_outside(look(m.repository, ask(m)), {ids[1]})
    lost = next(n for n in m.objects() if f"{ids[0]}/packs/" in n)
    m.store.delete(lost)
    assert not _sound_outside(look(m.repository, ask(m)), {ids[1]})


def test_damage_counts_until_a_proof_is_later(m: Repo) -> None:
    old = m.full(1)
    m.clock.move(20 * DAY)
    new = m.full(2)
    m.clock.move(HOUR)
    witnessed(m, DAMAGED, new.generation)
    assert reasons(plan(m), old.generation) == ("newer generation is not sound",)
    m.clock.move(HOUR)
    witnessed(m, PROVEN, new.generation)
    assert plan(m).expire == (old.generation,)
    m.clock.move(HOUR)
    witnessed(m, DAMAGED, new.generation)
    assert plan(m).expire == ()


def test_a_verifier_with_a_wrong_clock_heals_nothing_and_hides_nothing(m: Repo) -> None:
    old = m.full(1)
    m.clock.move(20 * DAY)
    new = m.full(2)
    right, m.clock.at = m.clock.at, START - 10_000 * DAY
    m.clock.apart = right - m.clock.at
    witnessed(m, DAMAGED, new.generation)  # says 1998, and is stored today
    m.clock.at, m.clock.apart = right + HOUR, timedelta()
    assert plan(m).expire == ()
    m.clock.at, m.clock.apart = right - HOUR, 2 * HOUR  # by the store later, by the signer earlier
    witnessed(m, DAMAGED, new.generation)
    m.clock.at, m.clock.apart = right - 2 * HOUR, 5 * HOUR
    witnessed(m, PROVEN, new.generation)
    m.clock.at, m.clock.apart = right + HOUR, timedelta()
    assert plan(m).expire == ()
    assert old.generation in plan(m).keep


def test_a_proof_from_the_future_heals_no_later_damage(m: Repo) -> None:
    """The proof was stored first; its signer's clock said 2036."""
    old = m.full(1)
    m.clock.move(20 * DAY)
    new = m.full(2)
    right = m.clock.at
    m.clock.at, m.clock.apart = right + 3650 * DAY, -3650 * DAY
    witnessed(m, PROVEN, new.generation)
    m.clock.at, m.clock.apart = right + HOUR, timedelta()
    witnessed(m, DAMAGED, new.generation)
    assert reasons(plan(m), old.generation) == ("newer generation is not sound",)


def test_only_a_pinned_verifier_is_heard(m: Repo) -> None:
    old = m.full(1)
    m.clock.move(20 * DAY)
    new = m.full(2)
    witnessed(m, DAMAGED, new.generation, by=m.stranger)
    made = plan(m)
    assert made.expire == (old.generation,)
    assert trouble(made.findings) is not None


def test_the_last_proven_stays_until_another_is_proven(m: Repo) -> None:
    ids = daily(m, 3)
    witnessed(m, PROVEN, ids[0])
    m.clock.move(20 * DAY)
    fresh = m.full(9)
    assert apply(m).expired == tuple(ids[1:])
    assert reasons(plan(m), ids[0]) == ("last proven",)
    witnessed(m, PROVEN, fresh.generation)
    assert apply(m).expired == (ids[0],)


def test_proof_is_looked_at_again(m: Repo) -> None:
    """The proof that let the old one go is damaged between plan and apply."""
    old = m.full(1)
    witnessed(m, PROVEN, old.generation)
    m.clock.move(20 * DAY)
    new = m.full(2)
    witnessed(m, PROVEN, new.generation)
    made = plan(m)
    assert made.expire == (old.generation,)
    m.clock.move(HOUR)
    witnessed(m, DAMAGED, new.generation)
    done = apply(m, made)
    assert done.expired == done.closed == ()
    assert [g for g, _ in done.spared] == [old.generation]


# --- clocks


@pytest.mark.parametrize("year", [2030, 1990])
def test_a_commit_with_a_poisoned_clock(m: Repo, year: int) -> None:
    """Outside only when outside by both times; what is new by one clock alone replaces nothing."""
    good = m.full(1)
    m.clock.move(20 * DAY)
    now = m.clock.at
    wrong = now.replace(year=year)
    poisoned = m.back_up(sample(2), "full", system=replace(m.system, now=said(wrong)))
    made = plan(m)
    assert ("warn", "clocks") in kinds(made.findings)
    assert poisoned.generation in made.keep
    if year == 1990:  # by its own word it is older than the good one
        assert reasons(made, good.generation) == ("newest",)
    m.clock.move(20 * DAY)
    third = m.full(3)
    made = plan(m)
    assert good.generation in made.expire
    assert third.generation in made.keep
    assert (poisoned.generation in made.keep) == (year == 2030)
    apply(m, made)
    whole(m)


def said(at: datetime) -> Callable[[], datetime]:
    return lambda: at


def test_a_poisoned_writer_pushing_a_hundred(m: Repo) -> None:
    rules = Rules(keep=7 * DAY, weekly=4)
    good = []
    for _ in range(5):
        good.append(m.full(1).generation)
        m.clock.move(7 * DAY)
    good.append(m.full(1).generation)
    before = set(plan(m, rules).keep)
    for n in range(101):
        wrong = replace(m.system, now=said(m.clock.at - n * 7 * DAY))
        m.back_up({"x": b"%d" % n}, "full", host="thief", system=wrong)
    made = plan(m, rules)
    assert before <= set(made.keep)
    assert {("warn", "surplus"), ("warn", "clocks")} <= kinds(made.findings)
    assert len(made.findings) < 5
    done = apply(m, made, rules=rules)
    assert not before & set(done.expired)
    assert before <= set(visible(m))


def test_a_forgetter_with_a_clock_in_the_future_goes_by_the_stores(m: Repo) -> None:
    ids = daily(m, 5)
    m.clock.at += 3650 * DAY
    m.clock.apart = -3650 * DAY
    done = apply(m)
    assert done.expired == ()
    assert done.closed == tuple(ids[:4])
    assert ("warn", "clocks") in kinds(done.findings)
    assert all("it stays closed, the next backup there is a full" in why for _, why in done.spared)
    assert visible(m) == ids
    whole(m)


# --- hostile objects


def stolen(r: Repo, cls: type[Closed] | type[Expired], generation: str, by: SignerKey) -> bytes:
    where = Where(repository=r.repository.id, domain=r.domain, generation=generation)
    said = cls(by=by.public_text, at=r.clock.at, reason="x", plan="x")
    return encode(said, where, by)


def test_unpinned_objects_are_findings_and_never_a_reason(m: Repo) -> None:
    ids = daily(m, 4)
    fence = Fence(reason="x", by="x", at=m.clock.at)
    begin_only(m)
    session = next(iter(m.history().generations[ids[3]].open_sessions))
    where = Where(repository=m.repository.id, domain=m.domain, generation=ids[3], session=session)
    taken(m, names.expired(m.domain, ids[0]), stolen(m, Expired, ids[0], m.stranger))
    taken(m, names.closed(m.domain, ids[1]), stolen(m, Closed, ids[1], m.stranger))
    taken(m, names.expired(m.domain, ids[2]), b"junk")
    taken(m, names.outcome(m.domain, ids[3], session), encode(fence, where, m.stranger))
    m.clock.move(2 * DAY)
    made = plan(m)
    assert made.keep == tuple(ids)
    assert made.remains == ()
    tampering = [f for f in made.findings if f.what == "tampering"]
    assert len(tampering) == 4
    assert isinstance(trouble(made.findings), Tampering)
    done = apply(m, made)
    assert (done.deleted, done.expired, done.fenced) == (0, (), ())
    assert visible(m) == ids
    whole(m)


def test_a_taken_expired_stops_that_generation_alone(m: Repo) -> None:
    ids = daily(m, 2)
    m.clock.move(20 * DAY)
    m.full(9)
    taken(m, names.expired(m.domain, ids[0]), stolen(m, Expired, ids[0], m.stranger))
    done = apply(m)
    assert done.expired == (ids[1],)
    assert [g for g, _ in done.spared] == [ids[0]]
    assert ("fail", "tampering") in kinds(done.findings)
    m.clock.move(2 * DAY)
    apply(m)
    assert "pack" in left(m, ids[0])
    assert "pack" not in left(m, ids[1])


def test_a_stolen_maintainers_expired_deletes_nothing_that_the_plan_keeps(m: Repo) -> None:
    ids = daily(m, 3)
    for id in ids:
        taken(m, names.expired(m.domain, id), stolen(m, Expired, id, m.keeper))
    m.clock.move(2 * DAY)
    before = m.objects()
    made = plan(m)
    assert [remains.allowed for remains in made.remains] == [False] * 3
    assert len([f for f in made.findings if f.what == "expired"]) == 3
    done = apply(m, made)
    assert done.deleted == 0
    assert m.objects() == before


def test_a_longer_keep_stops_the_sweep(m: Repo) -> None:
    ids = daily(m, 10)
    apply(m)
    m.clock.move(2 * DAY)
    assert apply(m, rules=Rules(keep=90 * DAY)).deleted == 0
    assert apply(m).deleted > 0
    assert left(m, ids[0]) >= {"expired"}


def test_who_is_no_maintainer_forgets_nothing(m: Repo) -> None:
    daily(m, 10)
    before = m.objects()
    for who in (m.writer, m.stranger, m.verifier):
        with pytest.raises(ConfigError, match="not pinned as a maintainer"):
            apply(m, by=who)
    assert m.objects() == before


def test_without_pins_anybody_with_a_key_does(tmp_path: Path) -> None:
    r = repo(tmp_path, pinned=False)
    ids = daily(r, 10)
    assert apply(r, by=r.stranger).expired == tuple(ids[:3])


def test_backups_of_a_writer_missing_in_the_policy_are_kept_for_keep(m: Repo) -> None:
    theirs = m.back_up(sample(1), "full", signer=m.stranger, host="other").generation
    m.clock.move(2 * DAY)
    ours = m.full(2).generation
    made = plan(m)
    assert made.keep == (theirs, ours)
    assert [f.what for f in made.findings if f.level == "fail"] == ["tampering", "tampering"]
    m.clock.move(20 * DAY)
    last = m.full(3).generation
    assert plan(m).expire == (theirs, ours)
    assert plan(m).keep == (last,)


def test_an_unknown_required_feature_is_refused(m: Repo) -> None:
    daily(m, 10)
    made = plan(m)
    objects = objects_of(m)
    data, at = objects[names.REPOSITORY]
    document = msgspec.json.decode(data)
    document["features"]["required"] = ["deltas"]
    objects[names.REPOSITORY] = (msgspec.json.encode(document), at)
    before = m.objects()
    with pytest.raises(ConfigError, match="deltas"):
        apply(m, made)
    assert m.objects() == before
    document |= {"features": {"required": [], "optional": []}, "id": "0" * 32}
    objects[names.REPOSITORY] = (msgspec.json.encode(document), at)
    with pytest.raises(Damaged, match="another repository"):
        apply(m, made)


def test_packs_of_nobody_are_left_alone(m: Repo) -> None:
    m.full(1)
    strange = names.pack(m.domain, "f" * 32, "e" * 32, 0)
    taken(m, strange, b"junk")
    m.clock.move(100 * DAY)
    m.full(2)
    made = plan(m)
    assert "f" * 32 not in {fate.generation for fate in made.fates}
    assert ("fail", "tampering") in kinds(made.findings)
    apply(m, made)
    assert strange in m.objects()

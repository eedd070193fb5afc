from pathlib import Path

import pytest

from drkit.errors import Damaged, NotFound, StoreError
from drkit.model.retention import Rules
from drkit.operations.forget import plan_and_apply, trouble
from drkit.repository.expiry import ForgetPlan
from tests.fixtures.faulty_store import Call, Fault, FaultyStore, on, refused
from tests.fixtures.forgets import (
    apply,
    ask,
    daily,
    left,
    plan,
    reasons,
    visible,
    whole,
)
from tests.fixtures.repo import DAY, HOUR, Repo, repo, sample


@pytest.fixture(params=["memory", "local"])
def r(request: pytest.FixtureRequest, tmp_path: Path) -> Repo:
    return repo(tmp_path, local=request.param == "local")


@pytest.fixture
def m(tmp_path: Path) -> Repo:
    return repo(tmp_path)


# --- the whole way


def test_old_generations_expire_and_are_swept_a_patience_later(r: Repo) -> None:
    ids = daily(r, 10)
    made = plan(r)
    assert made.expire == tuple(ids[:3])
    assert made.keep == tuple(ids[3:])
    before = r.objects()
    done = apply(r, made)
    assert done.expired == done.closed == tuple(ids[:3])
    assert (done.deleted, done.spared, done.refused, done.findings) == (0, (), (), ())
    assert visible(r) == ids[3:]
    assert before.items() <= r.objects().items()
    whole(r)
    r.clock.move(DAY - HOUR)
    assert apply(r).deleted == 0
    r.clock.move(2 * HOUR)
    swept = apply(r)
    assert swept.deleted == 3 * 7  # packs 3, manifests 2, packlists 2
    for id in ids[:3]:
        assert left(r, id) == {"open", "begin", "outcome", "closed", "expired"}
    whole(r)
    assert trouble(plan(r).findings) is None
    assert r.back_up(sample(50)).kind == "incremental"


def test_a_plan_changes_nothing_and_is_the_same_twice(r: Repo) -> None:
    daily(r, 9)
    before = r.objects()
    assert plan(r) == plan(r)
    assert r.objects() == before


def test_weekly_monthly_yearly_end_to_end(m: Repo) -> None:
    rules = Rules(keep=7 * DAY, weekly=3, monthly=3, yearly=2)
    born = {}
    for _ in range(50):
        born[m.full().generation] = m.clock.at.date().isoformat()[5:]
        m.clock.move(2 * DAY)
    done = apply(m, rules=rules)
    assert m.clock.at.date().isoformat() == "2026-04-15"
    kept = [born[g] for g in visible(m)]
    yearly, monthly, weekly = ["01-05"], ["02-02", "03-02", "04-01"], ["03-30", "04-07", "04-13"]
    within = ["04-09", "04-11", "04-13"]
    assert kept == sorted({*yearly, *monthly, *weekly, *within})
    assert len(done.expired) + len(kept) == 50
    assert apply(m, rules=rules).expired == ()
    whole(m)


def test_without_rules_everything_is_kept(m: Repo) -> None:
    ids = daily(m, 3)
    m.clock.move(1000 * DAY)
    assert plan(m, Rules()).keep == tuple(ids)
    assert apply(m, rules=Rules()).expired == ()


def test_the_last_one_stays_however_old(m: Repo) -> None:
    ids = daily(m, 3)
    m.clock.move(1000 * DAY)
    assert apply(m).expired == tuple(ids[:2])
    m.clock.move(1000 * DAY)
    assert apply(m).expired == ()
    assert visible(m) == ids[2:]
    assert reasons(plan(m), ids[2]) == ("newest",)


def test_show_comes_before_the_first_put(m: Repo) -> None:
    daily(m, 10)
    before = m.objects()
    shown: list[ForgetPlan] = []

    def show(made: ForgetPlan) -> None:
        assert m.objects() == before
        shown.append(made)

    done = plan_and_apply(m.repository, ask(m), m.keeper, m.system, show)
    assert done.expired == shown[0].expire


# --- the store


def test_a_refused_delete_is_told_and_tried_again(m: Repo) -> None:
    daily(m, 10)
    apply(m)
    m.clock.move(2 * DAY)
    locked = on(lambda call: call.verb == "delete" and call.kind == "pack", refused)
    done = apply(m, store=FaultyStore(m.store, Fault(before=locked)))
    assert len(done.refused) == 3 * 3
    assert done.deleted == 3 * 4
    assert "403" in done.refused[0][1]
    again = apply(m)
    assert (again.deleted, again.refused) == (3 * 3, ())


def test_only_what_the_plan_has_shown_is_swept(m: Repo) -> None:
    daily(m, 10)
    made = plan(m)
    apply(m)
    m.clock.move(2 * DAY)
    assert apply(m, made).deleted == 0
    assert apply(m).deleted == 3 * 7


def test_delete_finding_nothing_is_fine(m: Repo) -> None:
    ids = daily(m, 10)
    apply(m)
    m.clock.move(2 * DAY)
    made = plan(m)

    def faster(call: Call) -> None:
        if call.verb == "delete":
            m.store.delete(call.name)

    done = apply(m, made, store=FaultyStore(m.store, Fault(before=faster)))
    assert (done.deleted, done.refused) == (0, ())
    assert "pack" not in left(m, ids[0])


def test_a_store_that_is_down_ends_the_run(m: Repo) -> None:
    daily(m, 10)
    apply(m)
    m.clock.move(2 * DAY)

    def down(call: Call) -> None:
        if call.verb == "delete":
            raise StoreError("down", transient=True)

    with pytest.raises(StoreError, match="down"):
        apply(m, store=FaultyStore(m.store, Fault(before=down)))
    assert apply(m).deleted > 0


def test_a_restore_that_runs_ends(r: Repo) -> None:
    """Opened before `expired`, it reads on for a patience."""
    ids = daily(r, 10)
    old = r.history().snapshots[0]
    assert old.generation == ids[0]
    with r.reader(old) as reader:
        entries = [e for e in reader.entries() if e.type == "file"]
        first = reader.stream(entries[0]).read()
        apply(r)
        r.clock.move(DAY - HOUR)
        apply(r)
        got = {e.path: reader.stream(e).read() for e in entries}
        assert got[entries[0].path] == first
        assert got == r.contents[old.session]
        r.clock.move(2 * HOUR)
        apply(r)
        large = next(e for e in entries if e.path == "large")
        with pytest.raises((Damaged, NotFound)):
            reader.stream(large).read()

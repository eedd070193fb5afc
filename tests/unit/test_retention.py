"""What may be forgotten: each rule by an example, and what must hold whatever comes."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drkit.model.retention import Commit, Generation, Pending, Plan, Rules, plan

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)
KEEP = Rules(keep=30 * DAY)


def commit(days: float, name: str = "", apart: float = 0, *, complete: bool = True) -> Commit:
    """So many days old by its writer's clock; by the store's, so many more."""
    ended = NOW - days * DAY
    session = name or f"s{days:g}"
    return Commit(session=session, ended=ended, stored=ended - apart * DAY, complete=complete)


def gen(
    days: float, *commits: Commit, proven: float | None = None, closed: bool = False
) -> Generation:
    made = commits or (commit(days),)
    return Generation(
        id=f"g{days:g}",
        opened=NOW - days * DAY,
        commits=made,
        proven=None if proven is None else NOW - proven * DAY,
        closed=closed,
    )


def reasons(plan: Plan, id: str) -> tuple[str, ...]:
    return next(d.reasons for d in plan.decisions if d.generation == id)


def test_what_is_older_than_keep_goes_and_says_why() -> None:
    found = plan([gen(1), gen(20), gen(31), gen(400)], KEEP, NOW)
    assert found.expire == ("g400", "g31")
    assert found.keep == ("g20", "g1")
    assert reasons(found, "g31") == ("older than keep 30 days: its newest backup is 31 days old",)
    assert reasons(found, "g20") == ("within keep 30 days",)
    assert reasons(found, "g1") == ("within keep 30 days", "newest")


def test_without_a_rule_everything_stays() -> None:
    found = plan([gen(1), gen(4000)], Rules(), NOW)
    assert found.expire == ()
    assert reasons(found, "g4000") == ("no retention rule",)


def test_the_edge_of_keep_is_inside() -> None:
    assert plan([gen(1), gen(30)], KEEP, NOW).expire == ()
    assert plan([gen(1), gen(30)], KEEP, NOW + timedelta(seconds=1)).expire == ("g30",)


def test_one_young_backup_holds_its_whole_generation() -> None:
    long = gen(60, commit(60), commit(40), commit(29))
    assert plan([gen(1), long], KEEP, NOW).expire == ()


@pytest.mark.parametrize(("ended", "apart"), [(5, 100), (100, -95)])
def test_both_clocks_must_say_that_it_is_old(ended: float, apart: float) -> None:
    odd = gen(ended, commit(ended, apart=apart))
    found = plan([gen(1), replace(odd, id="odd")], KEEP, NOW)
    assert "odd" in found.keep
    assert "clocks disagree: it is outside by one of them" in reasons(found, "odd")
    assert [f.what for f in found.findings] == ["clocks"]
    assert "more than 1 h apart, at most" in found.findings[0].message


def test_weekly_monthly_and_yearly_hold_the_first_of_each_period() -> None:
    days = [gen(d) for d in range(1, 800)]
    found = plan(days, Rules(keep=7 * DAY, weekly=4, monthly=3, yearly=2), NOW)
    dates = {d.generation: NOW - int(d.generation[1:]) * DAY for d in found.decisions}
    held = {dates[g].date().isoformat() for g in found.keep if dates[g] < NOW - 7 * DAY}
    weeks = {"2026-11-09", "2026-11-02", "2026-10-26"}  # Mondays; that of the 16th is within keep
    assert held == {*weeks, "2026-11-01", "2026-10-01", "2026-09-01", "2026-01-01", "2025-01-01"}
    first = next(g for g, date in dates.items() if date.date().isoformat() == "2026-11-01")
    assert reasons(found, first) == ("monthly 1 of 3",)
    gone = next(g for g, date in dates.items() if date.date().isoformat() == "2026-08-01")
    assert reasons(found, gone)[1] == "not one of weekly 4, monthly 3, yearly 2"


def test_a_pause_of_a_year_eats_no_weekly() -> None:
    old = [gen(400 + 7 * week) for week in range(6)]
    found = plan([*old, gen(1)], Rules(keep=7 * DAY, weekly=4), NOW)
    assert found.keep == ("g414", "g407", "g400", "g1")
    assert reasons(found, "g414") == ("weekly 4 of 4",)


def test_a_stolen_key_pushes_nothing_out_of_a_week_that_has_its_backup() -> None:
    rules = Rules(keep=7 * DAY, weekly=8, monthly=6)
    good = [gen(d) for d in range(1, 200)]
    before = set(plan(good, rules, NOW).keep)
    garbage = [
        Generation(
            id=f"x{n}",
            opened=NOW,
            commits=(Commit(session=f"x{n}", ended=NOW - (n * 3 + 0.4) * DAY, stored=NOW),),
        )
        for n in range(60)
    ]
    found = plan([*good, *garbage], rules, NOW)
    assert before <= set(found.keep)
    assert {f.what for f in found.findings} == {"clocks"}


def test_weeks_by_the_writers_clock_count_where_the_store_is_a_young_copy() -> None:
    copied = [gen(d, commit(d, apart=60 - d)) for d in range(61, 120)]
    found = plan([*copied, gen(1)], Rules(keep=7 * DAY, weekly=4), NOW)
    ended = {(NOW - int(g[1:]) * DAY).date().isoformat() for g in found.keep}
    assert {"2026-09-14", "2026-09-07", "2026-08-31", "2026-11-19"} <= ended


def test_an_unsound_backup_stands_for_a_week_only_alone() -> None:
    broken = replace(gen(60), id="broken", damaged=NOW - 59 * DAY)  # Monday, 21 September
    good = gen(59)
    rules = Rules(keep=7 * DAY, weekly=2)
    found = plan([broken, good, gen(1)], rules, NOW)
    assert found.expire == ("broken",)
    assert reasons(found, "g59") == ("weekly 2 of 2",)
    alone = plan([broken, gen(1)], rules, NOW)
    assert alone.expire == ()


# --- what must stay


def test_nothing_goes_before_a_newer_sound_one_is_there() -> None:
    assert plan([gen(100)], KEEP, NOW).expire == ()
    found = plan([gen(100), gen(90, commit(90, complete=False))], KEEP, NOW)
    assert found.expire == ()
    assert reasons(found, "g100") == ("newer generation is not sound",)
    assert reasons(found, "g90") == ("newest",)
    assert [f.level for f in found.findings] == ["fail"]
    hurt = [gen(100), *(replace(gen(d), damaged=NOW) for d in (90, 80))]
    assert reasons(plan(hurt, KEEP, NOW), "g100") == ("no newer generation is sound",)


def test_proof_after_damage_makes_sound_again() -> None:
    healed = replace(gen(90), damaged=NOW - 50 * DAY, proven=NOW - 40 * DAY)
    assert plan([gen(100), healed], KEEP, NOW).expire == ("g100",)
    assert plan([gen(100), replace(healed, damaged=NOW - 40 * DAY)], KEEP, NOW).expire == ()


def test_a_generation_without_backup_is_nothing_newer() -> None:
    empty = Generation(id="empty", opened=NOW - 50 * DAY)
    found = plan([gen(100), empty], KEEP, NOW)
    assert found.expire == ()
    assert plan([gen(100), empty, gen(1)], KEEP, NOW).expire == ("g100", "empty")


def test_the_last_proven_stays() -> None:
    proven = gen(100, proven=99)
    found = plan([gen(200), proven, gen(90), gen(1)], KEEP, NOW)
    assert found.expire == ("g200", "g90")
    assert reasons(found, "g100") == ("last proven",)
    newer = plan([proven, gen(90), gen(1, proven=0.5)], KEEP, NOW)
    assert newer.expire == ("g100", "g90")


def test_of_several_proven_that_are_too_old_the_newest_stays() -> None:
    found = plan([gen(d, proven=d - 1) for d in (300, 200, 100)] + [gen(1)], KEEP, NOW)
    assert found.expire == ("g300", "g200")
    assert reasons(found, "g100") == ("last proven",)


def test_a_closed_generation_is_no_other_proven_one() -> None:
    """Two forgetters that each trust the other's generation must not take both."""
    one, two = gen(100, proven=99), gen(90, proven=89)
    assert plan([one, two, gen(1)], KEEP, NOW).expire == ("g100",)
    both = [replace(one, closed=True), replace(two, closed=True), gen(1)]
    assert plan(both, KEEP, NOW).expire == ()
    seen_by_one = [replace(one, closed=True), two, gen(1)]
    assert plan(seen_by_one, KEEP, NOW).expire == ("g100",)


def test_a_closed_one_that_stays_lets_no_proven_one_go() -> None:
    kept = gen(5, proven=4, closed=True)
    found = plan([gen(100, proven=99), kept, gen(1)], KEEP, NOW)
    assert reasons(found, "g100") == ("last proven",)
    assert plan([gen(100, proven=99), replace(kept, closed=False)], KEEP, NOW).expire == ("g100",)


def test_a_damaged_one_that_stays_lets_no_proven_one_go() -> None:
    hurt = replace(gen(5, proven=4), damaged=NOW)
    found = plan([gen(100, proven=99), hurt, gen(1)], KEEP, NOW)
    assert reasons(found, "g100") == ("last proven",)


def test_what_one_clock_alone_calls_newer_replaces_nothing() -> None:
    one = gen(100, commit(100))
    other = gen(90, commit(90, apart=20))  # signed later, stored earlier
    assert plan([one, other], KEEP, NOW).keep == ("g90", "g100")
    assert reasons(plan([one, other], KEEP, NOW), "g90") == ("newest",)


def test_soundness() -> None:
    assert gen(5).sound
    assert not replace(gen(5), expired=True).sound
    assert not replace(gen(5), damaged=NOW).sound
    assert not gen(5, commit(5), commit(4, complete=False)).sound
    assert not Generation(id="empty", opened=NOW).sound


def test_a_proven_one_that_was_damaged_later_waits_for_another_proof() -> None:
    hurt = replace(gen(100, proven=99), damaged=NOW - DAY)
    assert plan([hurt, gen(1)], KEEP, NOW).expire == ()
    assert plan([hurt, gen(1, proven=0.5)], KEEP, NOW).expire == ("g100",)


def test_an_open_session_is_left_in_peace_for_the_patience() -> None:
    young = Pending(session="young", begun=NOW - timedelta(hours=3))
    stale = Pending(session="stale", begun=NOW - 2 * DAY)
    busy = replace(gen(100), pending=(young, stale))
    found = plan([busy, gen(1)], KEEP, NOW)
    assert found.expire == ()
    assert reasons(found, "g100") == ("open session younger than patience: it began 3 h ago",)
    assert found.fence == (("g100", "stale"),)
    later = plan([busy, gen(1)], KEEP, NOW + DAY)
    assert later.expire == ("g100",)
    assert later.fence == (("g100", "stale"), ("g100", "young"))


def test_sessions_are_fenced_in_kept_generations_too() -> None:
    old = replace(gen(1), pending=(Pending(session="dead", begun=NOW - 2 * DAY),))
    assert plan([old], Rules(), NOW).fence == (("g1", "dead"),)


def test_a_generation_just_opened_waits_for_its_first_session() -> None:
    opened = Generation(id="new", opened=NOW - timedelta(hours=2))
    later = replace(gen(0.01), id="later")
    found = plan([opened, gen(1), later], KEEP, NOW)
    assert found.expire == ()
    assert reasons(found, "new") == ("opened 2 h ago, its first session may be on its way",)
    old = replace(opened, opened=NOW - 2 * DAY)
    gone = plan([old, gen(1)], KEEP, NOW)
    assert reasons(gone, "new") == ("it holds no backup", "opened 2 days ago")


def test_expired_generations_are_not_there() -> None:
    found = plan([gen(100), replace(gen(1), expired=True)], KEEP, NOW)
    assert [d.generation for d in found.decisions] == ["g100"]
    assert found.expire == ()


def test_a_surplus_of_backups_is_told() -> None:
    many = gen(1, *(commit(1 + n / 1000, f"s{n}") for n in range(60)))
    assert plan([many], KEEP, NOW, timedelta(hours=1)).findings[0].message == (
        "60 backups on 2026-11-19, the schedule makes 24"
    )
    assert not plan([many], KEEP, NOW).findings
    assert not plan([gen(1)], KEEP, NOW, timedelta(days=31)).findings


def test_nothing_at_all_is_a_plan() -> None:
    assert plan([], KEEP, NOW) == Plan(decisions=(), fence=(), findings=())


# --- whatever comes


def moments() -> st.SearchStrategy[datetime]:
    return st.integers(-10 * 24, 800 * 24).map(lambda hours: NOW - timedelta(hours=hours))


@st.composite
def commits(draw: st.DrawFn) -> Commit:
    stored = draw(moments())
    apart = draw(st.sampled_from([0, 0, 0, 0.5, 48, -48, 5000, -5000]))
    return Commit(
        session=f"{draw(st.integers(0, 1 << 40)):x}",
        ended=stored + timedelta(hours=apart),
        stored=stored,
        complete=draw(st.sampled_from([True, True, True, False])),
    )


@st.composite
def generations(draw: st.DrawFn) -> list[Generation]:
    made = []
    for number in range(draw(st.integers(0, 8))):
        held = tuple(draw(st.lists(commits(), max_size=3)))
        opened = min((c.stored for c in held), default=draw(moments()))
        made.append(
            Generation(
                id=f"g{number}",
                opened=opened,
                commits=held,
                pending=tuple(
                    Pending(session=f"p{number}-{n}", begun=draw(moments()))
                    for n in range(draw(st.sampled_from([0, 0, 0, 1, 2])))
                ),
                closed=draw(st.sampled_from([False, False, True])),
                expired=draw(st.sampled_from([False, False, False, True])),
                proven=draw(st.none() | moments()),
                damaged=draw(st.none() | st.none() | moments()),
            )
        )
    return made


RULES = st.builds(
    Rules,
    keep=st.none() | st.integers(1, 400).map(lambda d: d * DAY),
    weekly=st.integers(0, 6),
    monthly=st.integers(0, 4),
    yearly=st.integers(0, 2),
)


def after(before: Sequence[Generation], found: Plan) -> list[Generation]:
    return [g for g in before if g.id not in found.expire]


@settings(max_examples=150, deadline=None)
@given(generations(), RULES)
def test_what_must_stay_stays(before: list[Generation], rules: Rules) -> None:
    found = plan(before, rules, NOW)
    live = [g for g in before if not g.expired]
    left = [g for g in live if g.id not in found.expire]
    assert sorted((*found.expire, *found.keep)) == sorted(g.id for g in live)
    assert all(d.reasons for d in found.decisions)
    assert bool(left) == bool(live)
    with_backups = [g for g in live if g.commits]
    if with_backups:
        for clock in ("ended", "stored"):
            newest = max(getattr(c, clock) for g in with_backups for c in g.commits)
            assert any(getattr(c, clock) == newest for g in left for c in g.commits)
    sound = [g for g in live if g.sound]
    assert bool(sound) == any(g.sound for g in left)
    if any(g.proven and g.sound for g in live):
        assert any(g.proven and g.sound for g in left)
    for g in live:
        if g.id in found.expire:
            assert rules.keep is not None
            assert all(
                NOW - c.ended > rules.keep and NOW - c.stored > rules.keep for c in g.commits
            )
            assert all(NOW - p.begun > rules.patience for p in g.pending)
            assert not g.proven or any(o.proven and o.sound and not o.closed for o in left)


@settings(max_examples=100, deadline=None)
@given(generations(), RULES)
def test_a_second_plan_finds_nothing_more(before: list[Generation], rules: Rules) -> None:
    found = plan(before, rules, NOW)
    assert plan(after(before, found), rules, NOW).expire == ()


@settings(max_examples=100, deadline=None)
@given(generations(), RULES, st.randoms(use_true_random=False))
def test_the_order_of_what_comes_in_means_nothing(
    before: list[Generation], rules: Rules, random: Random
) -> None:
    shuffled = [replace(g, commits=g.commits[::-1], pending=g.pending[::-1]) for g in before[::-1]]
    random.shuffle(shuffled)
    assert plan(before, rules, NOW) == plan(shuffled, rules, NOW)


@settings(max_examples=100, deadline=None)
@given(generations(), generations(), RULES)
def test_garbage_takes_nothing_that_keep_holds(
    good: list[Generation], garbage: list[Generation], rules: Rules
) -> None:
    more = [replace(g, id=f"x{g.id}") for g in garbage]
    before, with_garbage = plan(good, rules, NOW), plan([*good, *more], rules, NOW)
    for decision in before.decisions:
        if any(r.startswith(("within keep", "open session")) for r in decision.reasons):
            assert decision.generation in with_garbage.keep


@settings(max_examples=100, deadline=None)
@given(generations(), RULES, st.integers(0, 5000), st.integers(0, 5000))
def test_time_alone_takes_only_what_ages_out(
    before: list[Generation], rules: Rules, a: int, b: int
) -> None:
    early, late = (NOW + timedelta(hours=h) for h in sorted((a, b)))
    first, second = plan(before, rules, early), plan(before, rules, late)
    assert set(first.expire) <= set(second.expire)
    for g in before:
        times = [t for c in g.commits for t in (c.ended, c.stored)]
        if g.id in second.expire:
            assert rules.keep is not None
            assert all(late - t > rules.keep for t in times)

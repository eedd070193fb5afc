"""When a run is due: rules, clocks that jump, and histories of all kinds."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drkit.model.schedule import (
    LAST,
    PATTERN,
    UNRULED,
    History,
    Rule,
    Run,
    Schedule,
    due,
    expected_end,
    is_due,
    last_slot,
    longest_interval,
    next_slot,
    pace,
    parse_rule,
)

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Seoul", "Asia/Kathmandu")
ODD_ZONES = ("Australia/Lord_Howe", "Africa/Casablanca", "America/St_Johns", "Pacific/Chatham")
RULES = (
    "hourly",
    "hourly :15",
    "every 15 min",
    "every 6h",
    "daily 02:00",
    "daily 02:30",
    "daily",
    "weekly sat 05:00",
    "weekly sunday",
    "monthly 1 03:00",
    "monthly 28 23:59",
    "monthly last 03:00",
)
MOMENTS = st.datetimes(
    min_value=datetime(1999, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(2037, 12, 31),  # noqa: DTZ001 - as above
    timezones=st.just(UTC),
)


def at(text: str, zone: tzinfo = UTC) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)


@pytest.mark.parametrize("text", [*RULES, "  Daily   2:00 ", "weekly SAT 05:00"])
def test_rules_are_read(text: str) -> None:
    rule = parse_rule(text)
    assert str(rule) == " ".join(text.lower().split())
    assert parse_rule(str(rule)) == rule
    assert re.search(PATTERN, text)


def test_rules_mean_what_they_say() -> None:
    saturday = parse_rule("weekly sat 05:00")
    assert (saturday.day, saturday.at.hour, saturday.at.minute) == (5, 5, 0)
    assert parse_rule("monthly last").day == LAST
    assert parse_rule("hourly :15").at.minute == 15
    assert parse_rule("every 15 min").every == timedelta(minutes=15)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "'' is not a time to run at: write one like daily 02:00"),
        ("02:00", "'02:00' is not a time to run at"),
        ("0 2 * * *", "'0 2 * * *' is not a time to run at"),
        ("daily 25:00", "'25:00' is not a time of day: write it like 02:00"),
        ("daily 2", "'2' is not a time of day"),
        ("daily 02:00 03:00", "is not a time to run at"),
        ("weekly 05:00", "is not a time to run at"),
        ("weekly", "is not a time to run at"),
        ("weekly sa 05:00", "'sa' is not a day of the week: one of mon, tue"),
        ("weekly caturday", "'caturday' is not a day of the week"),
        ("monthly 31 03:00", "'31' is not a day every month has: 1 to 28, or last"),
        ("monthly 0", "'0' is not a day every month has"),
        ("monthly " + "9" * 5000, "is not a day every month has"),
        ("hourly :60", "is not a time to run at"),
        ("every", "is not a time to run at"),
        ("every parsec", "'parsec' is not a duration"),
        ("every 10 s", "from 1 min to 366 days are possible"),
        ("every 400 days", "from 1 min to 366 days are possible"),
    ],
)
def test_what_is_no_rule(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse_rule(text)


@pytest.mark.parametrize(
    ("text", "now", "last", "following"),
    [
        ("daily 02:00", "2026-03-10 01:59", "2026-03-09 02:00", "2026-03-10 02:00"),
        ("daily 02:00", "2026-03-10 02:00", "2026-03-10 02:00", "2026-03-11 02:00"),
        ("hourly", "2026-03-10 02:59:59", "2026-03-10 02:00", "2026-03-10 03:00"),
        ("hourly :15", "2026-03-10 00:05", "2026-03-09 23:15", "2026-03-10 00:15"),
        ("every 15 min", "2026-03-10 00:14", "2026-03-10 00:00", "2026-03-10 00:15"),
        ("every 6h", "2026-03-10 17:59", "2026-03-10 12:00", "2026-03-10 18:00"),
        ("weekly sat 05:00", "2026-03-10 00:00", "2026-03-07 05:00", "2026-03-14 05:00"),
        ("monthly 1 03:00", "2026-03-01 02:00", "2026-02-01 03:00", "2026-03-01 03:00"),
        ("monthly last 03:00", "2028-03-10 00:00", "2028-02-29 03:00", "2028-03-31 03:00"),
    ],
)
def test_slots(text: str, now: str, last: str, following: str) -> None:
    rule = parse_rule(text)
    assert last_slot(rule, at(now)) == at(last)
    assert next_slot(rule, at(now)) == at(following)


def test_a_time_that_the_clock_skips_is_later_by_the_gap() -> None:
    rule = parse_rule("daily 02:30")  # 2026-03-29: 02:00 becomes 03:00 in Berlin
    assert next_slot(rule, at("2026-03-28 12:00", BERLIN), BERLIN) == at("2026-03-29 01:30")
    assert next_slot(rule, at("2026-03-29 01:30"), BERLIN) == at("2026-03-30 02:30", BERLIN)


def test_a_gap_over_midnight_carries_a_time_into_the_next_day() -> None:
    zone = ZoneInfo("Asia/Pyongyang")  # 2018-05-04: 23:30 becomes 00:00
    rule, slot = parse_rule("daily 23:45"), at("2018-05-04 15:15")
    assert next_slot(rule, at("2018-05-04 15:05"), zone) == slot
    assert last_slot(rule, slot, zone) == slot


def test_a_time_that_the_clock_shows_twice_counts_once() -> None:
    rule = parse_rule("daily 02:30")  # 2026-10-25: 03:00 becomes 02:00 in Berlin
    first = at("2026-10-25 00:30")
    assert next_slot(rule, at("2026-10-24 12:00", BERLIN), BERLIN) == first
    assert last_slot(rule, first + timedelta(hours=1), BERLIN) == first
    assert next_slot(rule, first, BERLIN) == at("2026-10-26 02:30", BERLIN)


def test_hours_go_on_through_a_change_of_clocks() -> None:
    rule = parse_rule("hourly")
    slot, seen = at("2026-10-24 22:00"), []
    for _ in range(6):
        slot = next_slot(rule, slot, BERLIN)
        seen.append(slot)
    assert [b - a for a, b in pairwise(seen)] == [timedelta(hours=1)] * 5


@settings(max_examples=60)
@given(st.sampled_from(RULES), st.sampled_from(ZONES + ODD_ZONES), MOMENTS)
def test_slots_hold_together(text: str, name: str, now: datetime) -> None:
    rule, zone = parse_rule(text), ZoneInfo(name)
    last, following = last_slot(rule, now, zone), next_slot(rule, now, zone)
    assert last <= now < following
    assert last_slot(rule, last, zone) == last
    assert last_slot(rule, following, zone) == following
    assert next_slot(rule, last, zone) == following
    assert following - last <= longest_interval(rule)


@settings(max_examples=40)
@given(
    st.sampled_from(RULES),
    st.sampled_from(ZONES + ODD_ZONES),
    st.sampled_from([datetime(2026, m, d, tzinfo=UTC) for m, d in ((3, 28), (4, 4), (10, 24))]),
    st.integers(0, 72 * 60),
    st.integers(0, 72 * 60),
)
def test_slots_never_go_back_around_a_change(
    text: str, name: str, start: datetime, a: int, b: int
) -> None:
    rule, zone = parse_rule(text), ZoneInfo(name)
    one, two = (start + timedelta(minutes=m) for m in sorted((a, b)))
    assert last_slot(rule, one, zone) <= last_slot(rule, two, zone)


# --- what is due


NIGHTLY = Schedule(full=parse_rule("daily 02:00"), incremental=parse_rule("hourly"))


def history(*runs: tuple[str, str], incremental: bool = True) -> History:
    made = tuple(Run(kind="full" if k == "full" else "incremental", begun=at(t)) for k, t in runs)
    return History(runs=made, incremental=incremental)


@pytest.mark.parametrize(
    ("runs", "now", "kind"),
    [
        ([], "2026-03-10 12:00", "full"),
        ([("full", "2026-03-10 02:00:01")], "2026-03-10 02:30", None),
        ([("full", "2026-03-10 02:00:01")], "2026-03-10 03:00", "incremental"),
        ([("full", "2026-03-10 01:59")], "2026-03-10 02:00", "full"),
        ([("full", "2026-03-09 02:00")], "2026-03-10 05:00", "full"),  # late, yet it counts
        ([("full", "2026-03-10 05:00")], "2026-03-10 05:30", None),
        (
            [("full", "2026-03-01 02:00"), ("incremental", "2026-03-10 11:00")],
            "2026-03-10 11:30",
            "full",
        ),
        (
            [("full", "2026-03-10 02:00"), ("incremental", "2026-03-10 11:00")],
            "2026-03-10 11:59",
            None,
        ),
        (
            [("full", "2026-03-10 02:00"), ("incremental", "2026-03-10 11:00")],
            "2026-03-10 12:00",
            "incremental",
        ),
        ([("incremental", "2026-03-10 11:00")], "2026-03-10 11:30", "full"),
    ],
)
def test_due(runs: list[tuple[str, str]], now: str, kind: str | None) -> None:
    assert due(NIGHTLY, history(*runs), at(now)).kind == kind


def test_a_full_is_taken_where_no_incremental_is_possible() -> None:
    past = history(("full", "2026-03-10 02:00"), incremental=False)
    found = due(NIGHTLY, past, at("2026-03-10 03:10"))
    assert found.kind == "full"
    assert "nothing an incremental could build on" in found.reason


def test_without_a_schedule_each_call_takes_one() -> None:
    past = history(("full", "2026-03-10 02:00"))
    assert due(Schedule(), past, at("2026-03-10 02:01")).kind == "incremental"
    assert due(Schedule(), History(), at("2026-03-10 02:01")).kind == "full"
    other = Schedule(scrub=parse_rule("weekly sat 05:00"))
    assert due(other, past, at("2026-03-10 02:01")).kind == "incremental"


def test_reasons_are_in_the_schedules_own_time() -> None:
    schedule = Schedule(full=parse_rule("daily 02:00"), timezone=BERLIN)
    now = at("2026-07-10 12:00")
    assert due(schedule, History(), now).reason == (
        "full: daily 02:00 was due at 2026-07-10T02:00+02:00"
    )
    done = history(("full", "2026-07-10 03:00"))
    assert due(schedule, done, now).reason == "nothing is due before 2026-07-11T02:00+02:00"


def test_backups_from_the_future_neither_count_nor_cause_endless_fulls() -> None:
    """The clock was a year ahead; it is right again."""
    past = [("full", "2027-03-10 02:00"), ("full", "2026-03-01 02:00")]
    now = at("2026-03-10 12:00")
    found = due(NIGHTLY, history(*past), now)
    assert found.kind == "full"
    assert found.warning is not None
    assert "a clock was or is wrong" in found.warning
    past.append(("full", "2026-03-10 12:00"))
    assert due(NIGHTLY, history(*past), now + timedelta(minutes=5)).kind is None
    assert due(NIGHTLY, history(*past), now + timedelta(hours=1)).kind == "incremental"


def test_a_small_step_back_of_the_clock_takes_nothing_twice() -> None:
    past = history(("full", "2026-03-10 02:00:02"))
    assert due(NIGHTLY, past, at("2026-03-10 02:00:00")).kind is None


def test_scrub_and_forget_are_due_alike() -> None:
    rule = parse_rule("weekly sat 05:00")
    assert is_due(rule, [], at("2026-03-10 00:00"))
    assert not is_due(rule, [at("2026-03-07 05:00")], at("2026-03-10 00:00"))
    assert is_due(rule, [at("2026-03-07 04:59")], at("2026-03-10 00:00"))


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(RULES),
    st.sampled_from(RULES),
    st.sampled_from(("UTC", "Europe/Berlin", "Australia/Lord_Howe")),
    MOMENTS,
    st.lists(st.booleans(), min_size=60, max_size=60),
)
def test_cron_takes_each_slot_once(
    full: str, incremental: str, name: str, start: datetime, fails: list[bool]
) -> None:
    """Called every 20 minutes; some runs fail, and are due again until one succeeds."""
    zone = ZoneInfo(name)
    schedule = Schedule(full=parse_rule(full), incremental=parse_rule(incremental), timezone=zone)
    rules: dict[str, Rule | None] = {"full": schedule.full, "incremental": schedule.incremental}
    runs: list[Run] = []
    for call, failed in enumerate(fails):
        now = start + timedelta(minutes=20 * call)
        kind = due(schedule, History(runs=tuple(runs), incremental=bool(runs)), now).kind
        if kind is None:
            assert runs
            continue
        again = due(schedule, History(runs=tuple(runs), incremental=bool(runs)), now).kind
        assert again == kind
        if not failed:
            rule = rules[kind]
            assert rule is not None
            before = [r.begun for r in runs if kind == "incremental" or r.kind == "full"]
            assert all(b < last_slot(rule, now, zone) for b in before)
            runs.append(Run(kind=kind, begun=now))
            after = due(schedule, History(runs=tuple(runs), incremental=True), now).kind
            assert after is None
    assert runs or all(fails)


@settings(max_examples=100)
@given(st.lists(st.integers(-2000, 2000), max_size=5), st.integers(-2000, 2000))
def test_no_clock_stops_the_backups(hours: list[int], jump: int) -> None:
    """Whatever the history says, a day after any jump a full has been due."""
    now = datetime(2026, 6, 1, tzinfo=UTC) + timedelta(hours=jump)
    base = datetime(2026, 6, 1, tzinfo=UTC)
    runs = [Run(kind="full", begun=base + timedelta(hours=h)) for h in hours]
    taken = 0
    for hour in range(50):
        moment = now + timedelta(hours=hour)
        if due(Schedule(full=NIGHTLY.full), History(runs=tuple(runs)), moment).kind == "full":
            runs.append(Run(kind="full", begun=moment))
            taken += 1
    assert taken <= 4  # one at once, and one for each 02:00 of 50 hours
    assert any(now <= r.begun <= now + timedelta(hours=50) for r in runs)


def test_a_generation_has_an_expected_end() -> None:
    opened = at("2026-03-10 02:00")
    assert expected_end(NIGHTLY, opened) == opened + timedelta(hours=25)
    assert expected_end(Schedule(), opened) == opened + UNRULED


def test_the_pace_is_that_of_the_more_frequent_rule() -> None:
    assert pace(NIGHTLY) == timedelta(hours=1)
    assert pace(Schedule(full=parse_rule("every 6h"))) == timedelta(hours=6)
    assert pace(Schedule()) is None

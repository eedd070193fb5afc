"""When a run is due: rules as people write them, and what the history says was done already."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Literal

from drkit.model.snapshot import BackupKind
from drkit.model.units import duration, in_words

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LAST = 0  # the day of a month that stands for its last one

# A run that began this far ahead of now is a small step of the clock, and counts; one further
# ahead was made under a wrong clock, and would keep the next from being due for ever.
AHEAD = timedelta(hours=1)
# How long a generation goes on where no rule ever asks for a full: without an end nothing expires.
UNRULED = timedelta(days=30)

_HOUR = timedelta(hours=1)
_NOMINAL = {
    "hourly": _HOUR,
    "daily": timedelta(days=1),
    "weekly": timedelta(days=7),
    "monthly": timedelta(days=31),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORMS = {
    "hourly": re.compile(r"hourly(?: :(?P<minute>[0-5][0-9]))?"),
    "every": re.compile(r"every (?P<every>.+)"),
    "daily": re.compile(r"daily(?: (?P<time>\S+))?"),
    "weekly": re.compile(r"weekly (?P<day>[a-z]+)(?: (?P<time>\S+))?"),
    "monthly": re.compile(r"monthly (?P<day>\S+)(?: (?P<time>\S+))?"),
}
_TIME = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
_EXAMPLES = "daily 02:00, hourly :15, every 6h, weekly sat 05:00, monthly 1 03:00"

# For editors, which can't call `parse_rule`: no stricter than it is.
PATTERN = r"^\s*(hourly|daily|every|weekly|monthly|[A-Z])"

Kind = Literal["hourly", "every", "daily", "weekly", "monthly"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    text: str  # as a person wrote it, with single blanks
    kind: Kind
    at: time = time()  # of the day; for hourly its minute
    day: int = 0  # weekly: 0 is Monday; monthly: 1 to 28, or LAST
    every: timedelta = timedelta()

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    full: Rule | None = None
    incremental: Rule | None = None
    scrub: Rule | None = None
    forget: Rule | None = None
    timezone: tzinfo = UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A committed backup; one that failed did not happen."""

    kind: BackupKind
    begun: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    runs: tuple[Run, ...] = ()
    incremental: bool = False  # one is possible: the generation is open, and this host can go on


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    kind: BackupKind | None
    reason: str
    warning: str | None = None  # what is odd about the history


def parse_rule(text: str) -> Rule:
    words = " ".join(text.lower().split())
    for kind, form in _FORMS.items():
        if found := form.fullmatch(words):
            return _rule(kind, words, found.groupdict())
    raise ValueError(f"{text!r} is not a time to run at: write one like {_EXAMPLES}")


def _rule(kind: str, text: str, parts: dict[str, str | None]) -> Rule:
    if kind == "every":
        return Rule(text=text, kind="every", every=_interval(parts["every"] or ""))
    if kind == "hourly":
        return Rule(text=text, kind="hourly", at=time(minute=int(parts["minute"] or 0)))
    at = _time(parts["time"] or "00:00", text)
    if kind == "weekly":
        return Rule(text=text, kind="weekly", at=at, day=_weekday(parts["day"] or "", text))
    if kind == "monthly":
        return Rule(text=text, kind="monthly", at=at, day=_month_day(parts["day"] or "", text))
    return Rule(text=text, kind="daily", at=at)


def _interval(text: str) -> timedelta:
    every = duration(text)
    if not timedelta(minutes=1) <= every <= timedelta(days=366):
        raise ValueError(f"'every {text}': from 1 min to 366 days are possible")
    return every


def _time(text: str, whole: str) -> time:
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"{whole!r}: {text!r} is not a time of day: write it like 02:00")
    return time(int(found[1]), int(found[2]))


def _weekday(text: str, whole: str) -> int:
    names = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    for number, name in enumerate(names):
        if len(text) >= 3 and name.startswith(text):
            return number
    raise ValueError(f"{whole!r}: {text!r} is not a day of the week: one of {', '.join(DAYS)}")


def _month_day(text: str, whole: str) -> int:
    if text == "last":
        return LAST
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 28:
        return int(text)
    raise ValueError(f"{whole!r}: {text!r} is not a day every month has: 1 to 28, or last")


def last_slot(rule: Rule, now: datetime, zone: tzinfo = UTC) -> datetime:
    """The most recent time at which it was due, in UTC; now itself counts."""
    if rule.kind == "every":
        return _EPOCH + (now - _EPOCH) // rule.every * rule.every
    return next(slot for slot in _slots(rule, now, zone, -1) if slot <= now)


def next_slot(rule: Rule, now: datetime, zone: tzinfo = UTC) -> datetime:
    """The first time after now, in UTC."""
    if rule.kind == "every":
        return last_slot(rule, now) + rule.every
    return next(slot for slot in _slots(rule, now, zone, 1) if slot > now)


def _slots(rule: Rule, now: datetime, zone: tzinfo, step: int) -> Iterator[datetime]:
    return _hours(rule, now, zone, step) if rule.kind == "hourly" else _days(rule, now, zone, step)


def _hours(rule: Rule, now: datetime, zone: tzinfo, step: int) -> Iterator[datetime]:
    """Minute by minute, as some clocks are put forward by half an hour."""
    slot = now.astimezone(UTC).replace(second=0, microsecond=0)
    while True:
        if slot.astimezone(zone).minute == rule.at.minute:
            yield slot
        slot += timedelta(minutes=step)


def _days(rule: Rule, now: datetime, zone: tzinfo, step: int) -> Iterator[datetime]:
    """From a day beyond now, as a gap may carry a time of yesterday into today.

    A time that a clock skips is as much later as the gap is long; one it shows twice is the first.
    """
    day = now.astimezone(zone).date() - timedelta(days=step)
    while True:
        if _falls(rule, day):
            yield datetime.combine(day, rule.at, zone).astimezone(UTC)
        day += timedelta(days=step)


def _falls(rule: Rule, day: date) -> bool:
    if rule.kind == "weekly":
        return day.weekday() == rule.day
    if rule.kind == "monthly":
        return (day + timedelta(days=1)).day == 1 if rule.day == LAST else day.day == rule.day
    return True


def longest_interval(rule: Rule) -> timedelta:
    """Between two slots, counting clocks that are put forward or back in between."""
    if rule.kind == "every":
        return rule.every
    return _NOMINAL[rule.kind] + (_HOUR / 2 if rule.kind == "hourly" else _HOUR)


def pace(schedule: Schedule) -> timedelta | None:
    """How often a backup of any kind is asked for."""
    rules = [r for r in (schedule.full, schedule.incremental) if r is not None]
    return min((r.every if r.kind == "every" else _NOMINAL[r.kind] for r in rules), default=None)


def expected_end(schedule: Schedule, opened: datetime) -> datetime:
    """When a generation opened then should have been followed by the next."""
    return opened + (longest_interval(schedule.full) if schedule.full else UNRULED)


def is_due(rule: Rule, runs: Iterable[datetime], now: datetime, zone: tzinfo = UTC) -> bool:
    """Nothing done since the last slot: late runs count, failed ones are due again."""
    slot = last_slot(rule, now, zone)
    return not any(slot <= run <= now + AHEAD for run in runs)


def due(schedule: Schedule, history: History, now: datetime) -> Due:
    """What `drkit backup` takes now. Whoever calls it every few minutes gets each slot once."""
    kind, reason = _due(schedule, history, now)
    ahead = [run.begun for run in history.runs if run.begun > now + AHEAD]
    if not ahead:
        return Due(kind=kind, reason=reason)
    by = in_words(timedelta(minutes=(max(ahead) - now) // timedelta(minutes=1)))
    warning = f"the last backup began {by} from now: a clock was or is wrong; it is not counted"
    return Due(kind=kind, reason=reason, warning=warning)


def _due(schedule: Schedule, history: History, now: datetime) -> tuple[BackupKind | None, str]:
    zone = schedule.timezone
    fulls = [run.begun for run in history.runs if run.kind == "full"]
    if schedule.full and is_due(schedule.full, fulls, now, zone):
        return "full", _was_due("full", schedule.full, now, zone)
    if schedule.incremental and is_due(
        schedule.incremental, [run.begun for run in history.runs], now, zone
    ):
        return _next_kind(history, _was_due("incremental", schedule.incremental, now, zone))
    if schedule.full or schedule.incremental:
        return None, _waits(schedule, now)
    return _next_kind(history, "no schedule: each call takes one")


def _next_kind(history: History, reason: str) -> tuple[BackupKind, str]:
    if history.incremental:
        return "incremental", reason
    return "full", f"{reason}; there is nothing an incremental could build on"


def _was_due(what: str, rule: Rule, now: datetime, zone: tzinfo) -> str:
    return f"{what}: {rule} was due at {_clock(last_slot(rule, now, zone), zone)}"


def _waits(schedule: Schedule, now: datetime) -> str:
    rules = [r for r in (schedule.full, schedule.incremental) if r is not None]
    soonest = min(next_slot(r, now, schedule.timezone) for r in rules)
    return f"nothing is due before {_clock(soonest, schedule.timezone)}"


def _clock(moment: datetime, zone: tzinfo) -> str:
    return moment.astimezone(zone).isoformat(timespec="minutes")

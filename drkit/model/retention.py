"""What may be forgotten: a plan over generations, with a reason in words for each."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from drkit.model.finding import Finding
from drkit.model.units import in_words, roughly

CLOCKS_APART = timedelta(hours=1)
_DAY = timedelta(days=1)
_UNPACED = 100  # commits a day that nobody makes by hand, where no schedule says how many there are

Clock = Literal["ended", "stored"]
_CLOCKS: tuple[Clock, ...] = ("ended", "stored")


LockMode = Literal["governance", "compliance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    keep: timedelta | None = None  # None: everything is kept for ever
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    patience: timedelta = _DAY  # how long a session without outcome is left in peace
    lock: LockMode | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    session: str
    ended: datetime  # as its writer signed it
    stored: datetime  # by the store's clock
    complete: bool = True  # every pack it uses is listed with its size


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A session without outcome."""

    session: str
    begun: datetime  # by the store's clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    id: str
    opened: datetime  # by the store's clock
    commits: tuple[Commit, ...] = ()
    pending: tuple[Pending, ...] = ()
    closed: bool = False
    expired: bool = False  # by a pinned maintainer: its commits exist no more
    proven: datetime | None = None  # the newest evidence that a restore of it was good
    damaged: datetime | None = None  # the newest evidence that it was not

    @property
    def hurt(self) -> bool:
        """Damage was seen, and no proof came after it."""
        return self.damaged is not None and (self.proven is None or self.damaged >= self.proven)

    @property
    def sound(self) -> bool:
        commits = bool(self.commits) and all(c.complete for c in self.commits)
        return commits and not self.expired and not self.hurt


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    generation: str
    keep: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    decisions: tuple[Decision, ...]  # oldest first; expired generations have none
    fence: tuple[tuple[str, str], ...]  # generation and session: begun longer ago than the patience
    findings: tuple[Finding, ...]

    @property
    def expire(self) -> tuple[str, ...]:
        return tuple(d.generation for d in self.decisions if not d.keep)

    @property
    def keep(self) -> tuple[str, ...]:
        return tuple(d.generation for d in self.decisions if d.keep)


def plan(
    generations: Iterable[Generation],
    rules: Rules,
    now: datetime,
    pace: timedelta | None = None,
) -> Plan:
    """`pace` is how often the schedule asks for a backup: many more than that are a finding."""
    live = sorted((g for g in generations if not g.expired), key=_order)
    held = {g.id: _holds(g, rules, now) for g in live}
    for session, reason in _picked(live, rules):
        held[session].append(reason)
    for generation in live:
        if not _followed(generation, live):
            held[generation.id].append(_unfollowed(generation, live))
    _spare_last_proven(live, held)
    return Plan(
        decisions=tuple(_decision(g, held[g.id], rules, now) for g in live),
        fence=tuple((g.id, p.session) for g in live for p in _stale(g, rules, now)),
        findings=(*_odd_clocks(live), *_surplus(live, pace), *_unsound(live)),
    )


def _order(generation: Generation) -> tuple[datetime, str]:
    return _newest(generation, "stored"), generation.id


def _newest(generation: Generation, clock: Clock) -> datetime:
    times = [_time(c, clock) for c in generation.commits]
    return max(times, default=generation.opened)


def _time(commit: Commit, clock: Clock) -> datetime:
    return commit.ended if clock == "ended" else commit.stored


# --- what holds a generation by itself


def _holds(generation: Generation, rules: Rules, now: datetime) -> list[str]:
    if rules.keep is None:
        return ["no retention rule"]
    reasons = _within(generation, rules.keep, now)
    young = [p for p in generation.pending if now - p.begun <= rules.patience]
    if young:
        ago = _ago(max(p.begun for p in young), now)
        reasons.append(f"open session younger than patience: it began {ago}")
    elif not generation.commits and now - generation.opened <= rules.patience:
        reasons.append(
            f"opened {_ago(generation.opened, now)}, its first session may be on its way"
        )
    return reasons


def _within(generation: Generation, keep: timedelta, now: datetime) -> list[str]:
    """A commit is outside only when it is outside by both clocks."""
    inside = [k for k in generation.commits if any(now - _time(k, c) <= keep for c in _CLOCKS)]
    if not inside:
        return []
    reasons = [f"within keep {in_words(keep)}"]
    agreed = any(all(now - _time(k, c) <= keep + CLOCKS_APART for c in _CLOCKS) for k in inside)
    if not agreed:
        reasons.append("clocks disagree: it is outside by one of them")
    return reasons


def _stale(generation: Generation, rules: Rules, now: datetime) -> list[Pending]:
    stale = [p for p in generation.pending if now - p.begun > rules.patience]
    return sorted(stale, key=lambda p: p.session)


# --- weekly, monthly, yearly


def _picked(live: Sequence[Generation], rules: Rules) -> Iterable[tuple[str, str]]:
    wanted: tuple[tuple[str, int, Callable[[date], object]], ...] = (
        ("weekly", rules.weekly, lambda day: day.isocalendar()[:2]),
        ("monthly", rules.monthly, lambda day: (day.year, day.month)),
        ("yearly", rules.yearly, lambda day: day.year),
    )
    for name, count, period in wanted:
        picks = [_picks(live, clock, count, period) for clock in _CLOCKS]
        for generation in live:
            place = next((p[generation.id] for p in picks[::-1] if generation.id in p), None)
            if place is not None:
                yield generation.id, f"{name} {place} of {count}"


def _picks(
    live: Sequence[Generation], clock: Clock, count: int, period: Callable[[date], object]
) -> dict[str, int]:
    """Generation to its place, newest first: those with the first commit of a period.

    The first, and not the last: what came first by the store's clock can't be pushed out by what a
    stolen writer's key commits later. Only periods with a commit count, so that a year without
    backups eats nothing. An unsound commit stands for its period only where there is no other.
    """
    firsts: dict[object, tuple[bool, datetime, str]] = {}
    for generation in live:
        for commit in generation.commits:
            moment = _time(commit, clock).astimezone(UTC)
            unsound = generation.hurt or not commit.complete
            candidate = (unsound, moment, generation.id)
            key = period(moment.date())
            firsts[key] = min(firsts.get(key, candidate), candidate)
    newest = sorted(firsts.values(), key=lambda first: first[1], reverse=True)[:count]
    places: dict[str, int] = {}
    for place, (_, _, id) in enumerate(newest, 1):
        places.setdefault(id, place)
    return places


# --- what must stay whatever the rules say


def _followed(generation: Generation, live: Sequence[Generation]) -> bool:
    return any(_newer(other, generation) for other in live if other.sound)


def _newer(one: Generation, other: Generation) -> bool:
    """By both clocks: what one clock alone calls newer replaces nothing."""
    return all(_newest(one, clock) > _newest(other, clock) for clock in _CLOCKS)


def _unfollowed(generation: Generation, live: Sequence[Generation]) -> str:
    newer = [other for other in live if _newer(other, generation)]
    if not newer:
        return "newest"
    return "newer generation is not sound" if len(newer) == 1 else "no newer generation is sound"


def _spare_last_proven(live: Sequence[Generation], held: dict[str, list[str]]) -> None:
    """What was ever proven goes only while another, sound and not closed, remains."""
    proven = [g for g in live if g.proven is not None]
    good = [g for g in proven if g.sound]
    if any(held[g.id] and not g.closed for g in good):
        return
    losing = [g for g in proven if not held[g.id]]
    best = [g for g in good if g in losing and not g.closed]
    for generation in best[-1:] or losing:  # one that stays and is open lets the others go
        held[generation.id].append("last proven")


def _decision(generation: Generation, held: list[str], rules: Rules, now: datetime) -> Decision:
    if held:
        return Decision(generation=generation.id, keep=True, reasons=tuple(held))
    return Decision(generation=generation.id, keep=False, reasons=_gone(generation, rules, now))


def _gone(generation: Generation, rules: Rules, now: datetime) -> tuple[str, ...]:
    assert rules.keep is not None
    if not generation.commits:
        return ("it holds no backup", f"opened {_ago(generation.opened, now)}")
    age = roughly(now - max(_newest(generation, clock) for clock in _CLOCKS))
    counts = {"weekly": rules.weekly, "monthly": rules.monthly, "yearly": rules.yearly}
    others = [f"{name} {count}" for name, count in counts.items() if count]
    reasons = [f"older than keep {in_words(rules.keep)}: its newest backup is {age} old"]
    return (*reasons, f"not one of {', '.join(others)}") if others else tuple(reasons)


def _ago(moment: datetime, now: datetime) -> str:
    return f"{roughly(now - moment)} ago" if now >= moment else f"{roughly(moment - now)} from now"


# --- what is odd


def _odd_clocks(live: Sequence[Generation]) -> Iterable[Finding]:
    apart = [(abs(c.ended - c.stored), c, g) for g in live for c in g.commits]
    apart = [found for found in apart if found[0] > CLOCKS_APART]
    if apart:
        most, commit, generation = max(apart, key=lambda found: (found[0], found[1].session))
        yield Finding(
            level="warn",
            what="clocks",
            message=f"{len(apart)} backups have a signed time and a store's time more than "
            f"{in_words(CLOCKS_APART)} apart, at most {roughly(most)} (session {commit.session}, "
            f"generation {generation.id}): they count by whichever keeps them longer",
            hint="compare the clocks of the host and of the store",
        )


def _surplus(live: Sequence[Generation], pace: timedelta | None) -> Iterable[Finding]:
    """By the store's clock, which a stolen writer's key can't set."""
    usual = _UNPACED if pace is None else -(-_DAY // pace)
    days = Counter(c.stored.astimezone(UTC).date() for g in live for c in g.commits)
    most = _UNPACED if pace is None else 2 * usual + 4
    over = sorted((-count, day) for day, count in days.items() if count > most)
    if over:
        count, day = -over[0][0], over[0][1]
        why = "" if pace is None else f", the schedule makes {usual}"
        more = f" (and {len(over) - 1} other days like it)" if len(over) > 1 else ""
        yield Finding(
            level="warn",
            what="surplus",
            message=f"{count} backups on {day.isoformat()}{why}{more}",
            hint="a stolen signer key can crowd out weekly and longer keeps: see who made them",
        )


def _unsound(live: Sequence[Generation]) -> Iterable[Finding]:
    for generation in live:
        missing = sorted(c.session for c in generation.commits if not c.complete)
        if generation.hurt:
            what = "damage was found in it, and no proof came after"
        elif missing:
            what = f"packs of {len(missing)} of its backups are missing ({missing[0]})"
        else:
            continue
        yield Finding(level="fail", what="sound", message=f"generation {generation.id}: {what}")

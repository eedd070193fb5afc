"""Durations, sizes and rates as people write them, and back."""

import re
from datetime import timedelta

LONGEST = timedelta(days=36525)  # a century: dates beyond it leave the calendar when added to now
LARGEST = 1 << 62

_SECONDS = {
    "ms": 0.001,
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86400),
    **dict.fromkeys(("w", "week", "weeks"), 604800),
}
_UNEVEN = frozenset({"month", "months", "mo", "y", "yr", "year", "years", "quarter", "quarters"})
_SIZES = {
    "B": 1,
    **{"KMGTP"[i] + "B": 1000 ** (i + 1) for i in range(5)},
    **{"KMGTP"[i] + "iB": 1024 ** (i + 1) for i in range(5)},
    "kB": 1000,
    "bytes": 1,
}
_BITS = {"bit": 1, "kbit": 1000, "Kbit": 1000, "Mbit": 1000**2, "Gbit": 1000**3}
_NUMBER = r"[0-9]{1,18}(?:\.[0-9]{1,9})?"
_PART = re.compile(rf"({_NUMBER})[ \t]*([A-Za-z]+)[ \t]*")
_MEASURE = re.compile(rf"({_NUMBER})[ \t]*([A-Za-z]*)")

# For editors, which can't call these functions: no stricter than they are.
DURATION_PATTERN = r"^\s*([0-9]+(\.[0-9]+)?\s*[A-Za-z]+\s*)+$"
SIZE_PATTERN = r"^\s*[0-9]+(\.[0-9]+)?\s*([kKMGTP]?i?B|bytes)\s*$"
RATE_PATTERN = r"^\s*[0-9]+(\.[0-9]+)?\s*([kKMGTP]?i?B|[kKMG]?bit|bytes)/s\s*$"


def duration(text: str) -> timedelta:
    """`30 days`, `15 min`, `24h`, `1h30m`, `1 h 30 min`."""
    rest = text.strip()
    if re.fullmatch(_NUMBER, rest):
        raise ValueError(f"{text!r} has no unit: write s, min, h, days or weeks after it")
    milliseconds, at = 0.0, 0
    for part in _PART.finditer(rest):
        if part.start() != at:
            break
        milliseconds += float(part[1]) * _seconds(part[2], text) * 1000
        at = part.end()
    if not rest or at != len(rest):
        raise ValueError(f"{text!r} is not a duration")
    if milliseconds > LONGEST / timedelta(milliseconds=1):
        raise ValueError(f"{text!r} is longer than a century")
    return timedelta(milliseconds=round(milliseconds))


def _seconds(unit: str, text: str) -> float:
    unit = unit.lower()
    if unit in _UNEVEN:
        raise ValueError(f"{text!r} is not a duration: months and years differ, write days")
    if unit not in _SECONDS:
        raise ValueError(f"{text!r} is not a duration")
    return _SECONDS[unit]


def size(text: str) -> int:
    """Bytes: `64 MiB` counts in 1024, `64 MB` in 1000."""
    found = _MEASURE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a size")
    return _whole(found[1], _unit(found[2], _SIZES, text), text)


def rate(text: str) -> int:
    """Bytes a second: `80 MB/s`, `64 MiB/s`, `100 Mbit/s`."""
    amount, slash, second = text.strip().rpartition("/")
    found = _MEASURE.fullmatch(amount.strip())
    if found is None or not slash or second.strip() != "s":
        raise ValueError(f"{text!r} is not a rate: write it like 80 MB/s")
    if found[2] in _BITS:
        return _whole(found[1], _BITS[found[2]] / 8, text)
    return _whole(found[1], _unit(found[2], _SIZES, text), text)


def _unit(unit: str, known: dict[str, int], text: str) -> int:
    if unit in known:
        return known[unit]
    if not unit:
        raise ValueError(f"{text!r} has no unit: write MB (1000) or MiB (1024)")
    alike = [name for name in known if name.lower() == unit.lower()]
    alike = alike or [name for name in known if name[0] == unit.upper() and len(unit) == 1]
    more = f": did you mean {' or '.join(alike)}" if alike else ""
    raise ValueError(f"{text!r}: {unit!r} is not a unit of size{more}")


def _whole(number: str, unit: float, text: str) -> int:
    bytes_ = int(number) * unit if number.isdigit() else float(number) * unit
    if bytes_ > LARGEST:
        raise ValueError(f"{text!r} is too large")
    return round(bytes_)


def in_words(length: timedelta) -> str:
    """Exact to the millisecond: `duration(in_words(x)) == x`. Below zero with a minus."""
    if length < timedelta():
        return f"-{in_words(-length)}"
    left = round(length / timedelta(milliseconds=1))
    parts = []
    for unit, milliseconds in _STEPS:
        count, left = divmod(left, milliseconds)
        if count:
            parts.append(f"{count} {'day' if unit == 'days' and count == 1 else unit}")
    return " ".join(parts) or "0 s"


_STEPS = (("days", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1))


def roughly(length: timedelta) -> str:
    """The two largest units, for reading: `12 days 3 h`."""
    sign, length = ("-", -length) if length < timedelta() else ("", length)
    finest = next((step for step, above in _FINEST if length >= above), timedelta(milliseconds=1))
    return sign + in_words(length // finest * finest)


_FINEST = (
    (timedelta(days=1), timedelta(days=100)),
    (timedelta(hours=1), timedelta(days=1)),
    (timedelta(minutes=1), timedelta(hours=1)),
    (timedelta(seconds=1), timedelta(seconds=1)),
)


def size_in_words(count: int) -> str:
    """In binary units, three digits at most after rounding: `64 MiB`, `1.5 GiB`."""
    if abs(count) < 1024:
        return f"{count} B"
    value, power = float(count), 0
    while abs(value) >= 1023.95 and power < 5:
        value, power = value / 1024, power + 1
    number = f"{value:.1f}" if abs(value) < 99.95 else f"{value:.0f}"
    return f"{number.removesuffix('.0')} {'KMGTP'[power - 1]}iB"


def rate_in_words(count: int) -> str:
    return f"{size_in_words(count)}/s"

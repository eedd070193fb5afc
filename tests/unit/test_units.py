"""Durations, sizes and rates, there and back."""

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drkit.model import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30 days", 30 * 86400),
        ("1 day", 86400),
        ("15 min", 900),
        ("24h", 86400),
        ("1h30m", 5400),
        ("1 h 30 min", 5400),
        ("  2 weeks ", 14 * 86400),
        ("1.5h", 5400),
        ("90s", 90),
        ("250 ms", 0.25),
        ("0 s", 0),
        ("2 Hours", 7200),
        ("36525 days", 36525 * 86400),
    ],
)
def test_durations_as_people_write_them(text: str, seconds: float) -> None:
    assert units.duration(text) == timedelta(seconds=seconds)
    assert re.search(units.DURATION_PATTERN, text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("10 parsecs", "'10 parsecs' is not a duration"),
        ("", "'' is not a duration"),
        ("days", "'days' is not a duration"),
        ("-3 days", "'-3 days' is not a duration"),
        ("30", "'30' has no unit: write s, min, h, days or weeks after it"),
        ("3 months", "'3 months' is not a duration: months and years differ, write days"),
        ("1h 30", "'1h 30' is not a duration"),
        ("1h,30m", "'1h,30m' is not a duration"),
        ("٣ days", "'٣ days' is not a duration"),
        ("1e9 days", "'1e9 days' is not a duration"),
        ("36525 days 1 ms", "'36525 days 1 ms' is longer than a century"),
        ("999999999999999999 weeks", "'999999999999999999 weeks' is longer than a century"),
        ("9" * 5000 + " days", "is not a duration"),
        ("1 day\n", None),
    ],
)
def test_what_is_no_duration(text: str, reason: str | None) -> None:
    if reason is None:
        assert units.duration(text)
        return
    with pytest.raises(ValueError, match=re.escape(reason)):
        units.duration(text)


@given(st.timedeltas(min_value=timedelta(), max_value=units.LONGEST))
def test_words_are_read_back(length: timedelta) -> None:
    length -= timedelta(microseconds=length.microseconds % 1000)
    words = units.in_words(length)
    assert units.duration(words) == length
    assert re.search(units.DURATION_PATTERN, words)


@pytest.mark.parametrize(
    ("length", "words", "short"),
    [
        (timedelta(), "0 s", "0 s"),
        (timedelta(days=1), "1 day", "1 day"),
        (timedelta(days=30), "30 days", "30 days"),
        (timedelta(hours=1, minutes=30), "1 h 30 min", "1 h 30 min"),
        (timedelta(days=12, hours=3, minutes=9), "12 days 3 h 9 min", "12 days 3 h"),
        (timedelta(days=400, hours=3), "400 days 3 h", "400 days"),
        (timedelta(minutes=2, seconds=3, milliseconds=4), "2 min 3 s 4 ms", "2 min 3 s"),
        (-timedelta(hours=2), "-2 h", "-2 h"),
    ],
)
def test_words(length: timedelta, words: str, short: str) -> None:
    assert units.in_words(length) == words
    assert units.roughly(length) == short


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0 B", 0),
        ("1 B", 1),
        ("64 MiB", 64 << 20),
        ("64 MB", 64_000_000),
        ("1.5GiB", 3 << 29),
        ("5 kB", 5000),
        ("5 KiB", 5120),
        ("1 PiB", 1 << 50),
    ],
)
def test_sizes(text: str, count: int) -> None:
    assert units.size(text) == count


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("64", "'64' has no unit: write MB (1000) or MiB (1024)"),
        ("64 mb", "'mb' is not a unit of size: did you mean MB"),
        ("64 m", "'m' is not a unit of size: did you mean MB or MiB"),
        ("64 Mb", "did you mean MB"),
        ("64 parsecs", "'parsecs' is not a unit of size"),
        ("-1 B", "'-1 B' is not a size"),
        ("99999999 PiB", "is too large"),
    ],
)
def test_what_is_no_size(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        units.size(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("80 MB/s", 80_000_000),
        ("80MB/s", 80_000_000),
        ("64 MiB/s", 64 << 20),
        ("100 Mbit/s", 12_500_000),
        ("512 kB / s", 512_000),
    ],
)
def test_rates(text: str, count: int) -> None:
    assert units.rate(text) == count


@pytest.mark.parametrize("text", ["80 MB", "80/s", "80 MB/h", "fast", "80 mb/s", "/s", "80 MB//s"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        units.rate(text)


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (64 << 20, "64 MiB"),
        ((1 << 20) - 1, "1 MiB"),
        (10**9, "954 MiB"),
        (1 << 60, "1024 PiB"),
    ],
)
def test_sizes_in_words(count: int, words: str) -> None:
    assert units.size_in_words(count) == words
    assert units.rate_in_words(count) == f"{words}/s"


@given(st.integers(min_value=0, max_value=1 << 55))
def test_sizes_in_words_are_near(count: int) -> None:
    assert abs(units.size(units.size_in_words(count)) - count) <= max(count * 0.05, 0.5)

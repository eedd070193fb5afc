"""Places in the WAL: positions as PostgreSQL writes them, and the files they lie in."""

import re
from dataclasses import dataclass

_TEXT = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")
_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Position:
    """Where the WAL stood on a timeline."""

    timeline: int
    lsn: int

    def __str__(self) -> str:
        return f"{show_lsn(self.lsn)} on timeline {self.timeline}"


def parse_lsn(text: str) -> int:
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is no position in the WAL: it looks like 0/5A000028")
    return int(found[1], 16) << 32 | int(found[2], 16)


def show_lsn(lsn: int) -> str:
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def segment_start(lsn: int, size: int) -> int:
    """`size`: of a segment, a power of two from 1 MiB to 1 GiB."""
    return lsn - lsn % size


def segment_name(timeline: int, lsn: int, size: int) -> str:
    """The file that holds the byte at `lsn`."""
    per_log = (1 << 32) // size
    number = lsn // size
    return f"{timeline:08X}{number // per_log:08X}{number % per_log:08X}"


def parse_segment(name: str, size: int) -> Position:
    """Where it begins."""
    found = _SEGMENT.fullmatch(name)
    if found is None:
        raise ValueError(f"{name[:40]!r} is no WAL segment")
    timeline, log, part = (int(group, 16) for group in found.groups())
    return Position(timeline=timeline, lsn=log * (1 << 32) + part * size)

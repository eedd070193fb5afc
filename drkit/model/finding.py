"""One answer to one question about a restored copy, a store or a set-up."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Level = Literal["pass", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    level: Level
    what: str  # the question, in a few words
    message: str  # the answer
    hint: str | None = None  # what to do about it


def worst(findings: Iterable[Finding]) -> Finding | None:
    """The first failure; its message says how many more there are."""
    bad = [finding for finding in findings if finding.level == "fail"]
    if len(bad) < 2:
        return bad[0] if bad else None
    return replace(bad[0], message=f"{bad[0].message} (and {len(bad) - 1} more)")

"""One answer to one question about a restored copy, a store or a set-up."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["pass", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    level: Level
    what: str  # the question, in a few words
    message: str  # the answer
    hint: str | None = None  # what to do about it

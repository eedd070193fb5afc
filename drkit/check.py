"""The protocol between a restored copy and the questions asked of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from drkit.model.drill import Answer
from drkit.model.snapshot import Facts

Row = tuple[str | None, ...]


class Asked(Protocol):
    """A server that runs on the copy."""

    def query(self, sql: str, database: str | None = None) -> list[Row]:
        """The rows of the last statement; PostgresError when it refuses. None: a database that is
        there; `postgres` may have been dropped, and `template1` be closed."""

    def log_lines(self) -> list[str]:
        """All it has said since it was first started on the copy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """The copy: what was signed and recorded of its original, and the server where one runs."""

    folder: Path
    facts: Facts
    recorded: Mapping[str, Any] = field(default_factory=dict)
    server: Asked | None = None
    left: Callable[[], float] = lambda: float("inf")  # seconds that a check may still take

    @property
    def asked(self) -> Asked:
        assert self.server is not None
        return self.server


Check = Callable[[Restored], Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A check with its place: how deep it looks, and whether a verdict needs it."""

    id: str
    level: int  # L1 opens, L2 shape, L3 rows
    check: Check
    required: bool = True

"""The phases of a drill, timed on the monotonic clock."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from drkit.model.drill import PhaseId
from drkit.system import System


class Stopwatch:
    """One phase at a time; one that is entered again goes on where it was."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._seconds: dict[PhaseId, float] = {}
        self._done: set[PhaseId] = set()
        self.bytes: dict[PhaseId, dict[str, int]] = {}
        self.phase: PhaseId = "P2"  # the last that was entered

    @contextmanager
    def at(self, phase: PhaseId) -> Iterator[None]:
        self.phase = phase
        self._done.discard(phase)
        begun = self._system.monotonic()
        try:
            yield
            self._done.add(phase)
        finally:
            self.add(phase, self._system.monotonic() - begun)

    def add(self, phase: PhaseId, seconds: float) -> None:
        self._seconds[phase] = self._seconds.get(phase, 0.0) + seconds

    def divide(self, phase: PhaseId, seconds: float, rest: PhaseId) -> None:
        """What took longer than that belonged to another one."""
        more = max(self._seconds[phase] - seconds, 0.0)
        self._seconds[phase] -= more
        self.add(rest, more)

    def count(self, phase: PhaseId, **numbers: int) -> None:
        self.bytes.setdefault(phase, {}).update(numbers)

    def milliseconds(self) -> Mapping[PhaseId, int]:
        """Of what was ended: a phase that failed was not measured."""
        return {p: round(s * 1000) for p, s in self._seconds.items() if p in self._done}

"""Events as a bar on a terminal, as JSON lines, or as nothing but their warnings."""

import json
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Self

from drkit.cli.output import Output
from drkit.events import Advanced, Event, Finished, Started, Warned

_EVERY = 1.0  # seconds between two JSON lines of one task


class Quiet:
    """In a pipe, under cron: warnings only."""

    def __init__(self, out: Output) -> None:
        self._out = out

    def __call__(self, event: Event) -> None:
        if isinstance(event, Warned):
            self._out.warn(event.message, event.hint)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        pass


class Lines(Quiet):
    """A JSON line an event; of progress one a second, with the sums so far."""

    def __init__(self, out: Output, clock: Callable[[], float]) -> None:
        super().__init__(out)
        self._clock = clock
        self._sums: dict[str, list[int]] = {}
        self._told: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self._sums[event.task] = [0, 0, 0]
            self._told[event.task] = self._clock()
            self._line(
                "started", event.task, total_bytes=event.total_bytes, total_items=event.total_items
            )
        elif isinstance(event, Advanced):
            self._advanced(event)
        elif isinstance(event, Finished):
            self._progress("finished", event.task)
        else:
            super().__call__(event)

    def _advanced(self, event: Advanced) -> None:
        sums = self._sums.setdefault(event.task, [0, 0, 0])
        sums[0] += event.bytes
        sums[1] += event.items
        sums[2] += event.sent
        now = self._clock()
        if now - self._told.get(event.task, 0.0) >= _EVERY:
            self._told[event.task] = now
            self._progress("progress", event.task)

    def _progress(self, what: str, task: str) -> None:
        read, items, sent = self._sums.get(task, [0, 0, 0])
        self._line(what, task, bytes=read, items=items, sent=sent or None)

    def _line(self, event: str, task: str, **numbers: int | None) -> None:
        known = {name: number for name, number in numbers.items() if number is not None}
        sys.stderr.write(json.dumps({"event": event, "task": task, **known}) + "\n")

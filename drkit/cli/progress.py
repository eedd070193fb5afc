"""Events as a bar on a terminal, as JSON lines, or as nothing but their warnings."""

import json
import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from drkit.cli.output import Output, printable
from drkit.events import Advanced, Event, Finished, Started, Warned

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

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
            self._sums[event.task] = [0, 0]
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
        sums = self._sums.setdefault(event.task, [0, 0])
        sums[0] += event.bytes
        sums[1] += event.items
        now = self._clock()
        if now - self._told.get(event.task, 0.0) >= _EVERY:
            self._told[event.task] = now
            self._progress("progress", event.task)

    def _progress(self, what: str, task: str) -> None:
        done = self._sums.get(task, [0, 0])
        self._line(what, task, bytes=done[0], items=done[1])

    def _line(self, event: str, task: str, **numbers: int | None) -> None:
        known = {name: number for name, number in numbers.items() if number is not None}
        sys.stderr.write(json.dumps({"event": event, "task": task, **known}) + "\n")


class Bars(Quiet):
    """rich is imported when the first task begins: a second of work is not worth its start."""

    def __init__(self, out: Output) -> None:
        super().__init__(out)
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._by_bytes: dict[str, bool] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self._started(event)
        elif isinstance(event, Advanced):
            self._advanced(event)
        elif isinstance(event, Finished):
            self._finished(event.task)
        else:
            self._warned(event)

    def _started(self, event: Started) -> None:
        if self._progress is None:
            self._progress = _bars(color=self._out.color)
            self._progress.start()
        counted = bool(event.total_bytes) or not event.total_items
        total = event.total_bytes if counted else event.total_items
        self._by_bytes[event.task] = counted
        self._tasks[event.task] = self._progress.add_task(
            printable(event.task)[-40:], total=total or None, items=0
        )

    def _advanced(self, event: Advanced) -> None:
        task = self._tasks.get(event.task)
        if self._progress is None or task is None:
            return
        items = self._progress.tasks[task].fields["items"] + event.items
        step = event.bytes if self._by_bytes[event.task] else event.items
        self._progress.update(task, advance=step, items=items)

    def _finished(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        if self._progress is None or task is None:
            return
        self._progress.remove_task(task)
        if not self._tasks:
            self.close()

    def _warned(self, event: Warned) -> None:
        """The bar is drawn below what is said."""
        if self._progress is not None:
            self._progress.stop()
        self._out.warn(event.message, event.hint)
        if self._progress is not None:
            self._progress.start()

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
            self._tasks.clear()


def _bars(*, color: bool) -> "Progress":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(binary_units=True),
        TextColumn("{task.fields[items]:,} files"),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True, no_color=not color),
        transient=True,
        expand=True,
        refresh_per_second=4,
    )


def listener(out: Output, clock: Callable[[], float]) -> Quiet:
    if out.log_json and not out.quiet:
        return Lines(out, clock)
    if out.quiet or out.log_json or out.json or not sys.stderr.isatty():
        return Quiet(out)
    return Bars(out)

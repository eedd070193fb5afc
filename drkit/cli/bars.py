"""Progress on a terminal: how much, how fast, how long still."""

from datetime import timedelta
from typing import TYPE_CHECKING

from drkit.cli.output import Output, printable
from drkit.cli.progress import Quiet
from drkit.events import Advanced, Event, Finished, Started, Warned
from drkit.model.units import rate_in_words, roughly, size_in_words

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID

_LONGEST = 24  # columns for the name of a task
_HEAD = 14


class Bars(Quiet):
    """rich is imported when the first task begins: a second of work is not worth its start."""

    def __init__(self, out: Output) -> None:
        super().__init__(out)
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._items: dict[str, int] = {}
        self._sent: dict[str, int] = {}

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
        self._items[event.task] = self._sent[event.task] = 0
        self._tasks[event.task] = self._progress.add_task(
            shortened(printable(event.task)), total=event.total_bytes or None, items=0, sent=0
        )

    def _advanced(self, event: Advanced) -> None:
        task = self._tasks.get(event.task)
        if self._progress is None or task is None:
            return
        items = self._items[event.task] = self._items[event.task] + event.items
        sent = self._sent[event.task] = self._sent[event.task] + event.sent
        self._progress.update(task, advance=event.bytes, items=items, sent=sent)

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


def shortened(task: str) -> str:
    """Whose task it is stands at its begin, and of an address the end tells most."""
    return task if len(task) <= _LONGEST else f"{task[:_HEAD]}…{task[_HEAD + 1 - _LONGEST :]}"


def _bars(*, color: bool) -> "Progress":
    """Imported with the first task: `drkit list` on a terminal needs no rich."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Numbers(ProgressColumn):
        def render(self, task: "Task") -> Text:
            return Text(numbers(task))

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=12),
        Numbers(Column(no_wrap=True)),
        console=Console(stderr=True, no_color=not color),
        transient=True,
        refresh_per_second=4,
    )


def numbers(task: "Task") -> str:
    """344 MiB of 1.2 GiB, 172 MiB/s, 5 s left; without a total 344 MiB, 4,202 items, 172 MiB/s

    Of a backup: read 1.2 GiB, sent 300 MiB, 4,202 items, 172 MiB/s
    """
    done, total = int(task.completed), task.total
    left = task.time_remaining
    sure = total is not None and done <= total  # a total guessed from the last backup
    of = f" of {size_in_words(int(total))}" if total is not None and sure else ""
    sent = task.fields["sent"]
    parts = [f"{'read ' if sent else ''}{size_in_words(done)}{of}"]
    if sent:
        parts.append(f"sent {size_in_words(sent)}")
    if task.fields["items"] and not of:
        parts.append(f"{task.fields['items']:,} items")
    if task.speed:
        parts.append(rate_in_words(int(task.speed)))
    if sure and left is not None:
        parts.append(f"{roughly(timedelta(seconds=int(left)))} left")
    return ", ".join(parts)

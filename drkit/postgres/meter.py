"""How far a capture has come, told from time to time."""

from drkit.events import Advanced, Finished, Started, Warned
from drkit.system import System

_BYTES = 4 << 20  # told after so much: an event a file would cost more than the file


class Meter:
    def __init__(self, system: System, task: str) -> None:
        self._system = system
        self._task = task
        self._bytes = self._items = 0

    def begin(self, total: int | None) -> None:
        self._system.tell(Started(task=self._task, total_bytes=total))

    def file(self) -> None:
        self._items += 1

    def advance(self, count: int) -> None:
        self._bytes += count
        if self._bytes >= _BYTES:
            self._flush()

    def _flush(self) -> None:
        self._system.tell(Advanced(task=self._task, bytes=self._bytes, items=self._items))
        self._bytes = self._items = 0

    def warn(self, message: str, hint: str | None = None) -> None:
        self._system.tell(Warned(message=message, hint=hint))

    def end(self) -> None:
        self._flush()
        self._system.tell(Finished(task=self._task))

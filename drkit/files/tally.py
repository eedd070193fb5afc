"""What a capture has seen so far: counts, notes, and the progress told from time to time."""

from collections import Counter

from drkit.events import Advanced, Finished, Started, Warned
from drkit.model.entry import shown
from drkit.system import System

NOTES = 50
_ITEMS, _BYTES = 64, 4 << 20  # told after so much: an event a file would cost more than the file
_KINDS = ("folders", "links", "hardlinks", "fifos")


class Tally:
    __slots__ = (
        "_count",
        "_items",
        "_others",
        "_system",
        "_task",
        "_troubles",
        "bytes",
        "counts",
        "files",
        "harm",
        "read",
        "read_bytes",
        "same",
    )

    def __init__(self, system: System, task: str) -> None:
        self._system = system
        self._task = task
        self._items = self._count = 0
        self._troubles: list[str] = []
        self._others: list[str] = []
        self.files = self.bytes = self.read = self.read_bytes = self.same = 0
        self.counts: Counter[str] = Counter()
        self.harm = 0  # files and folders that are not in the backup as they were

    def begin(self) -> None:
        self._system.tell(Started(task=self._task))

    def advance(self, items: int, count: int) -> None:
        self._items += items
        self._count += count
        if self._items >= _ITEMS or self._count >= _BYTES:
            self.flush()

    def read_file(self, size: int, told: int = 0) -> None:
        self.files += 1
        self.bytes += size
        self.read += 1
        self.read_bytes += size
        self.advance(1, size - told)

    def same_file(self, size: int) -> None:
        self.files += 1
        self.bytes += size
        self.same += 1
        self.advance(1, size)

    def flush(self) -> None:
        self._system.tell(Advanced(task=self._task, bytes=self._count, items=self._items))
        self._items = self._count = 0

    def end(self) -> None:
        self.flush()
        hidden = self.counts["trouble"] - len(self._troubles)
        if hidden > 0:
            self._system.tell(Warned(message=f"and {hidden} more files with trouble"))
        self._system.tell(Finished(task=self._task))

    def trouble(self, path: str, what: str) -> None:
        """Something is not in the backup as it was on the disk."""
        self.harm += 1
        self.warn(f"{shown(path)}: {what}")

    def warn(self, line: str, hint: str | None = None) -> None:
        self.counts["trouble"] += 1
        if len(self._troubles) < NOTES:
            self._troubles.append(line)
            self._system.tell(Warned(message=line, hint=hint))

    def note(self, path: str, what: str) -> None:
        """Something a restorer should know, that is as it should be."""
        self.counts["noted"] += 1
        if len(self._others) < NOTES:
            self._others.append(f"{shown(path)}: {what}")

    @property
    def entries(self) -> int:
        return self.files + sum(self.counts[word] for word in _KINDS)

    def notes(self) -> tuple[str, ...]:
        """Trouble first; at most so many, then how many there are beyond."""
        kept = (self._troubles + self._others)[:NOTES]
        hidden = self.counts["trouble"] + self.counts["noted"] - len(kept)
        return (*kept, f"and {hidden} more") if hidden else tuple(kept)

    def details(self) -> dict[str, str | int]:
        words = (*_KINDS, "skipped", "unreadable", "torn")
        counted: dict[str, str | int] = {word: self.counts[word] for word in words}
        return counted | {"read": self.read, "read_bytes": self.read_bytes, "unchanged": self.same}

"""The one protocol between what is backed up and the repository."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from drkit.model.entry import Entry
from drkit.model.snapshot import Facts, Snapshot


class Cut(Enum):
    CONTENT = "content"  # cut where the content says so, with a keyed chunker
    PAGES = "pages"  # 8 KiB pages, compared with the parent's
    PLAIN = "plain"  # 1 MiB pieces; small files share a record


class Writer(Protocol):
    """Bytes of one file, in order; the view is not kept."""

    def write(self, view: bytes | memoryview) -> None: ...
    def zero(self, length: int) -> None:
        """A hole: so many zeros at this place; a hole again when restored."""

    def close(self, entry: Entry | None = None) -> None:
        """Done: the file is what was written. `entry` replaces the one given at the start."""

    def abandon(self) -> None:
        """The file changed while it was read: forget what was written of it."""


class Splicer(Protocol):
    """Changes laid over the parent's extents; the gaps are the parent's, beyond its end zeros."""

    def at(self, offset: int, data: bytes | memoryview) -> None: ...
    def zero(self, offset: int, length: int) -> None: ...
    def close(self) -> None: ...


class Save(Protocol):
    """One session's hand. Used from one thread; several writers may be open at once."""

    state: (
        bytes  # the source's own small memory for next time; kept only after the outcome is durable
    )

    recorded: dict[str, Any]  # what the source notes of its server: JSON, in the manifest alone

    def parent(self, path: str) -> Entry | None:
        """What the last snapshot of the generation holds there; None in a full."""

    def mark(self, path: str) -> str:
        """The change mark kept with the parent's entry, in the local cache only; '' if none."""

    def put(self, entry: Entry) -> None:
        """No bytes: folders, links."""

    def same(self, entry: Entry, mark: str = "") -> None:
        """Unchanged content: the parent's extents. Cheapest with the object `parent` gave."""

    def write(self, entry: Entry, cut: Cut, mark: str = "") -> Writer: ...
    def whole(self, entry: Entry, content: bytes | memoryview, mark: str = "") -> None:
        """A small file at once: write(PLAIN), write, close, but cheap enough for a million."""

    def splice(self, entry: Entry, size: int, mark: str = "") -> Splicer: ...


class Reader(Protocol):
    """One snapshot, opened."""

    def entries(self) -> Iterator[Entry]:
        """All of it, sorted by path."""

    def tree(
        self,
        entries: Iterable[Entry],
        root: Path,
        *,
        as_root: bool = False,
        top: Entry | None = None,
    ) -> None:
        """Write these below root: folders, files (packs in order), links last; durable when it
        returns. `top` is what root itself becomes."""

    def stream(self, entry: Entry) -> BinaryIO:
        """One file, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    into: Path
    paths: tuple[str, ...] = ()  # in text form; empty: all
    as_root: bool = False  # owners, setuid bits


class Source(Protocol):
    kind: str

    def capture(self, save: Save) -> Facts: ...
    def restore(self, snapshot: Snapshot, reader: Reader, into: Target) -> None: ...

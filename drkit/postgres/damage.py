"""Pages whose checksum is wrong: named by the server as it sends them, then looked for."""

import re
from collections.abc import Callable, Iterator, Sequence

from drkit.model.entry import shown
from drkit.postgres.checksums import bad_pages
from drkit.postgres.names import PAGE, SEGMENT_PAGES
from drkit.postgres.wire import Notice

# Of "…, block 7: calculated 1FB3 but expected 2C": the language is the server's, the order holds.
_NUMBER = re.compile(r"(?<![0-9A-Za-z])[0-9A-F]+(?![0-9A-Za-z])")
_RANGES = 20  # of blocks in one line


class Damage:
    """The server names the first five of a file only: from the first on its pages are checked."""

    def __init__(self, begun: int, warn: Callable[[str], None]) -> None:
        self._begun = begun  # LSN: pages written since may be torn
        self._warn = warn
        self._path = ""
        self._segment = 0
        self._blocks: dict[str, set[int]] = {}
        self.hit = False  # the file that comes now

    def file(self, path: str, segment: int) -> None:
        """It comes now. `path` as the server names it."""
        self._path, self._segment, self.hit = path, segment, False

    def heard(self, notice: Notice) -> None:
        if not self._path or self._path not in notice.text:
            self._warn(notice.text)  # of something else
            return
        known = self._blocks.setdefault(self._path, set())
        numbers = _NUMBER.findall(notice.text.partition(self._path)[2])
        if len(numbers) >= 3 and numbers[0].isdecimal():
            known.add(int(numbers[0]))
        self.hit = True

    def look(self, view: memoryview, offset: int) -> None:
        """Bytes of the file that comes now, from `offset` on."""
        skipped = -offset % PAGE
        first = (offset + skipped) // PAGE
        base = self._segment * SEGMENT_PAGES
        bad = bad_pages(view[skipped:], base + first, begun=self._begun)
        self._blocks.setdefault(self._path, set()).update(block - base for block in bad)

    def lines(self) -> Iterator[str]:
        for path, blocks in sorted(self._blocks.items()):
            yield f"{shown(path)}: wrong checksums in {_listed(sorted(blocks))}"


def _listed(blocks: Sequence[int]) -> str:
    """`block 3`, `blocks 3-5, 9`."""
    ranges: list[list[int]] = []
    for block in blocks:
        if ranges and block == ranges[-1][1] + 1:
            ranges[-1][1] = block
        else:
            ranges.append([block, block])
    words = [str(a) if a == b else f"{a}-{b}" for a, b in ranges]
    more = len(words) - _RANGES
    said = ", ".join(words[:_RANGES]) + (f" and {more} more places" if more > 0 else "")
    return f"block {said}" if len(blocks) == 1 else f"blocks {said}"

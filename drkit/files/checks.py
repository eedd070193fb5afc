"""What is asked of a restored tree: is every entry there, as large as it was."""

import os
import stat
from collections.abc import Callable, Iterable

from drkit.check import Check, Question, Restored
from drkit.model.drill import Answer
from drkit.model.entry import Entry, native, shown

NOT_CHECKED = (
    "contents again: each byte was checked against its seal while it was written, not read back",
    "owners, modes, times and attributes",
    "your own queries and applications",
)
_KINDS: dict[str, Callable[[int], bool]] = {
    "dir": stat.S_ISDIR,
    "file": stat.S_ISREG,
    "hardlink": lambda _mode: True,
    "link": stat.S_ISLNK,
    "fifo": stat.S_ISFIFO,
}
_NAMED = 20


def questions(entries: Callable[[], Iterable[Entry]]) -> tuple[Question, ...]:
    """`entries`: what the signed manifest promises."""
    return (
        Question(id="opens", level=1, check=_opens),
        Question(id="entries", level=2, check=_each(entries, "entries", _missing)),
        Question(id="sizes", level=3, check=_each(entries, "sizes", _other_size)),
    )


def _opens(restored: Restored) -> Answer:
    try:
        with os.scandir(restored.folder) as found:
            number = sum(1 for _ in found)
    except OSError as error:
        said = error.strerror or "it can't be said why"
        return Answer(level="fail", what="opens", message=f"the tree can't be read: {said}")
    return Answer(
        level="pass", what="opens", message=f"{number:,} names at the top", figures={"top": number}
    )


def _each(
    entries: Callable[[], Iterable[Entry]], what: str, bad: Callable[[bytes, Entry], bool]
) -> Check:
    def check(restored: Restored) -> Answer:
        root = os.fsencode(restored.folder) + b"/"
        wrong: list[str] = []
        number = files = total = hurt = 0
        for entry in entries():
            number += 1
            files += entry.type == "file"
            total += entry.size if entry.type == "file" else 0
            if bad(root + os.fsencode(native(entry.path)), entry):
                hurt += 1
                wrong += [shown(entry.path)] if len(wrong) < _NAMED else []
        figures = {"entries": number, "files": files, "bytes": total, "bad": hurt}
        if hurt:
            said = f"{hurt:,} of {number:,} entries are not as they were"
            return Answer(
                level="fail", what=what, message=said, figures=figures, names=tuple(wrong)
            )
        said = f"{number:,} entries, {files:,} files of {total:,} bytes in all"
        return Answer(level="pass", what=what, message=said, figures=figures)

    return check


def _missing(path: bytes, entry: Entry) -> bool:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return True
    known = _KINDS.get(entry.type)
    return known is not None and not known(mode)


def _other_size(path: bytes, entry: Entry) -> bool:
    if entry.type != "file":
        return False
    try:
        return os.lstat(path).st_size != entry.size
    except OSError:
        return True

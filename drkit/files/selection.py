"""Which entries of a snapshot a restore of chosen paths needs, without holding them all."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from drkit.errors import Damaged, UsageError
from drkit.model.entry import Entry, shown
from drkit.source import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    paths: frozenset[str]
    below: tuple[str, ...]
    above: frozenset[str]  # folders on the way, wanted for their modes and owners

    def takes(self, path: str) -> bool:
        return path in self.paths or path.startswith(self.below)


def selected(reader: Reader, paths: Iterable[str], label: str) -> Iterable[Entry]:
    """All when no path is given; a path that matches nothing fails before a byte is written."""
    wanted = [_relative(path, label) for path in paths]
    if not wanted or "" in wanted:
        return reader.entries()
    choice = _choice(wanted)
    missing, firsts = _looked_up(reader, choice)
    if missing:
        raise _unmatched(reader, missing)
    return _stream(reader, choice, firsts)


def _relative(path: str, label: str) -> str:
    """People name what they lost as it stood on the disk."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    root = [part for part in label.split("/") if part]
    if path.startswith("/") and parts[: len(root)] == root:
        parts = parts[len(root) :]
    return "/".join(parts)


def _choice(paths: list[str]) -> _Choice:
    above = {path[:at] for path in paths for at, char in enumerate(path) if char == "/"}
    return _Choice(
        paths=frozenset(paths), below=tuple(p + "/" for p in paths), above=frozenset(above)
    )


def _looked_up(reader: Reader, choice: _Choice) -> tuple[set[str], frozenset[str]]:
    """Paths that are not there, and first names of hard links that are needed, not chosen."""
    missing, firsts = set(choice.paths), set()
    for entry in reader.entries():
        if entry.path in missing:
            missing.discard(entry.path)
        if entry.type == "hardlink" and choice.takes(entry.path) and not choice.takes(entry.target):
            firsts.add(entry.target)
    return missing, frozenset(firsts)


def _stream(reader: Reader, choice: _Choice, firsts: frozenset[str]) -> Iterator[Entry]:
    held: dict[str, Entry] = {}
    for entry in reader.entries():
        if entry.path in firsts:
            held[entry.path] = entry
        elif choice.takes(entry.path):
            if entry.type == "hardlink" and entry.target in firsts:
                yield _moved(entry, held)
            else:
                yield entry
        elif entry.path in choice.above and entry.type == "dir":
            yield entry


def _moved(later: Entry, held: dict[str, Entry]) -> Entry:
    """The first chosen name becomes the file, the others point at it."""
    first = held.get(later.target)
    if first is None:
        raise Damaged(
            f"{shown(later.path)} is a link to {shown(later.target)}, which is not before it"
        )
    if first.type == "file":
        moved = msgspec.structs.replace(first, path=later.path)
        held[later.target] = msgspec.structs.replace(later, target=later.path)
        return moved
    return msgspec.structs.replace(later, target=first.target)


def _unmatched(reader: Reader, missing: set[str]) -> UsageError:
    path = min(missing)
    near = _nearest(reader, path)
    hint = f"did you mean {shown(near)}?" if near else "`drkit show` lists what it holds"
    if set(path) & set("*?["):
        hint = "a PATH is a name, not a pattern; a folder stands for all that is in it"
    return UsageError(f"no {shown(path)} in this snapshot", hint=hint)


def _nearest(reader: Reader, path: str) -> str:
    """The same name elsewhere, else the most similar one in the deepest folder that is there."""
    above = {path[:at] for at, char in enumerate(path) if char == "/"}
    best, deepest, beside = "", "", list[str]()
    for entry in reader.entries():
        if entry.path.endswith("/" + path):
            best = best or entry.path
        if entry.path in above:
            deepest, beside = entry.path, []
        if entry.path.rpartition("/")[0] == deepest:
            beside.append(entry.path)
    prefix = deepest + "/" if deepest else ""
    aim = prefix + path[len(prefix) :].partition("/")[0]
    close = difflib.get_close_matches(aim, beside, n=1, cutoff=0.6)
    return best or (close[0] if close else deepest)

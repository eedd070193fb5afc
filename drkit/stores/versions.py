"""Of many versions of an object the oldest counts: the one that drkit put, once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from drkit.stores.base import Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    name: str
    id: str
    size: int
    modified: datetime
    live: bool  # what a plain read of the name gets


Entry = Version | str  # a folder


def entry_name(entry: Entry) -> str:
    return entry if isinstance(entry, str) else entry.name


def oldest(versions: Iterable[Version]) -> Iterator[tuple[Stored, Version]]:
    """`versions` in the order of names, and of one name from the newest to the oldest."""
    for found in oldest_and_folders(versions):
        assert not isinstance(found, str)
        yield found


def oldest_and_folders(entries: Iterable[Entry]) -> Iterator[tuple[Stored, Version] | str]:
    for name, group in groupby(entries, key=entry_name):
        held = [entry for entry in group if isinstance(entry, Version)]
        if not held:
            yield name
            continue
        first = held[-1]
        yield (
            Stored(name=first.name, size=first.size, modified=first.modified, odd=_odd(held)),
            first,
        )


def _odd(held: list[Version]) -> str:
    if len(held) > 1:
        return f"has {len(held)} versions"
    return "" if held[0].live else "is hidden by a later delete"

"""Which version of an S3 object counts, learned with as few requests as can be."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import TypeVar

from botocore.exceptions import ClientError

from drkit.errors import StoreError
from drkit.stores.aws.errors import Asked, code_of, translated
from drkit.stores.aws.pages import PAGE, Page, Pages
from drkit.stores.base import Stored, check_name, name_of
from drkit.stores.versions import Version, oldest, oldest_and_folders

T = TypeVar("T")

_FEW = 10  # for a look at one name: its versions stand before those of longer names
_MOST_NAMES = 20_000
_MOST_PREFIXES = 10_000
_CANT_LIST = frozenset({"AccessDenied", "AllAccessDisabled", "NotImplemented", "MethodNotAllowed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Of a name's versions the one that counts."""

    id: str
    odd: bool  # a plain read would get something else


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """All that is there of a name, from the newest to the oldest."""

    versions: list[Version]
    markers: list[str]  # ids of the deletes that hide them


@dataclass(frozen=True, slots=True, kw_only=True)
class _Memory:
    names: dict[str, Known] = field(default_factory=dict)
    listed: dict[str, datetime] = field(default_factory=dict)  # prefix: when, by the server's clock
    levels: dict[str, datetime] = field(default_factory=dict)  # the same, but for its folders


class _Unable(Exception):
    """The server has no versions, or this key may not list them."""


class Versions:
    """What listings have told, so that reads need no request beside their own.

    A listing with versions names every odd object, and those are few: they are remembered, and
    read by their version's id. Where a listing was not odd about a name, and what a plain read
    gets is older than the listing, it is the only version there is: the read is right as it is.
    Only what no listing vouches for (never listed, or put since) is looked up, once a name. A
    bucket that never had versions answers without their ids, and costs nothing at all.

    Threads meet here without a lock: each step is one operation on one dict, and a full memory
    is put aside as a whole, with all that it vouched for.
    """

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._memory = _Memory()
        self._able: bool | None = None  # None: not known yet

    def known(self, name: str) -> Known | None:
        return self._memory.names.get(name)

    def forget(self, name: str) -> None:
        self._memory.names.pop(name, None)

    def vouched(self, name: str, modified: datetime) -> bool:
        memory, ends = self._memory, range(len(name) + 1)
        below = (memory.listed.get(name[:end]) for end in ends)
        beside = (memory.levels.get(name[:end]) for end in ends[name.rfind("/") + 1 :])
        return any(when is not None and modified < when for when in chain(below, beside))

    def look_up(self, name: str) -> Known | None:
        """None: nothing is there, or versions can't be listed."""
        held = self.held(name)
        if held is None or not held.versions:
            return None
        ((stored, first),) = oldest(held.versions)
        known = Known(id=first.id, odd=bool(stored.odd))
        self._remember(name, known)
        return known

    def held(self, name: str) -> Held | None:
        """None: versions can't be listed."""
        held = Held(versions=[], markers=[])
        with suppress(_Unable):
            for page in self._listed(name, _FEW):
                held.versions.extend(version for version in page.versions if version.name == name)
                held.markers.extend(marker.id for marker in page.markers if marker.name == name)
                if any(version.name != name for version in page.versions):
                    break
            return held
        return None

    def list(self, prefix: str, asked: Asked) -> Iterator[Stored]:
        for found in self._found(prefix, asked):
            if isinstance(found, str):
                raise StoreError(f"{asked}: {found} came in the place of what is in it")
            yield found

    def level(self, prefix: str, asked: Asked) -> Iterator[Stored | str]:
        return self._found(prefix, asked, "/")

    def _found(self, prefix: str, asked: Asked, delimiter: str = "") -> Iterator[Stored | str]:
        try:
            yield from self._oldest(prefix, asked, delimiter)
        except _Unable:  # the first page told it, before anything was listed
            pages = _guarded(self._pages.plain(prefix, delimiter=delimiter), asked)
            yield from _ordered(chain.from_iterable(pages), asked)

    def _oldest(self, prefix: str, asked: Asked, delimiter: str = "") -> Iterator[Stored | str]:
        memory = self._memory
        pages = _guarded(self._listed(prefix, delimiter=delimiter), asked)
        first = next(pages)
        entries = chain.from_iterable(page.entries for page in chain([first], pages))
        found = oldest_and_folders(entries)
        yield from _ordered(map(self._noted, found), asked)
        if first.date is not None and memory is self._memory:
            times = memory.levels if delimiter else memory.listed
            if len(times) >= _MOST_PREFIXES:
                times.clear()
            times[prefix] = first.date

    def _noted(self, found: tuple[Stored, Version] | str) -> Stored | str:
        if isinstance(found, str):
            return found
        stored, version = found
        if stored.odd:
            self._remember(stored.name, Known(id=version.id, odd=True))
        else:
            self.forget(stored.name)
        return stored

    def _remember(self, name: str, known: Known) -> None:
        if len(self._memory.names) >= _MOST_NAMES:
            self._memory = _Memory()
        self._memory.names[name] = known

    def _listed(self, prefix: str, size: int = PAGE, delimiter: str = "") -> Iterator[Page]:
        if self._able is False:
            raise _Unable
        try:
            for page in self._pages.versions(prefix, size, delimiter):
                self._learn(page, prefix)
                yield page
        except ClientError as error:
            # What worked before is refused now: no reason to believe less careful listings.
            if self._able or code_of(error) not in _CANT_LIST:
                raise
            self._able = False
            raise _Unable from None

    def _learn(self, page: Page, prefix: str) -> None:
        """Some servers ignore what they don't know, and answer with an empty list of versions."""
        if page.versions or page.markers or page.folders:
            self._able = True
        if self._able is None and next(self._pages.plain(prefix, 1)):
            self._able = False
            raise _Unable


def _guarded(pages: Iterator[T], asked: Asked) -> Iterator[T]:
    while True:
        with translated(asked):
            page = next(pages, None)
        if page is None:
            return
        yield page


def _ordered(listed: Iterable[Stored | str], asked: Asked) -> Iterator[Stored | str]:
    """Without the names that others may have put there."""
    last = ""
    for found in listed:
        name = name_of(found)
        if not _is_name(name.removesuffix("/") if isinstance(found, str) else name):
            continue
        if name <= last:
            raise StoreError(f"{asked}: out of order at {name}, so something may be missing")
        last = name
        yield found


def _is_name(name: str) -> bool:
    try:
        check_name(name)
    except StoreError:
        return False
    return True

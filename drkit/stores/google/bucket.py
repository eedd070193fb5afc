"""One bucket below one prefix: its listing with every generation, and what JSON it answers."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from heapq import merge
from itertools import groupby, takewhile
from operator import attrgetter
from typing import Annotated, TypeVar
from urllib.parse import quote

import msgspec
import requests

from drkit.errors import StoreError
from drkit.stores.address import Address
from drkit.stores.base import check_name
from drkit.stores.google.errors import FAKED, Answer, Asked, locked_until, nonsense, refused
from drkit.stores.google.http import FINE, Call, Line, refusal, whole
from drkit.stores.versions import Entry, Version
from drkit.system import System

S = TypeVar("S", bound=msgspec.Struct)
Size = Annotated[int, msgspec.Meta(ge=0)]
_PAGE = 1000
_LARGEST_ANSWER = 16 << 20
_LISTED = "nextPageToken,prefixes,items(name,generation,size,timeCreated,timeDeleted)"
_KEPT = "retentionExpirationTime,retention,temporaryHold,eventBasedHold"
_PERMISSIONS = {
    "put": "storage.objects.create",
    "list": "storage.objects.list",
    "delete": "storage.objects.delete",
}


class _Item(msgspec.Struct, rename="camel"):
    name: str
    generation: Size
    size: Size
    time_created: datetime
    time_deleted: datetime | None = None


class _Page(msgspec.Struct, rename="camel"):
    items: tuple[_Item, ...] = ()
    prefixes: tuple[str, ...] = ()
    next_page_token: str = ""


class _Retention(msgspec.Struct, rename="camel"):
    retain_until_time: datetime | None = None


class _Kept(msgspec.Struct, rename="camel"):
    retention_expiration_time: datetime | None = None
    retention: _Retention | None = None
    temporary_hold: bool = False
    event_based_hold: bool = False

    def until(self) -> datetime | None:
        own = self.retention.retain_until_time if self.retention else None
        times = [t for t in (own, self.retention_expiration_time) if t and t.tzinfo]
        return max(times, default=None)


class Bucket:
    def __init__(self, address: Address, line: Line, system: System) -> None:
        self.line = line
        self._name = address.bucket
        self._prefix = address.prefix
        self._project = address.options.get("project", "")
        self._system = system

    @property
    def uploads(self) -> str:
        return f"/upload/storage/v1/b/{self._name}/o"

    def path(self, name: str) -> str:
        return f"/storage/v1/b/{self._name}/o/{quote(self._prefix + name, safe='')}"

    def asked(self, verb: str, name: str) -> Asked:
        return Asked(
            verb=verb,
            bucket=self._name,
            name=self._prefix + name,
            permission=_PERMISSIONS.get(verb, "storage.objects.get"),
            account=self.line.account,
            project=self._project,
        )

    def answered(self, asked: Asked, call: Call, kind: type[S]) -> S:
        with self.line.ask(asked, call) as response:
            return decoded(asked, response, kind)

    def is_there(self) -> None:
        """Asked with a right that every host has: to read what a bucket is needs another one."""
        self._page(self.asked("list", ""), {"prefix": self._prefix, "maxResults": 1})

    def of(self, name: str) -> Iterator[Version]:
        """Every generation of one object, newest first; names that go on after it come later."""
        asked = self.asked("look for", name)
        return takewhile(lambda version: version.name == name, self._versions(asked, name))

    def versions(self, prefix: str) -> Iterator[Version]:
        """In the order of names, and of one name from the newest to the oldest."""
        return self._versions(self.asked("list", prefix), prefix)

    def level(self, prefix: str) -> Iterator[Entry]:
        """The same, and in the place of all that is in a folder the folder."""
        return self._entries(self.asked("list", prefix), prefix, delimiter="/")

    def _versions(self, asked: Asked, prefix: str) -> Iterator[Version]:
        for entry in self._entries(asked, prefix):
            if isinstance(entry, str):
                raise StoreError(f"{asked.text}: a folder came unasked for", hint=FAKED)
            yield entry

    def _entries(self, asked: Asked, prefix: str, **more: str) -> Iterator[Entry]:
        last = ""
        for whole_name, group in groupby(self._items(asked, more), key=_name_of):
            if whole_name <= last or not whole_name.startswith(self._prefix + prefix):
                raise StoreError(f"{asked.text}: the listing is out of order", hint=FAKED)
            last = whole_name
            name = whole_name[len(self._prefix) :]
            items = [item for item in group if isinstance(item, _Item)]
            if not _is_ours(name if items else name.removesuffix("/")):
                continue
            if not items:
                yield name
            for item in sorted(items, key=attrgetter("generation"), reverse=True):
                yield Version(
                    name=name,
                    id=str(item.generation),
                    size=item.size,
                    modified=item.time_created,
                    live=item.time_deleted is None,
                )

    def _items(self, asked: Asked, more: Mapping[str, str]) -> Iterator[_Item | str]:
        params: dict[str, str | int] = {
            "prefix": asked.name,
            "versions": "true",
            "maxResults": _PAGE,
            "fields": _LISTED,
            **more,
        }
        while True:
            page = self._page(asked, params)
            found: tuple[Iterable[_Item | str], ...] = (page.items, page.prefixes)
            yield from merge(*found, key=_name_of)
            if not page.next_page_token:
                return
            if page.next_page_token == params.get("pageToken"):
                raise StoreError(f"{asked.text}: one page comes again and again", hint=FAKED)
            params["pageToken"] = page.next_page_token

    def _page(self, asked: Asked, params: Mapping[str, str | int]) -> _Page:
        call = Call(method="GET", path=f"/storage/v1/b/{self._name}/o", params=params)
        page = self.answered(asked, call, _Page)
        if any(item.time_created.tzinfo is None for item in page.items):
            raise StoreError(f"{asked.text}: a time without a zone", hint=FAKED)
        return page

    def delete(self, name: str, generation: str) -> bool:
        """False: it was gone already."""
        asked = self.asked("delete", name)
        params = {"generation": generation}
        call = Call(method="DELETE", path=self.path(name), params=params)
        with self.line.open(asked, call) as response:
            answer = refusal(response)
            if answer.status in FINE:
                return True
            if answer.status == 404 and not answer.html:
                return False
        raise self._kept(asked, answer, self._retention(name, generation))

    def _retention(self, name: str, generation: str) -> _Kept:
        params = {"generation": generation, "fields": _KEPT}
        call = Call(method="GET", path=self.path(name), params=params)
        with suppress(StoreError):  # then the first refusal has to say it all
            return self.answered(self.asked("look at", name), call, _Kept)
        return _Kept()

    def _kept(self, asked: Asked, answer: Answer, kept: _Kept) -> StoreError:
        found = refused(asked, answer)
        if answer.status != 403:
            return found
        until = kept.until()
        if until is not None and until > self._system.now():
            return _locked(asked, f"{until:%Y-%m-%dT%H:%M:%SZ}")
        if kept.temporary_hold or kept.event_based_hold:
            return _locked(asked, "somebody takes the hold on it away")
        text = locked_until(answer)
        return _locked(asked, text) if text else found


def _name_of(item: _Item | str) -> str:
    return item if isinstance(item, str) else item.name


def _locked(asked: Asked, until: str) -> StoreError:
    return StoreError(f"{asked.text}: locked until {until}", hint="delete it after that time")


def _is_ours(name: str) -> bool:
    """People may keep other things beside a repository; no name of drkit's looks like theirs."""
    try:
        check_name(name)
    except StoreError:
        return False
    return True


def decoded(asked: Asked, response: requests.Response, kind: type[S]) -> S:
    if response.status_code not in FINE:
        raise refused(asked, refusal(response))
    data = whole(response, _LARGEST_ANSWER)
    try:
        return msgspec.json.decode(data or b"", type=kind, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise nonsense(asked.text, data or b"") from None

"""A store that is gone with the process: for tests."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

from drkit.errors import AlreadyExists, NotFound, StoreError
from drkit.stores.base import Body, Store, Stored, check_name, check_prefix

Objects = dict[str, tuple[bytes, datetime]]

_NAMED: dict[str, Objects] = {}


def one_level(listed: Iterable[Stored], prefix: str) -> Iterator[Stored | str]:
    """Of a whole listing, for a store that knows no other."""
    last = ""
    for found in listed:
        part, slash, _ = found.name[len(prefix) :].partition("/")
        if not slash:
            yield found
        elif (folder := prefix + part + slash) != last:
            last = folder
            yield folder


def at(url: str, now: Callable[[], datetime]) -> Store:
    """The store of that name in this process."""
    return MemoryStore(now, url=url, objects=_NAMED.setdefault(url, {}))


class MemoryStore:
    """Thread-safe without a lock: every change is one operation on one dict."""

    lanes = 2
    locks = False

    def __init__(
        self,
        now: Callable[[], datetime],
        *,
        url: str = "memory://",
        objects: Objects | None = None,
    ) -> None:
        self.url = url
        self._now = now
        self._objects = {} if objects is None else objects

    def prepare(self) -> None:
        pass

    def put(self, name: str, body: Body) -> None:
        check_name(name)
        data = b"".join(body.pieces())
        if len(data) != body.size:
            raise StoreError(f"put {name}: {len(data)} of {body.size} bytes came")
        mine = (data, self._now())
        if self._objects.setdefault(name, mine) is not mine:
            raise AlreadyExists(f"{name} is already there")

    def read(self, name: str, limit: int) -> bytes:
        data = self._get(name)
        if len(data) > limit:
            raise StoreError(f"{name} has {len(data)} bytes, more than the {limit} it may have")
        return data

    def read_into(self, name: str, offset: int, view: memoryview) -> None:
        data = self._get(name)
        if offset < 0 or offset + len(view) > len(data):
            raise StoreError(f"{name} ends at {len(data)}, before {offset + len(view)}")
        view[:] = data[offset : offset + len(view)]

    def size(self, name: str) -> int:
        return len(self._get(name))

    def list(self, prefix: str) -> Iterator[Stored]:
        check_prefix(prefix)
        for name in sorted(name for name in list(self._objects) if name.startswith(prefix)):
            found = self._objects.get(name)
            if found is not None:
                yield Stored(name=name, size=len(found[0]), modified=found[1])

    def level(self, prefix: str) -> Iterator[Stored | str]:
        return one_level(self.list(prefix), prefix)

    def delete(self, name: str) -> None:
        check_name(name)
        if self._objects.pop(name, None) is None:
            raise NotFound(f"{name} is not there")

    def staging(self) -> Path | None:
        return None

    def close(self) -> None:
        pass

    def _get(self, name: str) -> bytes:
        check_name(name)
        try:
            return self._objects[name][0]
        except KeyError:
            raise NotFound(f"{name} is not there") from None

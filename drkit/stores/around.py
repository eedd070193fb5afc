"""What stands around a store and passes on what it has no word on."""

from collections.abc import Iterator
from pathlib import Path

from drkit.stores.base import Body, Store, Stored


class Around:
    def __init__(self, store: Store) -> None:
        self.url = store.url
        self.lanes = store.lanes
        self.locks = store.locks
        self._store = store

    def prepare(self) -> None:
        self._store.prepare()

    def put(self, name: str, body: Body) -> None:
        self._store.put(name, body)

    def read(self, name: str, limit: int) -> bytes:
        return self._store.read(name, limit)

    def read_into(self, name: str, offset: int, view: memoryview) -> None:
        self._store.read_into(name, offset, view)

    def size(self, name: str) -> int:
        return self._store.size(name)

    def list(self, prefix: str) -> Iterator[Stored]:
        return self._store.list(prefix)

    def level(self, prefix: str) -> Iterator[Stored | str]:
        return self._store.level(prefix)

    def delete(self, name: str) -> None:
        self._store.delete(name)

    def staging(self) -> Path | None:
        return self._store.staging()

    def close(self) -> None:
        self._store.close()

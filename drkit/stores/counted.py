"""A store that counts the bytes that are read from it."""

from drkit.stores.around import Around
from drkit.stores.base import Store


class Counted(Around):
    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._read: list[int] = []  # threads read: appending needs no lock

    @property
    def fetched(self) -> int:
        return sum(self._read)

    def read(self, name: str, limit: int) -> bytes:
        data = super().read(name, limit)
        self._read.append(len(data))
        return data

    def read_into(self, name: str, offset: int, view: memoryview) -> None:
        super().read_into(name, offset, view)
        self._read.append(len(view))

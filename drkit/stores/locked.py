"""A store whose every new object is locked until one time, where the store can do that."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from drkit.model.retention import Rules
from drkit.stores.base import Body, Lock, Store, Stored

_EVIDENCE = timedelta(days=3 * 365)  # what auditors ask for at least


class Locked:
    """Only puts differ: what is locked is read, listed and refused like everything else."""

    def __init__(self, store: Store, lock: Lock) -> None:
        self.url = store.url
        self.lanes = store.lanes
        self.locks = store.locks
        self._store = store
        self._lock = lock

    def prepare(self) -> None:
        self._store.prepare()

    def put(self, name: str, body: Body) -> None:
        self._store.put(name, replace(body, lock=self._lock))

    def read(self, name: str, limit: int) -> bytes:
        return self._store.read(name, limit)

    def read_into(self, name: str, offset: int, view: memoryview) -> None:
        self._store.read_into(name, offset, view)

    def size(self, name: str) -> int:
        return self._store.size(name)

    def list(self, prefix: str) -> Iterator[Stored]:
        return self._store.list(prefix)

    def delete(self, name: str) -> None:
        self._store.delete(name)

    def staging(self) -> Path | None:
        return self._store.staging()

    def close(self) -> None:
        self._store.close()


def locked(store: Store, lock: Lock | None) -> Store:
    """A folder has no lock: that is for `doctor` to tell, not for a put to refuse."""
    return store if lock is None or not store.locks else Locked(store, lock)


def lock_until(rules: Rules, end: datetime | None) -> Lock | None:
    """`keep` beyond that end: of a generation, of now. None: no lock is wanted, or no end known."""
    if rules.lock is None or rules.keep is None or end is None:
        return None
    return Lock(mode=rules.lock, until=end + rules.keep)


def evidence_lock(rules: Rules, now: datetime) -> Lock | None:
    return lock_until(replace(rules, keep=max(rules.keep or _EVIDENCE, _EVIDENCE)), now)

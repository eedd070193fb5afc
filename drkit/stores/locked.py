"""A store whose every new object is locked until one time, where the store can do that."""

from dataclasses import replace
from datetime import datetime, timedelta

from drkit.model.retention import Rules
from drkit.stores.around import Around
from drkit.stores.base import Body, Lock, Store

_EVIDENCE = timedelta(days=3 * 365)  # what auditors ask for at least


class Locked(Around):
    """Only puts differ: what is locked is read, listed and refused like everything else."""

    def __init__(self, store: Store, lock: Lock) -> None:
        super().__init__(store)
        self._lock = lock

    def put(self, name: str, body: Body) -> None:
        super().put(name, replace(body, lock=self._lock))


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

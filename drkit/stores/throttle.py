"""A store that moves no more than so many bytes a second."""

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from threading import Lock

from drkit.errors import ConfigError
from drkit.stores.base import Body, Store, Stored
from drkit.system import System

_SLICE = 0.5  # seconds slept at once: then it is asked whether all was stopped
_BURST = 1.0  # seconds of allowance that a quiet line saves up

# of this thread; a signal reaches only the main one, whose sleeps it ends by itself
stopped: ContextVar[Callable[[], bool]] = ContextVar("stopped", default=lambda: False)


class Stopped(Exception):
    """The bytes that were waited for are not moved any more."""


class Throttled:
    """One allowance for all threads and both directions, paid before the bytes move."""

    def __init__(self, store: Store, bytes_per_second: float, system: System) -> None:
        if bytes_per_second <= 0:
            raise ConfigError("a bandwidth must be more than nothing")
        self.url = store.url
        self.lanes = store.lanes
        self.locks = store.locks
        self._store = store
        self._rate = bytes_per_second
        self._system = system
        self._lock = Lock()
        self._paid_until = system.monotonic() - _BURST

    def prepare(self) -> None:
        self._store.prepare()

    def put(self, name: str, body: Body) -> None:
        self._pay(body.size)
        self._store.put(name, body)

    def read(self, name: str, limit: int) -> bytes:
        data = self._store.read(name, limit)
        self._pay(len(data))  # afterwards: only now is it known how many they are
        return data

    def read_into(self, name: str, offset: int, view: memoryview) -> None:
        self._pay(len(view))
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

    def _pay(self, size: int) -> None:
        with self._lock:
            now = self._system.monotonic()
            self._paid_until = max(self._paid_until, now - _BURST) + size / self._rate
            wait = self._paid_until - now
        while wait > 0:
            if stopped.get()():
                raise Stopped
            self._system.sleep(min(wait, _SLICE))
            wait -= _SLICE

"""A store that moves no more than so many bytes a second."""

from collections.abc import Callable
from contextvars import ContextVar
from threading import Lock

from drkit.errors import ConfigError
from drkit.stores.around import Around
from drkit.stores.base import Body, Store
from drkit.system import System

_SLICE = 0.5  # seconds slept at once: then it is asked whether all was stopped
_BURST = 1.0  # seconds of allowance that a quiet line saves up

# of this thread; a signal reaches only the main one, whose sleeps it ends by itself
stopped: ContextVar[Callable[[], bool]] = ContextVar("stopped", default=lambda: False)


class Stopped(Exception):
    """The bytes that were waited for are not moved any more."""


class Throttled(Around):
    """One allowance for all threads and both directions, paid before the bytes move."""

    def __init__(self, store: Store, bytes_per_second: float, system: System) -> None:
        if bytes_per_second <= 0:
            raise ConfigError("a bandwidth must be more than nothing")
        super().__init__(store)
        self._rate = bytes_per_second
        self._system = system
        self._lock = Lock()
        self._paid_until = system.monotonic() - _BURST

    def put(self, name: str, body: Body) -> None:
        self._pay(body.size)
        super().put(name, body)

    def read(self, name: str, limit: int) -> bytes:
        data = super().read(name, limit)
        self._pay(len(data))  # afterwards: only now is it known how many they are
        return data

    def read_into(self, name: str, offset: int, view: memoryview) -> None:
        self._pay(len(view))
        super().read_into(name, offset, view)

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

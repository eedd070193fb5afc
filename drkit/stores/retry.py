"""A store that is asked again when it stumbles, and left alone while it is down."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from drkit.errors import AlreadyExists, NotFound, StoreError
from drkit.stores.base import Body, Store, Stored, name_of
from drkit.system import System

T = TypeVar("T")
F = TypeVar("F", bound=Stored | str)
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    deadline: float = 300.0  # seconds for one request, all its tries together
    first: float = 0.25  # the longest first pause; it doubles with each try
    longest: float = 30.0
    tries: int = 100  # an end even where a clock stands still
    failures: int = 3  # requests given up in a row that open the circuit
    rest: float = 60.0  # seconds between the single requests that try an open circuit


class _Circuit:
    """Without a lock: two threads that meet here cost one request more, nothing else."""

    def __init__(self, url: str, system: System, patience: Patience) -> None:
        self._url = url
        self._system = system
        self._patience = patience
        self._failures = 0
        self._looked: float | None = None  # the last look at an open circuit
        self._since: datetime | None = None
        self._last = ""

    def enter(self) -> int:
        """How many tries a new request has."""
        if self._looked is None or self._since is None:
            return self._patience.tries
        now = self._system.monotonic()
        if now - self._looked < self._patience.rest:
            raise StoreError(
                f"{self._url} not asked, it is down since {self._since:%Y-%m-%dT%H:%M:%SZ}: "
                f"{self._last}",
                hint=f"it is asked again every {self._patience.rest:.0f} s",
                transient=True,
            )
        self._looked = now
        return 1

    def answered(self) -> None:
        self._failures = 0
        self._looked = None

    def gave_up(self, answer: str) -> None:
        self._failures += 1
        self._last = answer
        if self._failures >= self._patience.failures:
            if self._looked is None:
                self._since = self._system.now()
            self._looked = self._system.monotonic()


class _Effort:
    """One request: how often and how long it has been tried."""

    def __init__(self, request: str, circuit: _Circuit, system: System, patience: Patience) -> None:
        self._request = request
        self._circuit = circuit
        self._system = system
        self._patience = patience
        self._most = circuit.enter()
        self.renew()

    def renew(self) -> None:
        self.failures = 0
        self._begun = self._system.monotonic()

    def failed(self, error: StoreError) -> None:
        """Sleeps until the next try, or raises what ends the request."""
        if not error.transient:
            self._circuit.answered()
            raise error
        self.failures += 1
        tried = self._system.monotonic() - self._begun
        if self.failures >= self._most or tried >= self._patience.deadline:
            self._circuit.gave_up(error.message)
            count = "1 try" if self.failures == 1 else f"{self.failures} tries"
            raise StoreError(
                f"{self._request}: {count} in {tried:.0f} s, the last answer: {error.message}",
                hint=error.hint,
                transient=True,
            ) from error
        self._system.sleep(min(self._pause(), self._patience.deadline - tried))

    def _pause(self) -> float:
        """Full jitter: many hosts that failed together do not come back together."""
        doubled = self._patience.first * 2.0 ** (self.failures - 1)
        share = int.from_bytes(self._system.random_bytes(4)) / 2**32
        return share * min(self._patience.longest, doubled)


class Retrying:
    """Only transient errors are tried again; every other answer is final."""

    def __init__(self, store: Store, system: System, patience: Patience | None = None) -> None:
        self.url = store.url
        self.lanes = store.lanes
        self.locks = store.locks
        self._store = store
        self._system = system
        self._patience = patience or Patience()
        self._circuit = _Circuit(store.url, system, self._patience)

    def prepare(self) -> None:
        self._asked("prepare", "", lambda _: self._store.prepare())

    def put(self, name: str, body: Body) -> None:
        def ask(failures: int) -> None:
            try:
                self._store.put(name, body)
            except AlreadyExists:
                # An earlier try may have put it, and only its answer got lost.
                if not failures or not self._holds(name, body):
                    raise

        self._asked("put", name, ask)

    def read(self, name: str, limit: int) -> bytes:
        return self._asked("read", name, lambda _: self._store.read(name, limit))

    def read_into(self, name: str, offset: int, view: memoryview) -> None:
        self._asked("read", name, lambda _: self._store.read_into(name, offset, view))

    def size(self, name: str) -> int:
        return self._asked("look at", name, lambda _: self._store.size(name))

    def list(self, prefix: str) -> Iterator[Stored]:
        return self._listed(prefix, self._store.list)

    def level(self, prefix: str) -> Iterator[Stored | str]:
        return self._listed(prefix, self._store.level)

    def delete(self, name: str) -> None:
        def ask(failures: int) -> None:
            try:
                self._store.delete(name)
            except NotFound:
                if not failures:
                    raise

        self._asked("delete", name, ask)

    def staging(self) -> Path | None:
        return self._store.staging()

    def close(self) -> None:
        self._store.close()

    def _listed(self, prefix: str, ask: Callable[[str], Iterator[F]]) -> Iterator[F]:
        """Begins anew after an error, and goes on behind the last name it gave."""
        last = ""
        effort = self._effort("list", prefix)
        while True:
            try:
                for found in ask(prefix):
                    if (name := name_of(found)) > last:
                        last = name
                        yield found
                        effort.renew()
                return self._circuit.answered()
            except StoreError as error:
                effort.failed(error)

    def _effort(self, verb: str, name: str) -> _Effort:
        request = f"{verb} {name} at {self.url}" if name else f"{verb} {self.url}"
        return _Effort(request, self._circuit, self._system, self._patience)

    def _asked(self, verb: str, name: str, ask: Callable[[int], T]) -> T:
        """`ask` is told how often it has failed before."""
        effort = self._effort(verb, name)
        while True:
            try:
                answer = ask(effort.failures)
            except StoreError as error:
                effort.failed(error)
            else:
                self._circuit.answered()
                return answer

    def _holds(self, name: str, body: Body) -> bool:
        try:
            if self.size(name) != body.size:
                return False
            digest = hashlib.sha256()
            for offset in range(0, body.size, _PIECE):
                piece = bytearray(min(_PIECE, body.size - offset))
                self.read_into(name, offset, memoryview(piece))
                digest.update(piece)
        except NotFound:
            return False
        return digest.digest() == body.sha256

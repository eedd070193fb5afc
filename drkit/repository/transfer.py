"""The only threads: sealing workers, putters that send packs, the restore pool."""

import os
import queue
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

from drkit.crypto.seal import DATA
from drkit.repository.format import RECORD
from drkit.repository.pack import Finished, PackWriter, discard

T = TypeVar("T")
_WAIT = 0.2  # a blocked hand-over looks this often whether another thread has failed
WORKERS = max(2, min(8, os.cpu_count() or 2))  # two open packs at least hide chunk lengths
RESTORERS = min(16, (os.cpu_count() or 2) + 1)  # one more than cores: a writer sleeps


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A record to seal: `buffer[:length]`, which goes back to the pool afterwards."""

    number: int
    id: bytes
    buffer: memoryview
    length: int


class _Crew(Generic[T]):
    """Threads that take items from one bounded queue; the first failure stops all of them."""

    def __init__(
        self, size: int, depth: int, discard: Callable[[T], None] = lambda _: None
    ) -> None:
        self._discard = discard  # what nobody took, when all ends early
        self.items: queue.Queue[T | None] = queue.Queue(maxsize=depth)
        self.failed: BaseException | None = None
        self._size = size
        self._threads: list[threading.Thread] = []

    def start(self, make: Callable[[], AbstractContextManager[Callable[[T], None]]]) -> None:
        for _ in range(self._size):
            thread = threading.Thread(target=self._work, args=(make,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def give(self, item: T) -> None:
        handed = self._hand(item)
        if self.failed is not None:
            if not handed:
                self._discard(item)
            raise self.failed

    def join(self) -> None:
        """Let them end what is queued; raises what failed."""
        for _ in self._threads:
            self._hand(None)
        for thread in self._threads:
            thread.join()
        self._threads = []
        if self.failed is not None:
            raise self.failed

    def stop(self) -> None:
        self.failed = self.failed or InterruptedError("stopped")

    def drop(self) -> None:
        """Stop without ending the queue."""
        self.stop()
        for _ in self._threads:
            with suppress(queue.Full):
                self.items.put_nowait(None)  # wakes who waits
        for thread in self._threads:
            thread.join()
        self._threads = []
        with suppress(queue.Empty):
            while True:
                item = self.items.get_nowait()
                if item is not None:
                    self._discard(item)

    def _hand(self, item: T | None) -> bool:
        while self.failed is None:
            try:
                self.items.put(item, timeout=_WAIT)
            except queue.Full:
                continue
            return True
        return False

    def _next(self) -> T | None:
        while self.failed is None:
            try:
                return self.items.get(timeout=_WAIT)
            except queue.Empty:
                continue
        return None

    def _work(self, make: Callable[[], AbstractContextManager[Callable[[T], None]]]) -> None:
        try:
            with make() as handle:
                while (item := self._next()) is not None:
                    handle(item)
        except BaseException as error:  # noqa: BLE001  carried to the thread that waits
            self.failed = self.failed or error


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What one worker uses: made by that worker, shared with nobody."""

    open_pack: Callable[[], PackWriter]
    check: Callable[[Job, PackWriter], None]


class Sealing:
    """Records in, packs put: each worker owns one open pack, only queues are shared."""

    def __init__(
        self,
        *,
        make_tools: Callable[[], Tools],
        put: Callable[[Finished], None],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._make_tools = make_tools
        self._random = random_bytes
        self._free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        self._workers: list[_Crew[Job]] = [_Crew(1, 2) for _ in range(WORKERS)]
        self._putters: _Crew[Finished] = _Crew(2, 2, discard)
        self._put = put

    def __enter__(self) -> Self:
        self._putters.start(lambda: _Plain(self._put))
        for crew in self._workers:
            crew.start(lambda: _Worker(self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        crews: tuple[_Crew[Job] | _Crew[Finished], ...] = (*self._workers, self._putters)
        # all are told before one is waited for: a worker may wait for a putter, it for a store
        for crew in crews:
            crew.stop()
        for crew in crews:
            crew.drop()

    @property
    def failed(self) -> BaseException | None:
        first = next((c.failed for c in self._workers if c.failed), None)
        return first or self._putters.failed

    def buffer(self) -> memoryview:
        """Room for one record; never blocks: what bounds memory is that `submit` does."""
        try:
            return self._free.get_nowait()
        except queue.Empty:
            return memoryview(bytearray(RECORD))

    def give_back(self, buffer: memoryview) -> None:
        self._free.put(buffer)

    def submit(self, job: Job) -> None:
        """At random into one of the open packs; a worker that lags is passed over."""
        if (error := self.failed) is not None:
            raise error
        start = self._random(1)[0]
        crews = [self._workers[(start + i) % WORKERS] for i in range(WORKERS)]
        crew = next((c for c in crews if not c.items.full()), crews[0])
        crew.give(job)

    def finish(self) -> None:
        """Everything is sealed and put when this returns."""
        for crew in self._workers:
            crew.join()
        self._putters.join()

    def worker_tools(self) -> Tools:
        return self._make_tools()

    def nonce(self) -> bytes:
        return self._random(12)

    def hand_over(self, pack: PackWriter) -> None:
        try:
            finished = pack.finish(self.nonce())
        except BaseException:
            pack.close()
            raise
        self._putters.give(finished)


class _Worker:
    """One open pack."""

    def __init__(self, sealing: Sealing) -> None:
        self._sealing = sealing
        self._tools = sealing.worker_tools()
        self._pack: PackWriter | None = None

    def __enter__(self) -> Callable[[Job], None]:
        return self._seal

    def _seal(self, job: Job) -> None:
        if self._pack is not None and not self._pack.takes(job.length):
            full, self._pack = self._pack, None
            self._sealing.hand_over(full)
        if self._pack is None:
            self._pack = self._tools.open_pack()
        nonce = self._sealing.nonce()
        self._pack.add(job.number, DATA, job.id, nonce, job.buffer[: job.length])
        self._tools.check(job, self._pack)
        self._sealing.give_back(job.buffer)

    def __exit__(self, kind: object, error: object, at: object) -> None:
        if self._pack is None:
            return
        if kind is None and self._sealing.failed is None:
            self._sealing.hand_over(self._pack)
        else:
            self._pack.close()


class _Plain(Generic[T]):
    def __init__(self, handle: Callable[[T], None]) -> None:
        self._handle = handle

    def __enter__(self) -> Callable[[T], None]:
        return self._handle

    def __exit__(self, kind: object, error: object, at: object) -> None:
        return


def parallel(
    items: Iterable[T],
    make: Callable[[], AbstractContextManager[Callable[[T], None]]],
    threads: int = RESTORERS,
) -> None:
    """Each thread makes its own worker; items come from the caller; the first error ends it."""
    crew: _Crew[T] = _Crew(threads, threads)
    crew.start(make)
    try:
        for item in items:
            crew.give(item)
        crew.join()
    finally:
        crew.drop()

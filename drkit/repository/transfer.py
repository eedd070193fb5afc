"""The only threads: sealing workers, putters that send packs, the restore pool."""

import itertools
import os
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

from drkit.crypto.seal import DATA
from drkit.repository.format import RECORD
from drkit.repository.pack import Finished, PackWriter, discard
from drkit.stores.throttle import stopped

T = TypeVar("T")
R = TypeVar("R")
_WAIT = 0.2  # a blocked hand-over looks this often whether another thread has failed
WORKERS = max(2, min(8, os.cpu_count() or 2))  # two open packs at least hide chunk lengths
RESTORERS = min(16, (os.cpu_count() or 2) + 1)  # one more than cores: a writer sleeps
_PUTTERS = 2  # while one waits for the disk or the answer, the other has something to send
_NEAR = 2  # lanes of a store that answers at once


def readers(lanes: int) -> int:
    """Threads that read packs: over a network most of them wait for answers."""
    return max(RESTORERS, lanes)


def askers(lanes: int) -> int:
    """Threads that ask for small objects: a local file is read before a thread has woken up."""
    return lanes if is_far(lanes) else 1


def is_far(lanes: int) -> bool:
    """Whether a store answers over a network."""
    return lanes > _NEAR


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
        stopped.set(lambda: self.failed is not None)
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
        lanes: int = _PUTTERS,
    ) -> None:
        self._make_tools = make_tools
        self._random = random_bytes
        self._free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        self._workers: list[_Crew[Job]] = [_Crew(1, 2) for _ in range(WORKERS)]
        # what waits lies in nameless files: a slow store costs room on a disk, and no memory
        self._putters: _Crew[Finished] = _Crew(max(_PUTTERS, lanes), 2, discard)
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


def gathered(items: Sequence[T], ask: Callable[[T], R], threads: int) -> list[R]:
    """The answers in the order of the items; the first error, once all threads have stopped."""
    if min(threads, len(items)) <= 1:
        return [ask(item) for item in items]
    answers: dict[int, R] = {}
    failed: list[BaseException] = []
    places = itertools.count()

    def work() -> None:
        try:
            while not failed and (i := next(places)) < len(items):
                answers[i] = ask(items[i])
        except BaseException as error:  # noqa: BLE001  carried to the thread that waits
            failed.append(error)

    _side_by_side(work, min(threads, len(items)), failed)
    if failed:
        raise failed[0]
    return [answers[i] for i in range(len(items))]


def _side_by_side(work: Callable[[], None], count: int, failed: list[BaseException]) -> None:
    """In this thread too, which a signal may reach at any time: then all are told to stop."""
    threads = [threading.Thread(target=work, daemon=True) for _ in range(count - 1)]
    try:
        for thread in threads:
            thread.start()
        work()
        for thread in threads:
            thread.join()
    except BaseException as error:
        failed.insert(0, error)
        for thread in threads:
            if thread.ident is not None:
                thread.join()
        raise

"""Threads that end: the first error reaches the caller, nothing hangs, memory stays bounded."""

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zstandard

from drkit.crypto.seal import Opener, Sealer, record_id
from drkit.errors import Damaged, DiskError, StoreError
from drkit.repository.format import PACK_MAGIC, RECORD
from drkit.repository.frame import rows_of
from drkit.repository.pack import Finished, PackWriter, discard, staging_buffer
from drkit.repository.recheck import Recheck
from drkit.repository.transfer import WORKERS, Job, Sealing, Tools, parallel
from tests.fixtures.trees import noise

KEY, ID_KEY, REPOSITORY, DOMAIN = b"k" * 32, b"i" * 32, b"r" * 16, b"d" * 16
SESSION = "5" * 32
LONGEST = 20  # seconds, on a machine that is busy with other things


def in_time(task: Callable[[], object]) -> None:
    """Whatever it raises; what hangs fails, and its thread is left behind."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            task()
        except BaseException as error:  # noqa: BLE001  carried to the test
            raised.append(error)

    before = threading.active_count()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(LONGEST)
    assert not thread.is_alive(), "it hangs"
    assert threading.active_count() == before, "threads are left"
    if raised:
        raise raised[0]


@contextmanager
def descriptors_kept() -> Iterator[None]:
    before = sorted(os.listdir("/proc/self/fd"))
    yield
    assert sorted(os.listdir("/proc/self/fd")) == before


class Bench:
    """Sealing with a putter and tools that do as they are told."""

    def __init__(self, folder: Path, limit: int = 3 << 20) -> None:
        self.folder = folder
        self.limit = limit
        self.put: Callable[[Finished], None] = self.keep
        self.check: Callable[[Job, PackWriter], None] = lambda _job, _pack: None
        self.packs: list[bytes] = []
        self.numbers: list[int] = []
        self.opened = itertools.count()

    def keep(self, pack: Finished) -> None:
        self.packs.append(b"".join(pack.body.pieces()))
        self.numbers.extend(n for n, _, _ in pack.records)
        discard(pack)

    def tools(self) -> Tools:
        compressor, staging = zstandard.ZstdCompressor(level=1), staging_buffer()
        return Tools(
            open_pack=lambda: self.open_pack(compressor, staging),
            check=self.check,
        )

    def open_pack(self, compressor: zstandard.ZstdCompressor, staging: object) -> PackWriter:
        next(self.opened)
        return PackWriter(
            session=SESSION,
            magic=PACK_MAGIC,
            envelope=b"envelope",
            sealer=Sealer(KEY, REPOSITORY, DOMAIN),
            folder=self.folder,
            compressor=compressor,
            staging=staging,  # type: ignore[arg-type]
            limit=self.limit,
        )

    def sealing(self) -> Sealing:
        return Sealing(
            make_tools=self.tools,
            put=self.put,
            random_bytes=os.urandom,
        )


def submit(sealing: Sealing, number: int, content: bytes) -> None:
    buffer = sealing.buffer()
    buffer[: len(content)] = content
    id = record_id(ID_KEY, content)
    sealing.submit(Job(number=number, id=id, buffer=buffer, length=len(content)))


def fill(sealing: Sealing, records: int, size: int = 300_000) -> None:
    content = noise(size)
    for number in range(1, records + 1):
        submit(sealing, number, number.to_bytes(8) + content)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize("records", [0, 1, 2, 100])
def test_every_record_is_put_once(bench: Bench, records: int) -> None:
    def run() -> None:
        with bench.sealing() as sealing:
            fill(sealing, records)
            sealing.finish()

    with descriptors_kept():
        in_time(run)
    assert sorted(bench.numbers) == list(range(1, records + 1))
    opener = Opener(KEY, REPOSITORY, DOMAIN)
    assert sum(len(rows_of(data, SESSION, opener)) for data in bench.packs) == records
    assert max(map(len, bench.packs), default=0) <= 3.4 * (1 << 20)
    if records == 100:
        assert len(bench.packs) > WORKERS


def test_records_go_to_several_packs_at_random(bench: Bench) -> None:
    bench.limit = 32 << 20

    def run() -> None:
        with bench.sealing() as sealing:
            fill(sealing, 60)
            sealing.finish()

    in_time(run)
    assert len(bench.packs) == WORKERS
    assert bench.numbers != sorted(bench.numbers)


class Stop(Exception):
    pass


ERRORS = [StoreError("no store"), Damaged("a bad record"), Stop("a bug"), KeyboardInterrupt()]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("after", [0, 1, 4])
def test_the_error_of_a_putter_reaches_the_source(
    bench: Bench, error: BaseException, after: int
) -> None:
    calls = itertools.count()

    def put(pack: Finished) -> None:
        if next(calls) >= after:
            discard(pack)
            raise error
        bench.keep(pack)

    def run() -> None:
        with bench.sealing() as sealing:
            fill(sealing, 10_000)
            sealing.finish()

    bench.put = put
    with descriptors_kept(), pytest.raises(type(error)) as caught:
        in_time(run)
    assert caught.value is error
    assert list(bench.folder.iterdir()) == []


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_the_error_of_a_putter_at_the_very_end_reaches_the_caller(
    bench: Bench, error: BaseException
) -> None:
    def put(pack: Finished) -> None:
        discard(pack)
        raise error

    def run() -> None:
        with bench.sealing() as sealing:
            fill(sealing, 3)
            sealing.finish()

    bench.put = put
    with descriptors_kept(), pytest.raises(type(error)):
        in_time(run)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("after", [0, 1, 20])
def test_the_error_of_a_worker_reaches_the_source(
    bench: Bench, error: BaseException, after: int
) -> None:
    calls = itertools.count()

    def check(job: Job, pack: PackWriter) -> None:
        if next(calls) >= after:
            raise error

    def run() -> None:
        with bench.sealing() as sealing:
            fill(sealing, 10_000)
            sealing.finish()

    bench.check = check
    with descriptors_kept(), pytest.raises(type(error)) as caught:
        in_time(run)
    assert caught.value is error


def test_workers_that_cannot_even_begin_are_told_of(bench: Bench) -> None:
    def run(records: int) -> None:
        with bench.sealing() as sealing:
            fill(sealing, records)
            sealing.finish()

    bench.folder = bench.folder / "gone"
    for records in (1, 1000):
        with descriptors_kept(), pytest.raises(DiskError, match="no temporary file"):
            in_time(lambda records=records: run(records))  # type: ignore[misc]


def test_tools_that_cannot_be_made_are_told_of(tmp_path: Path) -> None:
    def make_tools() -> Tools:
        raise MemoryError

    def run() -> None:
        sealing = Sealing(make_tools=make_tools, put=discard, random_bytes=os.urandom)
        with sealing:
            fill(sealing, 1000)
            sealing.finish()

    with descriptors_kept(), pytest.raises(MemoryError):
        in_time(run)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("records", [0, 1, 200])
def test_an_error_of_the_source_ends_all_threads(
    bench: Bench, error: BaseException, records: int
) -> None:
    def run() -> None:
        with bench.sealing() as sealing:
            fill(sealing, records)
            raise error

    with descriptors_kept(), pytest.raises(type(error)) as caught:
        in_time(run)
    assert caught.value is error
    assert list(bench.folder.iterdir()) == []


def test_an_error_of_the_source_while_the_store_is_slow_drops_what_waits(bench: Bench) -> None:
    def put(pack: Finished) -> None:
        time.sleep(0.15)
        bench.keep(pack)

    def run() -> None:
        with bench.sealing() as sealing:
            fill(sealing, 60)
            raise KeyboardInterrupt

    bench.put = put
    bench.limit = 1_000_000
    with descriptors_kept(), pytest.raises(KeyboardInterrupt):
        in_time(run)
    assert len(bench.numbers) < 60


def test_a_disk_that_fills_while_a_pack_ends_is_told_and_closed(bench: Bench) -> None:
    def check(job: Job, pack: PackWriter) -> None:
        os.close(pack._fd)
        pack._fd = os.open("/dev/full", os.O_RDWR)
        if pack._direct >= 0:
            os.close(pack._direct)
            pack._direct = -1

    def run() -> None:
        with bench.sealing() as sealing:
            fill(sealing, 1)
            sealing.finish()

    bench.check = check
    with descriptors_kept(), pytest.raises(DiskError, match="No space left"):
        in_time(run)


def test_a_slow_store_holds_the_source_back(bench: Bench) -> None:
    """What bounds memory: buffers in flight, not what the source could read meanwhile."""
    gate = threading.Event()
    made: list[int] = []

    def put(pack: Finished) -> None:
        gate.wait(LONGEST)
        bench.keep(pack)

    def run() -> None:
        with bench.sealing() as sealing:
            for number in range(1, 201):
                submit(sealing, number, number.to_bytes(8) + content)
                made.append(number)
            sealing.finish()

    content = noise(RECORD - 8)
    bench.put = put
    thread = threading.Thread(target=lambda: in_time(run), daemon=True)
    thread.start()
    time.sleep(0.6)
    stuck = len(made)
    time.sleep(0.3)
    assert len(made) == stuck
    per_pack = 3
    assert stuck <= per_pack * (2 + 2 + 2 * WORKERS) + 4 * WORKERS
    gate.set()
    thread.join(LONGEST)
    assert sorted(bench.numbers) == list(range(1, 201))


def test_buffers_are_used_again(bench: Bench) -> None:
    seen: set[int] = set()

    def run() -> None:
        with bench.sealing() as sealing:
            for number in range(1, 201):
                buffer = sealing.buffer()
                seen.add(id(buffer.obj))
                buffer[:8] = number.to_bytes(8)
                job = Job(number=number, id=bytes(16), buffer=buffer, length=RECORD)
                sealing.submit(job)
            sealing.finish()

    in_time(run)
    assert len(seen) <= 4 * WORKERS + 2


# Sealed records looked at again.


def test_a_buffer_that_changes_while_it_is_sealed_is_found(bench: Bench) -> None:
    """Stands for bad memory: the id was made of other bytes than were sealed."""
    recheck = Recheck("all", Opener(KEY, REPOSITORY, DOMAIN), ID_KEY)

    def run() -> None:
        with bench.sealing() as sealing:
            buffer = sealing.buffer()
            buffer[:5] = b"right"
            id = record_id(ID_KEY, buffer[:5])
            buffer[:5] = b"wrong"
            sealing.submit(Job(number=1, id=id, buffer=buffer, length=5))
            sealing.finish()

    bench.check = recheck
    with descriptors_kept(), pytest.raises(Damaged, match="does not open to what was read"):
        in_time(run)
    assert bench.packs == []


@pytest.mark.parametrize(("level", "looked"), [("all", 40), ("sampled", 3), ("none", 0)])
def test_how_many_are_looked_at(level: str, looked: int, tmp_path: Path) -> None:
    class Counting(Opener):
        count = 0

        def open_into(
            self, kind: int, id: bytes, sealed: bytes | memoryview, out: memoryview
        ) -> int:
            Counting.count += 1
            return super().open_into(kind, id, memoryview(sealed), out)

    recheck = Recheck(level, Counting(KEY, REPOSITORY, DOMAIN), ID_KEY)
    bench = Bench(tmp_path)
    tools = bench.tools()
    pack = tools.open_pack()
    for number in range(1, 41):
        data = noise(RECORD if number % 20 == 0 else 100, number)
        id = record_id(ID_KEY, data)
        pack.add(number, 1, id, number.to_bytes(12), data)
        buffer = memoryview(bytearray(data))
        recheck(Job(number=number, id=id, buffer=buffer, length=len(data)), pack)
    pack.close()
    assert Counting.count == looked


# The pool of a restore.


class Worker:
    def __init__(self, handle: Callable[[int], None]) -> None:
        self._handle = handle
        self.closed = False

    def __enter__(self) -> Callable[[int], None]:
        return self._handle

    def __exit__(self, *_: object) -> None:
        self.closed = True


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_item_is_handled_once_and_every_worker_closed(threads: int) -> None:
    done: list[int] = []
    workers: list[Worker] = []

    def make() -> Worker:
        workers.append(Worker(done.append))
        return workers[-1]

    in_time(lambda: parallel(range(1000), make, threads))
    assert sorted(done) == list(range(1000))
    assert len(workers) == threads
    assert all(worker.closed for worker in workers)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_the_first_error_of_the_pool_ends_it(error: BaseException) -> None:
    given = itertools.count()

    def handle(item: int) -> None:
        if item == 50:
            raise error

    with pytest.raises(type(error)) as caught:
        in_time(lambda: parallel(given, lambda: Worker(handle), 3))
    assert caught.value is error
    assert next(given) < 200


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_an_error_of_the_items_ends_the_pool(error: BaseException) -> None:
    def items() -> Iterator[int]:
        yield from range(20)
        raise error

    workers: list[Worker] = []

    def make() -> Worker:
        workers.append(Worker(lambda _: time.sleep(0.001)))
        return workers[-1]

    with pytest.raises(type(error)) as caught:
        in_time(lambda: parallel(items(), make, 3))
    assert caught.value is error
    assert all(worker.closed for worker in workers)


def test_an_error_while_a_worker_is_made_or_closed_ends_the_pool() -> None:
    def make() -> Worker:
        raise Stop

    class Closing(Worker):
        def __exit__(self, *_: object) -> None:
            raise Stop

    for way in (make, lambda: Closing(lambda _: None)):
        with pytest.raises(Stop):
            in_time(lambda way=way: parallel(range(100), way, 3))  # type: ignore[misc]

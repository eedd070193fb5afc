"""The session's hand: writers side by side, records within limits, memory bounded."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drkit.crypto.seal import record_id
from drkit.model.entry import ZEROS, Entry
from drkit.model.extents import triples
from drkit.repository.cache import Cache
from drkit.repository.format import RECORD, SMALL
from drkit.repository.manifest import decode_file
from drkit.repository.save import Hand
from drkit.repository.transfer import Job, Sealing
from drkit.source import Cut
from tests.fixtures.trees import noise

ID_KEY = b"i" * 32
DATA = noise(6 << 20)


class Kept:
    """Stands where records are sealed: later than they are given, as workers do."""

    def __init__(self) -> None:
        self.waiting: list[Job] = []
        self.records: dict[int, bytes] = {}
        self.free: list[memoryview] = []
        self.made = 0

    def buffer(self) -> memoryview:
        if self.free:
            return self.free.pop()
        self.made += 1
        return memoryview(bytearray(RECORD))

    def give_back(self, buffer: memoryview) -> None:
        self.free.append(buffer)

    def submit(self, job: Job) -> None:
        assert 0 < job.length <= RECORD
        self.waiting.append(job)
        if len(self.waiting) > 2:
            self.work()

    def work(self) -> None:
        job = self.waiting.pop(0)
        assert job.number not in self.records
        self.records[job.number] = bytes(job.buffer[: job.length])
        assert record_id(ID_KEY, self.records[job.number]) == job.id
        self.give_back(job.buffer)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.cache = Cache(folder / "cache.sqlite", fresh=True)
        self.kept = Kept()
        sealing: Sealing = self.kept  # type: ignore[assignment]  # all of it that a hand uses
        self.hand = Hand(self.cache, sealing, ID_KEY, lambda: None)

    def contents(self) -> dict[str, bytes]:
        self.hand.seal_bundle()
        while self.kept.waiting:
            self.kept.work()
        return {
            entry.path: b"".join(
                bytes(n) if record == ZEROS else self.kept.records[record][at : at + n]
                for record, at, n in triples(entry.extents)
            )
            for entry in map(decode_file, self.cache.lines())
        }


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    with bench.cache:
        yield bench


steps = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["write", "zero"]),
        st.sampled_from([1, 1000, SMALL, SMALL + 1, 131_073, RECORD - 1, RECORD, RECORD + 1]),
    ),
    max_size=12,
)


@settings(max_examples=40)
@given(steps, st.sets(st.integers(0, 3)))
def test_writers_in_turns_do_not_mix(done: list[tuple[int, str, int]], given_up: set[int]) -> None:
    with TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        with bench.cache:
            kinds = [Cut.CONTENT, Cut.PLAIN, Cut.CONTENT, Cut.PLAIN]
            writers = [bench.hand.write(Entry(path=f"{n}"), kind) for n, kind in enumerate(kinds)]
            model = [bytearray() for _ in writers]
            for at, (n, what, length) in enumerate(done):
                if what == "zero":
                    writers[n].zero(length)
                    model[n] += bytes(length)
                else:
                    writers[n].write(memoryview(DATA)[at : at + length])
                    model[n] += DATA[at : at + length]
            for n, writer in enumerate(writers):
                (writer.abandon if n in given_up else writer.close)()
            expected = {f"{n}": bytes(model[n]) for n in range(4) if n not in given_up}
            assert bench.contents() == expected


def test_plain_records_are_whole_so_that_offsets_stay_aligned(bench: Bench) -> None:
    writer = bench.hand.write(Entry(path="x"), Cut.PLAIN)
    for at in range(0, len(DATA), 77_777):
        writer.write(DATA[at : at + 77_777])
    writer.close()
    assert bench.contents() == {"x": DATA}
    assert [len(r) for r in bench.kept.records.values()] == [RECORD] * 6


def test_small_files_share_a_record(bench: Bench) -> None:
    expected = {}
    for n in range(300):
        content = noise(1000, n)
        bench.hand.whole(Entry(path=f"{n:03d}"), content)
        expected[f"{n:03d}"] = content
    assert bench.contents() == expected
    assert len(bench.kept.records) == 1


def test_many_open_writers_hold_a_buffer_each_and_no_more(bench: Bench) -> None:
    cuts = (Cut.CONTENT, Cut.PLAIN) * 32
    writers = [bench.hand.write(Entry(path=f"{n:02d}"), cut) for n, cut in enumerate(cuts)]
    for at in range(0, 2 << 20, 1 << 18):
        for n, writer in enumerate(writers):
            writer.write(memoryview(DATA)[at + n : at + n + (1 << 18)])
    for writer in writers:
        writer.close()
    assert bench.kept.made <= 64 + 4
    found = bench.contents()
    assert len(found) == 64
    assert {len(content) for content in found.values()} == {2 << 20}


def test_counts_are_of_what_is_restored(bench: Bench) -> None:
    for path in ("a", "b"):
        bench.hand.whole(Entry(path=path), b"same")
    bench.hand.put(Entry(path="c", type="dir"))
    bench.contents()
    assert (bench.hand.files, bench.hand.bytes, bench.hand.sealed) == (2, 8, 4)


def test_a_piece_longer_than_a_record_is_spliced_in_parts(bench: Bench) -> None:
    splicer = bench.hand.splice(Entry(path="x"), len(DATA) + 10)
    splicer.at(5, DATA)
    splicer.close()
    assert bench.contents() == {"x": bytes(5) + DATA + bytes(5)}


def test_overlapping_pieces_are_a_bug(bench: Bench) -> None:
    acts: list[Callable[[], None]] = []
    splicer = bench.hand.splice(Entry(path="x"), 10)
    splicer.at(0, b"12345")
    splicer.zero(4, 2)
    acts.append(splicer.close)
    beyond = bench.hand.splice(Entry(path="y"), 10)
    beyond.at(8, b"123")
    acts.append(beyond.close)
    for act in acts:
        with pytest.raises(ValueError, match="overlap"):
            act()

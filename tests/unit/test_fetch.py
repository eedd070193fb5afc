"""How often a store is asked: each request over a network is a round trip."""

import threading
import time
from collections import Counter
from collections.abc import Container
from pathlib import Path

import pytest

from drkit.errors import Damaged
from drkit.model.entry import Entry
from drkit.repository.transfer import readers
from drkit.source import Save
from drkit.stores.memory import MemoryStore
from drkit.system import System
from tests.fixtures.host import Host, contents, new_host
from tests.fixtures.kinds import body
from tests.fixtures.trees import noise

SMALL = 200_000


class Far(MemoryStore):
    """Answers after a while; counts what is asked, and how much of it at the same time."""

    lanes = 8

    def __init__(self, latency: float = 0.0) -> None:
        super().__init__(System().now)
        self.latency = latency
        self.asked: Counter[tuple[str, str]] = Counter()
        self.heads: list[str] = []
        self.at_once = self.most = 0
        self._lock = threading.Lock()

    def read(self, name: str, limit: int) -> bytes:
        self._wait("read", name)
        return super().read(name, limit)

    def read_into(self, name: str, offset: int, view: memoryview) -> None:
        self._wait("read", name)
        if not offset and "/packs/" in name:
            self.heads.append(name)
        super().read_into(name, offset, view)

    def _wait(self, verb: str, name: str) -> None:
        with self._lock:
            self.asked[verb, name.split("/")[-2] if "/" in name else name] += 1
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        time.sleep(self.latency)
        with self._lock:
            self.at_once -= 1


def many(first: int, count: int, save: Save) -> None:
    for n in range(first, first + count):
        save.whole(Entry(path=f"{n:04d}", size=SMALL), noise(SMALL, n))


def growing(count: int, save: Save) -> None:
    for n in range(count):
        content = noise(SMALL, n)
        entry = Entry(path=f"{n:04d}", size=SMALL)
        if save.parent(entry.path) is None:
            save.whole(entry, content)
        else:
            save.same(entry)


@pytest.fixture
def far(tmp_path: Path) -> Far:
    return Far()


@pytest.fixture
def host(far: Far, tmp_path: Path) -> Host:
    return new_host(far, tmp_path / "state")


def restored(host: Host, paths: Container[str], into: Path) -> dict[str, bytes]:
    into.mkdir()
    with host.opened() as reader:
        reader.tree([e for e in reader.entries() if e.path in paths], into)
    return contents(into)


def test_one_file_of_a_full_backup_costs_manifest_and_one_range(
    host: Host, far: Far, tmp_path: Path
) -> None:
    host.back_up(lambda save: many(0, 30, save))
    snapshot = host.newest()
    far.asked.clear()
    (tmp_path / "out").mkdir()
    with host.opened(snapshot) as reader:
        reader.tree([e for e in reader.entries() if e.path == "0007"], tmp_path / "out")
    assert far.asked == {("read", "manifest"): 1, ("read", "packs"): 1}
    assert contents(tmp_path / "out") == {"0007": noise(SMALL, 7)}


def test_each_earlier_session_is_asked_for_one_envelope(
    host: Host, far: Far, tmp_path: Path
) -> None:
    for count in (60, 90, 120, 150):
        host.back_up(lambda save, count=count: growing(count, save))  # type: ignore[misc]
    far.heads.clear()
    found = restored(host, {f"{n:04d}" for n in range(150)}, tmp_path / "out")
    assert found == {f"{n:04d}": noise(SMALL, n) for n in range(150)}
    assert len({name.rpartition("/")[2].split("-")[0] for name in far.heads}) == 3
    assert len(far.heads) == 3


@pytest.mark.parametrize("broken", [(0,), (1,), (0, 1)], ids=str)
def test_an_envelope_that_is_damaged_in_one_pack_is_taken_from_another(
    broken: tuple[int, ...], host: Host, far: Far, tmp_path: Path
) -> None:
    host.back_up(lambda save: growing(40, save))
    host.back_up(lambda save: growing(40, save))
    names = [s.name for s in host.listed("packs")]
    assert len(names) == 2
    for at in broken:
        data = bytearray(far.read(names[at], 1 << 30))
        data[100] ^= 1
        far.delete(names[at])
        far.put(names[at], body(bytes(data)))
    everything = {f"{n:04d}": noise(SMALL, n) for n in range(40)}
    if len(broken) < 2:
        assert restored(host, everything.keys(), tmp_path / "out") == everything
        return
    with pytest.raises(Damaged, match="the head of"):
        restored(host, everything.keys(), tmp_path / "out")
    assert contents(tmp_path / "out") == {}


def test_a_gap_that_a_request_more_would_cost_more_than_is_read_over(
    host: Host, far: Far, tmp_path: Path
) -> None:
    host.back_up(lambda save: many(0, 10, save))  # two packs at most, of records near each other
    far.asked.clear()
    assert len(restored(host, {"0000", "0009"}, tmp_path / "out")) == 2
    assert far.asked["read", "packs"] <= 2


def test_many_small_objects_are_read_side_by_side(tmp_path: Path) -> None:
    far = Far()
    host = new_host(far, tmp_path / "state")
    for _ in range(12):
        host.back_up(lambda save: many(0, 1, save))
    far.latency, far.most = 0.02, 0
    assert len(host.history().snapshots) == 12
    assert far.most == far.lanes


def test_packs_are_read_by_as_many_as_the_store_bears(host: Host, far: Far, tmp_path: Path) -> None:
    for count in range(2, 24, 2):
        host.back_up(lambda save, count=count: growing(count, save))  # type: ignore[misc]
    (tmp_path / "out").mkdir()
    with host.opened() as reader:
        entries = list(reader.entries())
        far.latency, far.most = 0.05, 0
        reader.tree(entries, tmp_path / "out")
    assert far.most == readers(far.lanes)
    assert len(contents(tmp_path / "out")) == 22

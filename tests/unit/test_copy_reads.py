"""What a copy that lacks nothing is asked, hour after hour: listings, and nothing twice."""

from pathlib import Path

from drkit.operations.copy import CopyJob, CopyTo, copy_all
from drkit.stores.base import Store
from drkit.stores.memory import MemoryStore
from tests.fixtures.faulty_store import FaultyStore
from tests.fixtures.repo import Repo, repo


class Far(FaultyStore):
    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.lanes = 8


def outcomes_read(r: Repo, state: Path, there: MemoryStore) -> int:
    far = Far(there)
    job = CopyJob(name="shop", source=r.repository, domain=r.domain, pins=r.pins, state=state)
    (copied,) = copy_all(job, (CopyTo(url="memory://there", open=lambda: far),), r.system)
    assert copied.complete, copied
    return sum(call.verb == "read" and call.kind == "outcome" for call in far.calls)


def test_no_outcome_is_read_a_second_time(tmp_path: Path) -> None:
    r = repo(tmp_path)
    for number in range(12):
        r.back_up({"a": b"%d" % number})
    there = MemoryStore(r.clock.store_now, url="memory://there")
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    assert outcomes_read(r, state, there) >= 12
    assert outcomes_read(r, state, there) == 0
    r.back_up({"a": b"more"})
    assert outcomes_read(r, state, there) == 2, "read back after its put, and once for the history"

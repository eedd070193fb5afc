"""Restores of clusters that must not come to an end, and what they leave."""

from pathlib import Path

import pytest

from drkit.errors import ConfigError, Damaged, DiskError, DrkitError, PostgresError, UsageError
from drkit.events import Advanced, Event, Started, Warned
from drkit.operations.restore import preview, restore
from drkit.operations.restore_postgres import Ready
from drkit.postgres import leftovers
from drkit.system import System
from tests.faults.test_full_disk import disk, on_own_disks
from tests.fixtures.base_copy import Sample, changed, sample
from tests.fixtures.postgres import own
from tests.fixtures.ready import plan_of

pytestmark = pytest.mark.pg


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return sample(tmp_path_factory.mktemp("one"), 15)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return own(tmp_path)


def restored(shop: Sample, into: Path, **more: object) -> Ready:
    ready = restore(plan_of(shop, into, **more), System())
    assert ready is not None
    return ready


def test_what_cant_be_armed_again(one: Sample, place: Path) -> None:
    (place / "empty").mkdir()
    with pytest.raises(UsageError, match="no data folder"):
        leftovers.rearm(place / "empty")
    with pytest.raises(UsageError, match="holds no lines of drkit"):
        leftovers.rearm(one.source.data)
    data = place / "data"
    broken = changed(one, place, changed={_last_segment(one): bytes(1 << 20)})
    with pytest.raises(PostgresError):
        restored(broken, data)
    with pytest.raises(UsageError, match="incomplete restore"):
        leftovers.rearm(data)


def _last_segment(shop: Sample) -> str:
    return f"pg_wal/{max(path.name for path in (shop.source.data / 'pg_wal').glob('0*'))}"


def test_wal_that_ends_too_early(one: Sample, place: Path) -> None:
    """A server that opened nevertheless would hold less than was backed up."""
    broken = changed(one, place, changed={_last_segment(one): bytes(1 << 20)})
    with pytest.raises(PostgresError) as refused:
        restored(broken, place / "data")
    assert refused.value.exit_code == 4
    assert (place / "data" / leftovers.MARKER).exists()
    assert "not proven" in "".join(refused.value.__notes__)


def test_a_page_that_is_wrong(one: Sample, place: Path) -> None:
    """Where no checksum of the whole file is known, as in a native increment."""
    data = bytearray((one.source.data / one.orders).read_bytes())
    data[8192 + 6000] ^= 1
    manifest = (one.source.data / "backup_manifest").read_bytes()
    manifest = manifest.replace(f'"{one.orders}"'.encode(), b'"INCREMENTAL.x"')
    files = {one.orders: bytes(data), "backup_manifest": manifest}
    with pytest.raises(Damaged) as refused:
        restored(changed(one, place, changed=files), place / "data")
    assert f"{one.orders}, block 1" in refused.value.message
    assert refused.value.exit_code == 8
    assert (place / "data" / leftovers.MARKER).exists()


def test_no_programs_of_that_version(one: Sample, place: Path) -> None:
    """Known before a byte is written; the files alone need none."""
    odd = changed(one, place, changed={"PG_VERSION": b"12\n"})
    with pytest.raises(ConfigError) as refused:
        restored(odd, place / "data")
    assert refused.value.exit_code == 3
    assert "--prepare-only" in (refused.value.hint or "")
    assert refused.value.__notes__ == [f"nothing was written to {place / 'data'}"]
    assert not (place / "data").exists()
    manifest = (one.source.data / "backup_manifest").read_bytes()
    manifest = manifest.replace(b'"PG_VERSION"', b'"INCREMENTAL.x"')
    files = {"PG_VERSION": b"12\n", "backup_manifest": manifest}
    ready = restored(changed(one, place / "b", changed=files), place / "c", prepare_only=True)
    assert ready.opened is None


@pytest.mark.parametrize(
    ("make", "said"),
    [("file", "is not empty"), ("live", "is the data folder of a cluster, and its server runs")],
)
def test_places_that_are_taken(one: Sample, place: Path, make: str, said: str) -> None:
    (place / "data").mkdir()
    for name in {"file": ["a"], "live": ["PG_VERSION", "postmaster.pid"]}[make]:
        (place / "data" / name).write_text("")
    before = sorted(path.name for path in (place / "data").iterdir())
    with pytest.raises(UsageError, match=said):
        restored(one, place / "data")
    assert sorted(path.name for path in (place / "data").iterdir()) == before


def test_options_of_files(one: Sample, place: Path) -> None:
    with pytest.raises(UsageError, match="a part of a cluster is no cluster"):
        restored(one, place / "data", paths=("base/5",))
    with pytest.raises(UsageError, match="--as-root is for files"):
        restored(one, place / "data", as_root=True)
    assert not (place / "data").exists()


def test_a_disk_that_fills_up_under_way(one: Sample, place: Path) -> None:
    """Files of the file system's own need room, too."""

    def run() -> None:
        needed = one.snapshot.facts.bytes // 1024
        disk(place / "data", needed + 200)
        with pytest.raises(DrkitError) as refused:
            restored(one, place / "data")
        assert isinstance(refused.value, DiskError | PostgresError)
        assert (place / "data" / leftovers.MARKER).exists()
        assert "not complete" in "".join(refused.value.__notes__)

    on_own_disks(run)


def test_what_would_be_done(one: Sample, place: Path) -> None:
    plan = plan_of(one, place / "data", tablespaces={one.oid: place / "fast"})
    found = preview(plan, System()).cluster
    assert found is not None
    assert not (place / "data").exists()
    assert not (place / "fast").exists()
    assert (found.measured, found.missing) == (False, None)
    assert found.binaries is not None
    assert found.binaries.major == one.major
    [disk_] = found.disks
    assert 0 < disk_.needed == one.snapshot.facts.bytes
    [tablespace] = found.tablespaces
    assert (tablespace.original, tablespace.place) == (str(one.fast), place / "fast")


def test_progress_is_one_bar(one: Sample, place: Path) -> None:
    heard: list[Event] = []
    restore(plan_of(one, place / "data"), System(tell=heard.append))
    tasks = {event.task for event in heard if not isinstance(event, Warned)}
    assert tasks == {"shop: restore"}
    [begun] = [event for event in heard if isinstance(event, Started)]
    done = sum(event.bytes for event in heard if isinstance(event, Advanced))
    assert begun.total_bytes == one.snapshot.facts.bytes
    assert begun.total_bytes * 0.2 < done <= begun.total_bytes  # holes aren't fetched

"""What a host remembers: committed or forgotten, never half; and a disk that lets it down."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drkit.errors import Busy, DiskError
from drkit.repository.cache import Cache, Pack, Record, Unsound
from drkit.repository.imprint import imprint, write_imprint


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.sqlite"


def made(path: Path, files: int = 3) -> None:
    with Cache(path, fresh=True) as cache:
        cache.set("memory", b"of the first")
        for n in range(files):
            cache.add(f"f{n:06d}", f"mark {n}", b"line %d" % n)
            cache.set_pages(f"f{n:06d}", b"ids %d" % n)
        first, second = cache.reserve(), cache.reserve()
        for n in (first, second):
            cache.add_record(n, bytes([n]) * 16, 100 * n)
            cache.add_chunk(bytes([n]) * 16, (n, 0, 100 * n))
        cache.add_pack("5" * 32, 0, 4096, b"h" * 32, [(second, 500, 60), (first, 100, 50)])
        cache.commit()


BESIDE = ["cache.lock", "cache.sqlite", "cache.sqlite.blake3"]


def left(path: Path) -> list[str]:
    return sorted(p.name for p in path.parent.iterdir())


def test_what_was_committed_is_there_the_next_time(path: Path) -> None:
    made(path)
    with Cache(path, fresh=False) as cache:
        assert cache.get("memory") == b"of the first"
        assert cache.get("nothing") is None
        assert cache.file("f000001") == (2, "mark 1", b"line 1")
        assert cache.file("g") is None
        assert cache.pages("f000001") == b"ids 1"
        assert cache.pages("g") is None
        assert cache.chunk(bytes([2]) * 16) == (2, 0, 200)
        assert cache.chunk(bytes([3]) * 16) is None
        assert list(cache.packs()) == [
            Pack(id=1, session="5" * 32, number=0, size=4096, sha256=b"h" * 32)
        ]
        assert list(cache.records()) == [
            Record(n=1, id=bytes([1]) * 16, raw=100, pack=1, at=100, stored=50),
            Record(n=2, id=bytes([2]) * 16, raw=200, pack=1, at=500, stored=60),
        ]
        assert cache.reserve() == 3


def test_only_what_a_session_saw_is_kept(path: Path) -> None:
    made(path, 5)
    with Cache(path, fresh=False) as cache:
        for name in ("f000000", "f000003"):
            row = cache.file(name)
            assert row is not None
            cache.keep(row[0])
        cache.change(3, "new mark", b"changed")
        cache.add("a new one", "", b"first in order")
        assert list(cache.lines()) == [b"first in order", b"line 0", b"changed", b"line 3"]
        cache.commit()
    with Cache(path, fresh=False) as cache:
        assert cache.file("f000001") is None
        assert cache.pages("f000001") is None
        assert cache.pages("f000002") == b"ids 2"
        assert cache.file("f000002") == (3, "new mark", b"changed")
        assert list(cache.lines()) == []


@pytest.mark.parametrize("fresh", [True, False])
def test_a_session_that_failed_leaves_no_trace(path: Path, fresh: bool) -> None:
    made(path)
    before = path.read_bytes()

    def fail() -> None:
        with Cache(path, fresh=fresh) as cache:
            for n in range(5000):
                cache.add(f"x{n}", "", b"x" * 1000)
            list(cache.lines())
            cache.set("memory", b"of the second")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    with Cache(path, fresh=False) as cache:
        assert cache.get("memory") == b"of the first"
        assert cache.file("x1") is None
    assert path.read_bytes() == before
    assert left(path) == BESIDE


def test_a_session_that_was_killed_leaves_no_trace(path: Path) -> None:
    """Killed when more was changed than fits in memory: the journal lies beside the file."""
    made(path)
    child = os.fork()
    if child == 0:
        cache = Cache(path, fresh=False)
        cache._db.execute("pragma cache_size = 10")
        for n in range(5000):
            cache.add(f"x{n}", "", b"x" * 1000)
        cache.set("memory", b"of the second")
        list(cache.lines())
        os._exit(0)
    os.waitpid(child, 0)
    assert path.with_name(path.name + "-journal").exists()
    with Cache(path, fresh=False) as cache:
        assert cache.get("memory") == b"of the first"
        assert cache.file("x1") is None


def test_a_killed_first_session_leaves_nothing_in_the_way(path: Path) -> None:
    child = os.fork()
    if child == 0:
        cache = Cache(path, fresh=True)
        cache.add("x", "", b"x")
        os._exit(0)
    os.waitpid(child, 0)
    assert not path.exists()
    made(path)
    assert left(path) == BESIDE


def test_a_journal_of_a_file_that_does_not_open_is_not_played_into_a_new_one(path: Path) -> None:
    made(path)
    child = os.fork()
    if child == 0:
        cache = Cache(path, fresh=False)
        cache._db.execute("pragma cache_size = 10")
        for n in range(5000):
            cache.add(f"x{n}", "", b"x" * 1000)
        list(cache.lines())
        os._exit(0)
    os.waitpid(child, 0)
    with Cache(path, fresh=True) as cache:
        cache.set("memory", b"of the new one")
        cache.commit()
    with Cache(path, fresh=False) as cache:
        assert cache.get("memory") == b"of the new one"
        assert cache.file("f000001") is None


def test_page_ids_are_dropped_where_the_content_is_another(path: Path) -> None:
    made(path)
    with Cache(path, fresh=False) as cache:
        cache.drop_pages("f000001")
        cache.drop_pages("not there")
        assert cache.pages("f000001") is None
        assert cache.pages("f000002") == b"ids 2"


@given(st.lists(st.binary(min_size=16, max_size=16), unique=True, max_size=50))
def test_no_chunk_is_overlooked(ids: list[bytes]) -> None:
    """A full asks a filter first: it may say yes for nothing, never no for something."""
    with tempfile.TemporaryDirectory() as folder, Cache(Path(folder) / "c", fresh=True) as cache:
        for n, id in enumerate(ids):
            cache.add_chunk(id, (n, 0, 1))
        cache._flush_chunks()
        assert [cache.chunk(id) for id in ids] == [(n, 0, 1) for n in range(len(ids))]
        cache.add_chunk(b"x" * 16, (99, 0, 1))
        assert cache.chunk(b"x" * 16) == (99, 0, 1)


# Disks.


def test_a_file_that_is_no_database_is_unsound(path: Path) -> None:
    for content in (b"", b"no database at all" * 1000, b"SQLite format 3\0" + b"\xff" * 5000):
        path.write_bytes(content)
        write_imprint(imprint(path), path)
        with pytest.raises(Unsound):
            Cache(path, fresh=False)
    with Cache(path, fresh=True) as cache:
        cache.commit()
    with Cache(path, fresh=False) as cache:
        assert list(cache.records()) == []


@pytest.mark.parametrize("at", [9000, 20_000, -100, -1])
def test_a_file_with_one_other_byte_is_unsound(path: Path, at: int) -> None:
    made(path, 500)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(Unsound, match="not as the last backup left it") as caught:
        Cache(path, fresh=False)
    assert caught.value.hint


def test_a_name_that_was_lost_on_the_way_is_missed(path: Path) -> None:
    made(path, 5)
    with Cache(path, fresh=False) as cache:
        for k in range(1, 6):
            cache.keep(k)
        cache._db.execute("delete from files where k = 3")
        with pytest.raises(Unsound, match="gives 4 of 5 names"):
            list(cache.lines())


def test_a_page_that_broke_is_told_and_the_file_put_aside(path: Path) -> None:
    made(path, 5000)
    data = bytearray(path.read_bytes())
    for at in range(len(data) // 4096 // 3 * 4096, len(data) // 2, 4096):
        data[at : at + 200] = b"\xff" * 200
    path.write_bytes(data)
    write_imprint(imprint(path), path)  # as if it broke after it was opened

    def session() -> None:
        with Cache(path, fresh=False) as cache:
            for n in range(5000):
                cache.file(f"f{n:06d}")

    with pytest.raises(DiskError, match="is damaged") as caught:
        session()
    assert caught.value.hint
    assert not path.exists()
    assert path.with_name("cache.sqlite.damaged").exists()


def test_a_full_disk_is_told(path: Path) -> None:
    made(path)
    before = path.read_bytes()

    def session() -> None:
        with Cache(path, fresh=False) as cache:
            cache._db.execute("pragma max_page_count = 1")
            for n in range(5000):
                cache.add(f"x{n}", "", b"x" * 1000)
            cache.commit()

    with pytest.raises(DiskError, match="full") as caught:
        session()
    assert not isinstance(caught.value, Unsound)
    assert caught.value.hint
    assert path.read_bytes() == before


def test_a_full_disk_between_two_batches_is_told_too(path: Path) -> None:
    made(path)

    def session() -> None:
        with Cache(path, fresh=False) as cache:
            cache._db.execute("pragma max_page_count = 1")
            for n in range(100):
                cache.set_pages(f"x{n}", b"x" * 1000)

    with pytest.raises(DiskError, match="full"):
        session()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="could not be written"):
        Cache(tmp_path / "gone/cache.sqlite", fresh=True)


def test_another_run_in_the_way_is_told(path: Path) -> None:
    made(path)
    with Cache(path, fresh=False):
        for fresh in (False, True):
            with pytest.raises(Busy, match="another run"):
                Cache(path, fresh=fresh)
    with Cache(path, fresh=False) as cache:
        assert cache.get("memory") == b"of the first"

"""What every kind of store keeps to, plain and wrapped."""

import os
import random
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from drkit.errors import AlreadyExists, ConfigError, NotFound, StoreError
from drkit.stores import STORES, open_store
from drkit.stores.base import Body, Store, Stored, name_of
from tests.fixtures.kinds import KINDS, NEVER_DELETES, SERVED, WRAPPED, body, file_body

# The wrappers have enough with those that are fast.
ALL = [(k, wrapper) for k in KINDS for wrapper in WRAPPED if k not in SERVED or wrapper == "plain"]
HOSTILE = [
    "",
    "/",
    "/etc/passwd",
    "..",
    "../x",
    "a/../x",
    "a/..",
    ".",
    "./x",
    "a//b",
    "a/",
    ".hidden",
    "a/.hidden",
    ".staging/x",
    "a b",
    "a\nb",
    "a\0b",
    "a\\b",
    "백업",
    "a\udcffb",
    "x" * 256,
    "x/" * 600 + "x",
]


def opened(pair: tuple[str, str], folder: Path, stack: ExitStack) -> Store:
    kind, wrapper = pair
    store = WRAPPED[wrapper](KINDS[kind](folder, stack))
    stack.callback(store.close)
    return store


@pytest.fixture(params=ALL, ids="-".join)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with ExitStack() as stack:
        yield opened(request.param, tmp_path, stack)


@pytest.fixture(params=[pair for pair in ALL if pair[0] not in NEVER_DELETES], ids="-".join)
def deleting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with ExitStack() as stack:
        yield opened(request.param, tmp_path, stack)


@pytest.fixture(params=sorted(NEVER_DELETES))
def growing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with ExitStack() as stack:
        yield opened((request.param, "plain"), tmp_path, stack)


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def names(store: Store, prefix: str = "") -> list[str]:
    return [found.name for found in store.list(prefix)]


def is_s3(store: Store) -> bool:
    """Three requests a test object take their time; the pages have tests in test_s3.py."""
    return store.url.startswith("s3://")


def is_plainly_refused(caught: pytest.ExceptionInfo[StoreError]) -> bool:
    return caught.type is StoreError and not caught.value.transient


def test_what_was_put_is_read(store: Store) -> None:
    for size in (0, 1, 4096, 70_001, 5 << 20):
        data = noise(size)
        store.put(f"domains/d/packs/p-{size:06d}", body(data))
        assert store.read(f"domains/d/packs/p-{size:06d}", size) == data
        assert store.size(f"domains/d/packs/p-{size:06d}") == size


@pytest.mark.parametrize("size", [0, 70_001, 5 << 20])
def test_a_file_is_put_and_stays_open_where_it_was(store: Store, size: int) -> None:
    data = noise(size)
    with tempfile.TemporaryFile() as held:
        held.write(data)
        held.flush()
        held.seek(3)
        store.put("packs/of-a-file", file_body(held.fileno(), data))
        assert held.tell() == 3
        assert os.fstat(held.fileno()).st_size == size
    assert store.read("packs/of-a-file", size) == data


def test_a_nameless_file_of_the_staging_folder_is_put_twice(store: Store) -> None:
    data = noise(70_001)
    fd = os.open(store.staging() or tempfile.gettempdir(), os.O_TMPFILE | os.O_RDWR, 0o600)
    try:
        os.write(fd, data)
        store.put("packs/one", file_body(fd, data))
        store.put("packs/two", file_body(fd, data))
        with pytest.raises(AlreadyExists):
            store.put("packs/one", file_body(fd, data))
    finally:
        os.close(fd)
    assert store.read("packs/one", len(data)) == store.read("packs/two", len(data)) == data


def test_a_body_shorter_than_it_says_is_refused_and_leaves_nothing(store: Store) -> None:
    with tempfile.TemporaryFile() as held:
        held.write(b"short")
        held.flush()
        claim = Body(size=9, sha256=bytes(32), fd=held.fileno())
        with pytest.raises(StoreError):
            store.put("packs/short", claim)
    assert names(store) == []


def test_a_name_is_put_once(store: Store) -> None:
    store.put("outcome/s", body(b"first"))
    for other in (b"first", b"other", b"longer than the first", b""):
        with pytest.raises(AlreadyExists):
            store.put("outcome/s", body(other))
    assert store.read("outcome/s", 100) == b"first"
    assert names(store) == ["outcome/s"]


def test_of_eight_racing_puts_one_wins(store: Store) -> None:
    bodies = [noise(100_000 + number, number) for number in range(8)]

    def put(data: bytes) -> bool:
        try:
            store.put("domains/d/outcome/s", body(data))
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(put, bodies))
    assert sum(won) == 1
    assert store.read("domains/d/outcome/s", 200_000) == bodies[won.index(True)]


def test_ranges(store: Store) -> None:
    data = noise(200_000)
    store.put("packs/p", body(data))
    for offset, length in [
        (0, 1),
        (0, 200_000),
        (1, 4096),
        (65_535, 2),
        (199_999, 1),
        (77, 99_999),
    ]:
        piece = bytearray(length)
        store.read_into("packs/p", offset, memoryview(piece))
        assert piece == data[offset : offset + length]


def test_behind_the_end_is_an_error(store: Store) -> None:
    store.put("packs/p", body(b"0123456789"))
    for offset, length in [(0, 11), (9, 2), (10, 1), (10_000, 1)]:
        with pytest.raises(StoreError) as caught:
            store.read_into("packs/p", offset, memoryview(bytearray(length)))
        assert is_plainly_refused(caught), offset


def test_a_larger_object_than_allowed_is_not_read(store: Store) -> None:
    store.put("big", body(b"0123456789"))
    assert store.read("big", 10) == b"0123456789"
    with pytest.raises(StoreError) as caught:
        store.read("big", 9)
    assert is_plainly_refused(caught)


def test_what_is_not_there_is_not_found(store: Store) -> None:
    store.put("there/other", body(b"x"))
    for name in ("nothing", "no/folder/here", "there/object", "there"):
        with pytest.raises(NotFound):
            store.read(name, 1)
        with pytest.raises(NotFound):
            store.size(name)
        with pytest.raises(NotFound):
            store.read_into(name, 0, memoryview(bytearray(1)))


def test_hostile_names_are_refused(store: Store, tmp_path: Path) -> None:
    for name in HOSTILE:
        asks: list[Callable[[], object]] = [
            partial(store.put, name, body(b"x")),
            partial(store.read, name, 1),
            partial(store.read_into, name, 0, memoryview(bytearray(1))),
            partial(store.size, name),
            partial(store.delete, name),
        ]
        for ask in asks:
            with pytest.raises(StoreError) as caught:
                ask()
            assert is_plainly_refused(caught), (name, ask)
    assert {path.name for path in tmp_path.rglob("*")} <= {"store", ".staging"}


def test_hostile_prefixes_are_refused(store: Store) -> None:
    for prefix in ("/", "..", "../", "a/../b", "a//b", ".staging", "a b", "a\0"):
        for ask in (names, level):
            with pytest.raises(StoreError) as caught:
                ask(store, prefix)
            assert is_plainly_refused(caught), prefix


def test_a_long_listing_comes_in_the_order_of_bytes(store: Store) -> None:
    made = [
        f"domains/{number % 5}/{number:04d}{end}"
        for number in range(500)
        for end in ("-a", "+b", ".c/d", "/e", "/f-g", "0h")[number % 2 :]
    ][: 300 if is_s3(store) else 2500]
    shuffled = random.Random(1).sample(made, len(made))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.put(name, body(name.encode())), shuffled))
    assert len(made) in {300, 2500}
    ordered = sorted(made, key=str.encode)
    for prefix in (
        "",
        "d",
        "domains",
        "domains/",
        "domains/3",
        "domains/3/",
        "domains/3/01",
        "domains/3/0123",
        "domains/3/0123/",
        "domains/3/0123/f-",
        "x",
        "x/",
        "domains/9/",
    ):
        found = list(store.list(prefix))
        assert [item.name for item in found] == [n for n in ordered if n.startswith(prefix)]
        assert all(item.size == len(item.name) for item in found)


def level(store: Store, prefix: str) -> list[str]:
    return [name_of(found) for found in store.level(prefix)]


def test_a_level_is_its_objects_and_the_folders_of_all_others(store: Store) -> None:
    made = ["a-b", "a/x", "a/y/z", "a0/x", "ab/c/d/e", "ab/f", "b", "b.c/1", "b.c/2"]
    for name in reversed(made):
        store.put(f"domains/{name}", body(name.encode()))
    wanted = {
        "": ["domains/"],
        "dom": ["domains/"],
        "domains": ["domains/"],
        "domains/": ["a-b", "a/", "a0/", "ab/", "b", "b.c/"],
        "domains/a": ["a-b", "a/", "a0/", "ab/"],
        "domains/ab": ["ab/"],
        "domains/ab/": ["ab/c/", "ab/f"],
        "domains/ab/c/d/": ["ab/c/d/e"],
        "domains/b.": ["b.c/"],
        "domains/c": [],
        "c/": [],
    }
    for prefix, names_ in wanted.items():
        behind = [name if name == "domains/" else f"domains/{name}" for name in names_]
        assert level(store, prefix) == behind, prefix
    objects = [found for found in store.level("domains/") if isinstance(found, Stored)]
    listed = {found.name: found for found in store.list("domains/")}
    assert objects == [listed[found.name] for found in objects]
    assert [found.size for found in objects] == [3, 1]


def test_what_was_deleted_leaves_nothing_in_a_level(deleting: Store) -> None:
    for name in ("a/b", "a/c", "d/e/f", "g"):
        deleting.put(name, body(b"x"))
    for name in ("a/b", "d/e/f", "g"):
        deleting.delete(name)
    assert level(deleting, "") == ["a/"]
    assert level(deleting, "a/") == ["a/c"]


def test_a_long_level_comes_in_order(store: Store) -> None:
    """Of more than a page, where many objects are cheap."""
    count = 60 if is_s3(store) else 1100
    made = [f"g/{number:04d}{end}" for number in range(count) for end in ("", "-/x")]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.put(name, body(b"x")), made))
    wanted = [f"g/{number:04d}{end}" for number in range(count) for end in ("", "-/")]
    assert level(store, "g/") == wanted


def test_an_object_carries_the_time_of_its_put(store: Store) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    store.put("begin/s", body(b"x"))
    (found,) = store.list("begin/s")
    assert before <= found.modified <= datetime.now(UTC) + timedelta(seconds=2)


def test_a_deleted_object_is_gone_and_its_name_free(deleting: Store) -> None:
    deleting.put("a/b/c", body(b"x"))
    deleting.put("a/b/d", body(b"y"))
    deleting.delete("a/b/c")
    assert names(deleting) == ["a/b/d"]
    with pytest.raises(NotFound):
        deleting.read("a/b/c", 1)
    with pytest.raises(NotFound):
        deleting.delete("a/b/c")
    deleting.delete("a/b/d")
    assert names(deleting, "a") == []
    deleting.put("a/b/c", body(b"again"))
    assert deleting.read("a/b/c", 9) == b"again"


def test_deletes_take_no_folder_from_under_a_put(deleting: Store) -> None:
    def churn(number: int) -> None:
        for turn in range(15 if is_s3(deleting) else 60):
            deleting.put(f"x/y/z/{number}-{turn}", body(b"x"))
            deleting.delete(f"x/y/z/{number}-{turn}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(churn, range(4)))
    assert names(deleting) == []


def test_deleting_is_refused_where_a_store_only_grows(growing: Store) -> None:
    growing.put("outcome/s", body(b"stays"))
    with pytest.raises(StoreError, match="refused") as caught:
        growing.delete("outcome/s")
    assert is_plainly_refused(caught)
    assert growing.read("outcome/s", 9) == b"stays"


def test_a_store_is_opened_by_its_url(tmp_path: Path) -> None:
    root = tmp_path / "with space+%41"
    root.mkdir()
    open_store(str(root)).put("x", body(b"1"))
    encoded = open_store(str(root)).url
    assert "%20" in encoded
    assert open_store(encoded).read("x", 1) == b"1"
    assert open_store(os.path.relpath(root)).url == encoded
    open_store("memory://shared").put("x", body(b"2"))
    assert open_store("memory://shared").read("x", 1) == b"2"
    assert names(open_store("memory://other")) == []


@pytest.mark.parametrize(
    "url", ["", "file:///", "file://host/x", "file:x", "file:///a?b=c", "file:///%00", "s4://x/y"]
)
def test_a_url_that_names_no_store_is_an_error_of_the_configuration(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(url)
    assert caught.value.hint


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        open_store("s4://bucket/x")
    assert all(f"{kind}://" in str(caught.value.hint) for kind in STORES if kind != "memory")

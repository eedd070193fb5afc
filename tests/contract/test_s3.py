"""What S3 alone has: versions, locks, checksums, pages, and servers that keep no promise."""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from drkit.errors import AlreadyExists, ConfigError, NotFound, StoreError
from drkit.model.retention import LockMode
from drkit.stores import open_store
from drkit.stores.base import Body, Lock, Settings
from drkit.stores.probe import probe
from drkit.stores.s3 import S3Store
from drkit.stores.versions import oldest
from drkit.system import System
from tests.fixtures.kinds import body, file_body
from tests.fixtures.servers import Server, ministack, moto, rclone

REAL: list[Callable[[], Server]] = [moto, ministack]


def opened(server: Server, bucket: str, prefix: str = "backups") -> S3Store:
    store = open_store(server.url(bucket, prefix))
    assert isinstance(store, S3Store)
    return store


def counted(store: S3Store) -> Counter[str]:
    """The operations that go out from now on."""
    asked: Counter[str] = Counter()

    def count(event_name: str, **_: object) -> None:
        asked[event_name.rpartition(".")[2]] += 1

    store._client.meta.events.register("before-send.s3", count)
    return asked


def overwrite(server: Server, bucket: str, name: str, data: bytes) -> None:
    server.client().put_object(Bucket=bucket, Key=f"backups/{name}", Body=data)


def hide(server: Server, bucket: str, name: str) -> None:
    server.client().delete_object(Bucket=bucket, Key=f"backups/{name}")


def taken(store: S3Store, name: str, size: int) -> tuple[bytes, bytes, int]:
    piece = bytearray(size)
    store.read_into(name, 0, memoryview(piece))
    return store.read(name, 100), bytes(piece), store.size(name)


@pytest.fixture(params=REAL, ids=lambda make: make.__name__)
def server(request: pytest.FixtureRequest) -> Server:
    made: Server = request.param()
    return made


@pytest.mark.parametrize("listed", [False, True])
def test_the_oldest_version_counts(server: Server, listed: bool) -> None:
    bucket = server.bucket(versions=True)
    opened(server, bucket).put("outcome/over", body(b"the first"))
    opened(server, bucket).put("outcome/hidden", body(b"the first"))
    opened(server, bucket).put("outcome/both", body(b"the first"))
    overwrite(server, bucket, "outcome/over", b"x")
    overwrite(server, bucket, "outcome/both", b"a longer second")
    hide(server, bucket, "outcome/hidden")
    hide(server, bucket, "outcome/both")
    store = opened(server, bucket)
    if listed:
        assert [(found.name, found.size, found.odd) for found in store.list("outcome/")] == [
            ("outcome/both", 9, "has 2 versions"),
            ("outcome/hidden", 9, "is hidden by a later delete"),
            ("outcome/over", 9, "has 2 versions"),
        ]
        with pytest.raises(AlreadyExists):
            store.put("outcome/hidden", body(b"another"))
    for name in ("outcome/over", "outcome/hidden", "outcome/both"):
        assert taken(store, name, 9) == (b"the first", b"the first", 9)


def test_a_delete_takes_all_versions_and_what_hides_them(server: Server) -> None:
    bucket = server.bucket(versions=True)
    store = opened(server, bucket)
    store.put("outcome/s", body(b"1"))
    store.put("outcome/s-longer", body(b"stays"))
    for number in range(12):  # more than a look at one name takes at once
        overwrite(server, bucket, "outcome/s", b"%d" % number)
    hide(server, bucket, "outcome/s")
    store.delete("outcome/s")
    with pytest.raises(NotFound):
        store.read("outcome/s", 9)
    with pytest.raises(NotFound):
        store.delete("outcome/s")
    left = server.client().list_object_versions(Bucket=bucket)
    assert [version["Key"] for version in left["Versions"]] == ["backups/outcome/s-longer"]
    assert left.get("DeleteMarkers", []) == []
    store.put("outcome/s", body(b"anew"))
    assert store.read("outcome/s", 9) == b"anew"


def test_a_name_that_was_odd_and_is_put_anew_is_read_anew(server: Server) -> None:
    bucket = server.bucket(versions=True)
    store = opened(server, bucket)
    store.put("a", body(b"1"))
    overwrite(server, bucket, "a", b"2")
    assert [found.odd for found in store.list("")] == ["has 2 versions"]
    other = opened(server, bucket)
    other.delete("a")
    with pytest.raises(NotFound):
        store.read("a", 9)
    other.put("a", body(b"3"))
    assert store.read("a", 9) == b"3"


def test_reads_behind_a_listing_are_one_request_each(server: Server) -> None:
    bucket = server.bucket(versions=True)
    for name in ("packs/1", "packs/2"):
        opened(server, bucket).put(name, body(b"123"))
    store = opened(server, bucket)
    while not store._versions.vouched(
        "packs/2", server.client().head_object(Bucket=bucket, Key="backups/packs/2")["LastModified"]
    ):
        list(store.list("packs/"))  # in the second of a put nothing is older than it
    asked = counted(store)
    for _ in range(3):
        taken(store, "packs/1", 3)
        taken(store, "packs/2", 3)
    assert asked == {"GetObject": 12, "HeadObject": 6}
    store.put("outcome/new", body(b"123"))
    asked.clear()
    for _ in range(3):
        taken(store, "outcome/new", 3)
    assert asked == {"GetObject": 6, "HeadObject": 3, "ListObjectVersions": 1}


def test_a_bucket_without_versions_is_never_asked_for_them(server: Server) -> None:
    store = opened(server, server.bucket())
    asked = counted(store)
    store.put("packs/1", body(b"123"))
    assert taken(store, "packs/1", 3) == (b"123", b"123", 3)
    assert asked == {"PutObject": 1, "GetObject": 2, "HeadObject": 1}


def test_2300_names_come_in_three_pages() -> None:
    server = ministack()
    store = opened(server, server.bucket())
    made = [f"packs/{number:04d}" for number in range(2300)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.put(name, body(b"x")), made))
    asked = counted(store)
    assert [found.name for found in store.list("packs/")] == made
    assert asked == {"ListObjectVersions": 3}
    assert [found.name for found in store.list("packs/123")] == made[1230:1240]
    store._versions._able = False
    asked.clear()
    assert [found.name for found in store.list("packs/")] == made
    assert asked == {"ListObjectsV2": 3}


def test_versions_of_a_name_may_lie_on_two_pages(server: Server) -> None:
    bucket = server.bucket(versions=True)
    store = opened(server, bucket)
    for name in "abcde":
        store.put(name, body(b"first"))
        for number in range(6):
            overwrite(server, bucket, name, b"%d" % number)
    for size in (1, 2, 3, 4, 5, 7, 10, 34, 35, 36):
        pages = store._pages.versions("", size)
        found = [kept for kept, _ in oldest(v for page in pages for v in page.versions)]
        assert [(kept.name, kept.size, kept.odd) for kept in found] == [
            (name, 5, "has 7 versions") for name in "abcde"
        ]


def test_what_lies_beside_the_store_is_not_its_own(server: Server) -> None:
    bucket = server.bucket()
    store, other = opened(server, bucket), opened(server, bucket, "backups2")
    root = opened(server, bucket, "")
    store.put("a", body(b"1"))
    other.put("a", body(b"22"))
    for key in ("backups/", "backups/of you", "backups/.hidden", "backups/ä", "elsewhere"):
        server.client().put_object(Bucket=bucket, Key=key, Body=b"foreign")
    assert [(found.name, found.size) for found in store.list("")] == [("a", 1)]
    assert [(found.name, found.size) for found in other.list("")] == [("a", 2)]
    assert [f.name for f in root.list("")] == ["backups/a", "backups2/a", "elsewhere"]


def test_bytes_that_were_changed_on_their_way_are_refused() -> None:
    store = opened(ministack(), ministack().bucket())
    with tempfile.TemporaryFile() as held:
        held.write(bytes(1 << 20))
        held.flush()
        for wrong in (
            replace(body(b"true"), sha256=hashlib.sha256(b"false").digest()),
            replace(file_body(held.fileno(), bytes(1 << 20)), sha256=bytes(32)),
        ):
            with pytest.raises(StoreError) as caught:
                store.put("packs/p", wrong)
            assert not caught.value.transient
            assert "bytes" in str(caught.value.hint)
    assert list(store.list("")) == []


def test_a_server_without_newer_checksums_gets_md5() -> None:
    store = open_store(ministack().url(ministack().bucket(), checksum="md5"))
    with tempfile.TemporaryFile() as held:
        data = os.urandom(3 << 20)
        held.write(data)
        held.flush()
        store.put("packs/p", file_body(held.fileno(), data))
    store.put("small", body(b"small"))
    assert store.read("packs/p", 3 << 20) == data
    assert store.read("small", 9) == b"small"


@pytest.mark.parametrize("mode", ["governance", "compliance"])
def test_what_is_locked_stays_and_says_how_long(mode: LockMode) -> None:
    store = opened(ministack(), ministack().bucket(lock=True))
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=3)
    store.put("outcome/s", replace(body(b"kept"), lock=Lock(mode=mode, until=until)))
    with pytest.raises(StoreError, match=f"locked until {until:%Y-%m-%dT%H:%M:%SZ}") as caught:
        store.delete("outcome/s")
    assert not caught.value.transient
    assert store.read("outcome/s", 9) == b"kept"
    assert [found.odd for found in store.list("")] == [""]


def test_rclone_is_refused_as_it_overwrites() -> None:
    findings = probe(opened(rclone(), rclone().bucket()), System().random_bytes)
    failed = {finding.what: finding for finding in findings if finding.level == "fail"}
    assert "a second put of one name was accepted" in failed["create if absent"].message


def test_a_server_without_versions_is_listed_plainly() -> None:
    store = opened(rclone(), rclone().bucket())
    store.put("a/b", body(b"1"))
    assert [found.name for found in store.list("")] == ["a/b"]
    asked = counted(store)
    assert [found.name for found in store.list("a/")] == ["a/b"]
    assert asked == {"ListObjectsV2": 1}
    store.delete("a/b")
    assert list(store.list("")) == []


def test_a_bucket_that_is_not_there_is_not_made(server: Server) -> None:
    store = opened(server, "drkit-never-made")
    for ask in (store.prepare, lambda: list(store.list("")), lambda: store.size("x")):
        with pytest.raises(StoreError, match="NoSuchBucket") as caught:
            ask()
        assert not isinstance(caught.value, NotFound)
        assert str(caught.value.hint).startswith("is the name right?")
        assert "create-bucket --bucket drkit-never-made" in str(caught.value.hint)
    with pytest.raises(StoreError, match="NoSuchBucket"):
        store.put("x", body(b"1"))


@pytest.mark.parametrize("options", [{"addressing": "upside"}, {"checksum": "crc32"}])
def test_an_option_that_is_none_is_told(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        open_store(Server(endpoint="http://127.0.0.1:9").url("bucket", **options))


def test_as_many_connections_as_were_asked_for() -> None:
    url = Server(endpoint="http://127.0.0.1:9").url("bucket")
    assert open_store(url).lanes == 8
    assert open_store(url, System(), Settings(connections=3)).lanes == 3


def test_boto3_is_loaded_by_stores_that_need_it() -> None:
    script = "import drkit.stores, sys; drkit.stores.open_store('/tmp'); print(*sys.modules)"
    argv = [sys.executable, "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert {"boto3", "botocore", "urllib3"}.isdisjoint(done.stdout.split())


def test_a_file_that_shrinks_while_it_is_sent_is_told_as_it_is() -> None:
    store = opened(moto(), moto().bucket())
    with tempfile.TemporaryFile() as held:
        held.truncate(9 << 20)
        shrinking = Body(size=9 << 20, sha256=bytes(32), fd=held.fileno())

        def shrink(**_: object) -> None:
            os.ftruncate(held.fileno(), 3 << 20)

        store._client.meta.events.register("before-send.s3", shrink)
        with pytest.raises(StoreError, match="3145728 of 9437184 bytes came") as caught:
            store.put("packs/p", shrinking)
        assert not caught.value.transient

"""How clouds list: levels with versions, what a listing vouches for, and in how many requests."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from botocore.utils import parse_timestamp

from drkit.crypto.seal import Opener
from drkit.errors import StoreError
from drkit.operations.reading import Domain, look
from drkit.repository import names
from drkit.repository.cache import Pack
from drkit.repository.fetch import Opening
from drkit.repository.lines import Places
from drkit.repository.repository import create, domain_id
from drkit.stores import open_store
from drkit.stores.aws.pages import parsed_time
from drkit.stores.base import Store, Stored, name_of
from drkit.stores.s3 import S3Store
from drkit.stores.versions import oldest_and_folders
from tests.fixtures.fake_gcs import fake_gcs
from tests.fixtures.gcs_double import gcs_double
from tests.fixtures.gcs_scene import Scene
from tests.fixtures.kinds import body
from tests.fixtures.proxy import Proxy, Seen
from tests.fixtures.repo import Repo, repo
from tests.fixtures.servers import Server, ministack, moto, rclone

SERVERS = (moto, ministack)
LONG = "a" * 32


def told(store: Store, prefix: str) -> list[tuple[str, str]]:
    return [(name_of(f), f.odd if isinstance(f, Stored) else "") for f in store.level(prefix)]


def s3(server: Server, bucket: str) -> S3Store:
    store = open_store(server.url(bucket))
    assert isinstance(store, S3Store)
    return store


@pytest.mark.parametrize("make", SERVERS, ids=["moto", "ministack"])
@pytest.mark.parametrize("versions", [False, True])
def test_a_level_of_s3(make: Callable[[], Server], versions: bool) -> None:
    server = make()
    bucket = server.bucket(versions=versions)
    store, client = s3(server, bucket), server.client()
    for name in ("g/a", "g/a/x", "g/a/y", "g/b", "g/c/x", "g/d"):
        store.put(name, body(b"x"))
    for key in ("g/", "g/.hidden/x", "g/of you", "g/ä/x", "gh/x", "g/e//x"):
        client.put_object(Bucket=bucket, Key=f"backups/{key}", Body=b"foreign")
    found = ["g/a", "g/a/", "g/b", "g/c/", "g/d", "g/e/"]
    assert told(store, "g/") == [(name, "") for name in found]
    assert told(store, "g") == [("g/", ""), ("gh/", "")]
    if versions:
        client.delete_object(Bucket=bucket, Key="backups/g/b")
        client.delete_object(Bucket=bucket, Key="backups/g/c/x")
        client.put_object(Bucket=bucket, Key="backups/g/d", Body=b"anew")
        odd = {"g/b": "is hidden by a later delete", "g/d": "has 2 versions"}
        assert told(s3(server, bucket), "g/") == [(name, odd.get(name, "")) for name in found]


def test_a_level_of_s3_over_pages() -> None:
    """ministack puts folders before all objects of a page, and then can't go on behind them."""
    server = moto()
    bucket = server.bucket(versions=True)
    store = s3(server, bucket)
    made = [f"g/{n}{end}" for n in range(5) for end in ("-a", "/x", "/y", "0")]
    for name in made:
        store.put(name, body(b"x"))
        server.client().put_object(Bucket=bucket, Key=f"backups/{name}", Body=b"over")
    wanted = [f"g/{n}{end}" for n in range(5) for end in ("-a", "/", "0")]
    for size in (1, 2, 3, 4, 5, 7, 15, 16):
        plain = [name_of(f) for page in store._pages.plain("g/", size, "/") for f in page]
        assert plain == wanted
        pages = store._pages.versions("g/", size, "/")
        found = oldest_and_folders(entry for page in pages for entry in page.entries)
        assert [f if isinstance(f, str) else f[0].name for f in found] == wanted


def test_a_level_of_a_server_without_versions() -> None:
    store = s3(rclone(), rclone().bucket())
    for name in ("a/x", "a/y/z", "b"):
        store.put(name, body(b"1"))
    assert told(store, "") == [("a/", ""), ("b", "")]
    assert told(store, "a/") == [("a/x", ""), ("a/y/", "")]
    assert store._versions._able is False


def test_a_level_of_google() -> None:
    with gcs_double(anonymous=True) as double:
        scene = Scene(double, double.bucket(versions=True), None)
        for name in ("g/a", "g/a/x", "g/b", "g/c/x", "g/d"):
            scene.store.put(name, body(b"x"))
        for name in ("home/g/", "home/g/.hidden/x", "home/g/of you", "homely/g/x"):
            scene.stranger.blob(name).upload_from_string(b"theirs")
        scene.hide("g/b")
        scene.hide("g/c/x")
        scene.overwrite("g/d", b"anew")
        odd = {"g/b": "is hidden by a later delete", "g/d": "has 2 versions"}
        store = scene.opened()
        wanted = [(name, odd.get(name, "")) for name in ("g/a", "g/a/", "g/b", "g/c/", "g/d")]
        assert told(store, "g/") == wanted
        for name in ("g/a", "g/b", "g/d"):  # the level vouches for what stands in it
            assert scene.requests(lambda name=name: store.read(name, 9)) == ["get"]  # type: ignore[misc]
        assert scene.requests(lambda: store.read("g/a/x", 9)) == ["list", "get"]


def test_a_level_of_another_server_for_google() -> None:
    with fake_gcs("levels") as endpoint:
        store = open_store(f"gs://levels/some/prefix?endpoint={endpoint}")
        for name in ("a/x", "a/y/z", "b"):
            store.put(name, body(b"1"))
        assert told(store, "") == [("a/", ""), ("b", "")]
        assert told(store, "a/") == [("a/x", ""), ("a/y/", "")]


def test_a_server_that_folds_unasked_is_refused() -> None:
    server = ministack()
    bucket = server.bucket()
    s3(server, bucket).put("a/x", body(b"x"))
    store = s3(server, bucket)
    store._client.meta.events.register(
        "provide-client-params.s3.ListObjectVersions",
        lambda params, **_: params | {"Delimiter": "/"},
    )
    with pytest.raises(StoreError, match="a/ came in the place of what is in it"):
        list(store.list(""))


# A repository in a bucket with versions, and what its readers ask for.


def aged(r: Repo, proxy: Proxy) -> None:
    """What is put in the second of a listing, the listing does not vouch for."""
    probe = r.store.list("domains/")
    name = [found.name for found in probe][-1]
    store = r.store
    assert isinstance(store, S3Store)
    modified = max(found.modified for found in store.list("domains/"))
    while not store._versions.vouched(name, modified):
        list(store.list("domains/"))
    proxy.requests.clear()


@pytest.fixture
def proxy() -> Proxy:
    return Proxy(moto().endpoint)


def bucket_of(root: Path, proxy: Proxy, stack: ExitStack) -> tuple[Repo, Callable[[], Store]]:
    stack.enter_context(proxy)
    server, r = Server(endpoint=proxy.url), repo(root)
    bucket = server.bucket(versions=True)

    def opened() -> Store:
        return open_store(server.url(bucket))

    r.store = opened()
    r.repository = create(r.store, r.system)
    r.domain = domain_id(r.repository.id, "shop", "files")
    return r, opened


def asked(proxy: Proxy) -> Counter[str]:
    return Counter(seen.verb for seen in proxy.requests)


def lists(proxy: Proxy) -> list[Seen]:
    return [seen for seen in proxy.requests if seen.verb == "list"]


def test_a_small_repository_is_one_listing(tmp_path: Path, proxy: Proxy) -> None:
    with ExitStack() as stack:
        r, opened = bucket_of(tmp_path, proxy, stack)
        r.full()
        r.back_up({"a": b"a"})
        aged(r, proxy)
        seen = look(
            Domain(repository=replace(r.repository, store=opened()), id=r.domain, pins=r.pins)
        )
        assert len(seen.snapshots) == 2
        assert asked(proxy) == {"list": 1, "read": 3}  # an open and two outcomes


def test_a_large_repository_is_three_listings_a_generation(tmp_path: Path, proxy: Proxy) -> None:
    """And what they name is read with a request each, though the bucket keeps versions."""
    with ExitStack() as stack:
        r, opened = bucket_of(tmp_path, proxy, stack)
        generations = [r.full(seed).generation for seed in range(3)]
        made = [
            f"{names.packs(r.domain, g)}{'a' * 32}-{n:06d}" for g in generations for n in range(350)
        ]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: r.store.put(name, body(b"x")), made))
        aged(r, proxy)
        seen = look(
            Domain(repository=replace(r.repository, store=opened()), id=r.domain, pins=r.pins)
        )
        assert len(seen.snapshots) == 3
        assert asked(proxy)["read"] == 6
        prefixes = [one.query["prefix"].removeprefix("backups/") for one in lists(proxy)]
        root = names.generations(r.domain)
        assert prefixes[0] == root
        assert Counter(prefixes)[root] == 2  # a page of all, and its folders
        assert len(prefixes) <= 2 + 3 * len(generations)
        assert not any("/packs/" in prefix for prefix in prefixes)


@pytest.mark.parametrize(("count", "listed"), [(8, 8), (9, 1), (30, 1)])
def test_packs_are_read_with_a_request_each(
    count: int, listed: int, tmp_path: Path, proxy: Proxy
) -> None:
    """Of more than a few a listing vouches, so that none of them is looked up."""
    with ExitStack() as stack:
        r, opened = bucket_of(tmp_path, proxy, stack)
        of = (r.domain, LONG, LONG)
        packs = [Pack(id=n, session=LONG, number=n, size=1, sha256=b"") for n in range(count)]
        for pack in packs:
            r.store.put(names.pack(*of, pack.number), body(b"x"))
        aged(r, proxy)
        opening = Opening(
            store=opened(),
            places=Places(),
            id_key=b"",
            name_of=lambda pack: names.pack(*of, pack.number),
            unwrap=lambda envelope: envelope,
            opener=lambda key: Opener(key, b"", b""),
            openers={LONG: Opener(bytes(32), bytes(16), bytes(16))},
        )
        opening.prepare(packs)
        for _ in range(2):
            for pack in packs:
                opening.read(pack, 0, memoryview(bytearray(1)))
        assert asked(proxy) == {"read": 2 * count, "list": listed}


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T18:31:32.000Z",
        "2026-11-21T18:31:32Z",
        "Sat, 21 Nov 2026 18:31:32 GMT",
        "1795285892",
    ],
)
def test_times_are_read_as_botocore_reads_them(text: str) -> None:
    assert parsed_time(text) == parse_timestamp(text)
    assert parsed_time(text).utcoffset() == timedelta()
    with pytest.raises(ValueError, match="no time"):
        parsed_time("no timeZ")

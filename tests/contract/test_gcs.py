"""What only Google Cloud Storage has: generations, retention, permissions, pages."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from drkit.errors import AlreadyExists, NotFound, StoreError
from drkit.stores import open_store
from drkit.stores.base import Lock, Store
from drkit.stores.probe import probe
from drkit.system import System
from tests.fixtures.fake_gcs import fake_gcs
from tests.fixtures.gcs_double import GcsDouble, gcs_double
from tests.fixtures.gcs_scene import HOST, Scene
from tests.fixtures.kinds import body


@pytest.fixture(scope="module")
def double() -> Iterator[GcsDouble]:
    """Whoever brings no token may do everything: the stranger in the tests' bucket."""
    with gcs_double(anonymous=True) as double:
        yield double


@pytest.fixture
def scene(double: GcsDouble) -> Scene:
    return Scene(double, double.bucket(versions=True, object_retention=True), None)


@pytest.fixture
def host(double: GcsDouble) -> Scene:
    return Scene(double, double.bucket(), HOST)


def listed(store: Store, prefix: str = "") -> list[tuple[str, int, str]]:
    return [(one.name, one.size, one.odd) for one in store.list(prefix)]


def read_all(store: Store, name: str) -> tuple[bytes, int, bytes]:
    piece = bytearray(3)
    store.read_into(name, 1, memoryview(piece))
    return store.read(name, 100), store.size(name), bytes(piece)


# Of many generations the oldest counts.


@pytest.mark.parametrize("known", ["after a listing", "without a listing"])
def test_what_was_put_is_read_whatever_was_done_since(scene: Scene, known: str) -> None:
    for name in ("over", "hidden", "both", "fine"):
        scene.store.put(name, body(b"sealed"))
    for name in ("over", "both"):
        scene.overwrite(name, b"something longer")
    for name in ("hidden", "both"):
        scene.hide(name)
    store = scene.opened()
    if known == "after a listing":
        assert listed(store) == [
            ("both", 6, "has 2 versions"),
            ("fine", 6, ""),
            ("hidden", 6, "is hidden by a later delete"),
            ("over", 6, "has 2 versions"),
        ]
    for _ in range(2):
        for name in ("over", "hidden", "both", "fine"):
            assert read_all(store, name) == (b"sealed", 6, b"eal"), name


def test_what_is_hidden_after_it_was_listed_is_found_again(scene: Scene) -> None:
    scene.store.put("a/x", body(b"sealed"))
    assert listed(scene.store) == [("a/x", 6, "")]
    scene.hide("a/x")
    assert scene.requests(lambda: scene.store.read("a/x", 6)) == ["get", "list", "get"]
    assert scene.requests(lambda: scene.store.read("a/x", 6)) == ["get"]
    assert scene.store.size("a/x") == 6
    with pytest.raises(AlreadyExists):
        scene.store.put("a/x", body(b"sealed"))


def test_a_read_below_a_listed_prefix_is_one_request(scene: Scene) -> None:
    for name in ("a/x", "a/x+y", "a/x/y", "b"):
        scene.store.put(name, body(b"sealed"))
    store = scene.opened()
    assert scene.requests(lambda: listed(store, "a/")) == ["list"]
    piece = memoryview(bytearray(6))
    for name in ("a/x", "a/x+y", "a/x/y"):
        assert scene.requests(partial(store.read, name, 6)) == ["get"]
        assert scene.requests(partial(store.read_into, name, 0, piece)) == ["get"]
        assert scene.requests(partial(store.size, name)) == ["get"]
    assert scene.requests(lambda: store.read("b", 6)) == ["list", "get"]
    assert scene.requests(lambda: store.read("b", 6)) == ["get"]
    assert scene.requests(lambda: store.put("a/z", body(b"x"))) == ["insert"]
    assert scene.requests(lambda: store.delete("a/x")) == ["list", "delete"]


def test_delete_takes_every_generation_and_no_neighbour(scene: Scene) -> None:
    for name in ("x", "x+1", "x/y"):
        scene.store.put(name, body(b"first"))
        scene.overwrite(name, b"second")
    scene.hide("x")
    scene.store.delete("x")
    held = scene.double.held(scene.bucket)
    assert {name: len(versions) for name, versions in held.items()} == {
        "home/x+1": 2,
        "home/x/y": 2,
    }
    with pytest.raises(NotFound):
        scene.store.delete("x")
    with pytest.raises(NotFound):
        scene.store.read("x", 9)
    scene.store.put("x", body(b"again"))
    assert scene.store.read("x", 9) == b"again"


def test_a_listing_over_many_pages_is_whole(scene: Scene) -> None:
    names = [f"n/{number:05d}" for number in range(1200)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: scene.store.put(name, body(b"1")), names))
    for number in (997, 998, 999):  # of one of them the generations lie on two pages
        scene.overwrite(names[number], b"22")
    odd = {names[number] for number in (997, 998, 999)}
    found: list[tuple[str, int, str]] = []
    assert scene.requests(lambda: found.extend(listed(scene.store))) == ["list", "list"]
    assert found == [(n, 1, "has 2 versions" if n in odd else "") for n in names]


def test_what_others_keep_beside_a_repository_is_not_seen(scene: Scene) -> None:
    scene.store.put("a", body(b"x"))
    for name in ("home/", "home/.hidden", "home/with space", "home/a/", "homely", "other/b"):
        scene.stranger.blob(name).upload_from_string(b"theirs")
    assert listed(scene.store) == [("a", 1, "")]


# Retention.


def test_a_lock_refuses_to_delete_and_says_until_when(scene: Scene) -> None:
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    for name, mode in (("strict", "compliance"), ("mild", "governance")):
        lock = Lock(mode=mode, until=until)  # type: ignore[arg-type]
        scene.store.put(name, replace(body(b"sealed"), lock=lock))
    scene.overwrite("strict", b"junk")
    for name in ("strict", "mild"):
        with pytest.raises(StoreError, match=f"locked until {until:%Y-%m-%dT%H:%M:%SZ}") as caught:
            scene.store.delete(name)
        assert type(caught.value) is StoreError
        assert not caught.value.transient
        assert scene.store.read(name, 9) == b"sealed"
    held = scene.double.held(scene.bucket)
    modes = {name: version[0].fields["retention"]["mode"] for name, version in held.items()}
    assert modes == {"home/strict": "Locked", "home/mild": "Unlocked"}
    assert [len(versions) for versions in held.values()] == [1, 1]  # the junk is gone


def test_retention_of_the_bucket_and_holds_are_told_apart(double: GcsDouble) -> None:
    scene = Scene(double, double.bucket(retention=timedelta(days=3)), None)
    scene.store.put("x", body(b"sealed"))
    wanted = f"{datetime.now(UTC) + timedelta(days=3):%Y-%m-%dT%H:}"
    with pytest.raises(StoreError, match=f"locked until {wanted}"):
        scene.store.delete("x")
    scene = Scene(double, double.bucket(), None)
    scene.store.put("x", body(b"sealed"))
    blob = scene.stranger.blob("home/x")
    blob.temporary_hold = True
    blob.patch()
    with pytest.raises(StoreError, match="locked until somebody takes the hold on it away"):
        scene.store.delete("x")


def test_a_forgetter_that_may_not_read_still_tells_the_time(double: GcsDouble) -> None:
    rights = frozenset({"storage.objects.list", "storage.objects.delete"})
    scene = Scene(double, double.bucket(retention=timedelta(days=3)), rights)
    scene.overwrite("x", b"sealed")
    with pytest.raises(StoreError, match=r"locked until \d{4}-"):
        scene.store.delete("x")


def test_a_lock_in_a_bucket_not_made_for_it_is_explained(host: Scene) -> None:
    scene = Scene(host.double, host.bucket, None)
    lock = Lock(mode="compliance", until=datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(StoreError, match="etention") as caught:
        scene.store.put("x", replace(body(b"sealed"), lock=lock))
    assert "--enable-per-object-retention" in str(caught.value.hint)
    assert listed(scene.store) == []


# A host that may create, read and list, and nothing else.


@pytest.mark.parametrize("first", [False, True], ids=["condition first", "permission first"])
def test_a_host_needs_three_permissions(host: Scene, *, first: bool) -> None:
    host.double.world.denied_before_conditions = first
    begun = len(host.double.log)
    host.store.prepare()
    host.store.put("x", body(b"sealed"))
    for data in (b"sealed", b"other"):
        with pytest.raises(AlreadyExists):
            host.store.put("x", body(data))
    assert read_all(host.store, "x") == (b"sealed", 6, b"eal")
    needed = {right for one in host.double.log[begun:] for right in one.needed}
    assert needed - {"storage.objects.delete"} == HOST  # an overwrite would need that one
    host.double.world.denied_before_conditions = False
    with pytest.raises(StoreError, match=r"403 .*storage\.objects\.delete") as caught:
        host.store.delete("x")
    assert type(caught.value) is StoreError
    assert host.store.read("x", 6) == b"sealed"


def test_the_probe_says_that_a_host_cannot_delete(host: Scene) -> None:
    findings = probe(host.store, System().random_bytes)
    assert [one for one in findings if one.level != "pass"] == []
    assert "can't delete backups" in findings[-1].message


@pytest.mark.parametrize(
    ("right", "role", "ask"),
    [
        ("create", "objectCreator", lambda store: store.put("new", body(b"x"))),
        ("get", "objectViewer", lambda store: store.read("x", 9)),
        ("list", "objectViewer", lambda store: list(store.list(""))),
        ("list", "objectViewer", lambda store: store.prepare()),
    ],
    ids=["put", "read", "list", "prepare"],
)
def test_a_missing_permission_is_named(
    host: Scene, right: str, role: str, ask: Callable[[Store], object]
) -> None:
    host.store.put("x", body(b"sealed"))
    email = f"{host.key.stem}@drkit-tests.iam.gserviceaccount.com"
    host.double.account(host.key).permissions = HOST - {f"storage.objects.{right}"}
    with pytest.raises(StoreError, match=rf"403 .*storage\.objects\.{right}") as caught:
        ask(host.store)
    assert type(caught.value) is StoreError
    assert not caught.value.transient
    assert f"serviceAccount:{email} --role=roles/storage.{role}" in str(caught.value.hint)


def test_a_bucket_that_is_not_there_is_never_a_missing_object(double: GcsDouble) -> None:
    url = double.url("no-such-bucket", "p", double.identity()) + "&project=mine"
    store = open_store(url)
    asks: list[Callable[[], object]] = [
        store.prepare,
        lambda: store.put("x", body(b"x")),
        lambda: store.read("x", 1),
        lambda: store.read_into("x", 0, memoryview(bytearray(1))),
        lambda: store.size("x"),
        lambda: list(store.list("")),
        lambda: store.delete("x"),
    ]
    for ask in asks:
        with pytest.raises(StoreError, match="there is no bucket no-such-bucket") as caught:
            ask()
        assert type(caught.value) is StoreError
        assert str(caught.value.hint).startswith("is the name right?")
        assert "buckets create gs://no-such-bucket --project=mine" in str(caught.value.hint)


def test_the_smoke_test_of_another_server() -> None:
    with fake_gcs("smoke") as endpoint:
        store = open_store(f"gs://smoke/some/prefix?endpoint={endpoint}")
        store.prepare()
        data = os.urandom(100_000)
        for name in ("a/x", "a/y", "b"):
            store.put(name, body(data))
            with pytest.raises(AlreadyExists):
                store.put(name, body(b"other"))
        assert [one[:2] for one in listed(store, "a/")] == [("a/x", 100_000), ("a/y", 100_000)]
        piece = bytearray(50_000)
        store.read_into("a/x", 49_999, memoryview(piece))
        assert piece == data[49_999:99_999]
        assert store.read("b", 100_000) == data
        assert store.size("b") == 100_000
        store.delete("a/x")
        assert [one[0] for one in listed(store)] == ["a/y", "b"]
        for ask in (store.size, store.delete):
            with pytest.raises(NotFound):
                ask("a/x")
        with pytest.raises(StoreError, match="there is no bucket absent"):
            open_store(f"gs://absent/p?endpoint={endpoint}").prepare()

"""The store probe: passes every kind of store, and finds the lies of those that lie."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from drkit.errors import AlreadyExists, StoreError
from drkit.model.finding import Finding
from drkit.model.retention import LockMode
from drkit.stores import open_store
from drkit.stores.base import Body, Lock, Store, Stored
from drkit.stores.memory import MemoryStore
from drkit.stores.probe import LOCKED_FOR, brief_lock, probe
from drkit.system import System
from tests.fixtures.gcs_double import shared_double
from tests.fixtures.kinds import KINDS, NEVER_DELETES, body
from tests.fixtures.servers import ministack, rclone

SYSTEM = System()
UNCHECKED = {"memory", "moto"}  # they look at no checksum


class Overwrites(MemoryStore):
    """Accepts the condition and ignores it, as some S3 servers do."""

    def put(self, name: str, body: Body) -> None:
        if name in self._objects:
            self._objects.pop(name)
        super().put(name, body)


class RefusesAndOverwrites(MemoryStore):
    def put(self, name: str, body: Body) -> None:
        known = self._objects.pop(name, None) is not None
        super().put(name, body)
        if known:
            raise AlreadyExists(name)


class ListsLate(MemoryStore):
    def list(self, prefix: str) -> Iterator[Stored]:
        yield from [*super().list(prefix)][:-1]


class ListsWrongSizes(MemoryStore):
    def list(self, prefix: str) -> Iterator[Stored]:
        for item in super().list(prefix):
            yield Stored(name=item.name, size=item.size + 1, modified=item.modified)


class ListsBackwards(MemoryStore):
    def list(self, prefix: str) -> Iterator[Stored]:
        yield from reversed([*super().list(prefix)])


class IgnoresRanges(MemoryStore):
    def read_into(self, name: str, offset: int, view: memoryview) -> None:
        super().read_into(name, 0, view)


class FillsWithZeros(MemoryStore):
    """Ends early and says nothing."""

    def read_into(self, name: str, offset: int, view: memoryview) -> None:
        data = self.read(name, 1 << 20)[offset : offset + len(view)]
        view[:] = data.ljust(len(view), b"\0")


class NeverMisses(MemoryStore):
    def size(self, name: str) -> int:
        return super().size(name) if name in self._objects else 0


class RefusesPlus(MemoryStore):
    def put(self, name: str, body: Body) -> None:
        if "+" in name:
            raise StoreError(f"put {name}: 400 bad request")
        super().put(name, body)


class KeepsWhatIsDeleted(MemoryStore):
    def delete(self, name: str) -> None:
        self.size(name)


LIARS: list[tuple[Callable[..., MemoryStore], str, str]] = [
    (Overwrites, "create if absent", "fail"),
    (RefusesAndOverwrites, "create if absent", "fail"),
    (ListsLate, "listing", "fail"),
    (ListsWrongSizes, "listing", "fail"),
    (ListsBackwards, "listing", "fail"),
    (IgnoresRanges, "ranges", "fail"),
    (FillsWithZeros, "the end of an object", "fail"),
    (NeverMisses, "missing objects", "fail"),
    (RefusesPlus, "put", "fail"),
    (KeepsWhatIsDeleted, "deleting", "warn"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_an_honest_store_passes_and_is_left_clean(kind: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        store = KINDS[kind](tmp_path, stack)
        store.put("repository.json", body(b"{}"))
        findings = probe(store, SYSTEM.random_bytes) + probe(store, SYSTEM.random_bytes)
        told = [(finding.what, finding.level) for finding in findings if finding.level != "pass"]
        assert told == ([("checksums", "warn")] * 2 if kind in UNCHECKED else [])
        left = [found.name for found in store.list("")]
        deleting = [finding for finding in findings if finding.what == "deleting"]
        if kind in NEVER_DELETES:
            assert all("refused" in finding.message for finding in deleting)
        else:
            assert left == ["repository.json"]
            assert [finding.message for finding in deleting] == ["allowed", "allowed"]


@pytest.mark.parametrize(("liar", "what", "level"), LIARS)
def test_a_lie_is_found(liar: Callable[..., MemoryStore], what: str, level: str) -> None:
    findings = probe(liar(SYSTEM.now), SYSTEM.random_bytes)
    caught = [(finding.what, finding.level) for finding in findings if finding.level != "pass"]
    assert (what, level) in caught


def test_a_store_that_is_away_is_one_failure_with_its_own_words(tmp_path: Path) -> None:
    with ExitStack() as stack:
        store = KINDS["local"](tmp_path, stack)
        (tmp_path / "store").rmdir()
        (finding,) = probe(store, SYSTEM.random_bytes)
        assert finding.level == "fail"
        assert "no repository folder there" in finding.message
        assert finding.hint


# Checksums.


class Checks(MemoryStore):
    def put(self, name: str, body: Body) -> None:
        if hashlib.sha256(b"".join(body.pieces())).digest() != body.sha256:
            raise StoreError(f"put {name}: 400 BadDigest")
        super().put(name, body)


class DownForWrongOnes(Checks):
    def put(self, name: str, body: Body) -> None:
        try:
            super().put(name, body)
        except StoreError:
            raise StoreError("503 slow down", transient=True) from None


def answer(store: MemoryStore, what: str, lock: Lock | None = None) -> Finding:
    (found,) = [f for f in probe(store, SYSTEM.random_bytes, lock) if f.what == what]
    return found


def test_a_store_that_looks_at_checksums_passes() -> None:
    store = Checks(SYSTEM.now)
    assert answer(store, "checksums").level == "pass"
    assert list(store.list("")) == []


def test_one_that_does_not_is_warned_of_and_left_clean() -> None:
    store = MemoryStore(SYSTEM.now)
    found = answer(store, "checksums")
    assert found.level == "warn"
    assert "drkit scrub" in (found.hint or "")
    assert list(store.list("")) == []


def test_a_server_that_is_down_has_not_refused_a_checksum() -> None:
    found = answer(DownForWrongOnes(SYSTEM.now), "checksums")
    assert (found.level, found.message) == ("fail", "503 slow down")


def test_a_folder_is_not_asked(tmp_path: Path) -> None:
    with ExitStack() as stack:
        asked = {f.what for f in probe(KINDS["local"](tmp_path, stack), SYSTEM.random_bytes)}
        assert not asked & {"checksums", "lock"}


# Object lock.


class Locks(Checks):
    """As a bucket with object lock does it; `until` is told to whoever tries."""

    locks = True

    def __init__(self, *, url: str = "s3://shop/drkit") -> None:
        super().__init__(SYSTEM.now, url=url)
        self.held: dict[str, Lock] = {}

    def put(self, name: str, body: Body) -> None:
        super().put(name, body)
        if body.lock is not None:
            self.held[name] = body.lock

    def delete(self, name: str) -> None:
        if name in self.held:
            raise StoreError(f"delete {name}: 403 locked until {self.held[name].until}")
        super().delete(name)


class IgnoresLocks(Locks):
    def delete(self, name: str) -> None:
        self.held.pop(name, None)
        super().delete(name)


class HasNoLock(Locks):
    def put(self, name: str, body: Body) -> None:
        if body.lock is not None:
            raise StoreError(f"put {name}: 400 bucket is missing object lock configuration")
        super().put(name, body)


class DeletesNothing(Locks):
    def delete(self, name: str) -> None:
        raise StoreError(f"delete {name}: 403 access denied")


class DownForDeletes(Locks):
    def delete(self, name: str) -> None:
        if name in self.held:
            raise StoreError("503 slow down", transient=True)
        super().delete(name)


def brief() -> Lock:
    return brief_lock("compliance", SYSTEM.now())


def test_a_lock_is_proven_by_a_delete_that_is_refused() -> None:
    store, lock = Locks(), brief()
    found = answer(store, "lock", lock)
    assert found.level == "pass"
    ((name, held),) = store.held.items()
    assert held == lock
    assert f"{name} stays until {lock.until:%Y-%m-%dT%H:%M}" in found.message
    assert [item.name for item in store.list("")] == [name]


def test_a_brief_lock_is_brief_and_still_outlasts_a_clock_that_is_wrong() -> None:
    now = SYSTEM.now()
    assert brief_lock("governance", now) == Lock(mode="governance", until=now + LOCKED_FOR)
    assert timedelta(minutes=2) < LOCKED_FOR < timedelta(hours=1)


@pytest.mark.parametrize(
    ("url", "command"),
    [
        ("s3://shop/drkit", "put-object-lock-configuration --bucket shop --object"),
        ("gs://shop/drkit", "gcloud storage buckets create gs://NAME --enable-per-object-ret"),
    ],
)
def test_a_bucket_without_lock_fails_with_the_command_that_mends_it(url: str, command: str) -> None:
    for liar, says in ((IgnoresLocks, "was deleted at once"), (HasNoLock, "object lock conf")):
        found = answer(liar(url=url), "lock", brief())
        assert found.level == "fail"
        assert says in found.message
        assert command in (found.hint or "")


def test_a_host_that_may_delete_nothing_proves_no_lock() -> None:
    """Its refusal would be the same without one."""
    found = answer(DeletesNothing(), "lock", brief())
    assert found.level == "warn"
    assert "not proven" in found.message
    assert "access denied" in found.message


def test_a_server_that_is_down_has_not_refused_a_delete() -> None:
    found = answer(DownForDeletes(), "lock", brief())
    assert (found.level, found.message) == ("fail", "503 slow down")


def test_a_store_of_a_kind_without_locks_is_warned_of_and_not_asked() -> None:
    found = answer(MemoryStore(SYSTEM.now), "lock", brief())
    assert found.level == "warn"
    assert "no lock" in found.message


def test_without_a_lock_wanted_nothing_is_locked() -> None:
    store = Locks()
    asked = {f.what for f in probe(store, SYSTEM.random_bytes)}
    assert "lock" not in asked
    assert list(store.list("")) == []


# The real ones.


@pytest.mark.parametrize("mode", ["compliance", "governance"])
@pytest.mark.parametrize("cloud", ["gcs", "s3"])
def test_a_lock_is_proven_in_a_bucket_that_has_it(cloud: str, mode: LockMode) -> None:
    store = bucket(cloud, lock=True)
    found = probe(store, SYSTEM.random_bytes, brief_lock(mode, SYSTEM.now()))
    assert [f.what for f in found if f.level != "pass"] == []
    (left,) = store.list("")
    assert left.name.endswith("/locked")


@pytest.mark.parametrize("cloud", ["gcs", "s3"])
def test_a_bucket_that_has_none_is_told_how_to_get_it(cloud: str) -> None:
    (found,) = [f for f in probe(bucket(cloud), SYSTEM.random_bytes, brief()) if f.what == "lock"]
    assert found.level == "fail"
    assert "lock" in (found.hint or "") or "retention" in (found.hint or "")
    assert ("aws s3api" if cloud == "s3" else "gcloud storage") in (found.hint or "")


def test_a_google_host_that_may_not_delete_is_warned_that_its_lock_is_not_proven() -> None:
    double = shared_double()
    rights = ("create", "get", "list", "setRetention")
    host = double.identity("host", frozenset(f"storage.objects.{may}" for may in rights))
    store = open_store(double.url(double.bucket(object_retention=True), "shop", host))
    told = {f.what: f.level for f in probe(store, SYSTEM.random_bytes, brief())}
    assert {what for what, level in told.items() if level != "pass"} == {"lock"}
    assert told["lock"] == "warn"


def test_a_server_that_keeps_no_condition_is_refused() -> None:
    server = rclone()
    store = open_store(server.url(server.bucket()))
    told = {f.what: f.level for f in probe(store, SYSTEM.random_bytes)}
    assert told["create if absent"] == "fail"


def bucket(cloud: str, *, lock: bool = False) -> Store:
    if cloud == "s3":
        server = ministack()
        return open_store(server.url(server.bucket(lock=lock)))
    double = shared_double()
    made = double.bucket(object_retention=lock)
    return open_store(double.url(made, "shop", double.identity()))

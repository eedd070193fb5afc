"""A thief with the disk of a backup host and its credentials for the cloud: what he can't do.

On Google's double the host may create and read, nothing else. On S3 it may do everything, and only
object lock stands in the way.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
import requests
from google.auth.transport.requests import AuthorizedSession
from google.oauth2.service_account import Credentials

from drkit.crypto.sign import new_signer, signer_to_text
from drkit.errors import AlreadyExists, StoreError
from drkit.files import FilesPlan, FilesSource
from drkit.model.pins import Pins
from drkit.model.retention import Rules
from drkit.model.snapshot import Snapshot
from drkit.repository import names
from drkit.repository.history import History, read_history
from drkit.repository.signed import Expired, Where, encode
from drkit.source import Target
from drkit.stores import open_store
from drkit.stores.base import Store
from tests.fixtures import thief, trees
from tests.fixtures.aws_environment import KEY_ID, SECRET
from tests.fixtures.gcs_double import gcs_double
from tests.fixtures.host import REAL, Host, new_host
from tests.fixtures.kinds import body
from tests.fixtures.lockable import PREFIX, GcsOwner, Owner, S3Owner, locking_server
from tests.fixtures.repo import DAY

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_HOST = frozenset(f"storage.objects.{may}" for may in ("create", "get", "list"))
_READER = frozenset(f"storage.objects.{may}" for may in ("get", "list"))
_RULES = Rules(keep=DAY, lock="compliance")
GONE = (200, 204)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """One host's, as the host reaches it, as a reader does, and as a thief would."""

    host: Store
    reader: Callable[[], Store]
    owner: Owner  # past drkit, with what lies on the host's disk
    credentials: bytes
    hides: bool  # whether he can put versions before those that count


@contextmanager
def gcs(_root: Path) -> Iterator[Bucket]:
    with gcs_double() as double:
        bucket = double.bucket()
        host, reader = double.identity("host", _HOST), double.identity("reader", _READER)
        yield Bucket(
            host=open_store(double.url(bucket, PREFIX, host)),
            reader=lambda: open_store(double.url(bucket, PREFIX, reader)),
            owner=GcsOwner(double, bucket, session(host)),
            credentials=host.read_bytes(),
            hides=False,
        )


def session(identity: Path) -> requests.Session:
    """As Google's own tools would ask, with what lies on that disk."""
    load = cast("Callable[..., Credentials]", Credentials.from_service_account_file)
    made = cast("Callable[..., requests.Session]", AuthorizedSession)
    return made(load(identity, scopes=[_SCOPE]))


@contextmanager
def s3(_root: Path) -> Iterator[Bucket]:
    with locking_server() as server:
        bucket = server.bucket(lock=True)
        yield Bucket(
            host=open_store(server.url(bucket, PREFIX)),
            reader=lambda: open_store(server.url(bucket, PREFIX)),
            owner=S3Owner(server, bucket),
            credentials=f"{KEY_ID}\n{SECRET}\n".encode(),
            hides=True,
        )


BUCKETS = {"gcs": gcs, "s3": s3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    bucket: Bucket
    host: Host
    disk: Path  # all that the host has
    tree: Path
    versions: tuple[Path, ...]  # what each snapshot must give back
    sessions: tuple[str, ...]

    def history(self, pins: Pins | None = None) -> History:
        """As a machine sees it that comes new to it."""
        repository = replace(self.host.repository, store=self.bucket.reader())
        return read_history(repository, self.host.plan.domain, pins or self.host.plan.pins)

    def ours(self) -> list[Snapshot]:
        """What the host has put before the theft."""
        return [s for s in self.history().snapshots if s.session in self.sessions]

    def reader(self) -> Host:
        return replace(self.host, store=self.bucket.reader())

    def names(self) -> list[str]:
        found = [s.name for s in self.bucket.reader().list("")]
        return [name for name in found if any(session in name for session in self.sessions)]

    def unharmed(self) -> None:
        assert tuple(s.session for s in self.ours()) == self.sessions
        thief.unharmed(self.reader(), self.ours(), self.versions)


def backed_up(root: Path, bucket: Bucket) -> Scene:
    disk, tree = root / "disk", root / "tree"
    tree.mkdir(parents=True)
    key, keeper = new_signer(os.urandom(32)), new_signer(os.urandom(32))
    host = new_host(bucket.host, disk / "state", signer=key)
    pins = Pins(writers=frozenset({key.public}), maintainers=frozenset({keeper.public}))
    plan = replace(host.plan, pins=pins, rules=_RULES, expected_end=datetime.now(UTC) + DAY)
    host = replace(host, plan=plan if bucket.hides else replace(host.plan, pins=pins))
    trees.write(disk / "signer.key", signer_to_text(key).encode(), mode=0o600)
    trees.write(disk / "credentials", bucket.credentials, mode=0o600)
    versions, sessions = [], []
    for number, change in enumerate(thief.VERSIONS):
        change(tree)
        done = replace(host, identities=()).back_up(FilesSource(FilesPlan(root=tree), REAL))
        sessions.append(done.session)
        versions.append(root / f"version-{number}")
        shutil.copytree(tree, versions[-1], symlinks=True)
    return Scene(
        bucket=bucket,
        host=host,
        disk=disk,
        tree=tree,
        versions=tuple(versions),
        sessions=tuple(sessions),
    )


@pytest.fixture(scope="module", params=sorted(BUCKETS))
def scene(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """One for all tests: what one thief has done is there when the next one comes."""
    root = tmp_path_factory.mktemp(request.param)
    with BUCKETS[request.param](root) as bucket:
        yield backed_up(root, bucket)


def test_every_snapshot_restores_with_an_identity(scene: Scene, tmp_path: Path) -> None:
    assert [s.kind for s in scene.ours()] == ["full", "incremental", "incremental"]
    assert all(s.pinned for s in scene.ours())
    for snapshot, version in zip(scene.ours(), scene.versions, strict=True):
        into = tmp_path / snapshot.session
        into.mkdir()
        with scene.reader().opened(snapshot) as reader:
            source = FilesSource(FilesPlan(root=scene.tree), REAL)
            source.restore(snapshot, reader, Target(into=into))
        assert trees.compare(version, into, owners=False) == []


# What he reads.


def test_he_reads_every_object_and_no_word_in_one(scene: Scene) -> None:
    store = scene.bucket.host
    held = list(store.list(""))
    assert len(held) > 15
    for stored in held:
        assert thief.readable(stored.name, store.read(stored.name, stored.size)) == []


def test_nothing_on_the_disk_opens_anything(scene: Scene) -> None:
    objects = thief.sealed(scene.bucket.host, scene.ours())
    assert scene.bucket.credentials in (scene.disk / "credentials").read_bytes()
    assert thief.what_opens(scene.host, objects, scene.disk) == set()


# What he breaks.


def test_he_deletes_nothing_and_puts_nothing_in_its_place(scene: Scene) -> None:
    held = scene.names()
    assert len(held) > 12
    for name in held:
        for version in scene.bucket.owner.versions(name):
            assert scene.bucket.owner.destroy(name, version) == 403
        with pytest.raises(StoreError):
            scene.bucket.host.delete(name)
        with pytest.raises(AlreadyExists):
            scene.bucket.host.put(name, body(b"instead"))
    scene.unharmed()


def test_he_frees_nothing_for_later(scene: Scene) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    for name in scene.names():
        for version in scene.bucket.owner.versions(name):
            assert scene.bucket.owner.shorten(name, version, soon) in (400, 403)
    scene.unharmed()


def test_he_hides_nothing_that_counts(scene: Scene) -> None:
    for name in scene.names():
        assert (scene.bucket.owner.hide(name) in GONE) == scene.bucket.hides
    scene.unharmed()


def test_he_overwrites_nothing_that_counts(scene: Scene) -> None:
    for name in scene.names():
        assert (scene.bucket.owner.overwrite(name, b"instead") in GONE) == scene.bucket.hides
    scene.unharmed()


def test_what_he_did_to_versions_is_tampering(scene: Scene) -> None:
    told = {f.message.split()[0] for f in scene.history().tampered()}
    wanted = {n for n in scene.names() if (p := names.parse(n)) and p.kind in ("begin", "outcome")}
    assert wanted
    assert (wanted <= told) == scene.bucket.hides


def test_he_has_no_say_over_googles_bucket() -> None:
    """Rules that delete, other people's rights, copies over what is there."""
    with gcs_double() as double:
        bucket, host = double.bucket(), double.identity("host", _HOST)
        store = open_store(double.url(bucket, PREFIX, host))
        store.put("a", body(b"a"))
        store.put("b", body(b"b"))
        ask = session(host).request
        at = f"{double.endpoint}/storage/v1/b/{bucket}"
        a, b = (f"{PREFIX}%2F{name}" for name in "ab")
        expiry = {"lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 0}}]}}
        tries = [
            ask("PATCH", at, json=expiry),
            ask("PUT", f"{at}/iam", json={"bindings": []}),
            ask("DELETE", at),
            ask("POST", f"{at}/o/{a}/rewriteTo/b/{bucket}/o/{b}", json={}),
            ask("POST", f"{at}/o/{a}/copyTo/b/{bucket}/o/{b}", json={}),
            ask("POST", f"{at}/o/{b}/compose", json={"sourceObjects": [{"name": f"{PREFIX}/a"}]}),
            ask("PATCH", f"{at}/o/{b}", json={"metadata": {"a": "b"}}),
        ]
        assert [answer.status_code for answer in tries] == [403] * len(tries)
        assert store.read("b", 9) == b"b"


# What he forges.


def test_a_commit_by_another_key_is_not_believed(scene: Scene, tmp_path: Path) -> None:
    other = new_signer(os.urandom(32))
    done = thief.poison(stolen(scene, tmp_path), tmp_path, other)
    history = scene.history()
    assert done.session not in {s.session for s in history.snapshots}
    assert any(other.public_text in f.message for f in history.tampered())
    scene.unharmed()


def test_a_commit_by_the_stolen_key_hurts_no_older_one(scene: Scene, tmp_path: Path) -> None:
    """It counts: take the key out of the policy, with its last good outcome."""
    done = thief.poison(stolen(scene, tmp_path), tmp_path, scene.host.plan.signer)
    newest = next(s for s in scene.history().snapshots if s.session == done.session)
    assert scene.reader().streamed(newest) == {"ransom note": b"pay"}
    scene.unharmed()


def test_the_stolen_key_expires_nothing(scene: Scene) -> None:
    snapshot = scene.ours()[0]
    where = Where(
        repository=scene.host.repository.id, domain=snapshot.domain, generation=snapshot.generation
    )
    said = Expired(by="thief", at=datetime.now(UTC), reason="old", plan="none")
    name = names.expired(snapshot.domain, snapshot.generation)
    scene.bucket.host.put(name, body(encode(said, where, scene.host.plan.signer)))
    assert any("expired" in f.message for f in scene.history().tampered())
    scene.unharmed()


def test_replayed_outcomes_are_not_believed(scene: Scene) -> None:
    one = scene.ours()[0]
    data = scene.bucket.reader().read(names.outcome(one.domain, one.generation, one.session), 4096)
    before = {s.session for s in scene.history().snapshots}
    scene.bucket.host.put(names.outcome(one.domain, one.generation, "f" * 32), body(data))
    scene.bucket.host.put(names.outcome(one.domain, "e" * 32, one.session), body(data))
    history = scene.history()
    assert {s.session for s in history.snapshots} == before
    assert sum("swapped" in f.message for f in history.tampered()) == 2
    scene.unharmed()


def stolen(scene: Scene, tmp_path: Path) -> Host:
    """All that the host knew, on a machine of his own."""
    shutil.copytree(scene.disk / "state", tmp_path / "state")
    return replace(scene.host, plan=replace(scene.host.plan, state=tmp_path / "state"))

"""A thief with the whole disk of a backup host and a copy of the store: what it can't do."""

import base64
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drkit.crypto.recipients import Identity, new_identity, open_envelope
from drkit.crypto.sign import SignerKey, new_signer, signer_to_text
from drkit.errors import AlreadyExists, KeyMissing, StoreError
from drkit.files import FilesPlan, FilesSource
from drkit.model.pins import Pins
from drkit.model.snapshot import Snapshot
from drkit.repository import names
from drkit.repository.base import Done
from drkit.repository.format import MANIFEST_MAGIC
from drkit.repository.frame import envelope_of
from drkit.repository.reader import SnapshotReader
from drkit.repository.signed import Expired, Where, encode
from drkit.source import Target
from drkit.stores.local import LocalStore
from drkit.system import System
from tests.fixtures import thief, trees
from tests.fixtures.append_server import append_server
from tests.fixtures.host import REAL, Host, new_host
from tests.fixtures.kinds import body
from tests.fixtures.thief import (
    NAME,
    WORDS,
    bech32,
    files,
    poison,
    readable,
    sealed,
    unharmed,
    what_opens,
)

ROOT = os.geteuid() == 0
HOST_USER = 61_234  # nobody's number; the store's server is yet another user's


def own_user() -> int | None:
    """None: tests run as a common user, or that number can't read this checkout."""
    parents = Path(__file__).resolve().parents
    return HOST_USER if ROOT and all(p.stat().st_mode & 0o005 == 0o005 for p in parents) else None


def as_host(task: Callable[[], None]) -> None:
    """In a process of its own that has given up every right."""
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            try:
                if (user := own_user()) is not None:
                    os.setgroups([])
                    os.setgid(user)
                    os.setuid(user)
                task()
            except BaseException:  # noqa: BLE001  told to the test
                said.write(traceback.format_exc().encode())
            finally:
                said.flush()
                os._exit(0)
        os.waitpid(child, 0)
        said.seek(0)
        assert said.read().decode() == ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    host: Host  # its store is the append-only server
    keeper: SignerKey  # the maintainer's, on another machine
    folder: Path  # the store's own, which the host can't enter
    disk: Path  # all that the host has
    tree: Path
    versions: list[Path]  # what each snapshot must give back

    @property
    def store(self) -> LocalStore:
        return LocalStore(self.folder)

    def snapshots(self) -> list[Snapshot]:
        return self.host.history().snapshots


def back_up(scene: Scene) -> None:
    """Each by a process of its own; what it changes in memory is gone with it."""

    def run() -> None:
        assert scene.host.identities
        without = replace(scene.host, identities=())
        source = FilesSource(FilesPlan(root=scene.tree), REAL)
        done: Done = without.back_up(source)
        assert done.facts.files

    as_host(run)


def owned(*paths: Path) -> None:
    user = own_user()
    for path in paths if user is not None else ():
        for each in (path, *path.rglob("*")):
            os.chown(each, user or 0, user or 0, follow_symlinks=False)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        top.chmod(0o755)
        disk, tree = top / "disk", top / "tree"
        disk.mkdir()
        tree.mkdir()
        store = stack.enter_context(append_server(top / "store", top / "socket"))
        key, keeper = new_signer(os.urandom(32)), new_signer(os.urandom(32))
        host = new_host(store, disk / "state", signer=key)
        pins = Pins(writers=frozenset({key.public}), maintainers=frozenset({keeper.public}))
        host = replace(host, plan=replace(host.plan, pins=pins))
        trees.write(disk / "signer.key", signer_to_text(key).encode(), mode=0o600)
        recipients = "\n".join(r.text for r in host.plan.recipients)
        trees.write(disk / "policy.yaml", f"recipients:\n{recipients}\n".encode())
        scene = Scene(
            host=host, keeper=keeper, folder=top / "store", disk=disk, tree=tree, versions=[]
        )
        for number, change in enumerate(thief.VERSIONS):
            change(tree)
            if change is thief.third:
                trees.write(tree / f"{NAME}-locked", WORDS, mode=0)
            owned(disk, tree)
            back_up(scene)
            kept = top / f"version-{number}"
            shutil.copytree(tree, kept, symlinks=True, ignore=shutil.ignore_patterns("*-locked"))
            scene.versions.append(kept)
        yield scene


def test_the_host_took_a_full_and_two_incrementals_with_public_keys_only(scene: Scene) -> None:
    history = scene.host.history()
    assert history.findings == []
    assert [s.kind for s in history.snapshots] == ["full", "incremental", "incremental"]
    assert all(s.pinned for s in history.snapshots)
    if own_user() is not None:
        owners = {path.stat().st_uid for path, _ in files(scene.disk)}
        assert owners == {HOST_USER}
        assert HOST_USER not in {path.stat().st_uid for path, _ in files(scene.folder)}


def test_every_snapshot_restores_with_an_identity(scene: Scene, tmp_path: Path) -> None:
    for snapshot, version in zip(scene.snapshots(), scene.versions, strict=True):
        into = tmp_path / snapshot.session
        into.mkdir()
        with scene.host.opened(snapshot) as reader:
            source = FilesSource(FilesPlan(root=scene.tree), REAL)
            source.restore(snapshot, reader, Target(into=into))
        (into / f"{NAME}-locked").unlink(missing_ok=True)
        assert trees.compare(version, into, owners=False) == []


# What the thief can read.


def test_no_name_and_no_content_stands_in_any_object(scene: Scene) -> None:
    objects = list(files(scene.folder))
    assert len(objects) > 15
    for path, data in objects:
        assert readable(os.fspath(path.relative_to(scene.folder)), data) == []


def test_what_the_store_reads_is_what_the_readme_says(scene: Scene) -> None:
    """The root's path, times and counts: hosts without an identity plan with them."""
    for snapshot in scene.snapshots():
        name = names.outcome(snapshot.domain, snapshot.generation, snapshot.session)
        data = scene.store.read(name, 4096)
        assert os.fsencode(scene.tree) in data
        assert NAME.encode() not in data
    assert scene.snapshots()[-1].facts.notes == ()


def test_the_host_itself_holds_names_in_clear_and_no_content(scene: Scene) -> None:
    state = dict(files(scene.disk))
    assert NAME.encode() in state[scene.disk / "state/cache.sqlite"]
    assert not any(WORDS[3:12] in data for data in state.values())


def opening(scene: Scene, folder: Path) -> set[str]:
    return what_opens(scene.host, sealed(scene.store, scene.snapshots()), folder)


def test_nothing_on_the_disk_opens_anything(scene: Scene) -> None:
    assert sum(len(data) for _, data in files(scene.disk)) > 20_000
    assert opening(scene, scene.disk) == set()


def test_the_search_would_find_a_key(scene: Scene, tmp_path: Path) -> None:
    """Otherwise the test before proves nothing."""
    one = sealed(scene.store, scene.snapshots())[1]
    identity = scene.host.identities[1]
    name = names.manifest(one.snapshot.domain, one.snapshot.generation, one.snapshot.session)
    envelope = envelope_of(scene.store.read(name, 1 << 20), MANIFEST_MAGIC)
    session_key = open_envelope(envelope, [identity])[:32]
    assert opening(scene, tmp_path) == set()
    (tmp_path / "a").write_bytes(b"odd" + session_key + b"?")
    assert opening(scene, tmp_path) == {"a session key"}
    (tmp_path / "a").write_text(f'{{"key": "{session_key.hex()}"}}')
    assert opening(scene, tmp_path) == {"a session key"}
    (tmp_path / "a").write_bytes(b"key=" + base64.b64encode(session_key))
    assert opening(scene, tmp_path) == {"a session key"}
    (tmp_path / "a").write_bytes(b"." + bech32(identity.text.rpartition("-")[2]) + b".")
    assert opening(scene, tmp_path) == {"an identity"}


def test_no_function_of_drkit_opens_anything_without_an_identity(scene: Scene) -> None:
    for snapshot in scene.snapshots():
        for identities in ((), (new_identity(),), (new_identity(), new_identity())):
            with pytest.raises(KeyMissing) as caught:
                opened(scene, snapshot, identities)
            assert snapshot.recipients[0] in caught.value.message
            assert caught.value.exit_code == 7


def opened(scene: Scene, snapshot: Snapshot, identities: tuple[Identity, ...]) -> None:
    with SnapshotReader(
        store=scene.store,
        repository=scene.host.repository.raw_id,
        snapshot=snapshot,
        unwrap=lambda data, of: open_envelope(data, identities, of.recipients),
        system=System(),
    ):
        raise AssertionError("it opened")


# What the thief can change.


def test_the_server_deletes_and_changes_nothing(scene: Scene) -> None:
    store = scene.host.store
    before = dict(files(scene.folder))
    held = [s.name for s in store.list("")]
    assert len(held) > 15

    def steal() -> None:
        for name in held:
            with pytest.raises(StoreError, match="refused"):
                store.delete(name)
            with pytest.raises(AlreadyExists):
                store.put(name, body(b"instead"))

    as_host(steal)
    assert dict(files(scene.folder)) == before


def test_the_host_cannot_reach_the_folder_behind_the_server(scene: Scene) -> None:
    """Where tests run as a common user, that user is the store's as well: only root shows it."""

    def steal() -> None:
        folder = os.fspath(scene.folder)
        acts: list[Callable[[str], object]] = [os.listdir, os.rmdir]
        acts.append(lambda path: os.rename(path, path + "2"))
        acts.append(lambda path: os.chmod(path, 0o777))
        for act in acts:
            with pytest.raises(PermissionError):
                act(folder)
        with pytest.raises(StoreError):
            LocalStore(scene.folder).delete("repository.json")
        with pytest.raises(StoreError):
            LocalStore(scene.folder).put("x", body(b"x"))

    if own_user() is not None:
        as_host(steal)


@pytest.fixture
def robbed(scene: Scene, tmp_path: Path) -> Host:
    """A copy of the store in which the thief may create, and all that the host knew."""
    shutil.copytree(scene.folder, tmp_path / "store", ignore=shutil.ignore_patterns(".staging"))
    shutil.copytree(scene.disk / "state", tmp_path / "state")
    store = LocalStore(tmp_path / "store")
    plan = replace(scene.host.plan, state=tmp_path / "state")
    repository = replace(scene.host.repository, store=store)
    return replace(scene.host, store=store, repository=repository, plan=plan)


def test_a_commit_by_another_key_is_not_believed(
    scene: Scene, robbed: Host, tmp_path: Path
) -> None:
    other = new_signer(os.urandom(32))
    done = poison(robbed, tmp_path, other)
    history = robbed.history()
    assert [s.session for s in history.snapshots] == [s.session for s in scene.snapshots()]
    assert done.session not in {s.session for s in history.snapshots}
    told = [f.message for f in history.tampered()]
    assert any(other.public_text in message for message in told)
    unharmed(robbed, history.snapshots, scene.versions)


def test_a_commit_by_the_stolen_key_is_believed_and_hurts_no_older_one(
    scene: Scene, robbed: Host, tmp_path: Path
) -> None:
    """What a pinned key signs counts: rotate it, and retire it with its last good outcome."""
    done = poison(robbed, tmp_path, robbed.plan.signer)
    *older, newest = robbed.history().snapshots
    assert newest.session == done.session
    assert newest.pinned
    assert robbed.streamed(newest) == {"ransom note": b"pay"}
    unharmed(robbed, older, scene.versions)
    said = (Path(__file__).parents[2] / "docs/repository-format.md").read_text()
    assert "A stolen host can spoil the backups it makes from then on" in said


def test_the_stolen_key_expires_nothing(scene: Scene, robbed: Host) -> None:
    """Writers and maintainers are two keys on two machines: only the second one lets go."""
    snapshot = scene.snapshots()[0]
    where = Where(
        repository=robbed.repository.id, domain=snapshot.domain, generation=snapshot.generation
    )
    said = Expired(by="thief", at=datetime.now(UTC), reason="old", plan="none")
    data = encode(said, where, robbed.plan.signer)
    robbed.store.put(names.expired(snapshot.domain, snapshot.generation), body(data))
    history = robbed.history()
    assert len(history.snapshots) == 3
    assert len(history.tampered()) == 1
    unharmed(robbed, history.snapshots, scene.versions)
    by_keeper = robbed.history(replace(robbed.plan.pins, maintainers=robbed.plan.pins.writers))
    assert by_keeper.snapshots == []  # with one key in both roles the thief could


def test_swapped_and_replayed_objects_are_not_believed(scene: Scene, robbed: Host) -> None:
    """An outcome put again under another session's name says where it belongs."""
    one = scene.snapshots()[0]
    data = robbed.store.read(names.outcome(one.domain, one.generation, one.session), 4096)
    robbed.store.put(names.outcome(one.domain, one.generation, "f" * 32), body(data))
    robbed.store.put(names.outcome(one.domain, "e" * 32, one.session), body(data))
    history = robbed.history()
    assert len(history.snapshots) == 3
    assert sum("swapped" in f.message for f in history.tampered()) == 2


def test_taking_the_newest_away_is_noticed_by_the_next_backup(
    scene: Scene, robbed: Host, tmp_path: Path
) -> None:
    newest = scene.snapshots()[-1]
    (tmp_path / "store" / names.outcome(newest.domain, newest.generation, newest.session)).unlink()
    done = robbed.back_up(FilesSource(FilesPlan(root=scene.versions[0]), REAL))
    assert done.kind == "full"
    assert any("this machine has seen is not in the store" in f.message for f in done.findings)

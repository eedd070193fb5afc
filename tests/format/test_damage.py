"""Every class of byte of every object flipped, cut, swapped, deleted: right data or a clear no.

Padding is the one place where a flip may pass: no restore reads it, and scrub finds it.
"""

import os
import random
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import pytest

from drkit.crypto.recipients import Identity, new_identity, open_envelope
from drkit.crypto.seal import Opener
from drkit.crypto.sign import new_signer
from drkit.errors import ConfigError, Damaged, KeyMissing, StoreError
from drkit.files import FilesPlan, FilesSource
from drkit.model.pins import Pins
from drkit.model.snapshot import Snapshot
from drkit.repository import names
from drkit.repository.base import SessionPlan
from drkit.repository.format import HEAD, MANIFEST_MAGIC, PACK_MAGIC, TAIL
from drkit.repository.frame import envelope_of, rows_of, split_keys
from drkit.repository.repository import create, domain_id
from drkit.repository.session import back_up
from drkit.repository.signed import Origin
from drkit.stores.memory import MemoryStore, Objects
from drkit.system import System
from tests.fixtures.trees import compare, noise, write
from tests.format.restoring import history_of, restore, run_script

KEY, STRANGER = new_signer(b"k" * 32), new_signer(b"x" * 32)
PINS = Pins(writers=frozenset([KEY.public]), maintainers=frozenset([KEY.public]))
PATIENCE = 120  # seconds for one test: a hang is a failure
SEED = 20261121


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    def late(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"still not done after {PATIENCE} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(PATIENCE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """A repository of a full and an incremental, and what they hold."""

    objects: dict[str, bytes]
    stored: Objects
    identity: Identity
    snapshots: list[Snapshot]
    source: Path
    raw_id: bytes

    def kind(self, name: str) -> str:
        parsed = names.parse(name)
        return "foreign" if parsed is None else parsed.kind

    def of(self, *kinds: str) -> list[str]:
        return [name for name in self.objects if self.kind(name) in kinds]

    def newest(self, name: str) -> bool:
        """Whether that object is of the newest backup."""
        return self.snapshots[-1].session in name

    def store(self, changed: dict[str, bytes | None]) -> MemoryStore:
        """With other bytes at some names, or none."""
        objects = dict(self.stored)
        for name, data in changed.items():
            if data is None:
                del objects[name]
            else:
                objects[name] = (data, self.stored[name][1])
        return MemoryStore(System().now, objects=objects)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    folder = tmp_path_factory.mktemp("sound")
    system, objects, identity = System(), Objects(), new_identity()
    store = MemoryStore(system.now, objects=objects)
    repository = create(store, system)
    domain = domain_id(repository.id, "small", "files")
    plan = SessionPlan(
        repository=repository.id,
        domain=domain,
        part="files",
        kind=None,
        recipients=(identity.recipient, new_identity().recipient),
        signer=KEY,
        pins=PINS,
        policy="name: small\n",
        state=folder / "state",
        origin=Origin(kind="files", system=None),
        verify="all",
    )
    plan.state.mkdir()
    root = folder / "source"
    for version in (1, 2):
        _grow(root, version)
        back_up(repository, plan, FilesSource(FilesPlan(root=root, xattrs=False), system), system)
    _, history = history_of(store, PINS)
    return Sound(
        objects={name: data for name, (data, _) in objects.items()},
        stored=objects,
        identity=identity,
        snapshots=history.snapshots,
        source=root,
        raw_id=repository.raw_id,
    )


def _grow(root: Path, version: int) -> None:
    """The second backup needs records of the first and its own; nothing of the first is unused."""
    if version == 1:
        write(root / "a folder/kept", b"kept\n" * 50)
        write(root / "large", noise(300_000, 1))
        write(root / "empty")
        os.link(root / "a folder/kept", root / "linked")
        (root / "to").symlink_to("large")
    else:
        write(root / "new", noise(150_000, 2))


# one trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a person hears: nothing when the data is right."""

    message: str
    kind: type[BaseException] | None = None


RIGHT = Told(message="")
VANISHED = Told(message="not shown, and no finding says why", kind=LookupError)


def attempt(sound: Sound, changed: dict[str, bytes | None], into: Path) -> Told:
    """The newest backup, asked for by its name."""
    try:
        told = _restored(sound, changed, into)
    except (Damaged, StoreError, KeyMissing, ConfigError) as error:
        told = Told(message=error.message, kind=type(error))
        _check_left(sound, into)
    else:
        left = [] if told is not RIGHT else compare(sound.source, into)
        assert left == [], "wrong data without a word"
    finally:
        shutil.rmtree(into, ignore_errors=True)
    assert told is RIGHT or (told.message and "\n" not in told.message)
    assert told.kind is not ConfigError or names.REPOSITORY in changed
    assert told is not VANISHED or None in changed.values()
    return told


def _restored(sound: Sound, changed: dict[str, bytes | None], into: Path) -> Told:
    repository, history = history_of(sound.store(changed), PINS)
    for snapshot in history.snapshots:
        if sound.newest(snapshot.session):
            restore(repository, snapshot, [sound.identity], into)
            return RIGHT
    tampered = "; ".join(finding.message for finding in history.tampered())
    return Told(message=tampered, kind=Damaged) if tampered else VANISHED


def _check_left(sound: Sound, into: Path) -> None:
    """What was restored before the damage was met holds the right bytes."""
    for path in into.rglob("*") if into.exists() else ():
        if path.is_file() and not path.is_symlink():
            # an interrupted restore leaves files unfinished, and says that it is not complete
            expected = (sound.source / path.relative_to(into)).read_bytes()
            assert path.read_bytes() in (expected, bytes(len(expected)), b"")


def flipped(data: bytes, at: int, bit: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    return bytes(changed)


# where one class of bytes ends and the next begins


def regions(sound: Sound, name: str) -> dict[str, range]:
    """Of a pack or manifest: every class of bytes, each sealed body a class of its own."""
    data = sound.objects[name]
    magic = PACK_MAGIC if sound.kind(name) == "pack" else MANIFEST_MAGIC
    envelope = envelope_of(data, magic)
    domain = bytes.fromhex(sound.snapshots[0].domain)
    keys = split_keys(open_envelope(envelope, [sound.identity]))
    session = str(names.parse(name).session)  # type: ignore[union-attr]
    rows = rows_of(data, session, Opener(keys.session_key, sound.raw_id, domain))
    sealed = HEAD.size + len(envelope)
    contents = len(data) - TAIL.size - int.from_bytes(data[-TAIL.size : -8], "little")
    padding = max(row.offset + row.stored for row in rows)
    mac = data.index(b"\n--- ", HEAD.size) + 1
    nonce = data.index(b"\n", mac) + 1
    found = {
        "magic": range(8),
        "length": range(8, HEAD.size),
        "envelope: stanzas": range(HEAD.size, mac),
        "envelope: mac": range(mac, nonce),
        "envelope: payload": range(nonce, sealed),
        "padding": range(padding, contents),
        "contents": range(contents, len(data) - TAIL.size),
        "trailer: length": range(len(data) - TAIL.size, len(data) - 8),
        "trailer: magic": range(len(data) - 8, len(data)),
    }
    for number, row in enumerate(rows):
        end = row.offset + row.stored
        found[f"record {number}: nonce"] = range(row.offset, row.offset + 12)
        found[f"record {number}: body"] = range(row.offset + 12, end - 16)
        found[f"record {number}: tag"] = range(end - 16, end)
    return found


def boundaries(sound: Sound, name: str) -> list[int]:
    size = len(sound.objects[name])
    match sound.kind(name):
        case "pack" | "manifest":
            cuts = {end for r in regions(sound, name).values() for end in (r.start, r.start + 1)}
        case "open" | "begin" | "outcome":
            cuts = {0, 1, 63, 64, 65, 95, 96, 97, size // 2, size - 1}
        case _:
            cuts = {0, 1, size // 2, size - 2, size - 1}
    return sorted(cut for cut in cuts if 0 <= cut < size)


# the tests


def test_undamaged(sound: Sound, tmp_path: Path) -> None:
    assert attempt(sound, {}, tmp_path / "it") is RIGHT
    kinds = {sound.kind(name) for name in sound.objects}
    assert kinds == {
        *("repository", "store", "format", "restore"),
        *("open", "begin", "pack", "manifest", "packlist", "outcome"),
    }


def test_every_byte_of_the_commits_and_the_open(sound: Sound) -> None:
    """Exhaustive; which of the backups are shown says all, their data is restored elsewhere."""
    chance = random.Random(SEED)
    for name in sound.of("outcome", "open"):
        data = sound.objects[name]
        hit = [s for s in sound.snapshots if name.endswith(s.session)]
        for at in range(len(data)):
            _, history = history_of(
                sound.store({name: flipped(data, at, chance.randrange(8))}), PINS
            )
            shown = [s.session for s in history.snapshots]
            assert shown == [s.session for s in sound.snapshots if s not in hit], at
            assert any(name in finding.message for finding in history.tampered()), at


def test_every_byte_of_the_repository_document(sound: Sound, tmp_path: Path) -> None:
    data = sound.objects[names.REPOSITORY]
    chance = random.Random(SEED)
    for at in range(len(data)):
        wrong = flipped(data, at, chance.randrange(8))
        told = attempt(sound, {names.REPOSITORY: wrong}, tmp_path / "it")
        assert told.kind is not ConfigError or "needs a newer drkit" in told.message, at


@pytest.mark.parametrize("kind", ["pack", "manifest"])
def test_every_class_of_bytes_of_sealed_objects(sound: Sound, tmp_path: Path, kind: str) -> None:
    chance = random.Random(SEED)
    for name in sound.of(kind):
        data = sound.objects[name]
        for label, region in regions(sound, name).items():
            places = chance.sample(region, min(len(region), 24 if "envelope" in label else 4))
            for at in {*places, *region[:1], *region[-1:]}:
                wrong = flipped(data, at, chance.randrange(8))
                told = attempt(sound, {name: wrong}, tmp_path / "it")
                if told is not RIGHT:
                    assert told.kind is Damaged, (label, told)
                    assert name in told.message, (label, told)
                # a manifest is hashed as a whole; of a pack, what no restore reads may be damaged
                needed = sound.newest(name) if kind == "manifest" else label.startswith("record")
                if needed:
                    assert told is not RIGHT, label


def test_every_record_of_every_pack_counts(sound: Sound, tmp_path: Path) -> None:
    """All of them are needed here, so that a flip in any must be told."""
    for name in sound.of("pack"):
        for label, region in regions(sound, name).items():
            if label.startswith("record"):
                wrong = flipped(sound.objects[name], region[len(region) // 2], 4)
                told = attempt(sound, {name: wrong}, tmp_path / "it")
                assert "is not what was sealed" in told.message, label
                assert name in told.message


def test_cut_at_every_boundary(sound: Sound, tmp_path: Path) -> None:
    for name, data in sound.objects.items():
        for cut in boundaries(sound, name):
            told = attempt(sound, {name: data[:cut]}, tmp_path / "it")
            if sound.kind(name) == "manifest" and sound.newest(name):
                assert told.kind is Damaged, (name, cut)
            if sound.kind(name) in ("manifest", "pack") and told is not RIGHT:
                assert name in told.message, cut


def test_longer_than_it_was(sound: Sound, tmp_path: Path) -> None:
    for name, data in sound.objects.items():
        for more in (b"\0", b"x" * 100_000):
            told = attempt(sound, {name: data + more}, tmp_path / "it")
            if sound.kind(name) == "outcome" and sound.newest(name):
                assert name in told.message


def test_swapped_with_a_sibling(sound: Sound, tmp_path: Path) -> None:
    for name in sound.objects:
        kind = sound.kind(name)
        for other in sound.of(kind):
            if other != name:
                copied: dict[str, bytes | None] = {name: sound.objects[other]}
                for changed in (copied, copied | {other: sound.objects[name]}):
                    told = attempt(sound, changed, tmp_path / "it")
                    if kind in ("outcome", "manifest") and sound.newest(name):
                        assert told is not RIGHT


def test_deleted(sound: Sound, tmp_path: Path) -> None:
    """Only what a restore needs is missed by it; the rest is what scrub and doctor look for."""
    for name in sound.objects:
        kind, told = sound.kind(name), attempt(sound, {name: None}, tmp_path / "it")
        if kind == "repository":
            assert "holds no drkit repository" in told.message
        elif kind == "pack" or (kind == "manifest" and sound.newest(name)):
            assert "missing" in told.message
            assert name in told.message
        elif kind == "outcome" and sound.newest(name):
            assert told is VANISHED  # this host's memory and every other head tell
        else:
            assert told is RIGHT, name


def test_of_the_wrong_signer(sound: Sound) -> None:
    pins = Pins(writers=frozenset([STRANGER.public]), maintainers=frozenset([STRANGER.public]))
    _, history = history_of(sound.store({}), pins)
    assert history.snapshots == []
    assert sum("does not pin" in f.message for f in history.tampered()) == 3


def test_with_a_wrong_identity(sound: Sound, tmp_path: Path) -> None:
    repository, history = history_of(sound.store({}), PINS)
    with pytest.raises(KeyMissing, match=sound.identity.recipient.fingerprint):
        restore(repository, history.snapshots[-1], [new_identity()], tmp_path / "it")


def test_the_script_never_gives_wrong_data_either(sound: Sound, tmp_path: Path) -> None:
    """A sample: it hashes whole objects, so that any flip is one to it."""
    chance = random.Random(SEED)
    identity = tmp_path / "identity"
    identity.write_text(str(sound.identity.text))
    for number, name in enumerate(chance.choices(sound.of("pack", "manifest", "outcome"), k=16)):
        data, folder = sound.objects[name], tmp_path / str(number)
        wrong = flipped(data, chance.randrange(len(data)), 3)
        wrong = wrong if number % 4 else data[: chance.randrange(len(data))]
        for path, content in (sound.objects | {name: wrong}).items():
            write(folder / "store" / path, content)
        arguments = ("--identity", identity, "--signer", KEY.public_text, "--into", folder / "it")
        wanted = ("--snapshot", sound.snapshots[-1].session)
        done = run_script(folder / "store", *arguments, *wanted)
        if done.returncode == 0:
            assert compare(sound.source, folder / "it") == []
        else:
            assert done.returncode == 1
            assert "Traceback" not in done.stderr
            assert name.rpartition("/")[2] in done.stderr or "manifest" in done.stderr
            _check_left(sound, folder / "it")

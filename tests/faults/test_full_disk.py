"""No room left: in the store, in the state, where a restore goes, where a manifest is laid down."""

import ctypes
import os
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drkit.errors import DiskError, DrkitError
from drkit.model.entry import Entry
from tests.fixtures import trees
from tests.fixtures.ledger import Ledger, change, world

KIB = 1024
NEW_MOUNTS, NEW_USER = 0x20000, 0x10000000
LEVELS = (0, 4, 12, 40, 100, 200, 400, 700, 4000)  # KiB left


def on_own_disks(run: Callable[[], None]) -> None:
    """In a process that has its own mounts; they are gone with it."""
    out, inside = os.pipe()
    pid = os.fork()
    if not pid:
        said = "killed"
        try:
            os.close(out)
            _unshare()
            run()
            said = ""
        except BaseException:  # noqa: BLE001  carried to the test
            said = traceback.format_exc()
        finally:
            os.write(inside, said.encode()[-60_000:])
            os._exit(0)
    os.close(inside)
    with os.fdopen(out) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    assert not said, said


def _unshare() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(NEW_MOUNTS):
        if libc.unshare(NEW_MOUNTS | NEW_USER):
            raise OSError(ctypes.get_errno(), "this machine gives no mount namespace")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def disk(path: Path, size: int, more: str = "") -> Path:
    path.mkdir(parents=True, exist_ok=True)
    options = f"size={size}k{more}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", path], check=True)
    return path


def fill(path: Path, left: int) -> Path:
    """Until only so many KiB are left."""
    ballast = path / ".ballast"
    with ballast.open("wb", buffering=0) as file:
        while (free := free_kib(path)) > left:
            file.write(bytes(min(free - left, 1024) * KIB))
    return ballast


def free_kib(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize // KIB


def small_files(root: Path) -> None:
    for i in range(1500):
        folder = root / f"a folder with a long name {i % 20}"
        trees.write(folder / f"a file with a long name {i}", b"%d" % i)
    trees.write(root / "large", trees.noise(600_000, 3))


def next_backup(ledger: Ledger, place: Path, left: int) -> bool:
    """With that little room; whether it was committed."""
    before = len(ledger.copies)
    ballast = fill(place, left)
    ended = ledger.run(ledger.world.back_up)
    committed = len(ledger.copies) > before
    if not ended.session:
        assert (ended.code, ended.bug) == (5, ""), ended
        assert ended.hint, ended
        assert "space" in ended.message or "full" in ended.message, ended
    ballast.unlink()
    ledger.tampered = False
    ledger.settle(keep=True)
    return committed


@pytest.mark.parametrize("backups", [0, 2])
def test_the_store(tmp_path: Path, backups: int) -> None:
    def run() -> None:
        committed = []
        for left in LEVELS:
            root = tmp_path / str(left)
            store = disk(root / "store", 12 * KIB)
            ledger = with_backups(root, backups)
            trees.write(ledger.world.tree / "more", trees.noise(300_000, left))
            committed.append(next_backup(ledger, store, left))
        assert (committed[0], committed[-1]) == (False, True)

    on_own_disks(run)


def with_backups(root: Path, backups: int, make: Callable[[Path], object] | None = None) -> Ledger:
    ledger = Ledger(world=world(root, make))
    for seed in range(backups):
        assert ledger.run(ledger.world.back_up).session
        change(ledger.world.tree, seed)
    return ledger


@pytest.mark.parametrize("backups", [0, 2])
def test_the_state(tmp_path: Path, backups: int) -> None:
    """Before the outcome nothing is committed; after it the error says that it is."""

    def run() -> None:
        said = []
        for left in (0, 4, 12, 40, 120, 300, 500, 560, 600, 700, 2000):
            root = tmp_path / str(left)
            state = disk(root / "state", 12 * KIB)
            ledger = with_backups(root, backups, small_files)
            for path in (
                ledger.world.tree / "large",
                *ledger.world.tree.glob("a folder*/*[02468]"),
            ):
                path.write_bytes(path.read_bytes() + b"more")
            said.append(next_backup(ledger, state, left))
        # A full's memory is written at its end, after the outcome.
        assert (said[0], said[-1]) == (backups == 0, True)

    on_own_disks(run)


@pytest.mark.parametrize(
    ("size", "more"),
    [(300, ""), (600, ""), (700, ""), (1500, ""), (4000, ""), (20_000, ",nr_inodes=3"),
     (20_000, ",nr_inodes=700"), (20_000, ",nr_inodes=1521")],
)  # fmt: skip
def test_where_a_restore_goes(tmp_path: Path, size: int, more: str) -> None:
    def run() -> None:
        ledger = with_backups(tmp_path / "world", 1, small_files)
        into = disk(tmp_path / "into", size, more)
        [snapshot] = ledger.world.history().snapshots
        with pytest.raises(DiskError) as refused:
            ledger.world.restore(snapshot, into)
        assert refused.value.exit_code == 5
        assert "restore" in (refused.value.hint or ""), refused.value
        ledger.settle()

    on_own_disks(run)


def test_where_a_restore_goes_with_room(tmp_path: Path) -> None:
    def run() -> None:
        ledger = with_backups(tmp_path / "world", 1, small_files)
        into = disk(tmp_path / "into", 20_000)
        [snapshot] = ledger.world.history().snapshots
        ledger.world.restore(snapshot, into)
        assert trees.compare(ledger.copies[snapshot.session], into) == []

    on_own_disks(run)


def use_for_temporary_files(path: Path) -> None:
    """In this process, which a test has for itself."""
    os.environ["TMPDIR"] = os.fspath(path)
    tempfile.tempdir = None


def sqlites_own() -> Path:
    """Where it looked first when it was loaded."""
    given = os.environ.get("SQLITE_TMPDIR") or os.environ.get("TMPDIR")
    return Path(given or "/var/tmp")


@pytest.mark.parametrize("left", [4, 8, 12])
def test_where_a_manifest_is_laid_down(tmp_path: Path, left: int) -> None:
    def run() -> None:
        ledger = with_backups(tmp_path / "world", 1, small_files)
        place = disk(tmp_path / "temporary", 1000)
        ballast = fill(place, left)
        use_for_temporary_files(place)
        [snapshot] = ledger.world.history().snapshots
        with pytest.raises(DrkitError) as refused:
            ledger.world.restore(snapshot, tmp_path / "into")
        assert isinstance(refused.value, DiskError)
        assert "TMPDIR" in (refused.value.hint or ""), refused.value
        ballast.unlink()
        ledger.settle()

    on_own_disks(run)


def test_where_the_plan_of_a_restore_is_laid_down(tmp_path: Path) -> None:
    """200,000 files pass what SQLite keeps in memory."""

    def entries() -> Iterator[Entry]:
        for i in range(200_000):
            yield Entry(path=f"{i:060}", type="dir")

    def run() -> None:
        ledger = with_backups(tmp_path / "world", 1)
        disk(sqlites_own(), 2000)
        [snapshot] = ledger.world.history().snapshots
        into = tmp_path / "into"
        into.mkdir()
        with ledger.world.reader(snapshot) as reader, pytest.raises(DiskError) as refused:
            reader.tree(entries(), into)
        assert "TMPDIR" in (refused.value.hint or ""), refused.value
        assert list(into.iterdir()) == []
        ledger.settle()

    on_own_disks(run)

"""What only a folder can do wrong: full disks, kills, links, rights, a disk that is not there."""

import errno
import os
import pwd
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drkit.errors import NotFound, StoreError
from drkit.stores.base import Body
from drkit.stores.local import LocalStore, _when
from tests.fixtures.kinds import body, file_body, local

BOTH = pytest.mark.parametrize("nameless", [True, False], ids=["O_TMPFILE", "named"])


def names(store: LocalStore, prefix: str = "") -> list[str]:
    return [found.name for found in store.list(prefix)]


def visible(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file())


class Endless(Body):
    """A body that never ends; `sha256` holds the descriptor that is told of its first piece."""

    __slots__ = ()

    def pieces(self, length: int = 1 << 20) -> Iterator[bytes]:
        yield bytes(length)
        os.write(int.from_bytes(self.sha256), b"1")
        signal.pause()


def in_a_child(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # whatever it was: the child ends here
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
        os._exit(0)
    return child


@BOTH
def test_a_killed_put_leaves_nothing_to_be_seen(tmp_path: Path, *, nameless: bool) -> None:
    store = local(tmp_path / "store", nameless=nameless)
    ready, told = os.pipe()
    endless = Endless(size=2 << 20, sha256=told.to_bytes(32))
    child = in_a_child(lambda: store.put("domains/d/outcome/s", endless))
    assert os.read(ready, 1) == b"1"
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    os.close(ready)
    os.close(told)
    assert names(store) == []
    with pytest.raises(NotFound):
        store.size("domains/d/outcome/s")
    store.put("domains/d/outcome/s", body(b"the next one"))
    assert store.read("domains/d/outcome/s", 100) == b"the next one"


@BOTH
def test_what_is_seen_after_kills_at_any_moment_is_whole(tmp_path: Path, *, nameless: bool) -> None:
    store = local(tmp_path / "store", nameless=nameless)

    def puts(turn: int, told: int) -> None:
        for number in range(10_000):
            store.put(f"p/{turn}/{number}", body(b"%d" % number * 50_000))
            os.write(told, b"1")

    for turn in range(8):
        ready, told = os.pipe()
        child = in_a_child(partial(puts, turn, told))
        os.read(ready, 1 + turn)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(told)
    found = names(store)
    assert len(found) >= 8
    for name in found:
        assert store.read(name, 1 << 20) == name.rpartition("/")[2].encode() * 50_000


def test_what_killed_puts_left_is_swept_once_it_is_old(tmp_path: Path) -> None:
    store = local(tmp_path / "store", nameless=False)
    staging = store.staging()
    assert staging is not None
    for name, age in [("old", 90_000), ("young", 1_000)]:
        (staging / name).write_bytes(b"x")
        then = (staging / name).stat().st_mtime - age
        os.utime(staging / name, (then, then))
    store.put("repository.json", body(b"{}"))
    os.utime(tmp_path / "store/repository.json", (0, 0))
    local(tmp_path / "store", nameless=False).put("other", body(b"{}"))
    assert visible(tmp_path) == ["other", "repository.json", "young"]


@BOTH
def test_a_file_of_the_staging_folder_is_put_without_a_copy(
    tmp_path: Path, *, nameless: bool
) -> None:
    store = local(tmp_path / "store", nameless=nameless)
    staging = store.staging()
    assert staging is not None
    path = ""
    if nameless:
        fd = os.open(staging, os.O_TMPFILE | os.O_RDWR, 0o644)
    else:
        fd, path = tempfile.mkstemp(dir=staging)
    os.write(fd, b"packed")
    os.utime(fd, (0, 0))
    store.put("packs/one", file_body(fd, b"packed"))
    store.put("packs/two", file_body(fd, b"packed"))
    if path:
        os.unlink(path)
    one, two = ((tmp_path / "store/packs" / name).stat() for name in ("one", "two"))
    assert one.st_ino == os.fstat(fd).st_ino
    assert one.st_ino != two.st_ino
    assert one.st_nlink == two.st_nlink == 1
    assert stat.S_IMODE(one.st_mode) == 0o600
    assert one.st_mtime > 0
    os.close(fd)


def test_a_named_file_of_somebody_is_never_linked_into_the_store(tmp_path: Path) -> None:
    store = local(tmp_path / "store")
    (tmp_path / "mine").write_bytes(b"mine")
    with (tmp_path / "mine").open("rb") as held:
        store.put("copy", file_body(held.fileno(), b"mine"))
    (tmp_path / "mine").write_bytes(b"else")
    assert store.read("copy", 4) == b"mine"


def test_everything_made_is_private(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        store = local(tmp_path / "store")
        store.put("a/b/c", body(b"x"))
        store.staging()
    finally:
        os.umask(umask)
    made = [tmp_path / "store", *(tmp_path / "store").rglob("*")]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in made}
    assert modes == {"store": 0o700, "a": 0o700, "b": 0o700, "c": 0o600, ".staging": 0o700}


def test_a_folder_that_is_not_mounted_is_never_made_by_a_put(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "disk/drkit")
    asks: list[Callable[[], object]] = [
        lambda: store.put("repository.json", body(b"{}")),
        lambda: store.put("a/b/c", body(b"{}")),
        lambda: store.read("repository.json", 10),
        lambda: store.size("a/b/c"),
        lambda: store.read_into("a", 0, memoryview(bytearray(1))),
        lambda: store.delete("a"),
        lambda: names(store),
        lambda: names(store, "domains/"),
        store.staging,
    ]
    for ask in asks:
        with pytest.raises(StoreError, match="no repository folder there") as caught:
            ask()
        assert not isinstance(caught.value, NotFound)
        assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_the_folder_may_be_a_link_but_nothing_in_it(tmp_path: Path) -> None:
    outside = local(tmp_path / "outside")
    outside.put("secret", body(b"secret"))
    real = local(tmp_path / "real")
    real.put("kept/x", body(b"x"))
    (tmp_path / "link").symlink_to("real")
    store = LocalStore(tmp_path / "link")
    store.put("top", body(b"top"))
    assert names(store) == ["kept/x", "top"]
    (tmp_path / "real/planted").symlink_to("../outside/secret")
    (tmp_path / "real/folder").symlink_to("../outside")
    asks: list[Callable[[], object]] = [
        lambda: store.read("planted", 100),
        lambda: store.read_into("planted", 0, memoryview(bytearray(1))),
        lambda: store.size("planted"),
        lambda: store.put("planted", body(b"x")),
        lambda: store.put("folder/new", body(b"x")),
        lambda: names(store),
        lambda: names(store, "folder/"),
    ]
    for ask in asks:
        with pytest.raises(StoreError) as caught:
            ask()
        assert not isinstance(caught.value, NotFound)
    assert names(outside) == ["secret"]
    assert names(store, "kept") == ["kept/x"]


def test_a_planted_fifo_is_refused_at_once(tmp_path: Path) -> None:
    store = local(tmp_path / "store")
    os.mkfifo(tmp_path / "store/outcome")
    asks: list[Callable[[], object]] = [
        lambda: store.read("outcome", 100),
        lambda: store.read_into("outcome", 0, memoryview(bytearray(1))),
        lambda: names(store),
    ]
    for ask in asks:
        with pytest.raises(StoreError):
            ask()


def test_a_time_out_of_this_world_is_an_error_not_a_traceback() -> None:
    for seconds in (1e18, -1e18, 3e11):
        with pytest.raises(StoreError, match="its time is no time"):
            _when(seconds, "/store", "x")


def test_foreign_files_are_not_listed(tmp_path: Path) -> None:
    store = local(tmp_path / "store")
    store.put("a/x", body(b"x"))
    for name in (".hidden", "with space", "a/.nfs0001", "백업"):
        (tmp_path / "store" / name).write_bytes(b"x")
    (tmp_path / "store/lost+found").mkdir(mode=0)
    (tmp_path / "store/.Trash").mkdir()
    assert names(store) == ["a/x"]


@BOTH
def test_a_folder_without_rights_is_an_error_with_a_hint(tmp_path: Path, *, nameless: bool) -> None:
    with tempfile.TemporaryDirectory() as short:
        root = Path(short) / "store"
        local(root).put("a/x", body(b"x"))
        os.chmod(short, 0o755)
        for path in (root / "a", root):
            path.chmod(0o555)

        def refused() -> None:
            if os.geteuid() == 0:
                nobody = pwd.getpwnam("nobody")
                os.setgroups([])
                os.setgid(nobody.pw_gid)
                os.setuid(nobody.pw_uid)
            store = LocalStore(root, nameless=nameless)
            asks: list[Callable[[], object]] = [
                lambda: store.put("a/y", body(b"y")),
                lambda: store.delete("a/x"),
            ]
            for ask in asks:
                with pytest.raises(StoreError, match="permission denied") as caught:
                    ask()
                assert caught.value.hint
                assert not caught.value.transient

        child = in_a_child(refused)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        for path in (root, root / "a"):
            path.chmod(0o755)
        assert visible(root) == ["x"]


FULL_DISK = """
import os, subprocess, sys, tempfile
from pathlib import Path
from drkit.errors import StoreError
from tests.fixtures.kinds import body, file_body, local

root, nameless = Path(sys.argv[1]), sys.argv[2] == "True"
store = local(root, nameless=nameless)
store.put("small", body(b"small"))

def refused(words, ask):
    try:
        ask()
    except StoreError as error:
        assert words in error.message and str(root) in error.message, error.message
        assert error.hint and not error.transient and type(error) is StoreError
    else:
        raise AssertionError("not refused")
    assert [found.name for found in store.list("")] == ["small"]
    assert sum(len(files) for _, _, files in os.walk(root)) == 1

full = bytes(2 << 20)
refused("write", lambda: store.put("domains/full", body(full)))
refused("no space left on device", lambda: store.put("domains/full", body(full)))
with tempfile.TemporaryFile(dir=sys.argv[3]) as held:
    held.write(full)
    held.flush()
    copied = file_body(held.fileno(), full)
    refused("no space left on device", lambda: store.put("packs/full", copied))
store.put("domains/fits", body(bytes(300_000)))
store.delete("domains/fits")
subprocess.run(["mount", "-o", "remount,ro", root], check=True)
refused("read-only file system", lambda: store.put("other", body(b"x")))
refused("read-only file system", lambda: store.delete("small"))
assert store.read("small", 5) == b"small"
"""


@BOTH
def test_a_full_disk_is_an_error_and_leaves_no_part(tmp_path: Path, *, nameless: bool) -> None:
    room = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    if subprocess.run([*room, "true"], check=False, capture_output=True).returncode:
        assert "CI" not in os.environ, "no mount namespace: this must run here"
        return  # on a person's machine, which lets an ordinary user mount nothing
    (tmp_path / "disk").mkdir()
    mounted = 'mount -t tmpfs -o size=1m,mode=700 tmpfs "$1" && exec "$2" -c "$3" "$1" "$4" "$5"'
    words = [str(tmp_path / "disk"), sys.executable, FULL_DISK, str(nameless), str(tmp_path)]
    ran = subprocess.run(
        [*room, "sh", "-c", mounted, "sh", *words],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert ran.returncode == 0, ran.stderr
    assert list((tmp_path / "disk").iterdir()) == []


PARTS = st.text("ab-.+0", min_size=1, max_size=3).filter(lambda part: part[0] != ".")
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)


@settings(max_examples=60, deadline=None)
@given(st.sets(NAMES, max_size=12), st.text("ab-.+0/", max_size=3))
def test_a_listing_is_the_sorted_names_that_begin_so(made: set[str], prefix: str) -> None:
    made -= {name for name in made if any(other.startswith(name + "/") for other in made)}
    parts = prefix.split("/")
    valid = all(parts[:-1]) and not any(part.startswith(".") for part in parts)
    with tempfile.TemporaryDirectory() as folder:
        store = local(Path(folder) / "store")
        for name in made:
            store.put(name, body(b"x"))
        if valid:
            wanted = sorted((name for name in made if name.startswith(prefix)), key=str.encode)
            assert names(store, prefix) == wanted
        else:
            with pytest.raises(StoreError):
                names(store, prefix)


def test_a_short_hint_for_every_common_refusal(tmp_path: Path) -> None:
    store = local(tmp_path / "store")
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES):
        refusal = store._refusal("write", "/there/x", OSError(number, os.strerror(number)))
        assert refusal.message == f"write /there/x: {os.strerror(number).lower()}"
        assert refusal.hint
        assert not refusal.transient
    assert store._refusal("read", "/x", OSError(errno.ESTALE, "stale")).transient

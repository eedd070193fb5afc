"""Files written below a root: never through links, never over one another."""

import base64
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drkit.errors import Damaged, DiskError
from drkit.model.entry import Entry, text
from drkit.repository.tree import TreeWriter
from tests.fixtures.trees import HOSTILE_NAMES

WARNED: list[str] = []


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def writer(root: Path) -> Iterator[TreeWriter]:
    WARNED.clear()
    with TreeWriter(root, as_root=False, warn=WARNED.append) as made:
        yield made


def small(path: str, content: bytes = b"x", **more: object) -> tuple[Entry, memoryview]:
    entry = Entry(path=path, size=len(content), mode=0o644, **more)  # type: ignore[arg-type]
    return entry, memoryview(content)


@pytest.mark.parametrize("raw", HOSTILE_NAMES, ids=repr)
def test_names_come_back_as_bytes(raw: bytes, writer: TreeWriter, root: Path) -> None:
    path = text(os.fsdecode(raw))
    writer.make_folder(path)
    writer.small(*small(f"{path}/{path}"))
    assert os.listdir(os.fsencode(root)) == [raw]
    assert os.listdir(os.fsencode(root) + b"/" + raw) == [raw]


@pytest.mark.parametrize("link", ["folder", "..", "/", "nowhere"])
def test_nothing_is_written_through_a_link(link: str, writer: TreeWriter, root: Path) -> None:
    (root / "folder").mkdir()
    (root / "a").symlink_to(link)
    acts: list[Callable[[], None]] = [
        lambda: writer.small(*small("a/x")),
        lambda: writer.create(Entry(path="a/x", size=9)),
        lambda: writer.piece("a/x", memoryview(b"x"), 0),
        lambda: writer.make_folder("a/x"),
        lambda: writer.link(Entry(path="a/x", type="link", target="y")),
        lambda: writer.link(Entry(path="a/x", type="fifo")),
        lambda: writer.link(Entry(path="x", type="hardlink", target="a/x")),
        lambda: writer.dress(Entry(path="a/x")),
        lambda: writer.dress(Entry(path="a", mode=0o777)),
        lambda: writer.remove("a/x"),
    ]
    for act in acts:
        with pytest.raises(Damaged, match="no folder: nothing is written through it"):
            act()
    assert sorted(os.listdir(root)) == ["a", "folder"]
    assert os.listdir(root / "folder") == []


@pytest.mark.parametrize("kind", ["file", "link", "folder", "fifo"])
def test_nothing_is_written_over_what_is_there(kind: str, writer: TreeWriter, root: Path) -> None:
    there = root / "x"
    ways: dict[str, Callable[[], object]] = {
        "file": lambda: there.write_bytes(b"mine"),
        "link": lambda: there.symlink_to("/etc/passwd"),
        "folder": there.mkdir,
        "fifo": lambda: os.mkfifo(there),
    }
    ways[kind]()
    acts: list[Callable[[], None]] = [
        lambda: writer.small(*small("x")),
        lambda: writer.create(Entry(path="x", size=9)),
        lambda: writer.make_folder("x"),
        lambda: writer.link(Entry(path="x", type="link", target="y")),
        lambda: writer.link(Entry(path="x", type="fifo")),
    ]
    for act in acts:
        with pytest.raises(Damaged, match="two entries of this name"):
            act()
    if kind == "file":
        assert there.read_bytes() == b"mine"


def test_a_file_whose_folder_is_missing_is_damage(writer: TreeWriter) -> None:
    with pytest.raises(Damaged, match="doesn't hold what it stands in"):
        writer.small(*small("a/b"))
    with pytest.raises(Damaged, match="doesn't hold what it stands in or links to"):
        writer.link(Entry(path="a", type="hardlink", target="b"))


def test_pieces_in_any_order_make_the_file(writer: TreeWriter, root: Path) -> None:
    """More files than are held open at once, and more folders."""
    for n in range(100):
        writer.make_folder(f"{n:02d}")
        writer.create(Entry(path=f"{n:02d}/x", size=3000))
    for part in (2, 0):
        for n in range(100):
            writer.piece(f"{n:02d}/x", memoryview(bytes([n + 1]) * 1000), part * 1000)
    for n in range(100):
        content = bytes([n + 1]) * 1000
        assert (root / f"{n:02d}/x").read_bytes() == content + bytes(1000) + content


def test_a_large_file_behind_whose_writing_the_cache_is_dropped(
    writer: TreeWriter, root: Path
) -> None:
    writer.create(Entry(path="x", size=20 << 20))
    for n in range(20):
        writer.piece("x", memoryview(bytes([n]) * (1 << 20)), n << 20)
    expected = b"".join(bytes([n]) * (1 << 20) for n in range(20))
    assert (root / "x").read_bytes() == expected


def test_modes_and_times(writer: TreeWriter, root: Path) -> None:
    entry = Entry(path="x", size=1, mode=0o6754, mtime=1_500_000_000_123_456_789)
    writer.small(entry, memoryview(b"x"))
    found = (root / "x").stat()
    assert stat.S_IMODE(found.st_mode) == 0o754  # setuid only as root
    assert found.st_mtime_ns == entry.mtime
    writer.make_folder("d")
    writer.dress(Entry(path="d", type="dir", mode=0o1500, mtime=-5))
    assert (stat.S_IMODE((root / "d").stat().st_mode), (root / "d").stat().st_mtime_ns) == (
        0o1500,
        -5,
    )
    writer.dress_top(Entry(path="", type="dir", mode=0o710, mtime=7))
    assert stat.S_IMODE(root.stat().st_mode) == 0o710


def test_setuid_bits_and_owners_as_root(root: Path) -> None:
    if os.geteuid() != 0:
        return
    with TreeWriter(root, as_root=True, warn=WARNED.append) as writer:
        writer.small(Entry(path="x", size=1, mode=0o6754, uid=71, gid=72), memoryview(b"x"))
        writer.small(
            Entry(path="y", size=1, uid=73, gid=74, user="nobody", group="no\0such"),
            memoryview(b"x"),
        )
    found = (root / "x").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o6754, 71, 72)
    assert ((root / "y").stat().st_uid, (root / "y").stat().st_gid) == (65534, 74)


def test_attributes_that_a_manifest_made_up_are_damage(writer: TreeWriter) -> None:
    for name, value in (("user.x", "no base64!"), ("user.\0", "eA=="), ("user.x", "eA")):
        entry = Entry(path="f", size=1, xattrs={name: value})
        with pytest.raises(Damaged, match="attribute"):
            writer.small(entry, memoryview(b"x"))
        writer.remove("f")


def test_attributes_that_this_disk_refuses_are_told(writer: TreeWriter, root: Path) -> None:
    value = base64.b64encode(b"v").decode()
    xattrs = {"trusted.x": value, "user." + "n" * 300: value, "user.fine": value}
    writer.small(*small("f", xattrs=xattrs))
    assert len([line for line in WARNED if "user.nnn" in line]) == 1
    assert "trusted.x" not in os.listxattr(root / "f")


def test_what_is_removed_may_be_gone_already(writer: TreeWriter, root: Path) -> None:
    writer.small(*small("x"))
    writer.remove("x")
    writer.remove("x")
    assert os.listdir(root) == []


def test_a_root_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for name in ("file", "gone"):
        with pytest.raises((DiskError, Damaged)):
            TreeWriter(tmp_path / name, as_root=False, warn=print)


def test_no_descriptor_is_left(root: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with TreeWriter(root, as_root=False, warn=print) as writer:
        for n in range(30):
            writer.make_folder(f"{n}")
            writer.create(Entry(path=f"{n}/x", size=5))
            writer.piece(f"{n}/x", memoryview(b"x"), 0)
        writer.durable()
    assert os.listdir("/proc/self/fd") == before

"""Incrementals, and trees that change while they are read."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest

from tests.fixtures import trees
from tests.fixtures.memory_save import MemorySave
from tests.unit.test_files_capture import World, capture

OLD = 1_600_000_000_000_000_000


def once(what: str, path: str, act: Callable[[], object]) -> Callable[[str, str], None]:
    left = [act]

    def when(event: str, at: str) -> None:
        if (event, at) == (what, path) and left:
            left.pop()()

    return when


def always(what: str, path: str, act: Callable[[], object]) -> Callable[[str, str], None]:
    def when(event: str, at: str) -> None:
        if (event, at) == (what, path):
            act()

    return when


def test_nothing_changed_nothing_read(tmp_path: Path) -> None:
    tree = trees.hostile(tmp_path / "tree")
    first = MemorySave()
    capture(tree, first)
    second = MemorySave(first)
    facts = capture(tree, second)
    files = [e.path for e in second.listed if e.type == "file"]
    aged = [path for path in files if path != "times/after 2038"]  # the future can't be trusted
    assert second.reused == aged
    assert facts.details["unchanged"] == len(aged)
    assert facts.details["read"] == 1
    assert second.entries == first.entries
    third = MemorySave(second)
    capture(tree, third)
    assert third.reused == aged


def test_marks_of_unchanged_files_are_not_read_through_the_file(tmp_path: Path) -> None:
    """Access times show who opened: none may move in a second run."""
    tree = trees.plain(tmp_path / "tree", files=5)
    first = MemorySave()
    capture(tree, first)
    (tree / "bin/run").chmod(0o000)
    (tree / "bin/run").chmod(0o755)
    second = MemorySave(first)
    capture(tree, second)
    read = {e.path for e in second.listed if e.type == "file"} - set(second.reused)
    assert read == {"bin/again"}  # the first name of the one inode that was touched


def test_young_files_are_read_again(tmp_path: Path) -> None:
    tree = trees.plain(tmp_path / "tree", files=3)
    trees.write(tree / "old mtime, new ctime", b"x", mtime=OLD)
    first = MemorySave()
    capture(tree, first, World(later=timedelta()))
    assert set(first.marks.values()) == {""}
    second = MemorySave(first)
    facts = capture(tree, second)
    assert second.reused == []
    assert facts.details["read"] == facts.files
    third = MemorySave(second)
    capture(tree, third)
    assert len(third.reused) == facts.files


def inode_reused(file: Path) -> None:
    file.unlink()
    trees.write(file, b"new", mtime=OLD)


@pytest.mark.parametrize(
    "change",
    [
        lambda f: trees.write(f, b"new", mtime=OLD),  # `touch -r`
        lambda f: (f.with_name("x").write_bytes(b"new"), f.with_name("x").replace(f)),
        inode_reused,
        lambda f: f.write_bytes(b"newer"),
    ],
    ids=["same mtime and size", "replaced", "inode reused", "size"],
)
def test_changes_are_found(tmp_path: Path, change: Callable[[Path], object]) -> None:
    file = trees.write(tmp_path / "tree/file", b"old", mtime=OLD)
    first = MemorySave()
    capture(tmp_path / "tree", first)
    time.sleep(0.02)  # the coarse clock of older kernels
    change(file)
    second = MemorySave(first)
    capture(tmp_path / "tree", second)
    assert (second.reused, second.content("file")) == ([], file.read_bytes())


def test_only_modes_changed(tmp_path: Path) -> None:
    file = trees.write(tmp_path / "tree/file", b"old", mtime=OLD)
    first = MemorySave()
    capture(tmp_path / "tree", first)
    time.sleep(0.02)
    file.chmod(0o600)
    second = MemorySave(first)
    capture(tmp_path / "tree", second)
    assert second.entries["file"].mode == 0o600


def test_a_second_name_that_becomes_the_first_is_a_file_again(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    first_name = trees.write(tree / "a", b"shared", mtime=OLD)
    os.link(first_name, tree / "b")
    first = MemorySave()
    capture(tree, first)
    assert first.entries["b"].type == "hardlink"
    second = MemorySave(first)
    capture(tree, second, exclude=("/a",))
    assert (second.entries["b"].type, second.content("b")) == ("file", b"shared")


LARGE = trees.noise(3 << 20)


def test_a_file_that_changes_once_is_read_again(tmp_path: Path) -> None:
    file = trees.write(tmp_path / "tree/file", LARGE, mtime=OLD)
    save, world = MemorySave(), World()
    save.when = once("write", "file", lambda: file.write_bytes(LARGE[::-1] + b"more"))
    facts = capture(tmp_path / "tree", save, world)
    assert save.content("file") == LARGE[::-1] + b"more"
    assert (save.abandoned, len(world.naps)) == (["file"], 1)
    assert (facts.damaged, facts.notes, facts.files) == (False, (), 1)
    assert facts.bytes == len(LARGE) + 4


@pytest.mark.parametrize("unreadable", ["fail", "warn"])
def test_a_file_that_grows_all_the_time_is_kept_and_reported(
    tmp_path: Path, unreadable: Literal["fail", "warn"]
) -> None:
    file = trees.write(tmp_path / "tree/file", LARGE, mtime=OLD)

    def grow() -> None:
        with file.open("ab") as out:
            out.write(b"more")

    save, world = MemorySave(), World()
    save.when = always("write", "file", grow)
    facts = capture(tmp_path / "tree", save, world, unreadable=unreadable)
    entry = save.entries["file"]
    assert save.content("file") == file.read_bytes()[: entry.size]
    assert entry.size > len(LARGE)
    assert (entry.facts, save.marks["file"]) == ({"torn": 1}, "")
    assert facts.notes == ("file: changed while it was read",)
    assert world.warnings() == list(facts.notes)
    assert facts.damaged is (unreadable == "fail")
    assert world.naps == [0.02, 0.1, 0.5]
    again = MemorySave(save)
    capture(tmp_path / "tree", again)
    assert (again.reused, again.entries["file"].facts) == ([], {})


def test_a_file_that_shrinks_all_the_time_is_left_out_and_reported(tmp_path: Path) -> None:
    file = trees.write(tmp_path / "tree/file", LARGE * 2, mtime=OLD)
    save = MemorySave()
    save.when = always(
        "write", "file", lambda: os.truncate(file, max(0, file.stat().st_size - 300_000))
    )
    facts = capture(tmp_path / "tree", save)
    assert "file" not in save.entries
    assert facts.notes == ("file: changed each time it was read, left out",)
    assert facts.damaged


def test_a_file_rewritten_in_place_with_its_times_put_back(tmp_path: Path) -> None:
    file = trees.write(tmp_path / "tree/file", LARGE, mtime=OLD)

    def rewrite() -> None:
        with file.open("r+b") as out:
            out.write(LARGE[::-1])
        os.utime(file, ns=(OLD, OLD))

    save = MemorySave()
    save.when = once("write", "file", rewrite)
    capture(tmp_path / "tree", save)
    assert (save.content("file"), save.abandoned) == (LARGE[::-1], ["file"])


GROW = """
import os, sys
while True:
    fd = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC)
    for _ in range(60_000):
        os.write(fd, b"x")
    os.close(fd)
"""


def test_a_small_file_another_process_writes_without_a_pause(tmp_path: Path) -> None:
    file = trees.write(tmp_path / "tree/file", b"x")
    torn = 0
    with subprocess.Popen([sys.executable, "-c", GROW, file]) as other:
        try:
            until = time.monotonic() + 8
            while torn < 3 and time.monotonic() < until:
                save = MemorySave()
                facts = capture(tmp_path / "tree", save)
                if "file" in save.entries and save.entries["file"].facts:
                    torn += 1
                    assert facts.notes == ("file: changed while it was read",)
                    assert save.content("file") == b"x" * save.entries["file"].size
                    assert save.marks["file"] == ""
        finally:
            other.kill()
    assert torn == 3


def swapped(tree: Path, act: Callable[[Path], object]) -> tuple[MemorySave, World]:
    """A small file replaced between the look at it and its opening."""
    file = trees.write(tree / "file", b"small", mtime=OLD)

    def swap() -> None:
        file.unlink()
        act(file)

    save, world = MemorySave(), World()
    save.when = once("mark", "file", swap)
    facts = capture(tree, save, world)
    assert not facts.damaged, facts.notes
    return save, world


def test_replaced_by_nothing(tmp_path: Path) -> None:
    save, world = swapped(tmp_path / "tree", lambda _file: None)
    assert (save.listed, world.naps) == ([], [])


def test_replaced_by_a_link_out_of_the_tree(tmp_path: Path) -> None:
    secret = trees.write(tmp_path / "secret", b"secret")
    save, _ = swapped(tmp_path / "tree", lambda file: file.symlink_to(secret))
    assert (save.entries["file"].type, save.parts) == ("link", {})


def test_replaced_by_a_fifo_nobody_writes_to(tmp_path: Path) -> None:
    save, _ = swapped(tmp_path / "tree", os.mkfifo)
    assert save.entries["file"].type == "fifo"


def test_replaced_by_a_folder(tmp_path: Path) -> None:
    save, _ = swapped(tmp_path / "tree", lambda file: trees.write(file / "inside", b"in"))
    assert save.entries["file"].type == "dir"
    assert save.content("file/inside") == b"in"


def test_replaced_by_another_file(tmp_path: Path) -> None:
    trees.write(tmp_path / "tree/other", b"other")
    save, _ = swapped(tmp_path / "tree", lambda file: os.link(tmp_path / "tree/other", file))
    assert save.content("file") == b"other"
    assert save.entries["other"].type == "hardlink"


def test_a_folder_replaced_by_a_link_is_not_followed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    trees.write(tmp_path / "outside/secret", b"secret")
    trees.write(tree / "victim/file")
    trees.write(tree / "victim/deeper/file")

    def swap() -> None:
        (tree / "victim").rename(tmp_path / "moved")
        (tree / "victim").symlink_to(tmp_path / "outside")

    save = MemorySave()
    save.when = once("put", "victim", swap)
    facts = capture(tree, save)
    assert list(save.entries) == ["victim"]
    assert facts.notes == ("victim: was replaced while the folder was read",)
    assert facts.damaged


def test_a_folder_that_vanishes(tmp_path: Path) -> None:
    tree = trees.plain(tmp_path / "tree", files=1)
    save = MemorySave()
    save.when = once("put", "bin", lambda: (tree / "bin").rename(tmp_path / "gone"))
    facts = capture(tree, save)
    assert not [path for path in save.entries if path.startswith("bin/")]
    assert not facts.damaged


def test_folders_moved_away_while_the_walk_is_deep_below(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    deepest = tree / "/".join(["d"] * 150)
    trees.write(deepest / "file", b"x", mtime=OLD)
    trees.write(tree / "d/d/d/zz", b"after the way back")
    trees.write(tree / "zz", b"last")
    levels = [tree / "/".join(["d"] * n) for n in (20, 5)]

    def move() -> None:
        for number, level in enumerate(levels):
            level.rename(tmp_path / f"moved {number}")

    save = MemorySave()
    save.when = once("mark", "/".join(["d"] * 150) + "/file", move)
    facts = capture(tree, save)
    assert save.content("zz") == b"last"
    assert save.content("d/d/d/zz") == b"after the way back"
    assert facts.damaged
    assert all("was moved while it was read" in note for note in facts.notes)

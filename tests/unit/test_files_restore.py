"""A tree that comes back is the tree that went in; chosen paths bring what they need."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drkit.errors import Damaged, UsageError
from drkit.files import FilesPlan, FilesSource
from drkit.model.entry import Entry, text
from drkit.model.snapshot import Facts, Snapshot
from drkit.source import Target
from drkit.system import System
from tests.fixtures import trees
from tests.fixtures.memory_save import MemoryReader, MemorySave

ROOT = os.geteuid() == 0


def snapshot(facts: Facts) -> Snapshot:
    now = datetime.now(UTC)
    return Snapshot(
        domain="0" * 32,
        generation="1" * 32,
        session="2" * 32,
        kind="full",
        parent=None,
        begun=now,
        ended=now,
        stored=now,
        facts=facts,
        signer="",
        pinned=True,
        hash="",
        heads=(),
        recipients=(),
        manifest=(0, ""),
        packlist=(0, ""),
    )


def restored(root: Path, into: Path, *chosen: str, save: MemorySave | None = None) -> Path:
    save = save or MemorySave()
    source = FilesSource(FilesPlan(root=root), System())
    facts = source.capture(save)
    target = Target(into=into, paths=chosen, as_root=ROOT)
    source.restore(snapshot(facts), MemoryReader(save), target)
    return into


def names(root: Path) -> list[str]:
    return sorted(trees.scanned(root))


@pytest.mark.parametrize("make", [trees.plain, trees.hostile, trees.deep])
def test_the_whole_tree(tmp_path: Path, make: object) -> None:
    tree = make(tmp_path / "tree")  # type: ignore[operator]
    assert trees.compare(tree, restored(tree, tmp_path / "back")) == []


def test_the_whole_tree_of_an_incremental(tmp_path: Path) -> None:
    tree = trees.hostile(tmp_path / "tree")
    first = MemorySave()
    FilesSource(FilesPlan(root=tree), System()).capture(first)
    trees.write(tree / "names/-rf", b"changed")
    (tree / "fifo").unlink()
    (tree / "links/a/second").unlink()
    trees.write(tree / "new/file", b"new")
    back = restored(tree, tmp_path / "back", save=MemorySave(first))
    assert trees.compare(tree, back) == []


def test_one_file_and_the_folders_above_it(tmp_path: Path) -> None:
    tree = trees.hostile(tmp_path / "tree")
    back = restored(tree, tmp_path / "back", "times/before 1970")
    assert names(back) == ["times", "times/before 1970"]
    assert trees.compare(tree, back, below="times/before 1970") == []
    assert (back / "times").stat().st_mtime_ns == (tree / "times").stat().st_mtime_ns


def test_a_folder_and_all_below_but_not_its_namesakes(tmp_path: Path) -> None:
    tree = trees.hostile(tmp_path / "tree")
    back = restored(tree, tmp_path / "back", "order/a")
    assert names(back) == ["order", "order/a", "order/a/x"]


@pytest.mark.parametrize("raw", trees.HOSTILE_NAMES)
def test_any_name_can_be_chosen_in_text_form(tmp_path: Path, raw: bytes) -> None:
    name = os.fsdecode(raw)
    for other in trees.HOSTILE_NAMES:
        trees.write(tmp_path / "tree" / os.fsdecode(other), other)
    back = restored(tmp_path / "tree", tmp_path / "back", text(name))
    assert names(back) == [name]
    assert (back / name).read_bytes() == raw


@pytest.mark.parametrize("form", ["{root}/docs/1", "docs/1/", "./docs/1", "/docs/1"])
def test_paths_as_people_write_them(tmp_path: Path, form: str) -> None:
    tree = trees.plain(tmp_path / "tree", files=15)
    back = restored(tree, tmp_path / "back", form.format(root=tree))
    assert names(back) == ["docs", "docs/1", "docs/1/page 1.txt", "docs/1/page 8.txt"]


@pytest.mark.parametrize("form", ["{root}", "/", "."])
def test_the_root_is_everything(tmp_path: Path, form: str) -> None:
    tree = trees.plain(tmp_path / "tree", files=3)
    back = restored(tree, tmp_path / "back", form.format(root=tree))
    assert trees.compare(tree, back) == []


def test_a_later_name_of_a_hard_link_brings_the_content(tmp_path: Path) -> None:
    tree = trees.hostile(tmp_path / "tree")
    back = restored(tree, tmp_path / "back", "links/b first", "links/c third")
    assert names(back) == ["links", "links/b first", "links/c third"]
    assert trees.compare(tree, back, below="links/b first", ignore=("identity",)) == []
    assert (back / "links/b first").stat().st_nlink == 2
    assert (back / "links/c third").samefile(back / "links/b first")


def test_both_names_stay_linked(tmp_path: Path) -> None:
    tree = trees.hostile(tmp_path / "tree")
    back = restored(tree, tmp_path / "back", "links")
    assert trees.compare(tree, back, below="links") == []


def test_a_hard_link_before_its_first_name_is_damage(tmp_path: Path) -> None:
    save = MemorySave()
    save.put(Entry(path="a", type="hardlink", target="b"))
    facts = Facts(kind="files", label="/x")
    source = FilesSource(FilesPlan(root=tmp_path), System())
    with pytest.raises(Damaged, match="a is a link to b"):
        source.restore(snapshot(facts), MemoryReader(save), Target(into=tmp_path, paths=("a",)))


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("docs/1/page 1.tx", "did you mean docs/1/page 1.txt?"),
        ("docs/*.txt", "a PATH is a name, not a pattern; a folder stands for all that is in it"),
        ("dosc", "did you mean docs?"),
        ("page 8.txt", "did you mean docs/1/page 8.txt?"),
        ("docs/1/qqqqqqq", "did you mean docs/1?"),
        ("doc/1/page 1.txt", "did you mean docs?"),
        ("zzzzzzzzz", "`drkit show` lists what it holds"),
        ("current/page 1.txt", "did you mean current?"),
    ],
)
def test_a_path_that_is_not_there_is_named_with_the_nearest(
    tmp_path: Path, wrong: str, hint: str
) -> None:
    tree = trees.plain(tmp_path / "tree", files=15)
    with pytest.raises(UsageError) as refused:
        restored(tree, tmp_path / "back", "empty.txt", wrong)
    assert refused.value.message == f"no {wrong} in this snapshot"
    assert refused.value.hint == hint
    assert not (tmp_path / "back").exists()


def test_compare_sees_every_difference(tmp_path: Path) -> None:
    one, two = trees.hostile(tmp_path / "one"), tmp_path / "two"
    restored(one, two)
    (two / "names/*").write_bytes(b"content 12345")
    (two / "times/at zero").touch()
    (two / "modes/0777").chmod(0o700)
    (two / "link 1").unlink()
    (two / "link 2").unlink()
    (two / "link 2").symlink_to("elsewhere")
    (two / "links/zz").write_bytes((two / "links/c third").read_bytes())
    (two / "links/c third").unlink()
    (two / "links/zz").rename(two / "links/c third")
    data = (two / "hole then data").read_bytes()
    (two / "hole then data").write_bytes(data)
    found = "\n".join(trees.compare(one, two))
    for expected in (
        "'names/*': content",
        "'names/*': size",
        "'times/at zero': mtime",
        "'modes/0777': mode",
        "'link 1': only in",
        "'link 2': content",
        "hard links differ",
        "'hole then data': holes",
    ):
        assert expected in found
    assert "'hole then data': content" not in found

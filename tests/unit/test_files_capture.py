"""What a capture of a tree sees, in which order, and what it leaves out."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, TypedDict, TypeVar, Unpack, cast

import pytest

from drkit.errors import SourceError
from drkit.events import Advanced, Event, Finished, Started, Warned
from drkit.files import FilesPlan, FilesSource
from drkit.model.entry import text
from drkit.model.snapshot import Facts
from drkit.system import System
from tests.fixtures import trees
from tests.fixtures.memory_save import MemorySave

T = TypeVar("T")


class Wishes(TypedDict, total=False):
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    one_file_system: bool
    unreadable: Literal["fail", "warn"]
    xattrs: bool
    apart: tuple[Path, ...]
    task: str


@dataclass
class World:
    """An hour later, so that nothing is too young to be trusted; naps are counted, not taken."""

    later: timedelta = timedelta(hours=1)
    events: list[Event] = field(default_factory=list)
    naps: list[float] = field(default_factory=list)

    def system(self) -> System:
        return System(
            now=lambda: datetime.now(UTC) + self.later,
            sleep=self.naps.append,
            tell=self.events.append,
        )

    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Warned)]


def capture(
    root: Path, save: MemorySave, world: World | None = None, **plan: Unpack[Wishes]
) -> Facts:
    made = FilesPlan(root=root, **plan)
    return FilesSource(made, (world or World()).system()).capture(save)


def paths(root: Path, **plan: Unpack[Wishes]) -> list[str]:
    save = MemorySave()
    capture(root, save, None, **plan)
    return [entry.path for entry in save.listed]


def as_nobody(root: Path, work: Callable[[Path], T]) -> T:
    """In a forked child without rights; the root is reached as its working folder."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.chdir(root)
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            os.write(writing, json.dumps(work(Path())).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return cast("T", json.loads(answer))


def test_entries_come_sorted_by_path_in_text_form(tmp_path: Path) -> None:
    listed = paths(trees.hostile(tmp_path / "tree"))
    assert listed == sorted(listed)
    assert len(listed) == len(set(listed)) == len(trees.scanned(tmp_path / "tree"))
    assert "names/back\\\\slash" in listed
    assert "names/invalid \\xff\\xfe utf-8" in listed
    assert "names/\\\\xff that is text" in listed
    at = [p.removeprefix("order/") for p in listed if p.startswith("order/a") and "x" not in p[6:]]
    assert at == ["a", "a!", "a-", "a.d", "a0"]
    assert listed.index("order/a.txt") < listed.index("order/a/x") < listed.index("order/a0")


def test_everything_about_an_entry(tmp_path: Path) -> None:
    tree = trees.hostile(tmp_path / "tree")
    save = MemorySave()
    facts = capture(tree, save)
    assert not facts.damaged
    for path, seen in trees.scanned(tree).items():
        entry = save.entries[text(path)]
        assert (entry.type, entry.mode, entry.mtime) == (
            ("hardlink" if entry.type == "hardlink" else seen.type),
            seen.mode,
            seen.mtime,
        ), path
        assert (entry.uid, entry.gid) == seen.owner
        if entry.type == "file":
            assert save.content(entry.path) == (tree / path).read_bytes()
    assert save.entries["times/before 1970"].mtime == trees.LONG_AGO
    assert save.entries["times/after 2038"].mtime == trees.FAR_AHEAD
    assert save.entries["modes/4755"].mode == 0o4755
    assert save.entries["fifo"].type == "fifo"
    assert save.entries["links/long"].target == "x/" * 2000
    own = save.entries["names/-rf"]
    assert own.uid == os.geteuid()
    assert os.geteuid() != 0 or (own.user, own.group) == ("root", "root")
    stored = dict.fromkeys(os.listxattr(tree / "attributes/file"))
    assert set(save.entries["attributes/file"].xattrs) == set(stored)
    if stored:
        assert save.entries["attributes/large"].xattrs["user.note"] == "AGJpbmFyef8="
        assert save.entries["attributes"].xattrs["user.empty"] == ""


def test_attributes_are_left_when_not_wanted(tmp_path: Path) -> None:
    save = MemorySave()
    capture(trees.hostile(tmp_path / "tree"), save, xattrs=False)
    assert all(not entry.xattrs for entry in save.listed)


def test_facts_count_what_was_seen(tmp_path: Path) -> None:
    tree = trees.plain(tmp_path / "tree")
    save = MemorySave()
    facts = capture(tree, save)
    files = [entry for entry in save.listed if entry.type == "file"]
    assert (facts.kind, facts.label, facts.damaged) == ("files", str(tree), False)
    assert (facts.files, facts.bytes) == (len(files), sum(e.size for e in files))
    assert facts.details["read"] == len(files)
    assert facts.details["hardlinks"] == 1
    assert facts.details["links"] == 2
    assert facts.details["root_mode"] == f"{tree.stat().st_mode & 0o7777:04o}"
    assert facts.notes == ()


def test_hard_links_point_at_the_first_name_in_order(tmp_path: Path) -> None:
    save = MemorySave()
    capture(trees.hostile(tmp_path / "tree"), save)
    entries = save.entries
    assert entries["links/a/second"].type == "file"  # "links/a/…" comes before "links/b first"
    for later in ("links/a/zz", "links/b first", "links/c third"):
        assert (entries[later].type, entries[later].target) == ("hardlink", "links/a/second")


def test_a_name_of_a_file_that_lives_on_outside_is_a_plain_file(tmp_path: Path) -> None:
    outside = trees.write(tmp_path / "outside", b"shared")
    (tmp_path / "tree").mkdir()
    os.link(outside, tmp_path / "tree/inside")
    save = MemorySave()
    capture(tmp_path / "tree", save)
    assert (save.entries["inside"].type, save.content("inside")) == ("file", b"shared")


def test_deeper_than_any_path_may_be_long(tmp_path: Path) -> None:
    trees.deep(tmp_path / "tree")
    save = MemorySave()
    capture(tmp_path / "tree", save)
    treasure = next(path for path in save.entries if path.endswith("treasure"))
    assert len(treasure) > 4096 + 2000
    assert save.content(treasure) == b"found"
    assert sum(path.endswith("on the way") for path in save.entries) == 6
    assert [entry.path for entry in save.listed] == sorted(save.entries)


def test_deeper_than_descriptors_and_the_stack_last(tmp_path: Path) -> None:
    trees.deep(tmp_path / "tree", depth=1200, name="d")
    before = len(os.listdir("/proc/self/fd"))
    save = MemorySave()
    capture(tmp_path / "tree", save)
    assert sum(entry.type == "dir" for entry in save.listed) == 1200
    assert len(os.listdir("/proc/self/fd")) == before
    subprocess.run(["rm", "-rf", tmp_path / "tree"], check=True)


def test_ten_gibibytes_of_hole_cost_nothing(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    data = trees.noise(1 << 20)
    trees.sparse(tree / "disk.img", 10 << 30, {4 << 30: data})
    save = MemorySave()
    facts = capture(tree, save)
    parts = save.parts["disk.img"]
    assert b"".join(part for part in parts if isinstance(part, bytes)) == data
    assert parts[0] == 4 << 30
    assert parts[-1] == (6 << 30) - (1 << 20)
    assert facts.bytes == save.entries["disk.img"].size == 10 << 30


def test_sockets_and_devices_are_noted_and_left_out(tmp_path: Path) -> None:
    tree = trees.plain(tmp_path / "tree", files=1)
    trees.unix_socket(tree / "a socket")
    if os.geteuid() == 0:
        os.mknod(tree / "null", 0o20666, os.makedev(1, 3))
    save, world = MemorySave(), World()
    facts = capture(tree, save, world)
    assert "a socket" not in save.entries
    assert "null" not in save.entries
    assert facts.notes[0] == "a socket: a socket, left out"
    assert len(facts.notes) == facts.details["skipped"] == (2 if os.geteuid() == 0 else 1)
    assert not facts.damaged
    assert world.warnings() == []


def test_its_own_folders_are_never_swallowed(tmp_path: Path) -> None:
    tree = trees.plain(tmp_path / "tree", files=1)
    trees.write(tree / "backups/packs/1", b"sealed")
    (tmp_path / "by another name").symlink_to(tree / "backups")
    apart = (tmp_path / "by another name", tmp_path / "missing")
    assert not any(path.startswith("backups") for path in paths(tree, apart=apart))
    with pytest.raises(SourceError, match="drkit's own folder"):
        paths(tree / "backups", apart=apart)


def test_excluded(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("a.tmp", "keep.tmp", "x/b.tmp", "cache/deep/file", "x/cache/file", "x/y.txt"):
        trees.write(tree / name)
    kept = paths(tree, exclude=("*.tmp", "/cache", "!keep.tmp"))
    assert kept == ["keep.tmp", "x", "x/cache", "x/cache/file", "x/y.txt"]


def test_included_with_the_folders_that_lead_there(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("etc/a.conf", "etc/b.txt", "etc/deep/er/c.conf", "var/none.txt", "docs/d/e.txt"):
        trees.write(tree / name)
    assert paths(tree, include=("*.conf",)) == [
        "etc",
        "etc/a.conf",
        "etc/deep",
        "etc/deep/er",
        "etc/deep/er/c.conf",
    ]
    assert paths(tree, include=("/docs", "/etc/*.conf")) == [
        "docs",
        "docs/d",
        "docs/d/e.txt",
        "etc",
        "etc/a.conf",
    ]
    assert paths(tree, include=("/etc",), exclude=("deep",)) == ["etc", "etc/a.conf", "etc/b.txt"]
    assert paths(tree, include=("/nowhere",)) == []


def test_excludes_see_names_as_they_are_on_the_disk(tmp_path: Path) -> None:
    tree = trees.hostile(tmp_path / "tree")
    kept = paths(tree, include=("/names",), exclude=("back\\\\slash", "invalid ?? utf-8", "한국*"))
    assert len(kept) == 1 + len(trees.HOSTILE_NAMES) - 3


@pytest.mark.parametrize("what", ["missing", "file", "link to nowhere"])
def test_a_root_that_can_not_be_read_is_no_empty_backup(tmp_path: Path, what: str) -> None:
    trees.write(tmp_path / "file")
    (tmp_path / "link to nowhere").symlink_to("nowhere")
    with pytest.raises(SourceError) as refused:
        capture(tmp_path / what, MemorySave())
    assert str(tmp_path / what) in refused.value.message
    assert refused.value.hint


def test_a_root_may_be_a_link_to_a_folder(tmp_path: Path) -> None:
    trees.write(tmp_path / "real/file")
    (tmp_path / "root").symlink_to("real")
    assert paths(tmp_path / "root") == ["file"]


def test_a_root_without_rights(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    trees.write(tree / "locked/file")
    (tree / "locked").chmod(0o311)
    tree.chmod(0o755)

    def work(_root: Path) -> list[str | None]:
        try:
            capture(Path("locked"), MemorySave())
        except SourceError as refused:
            return [refused.message, refused.hint]
        return []

    expected = [
        "locked can't be read: permission denied",
        "run the backup as a user that may read it",
    ]
    assert as_nobody(tree, work) == expected
    (tree / "locked").chmod(0o755)


def test_a_root_that_goes_away_in_the_middle(tmp_path: Path) -> None:
    tree = trees.plain(tmp_path / "tree", files=1)
    save = MemorySave()

    def when(what: str, path: str) -> None:
        if (what, path) == ("put", "bin"):
            tree.rename(tmp_path / "gone")

    save.when = when
    with pytest.raises(SourceError, match="can't be read"):
        capture(tree, save)


@pytest.mark.parametrize("unreadable", ["fail", "warn"])
def test_what_may_not_be_read_is_reported(
    tmp_path: Path, unreadable: Literal["fail", "warn"]
) -> None:
    tree = tmp_path / "tree"
    trees.write(tree / "fine", b"fine")
    trees.write(tree / "secret", b"secret", mode=0o000)
    trees.write(tree / "no entry/file").parent.chmod(0o000)
    trees.write(tree / "no look/file").parent.chmod(0o444)
    tree.chmod(0o755)

    def work(root: Path) -> tuple[list[str], bool, list[str], list[str]]:
        save, world = MemorySave(), World()
        facts = capture(root, save, world, unreadable=unreadable)
        return sorted(save.entries), facts.damaged, list(facts.notes), world.warnings()

    names, damaged, notes, warnings = as_nobody(tree, work)
    assert names == ["fine", "no entry", "no look"]
    assert damaged is (unreadable == "fail")
    assert notes == warnings
    assert sorted(notes) == [
        "no entry: can't be read: permission denied",
        "no look/file: can't be read: permission denied",
        "secret: can't be read: permission denied",
    ]
    for folder in ("no entry", "no look"):
        (tree / folder).chmod(0o755)


def test_a_disk_error_in_a_file() -> None:
    """The kernel answers EIO to whoever reads address 0 of a process."""
    save, world = MemorySave(), World()
    facts = capture(Path("/proc/self"), save, world, include=("/mem",))
    assert facts.damaged
    assert facts.notes == ("mem: can't be read: input/output error",)
    assert save.listed == []


def test_notes_are_one_line_each_and_not_too_many(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(60):
        trees.unix_socket(tree / f"line\nbreak {number:02}")
    facts = capture(tree, MemorySave())
    assert len(facts.notes) == 51
    assert facts.notes[0] == "'line\\nbreak 00': a socket, left out"
    assert facts.notes[-1] == "and 10 more"
    assert not any("\n" in note for note in facts.notes)


def test_a_suddenly_empty_root_is_loud(tmp_path: Path) -> None:
    tree = trees.plain(tmp_path / "tree", files=1)
    first = MemorySave()
    facts = capture(tree, first)
    seen = sum(int(facts.details[k]) for k in ("folders", "links", "hardlinks")) + facts.files
    empty = tmp_path / "empty"
    empty.mkdir()
    second, world = MemorySave(first), World()
    facts = capture(empty, second, world)
    line = f"{empty} holds nothing now, the last backup held {seen} names"
    assert (facts.notes, world.warnings(), facts.files) == ((line,), [line], 0)
    world = World()
    assert capture(empty, MemorySave(second), world).notes == ()  # known by then


def test_an_empty_root_the_first_time_is_fine(tmp_path: Path) -> None:
    assert capture(tmp_path, MemorySave()).notes == ()


def test_progress_is_told_in_batches_and_adds_up(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(300):
        trees.write(tree / str(number), b"x" * 100)
    trees.write(tree / "large", bytes(10 << 20))
    world = World()
    facts = capture(tree, MemorySave(), world, task="shop: backup")
    steps = [event for event in world.events if isinstance(event, Advanced)]
    assert isinstance(world.events[0], Started)
    assert isinstance(world.events[-1], Finished)
    assert {event.task for event in steps} == {"shop: backup"}
    assert sum(step.items for step in steps) == 301
    assert sum(step.bytes for step in steps) == facts.bytes
    assert len(steps) < 12


def test_the_kernels_own_file_systems_are_not_entered() -> None:
    assert paths(Path("/"), include=("/proc",)) == ["proc"]


MOUNTED = """
import json, sys
from pathlib import Path
from typing import Literal, TypedDict, TypeVar, Unpack, cast
from tests.unit.test_files_capture import paths
root = Path(sys.argv[1])
print(json.dumps([paths(root), paths(root, one_file_system=True)]))
"""


def test_other_file_systems(tmp_path: Path) -> None:
    trees.write(tmp_path / "tree/file")
    (tmp_path / "tree/mounted").mkdir()
    mount = (
        'mount -t tmpfs none "$1/mounted" && touch "$1/mounted/inside" && exec "$2" -c "$3" "$1"'
    )
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    done = subprocess.run(
        [*unshare, "sh", "-c", mount, "sh", tmp_path / "tree", sys.executable, MOUNTED],
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    both, one = json.loads(done.stdout)
    assert both == ["file", "mounted", "mounted/inside"]
    assert one == ["file", "mounted"]

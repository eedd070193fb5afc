"""What every source and the repository keep to with one another."""

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from drkit.errors import DrkitError, StoreError
from drkit.model.entry import Entry
from drkit.model.snapshot import Facts, Snapshot
from drkit.repository.base import Done
from drkit.repository.format import SMALL
from drkit.source import Cut, Save, Target
from drkit.stores.base import Body, Store
from drkit.stores.memory import MemoryStore
from drkit.system import System
from tests.fixtures.host import Host, contents, names_of, new_host
from tests.fixtures.kinds import local
from tests.fixtures.sources import SOURCES, Case, Relations

INCREMENTALS = 4
STORES: dict[str, Callable[[Path], Store]] = {
    "local": lambda folder: local(folder / "store"),
    "memory": lambda _folder: MemoryStore(System().now),
}


@pytest.fixture(params=STORES)
def any_host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    return new_host(STORES[request.param](tmp_path), tmp_path / "state")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Where the store makes no difference."""
    return new_host(MemoryStore(System().now), tmp_path / "state")


@pytest.fixture(params=SOURCES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return SOURCES[request.param](tmp_path)


def own_packs(host: Host, done: Done) -> list[int]:
    return [s.size for s in host.listed("packs") if f"/{done.session}-" in s.name]


def restored(host: Host, case: Case, snapshot: Snapshot, into: Path) -> dict[str, bytes]:
    into.mkdir()
    with host.opened(snapshot) as reader:
        case.source.restore(snapshot, reader, Target(into=into, as_root=os.geteuid() == 0))
    return contents(into)


def test_every_snapshot_of_a_generation_restores_bit_for_bit(
    any_host: Host, case: Case, tmp_path: Path
) -> None:
    expected = {}
    for number in range(1 + INCREMENTALS):
        if number:
            case.step()
        done = any_host.back_up(case.source)
        assert done.kind == ("incremental" if number else "full")
        expected[done.session] = case.now()
        newest = any_host.newest()
        assert newest.session == done.session
        assert any_host.streamed(newest) == case.now()
    history = any_host.history()
    assert history.findings == []
    assert len(history.generations) == 1
    for snapshot in history.snapshots:
        assert any_host.streamed(snapshot) == expected[snapshot.session]
        into = tmp_path / f"out-{snapshot.session}"
        assert restored(any_host, case, snapshot, into) == expected[snapshot.session]


def test_an_unchanged_incremental_stores_a_manifest_and_nothing_else(
    any_host: Host, case: Case
) -> None:
    full = any_host.back_up(case.source)
    again = any_host.back_up(case.source)
    assert again.kind == "incremental"
    assert again.sealed == 0
    assert own_packs(any_host, again) == []
    assert again.added < 16_000
    assert again.added < full.added / 50
    assert any_host.streamed() == case.now()


def test_what_a_step_stores_is_bound_by_what_it_changed(host: Host, case: Case) -> None:
    host.back_up(case.source)
    for _ in range(INCREMENTALS):
        case.changed = 0
        case.step()
        done = host.back_up(case.source)
        assert 0 < done.sealed <= case.changed
        assert sum(own_packs(host, done)) <= 1.12 * case.changed + 16_000


@pytest.mark.parametrize("way", ["relations-spliced", "relations-pages"])
def test_of_relations_only_changed_pages_are_stored(way: str, host: Host, tmp_path: Path) -> None:
    case = SOURCES[way](tmp_path)
    total = sum(map(len, case.now().values()))
    full = host.back_up(case.source)
    assert full.sealed == total
    case.changed = 0
    case.step()
    done = host.back_up(case.source)
    assert done.sealed < total / 4
    assert done.sealed <= case.changed


def test_a_full_in_between_begins_anew_and_leaves_the_older_ones(host: Host, case: Case) -> None:
    first = host.back_up(case.source)
    before = case.now()
    case.step()
    second = host.back_up(case.source, "full")
    assert second.kind == "full"
    assert second.why == "asked for"
    assert second.generation != first.generation
    case.step()
    assert host.back_up(case.source).generation == second.generation
    assert host.streamed(host.history().snapshots[0]) == before
    assert host.streamed() == case.now()


class Interrupted:
    """A source that is stopped when all but its end has been written."""

    def __init__(self, case: Case, error: BaseException) -> None:
        self.kind = case.source.kind
        self.restore = case.source.restore
        self._case = case
        self._error = error

    def capture(self, save: Save) -> Facts:
        self._case.source.capture(save)
        raise self._error


class Refusing(MemoryStore):
    """Takes no object of this kind."""

    def __init__(self, inner: Store, part: str) -> None:
        super().__init__(System().now)
        self._inner = inner
        self._part = part
        self.read = inner.read  # type: ignore[method-assign]
        self.read_into = inner.read_into  # type: ignore[method-assign]
        self.list = inner.list  # type: ignore[method-assign]

    def put(self, name: str, body: Body) -> None:
        if f"/{self._part}/" in name:
            raise StoreError(f"put {name}: refused")
        self._inner.put(name, body)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), DrkitError("no more")], ids=repr)
def test_the_session_after_one_whose_source_failed_is_complete(
    error: BaseException, host: Host, case: Case
) -> None:
    host.back_up(case.source)
    case.step()
    with pytest.raises(type(error)):
        host.back_up(Interrupted(case, error))
    assert len(host.history().snapshots) == 1
    case.step()
    done = host.back_up(case.source)
    assert done.kind == "incremental"
    assert host.streamed() == case.now()
    assert host.history().findings == []


@pytest.mark.parametrize("part", ["begin", "packs", "packlist", "manifest", "outcome"])
def test_the_session_after_one_whose_store_refused_is_complete(
    part: str, host: Host, case: Case
) -> None:
    host.back_up(case.source)
    case.step()
    with pytest.raises(StoreError, match="refused"):
        host.back_up(case.source, store=Refusing(host.store, part))
    assert len(host.history().snapshots) == 1
    done = host.back_up(case.source)
    assert done.kind == "incremental"
    assert host.streamed() == case.now()


@pytest.mark.parametrize("part", ["packs", "outcome"])
def test_a_first_backup_that_failed_leaves_a_full_to_be_made(
    part: str, host: Host, case: Case
) -> None:
    with pytest.raises(StoreError, match="refused"):
        host.back_up(case.source, store=Refusing(host.store, part))
    done = host.back_up(case.source)
    assert done.kind == "full"
    assert host.streamed() == case.now()


def test_state_is_kept_only_when_the_session_is_committed(host: Host) -> None:
    case = Relations(None, 3)
    host.back_up(case)
    case.step()
    with pytest.raises(StoreError):
        host.back_up(case, store=Refusing(host.store, "outcome"))
    case.step()
    host.back_up(case)
    host.back_up(case)
    assert case.seen == [0, 0, 0, 2]


# What the hand does with what it is given.


def put_file(path: str, content: bytes, cut: Cut, save: Save) -> None:
    writer = save.write(Entry(path=path, size=len(content)), cut)
    writer.write(content)
    writer.close()


@pytest.mark.parametrize("size", [1, 4096, SMALL, SMALL + 1, 200_000, 3_000_000])
def test_the_same_content_by_two_names_is_stored_once(host: Host, size: int) -> None:
    content = os.urandom(size)

    def twice(save: Save) -> None:
        save.whole(Entry(path="a", size=size), content)
        put_file("b", content, Cut.CONTENT, save)
        put_file("c", content, Cut.CONTENT, save)

    done = host.back_up(twice)
    assert done.sealed == size
    assert host.streamed() == {"a": content, "b": content, "c": content}

    def later(save: Save) -> None:
        put_file("d", content, Cut.CONTENT, save)

    done = host.back_up(later)
    assert done.sealed == 0
    assert host.streamed() == {"d": content}
    done = host.back_up(twice, "full")  # nothing refers outside its generation
    assert done.sealed == size


def test_content_that_moved_is_found_again(host: Host) -> None:
    content = os.urandom(4_000_000)
    host.back_up(functools.partial(put_file, "old", content, Cut.CONTENT))
    moved = b"a new beginning" + content
    done = host.back_up(functools.partial(put_file, "new", moved, Cut.CONTENT))
    assert done.sealed < 1_500_000
    assert host.streamed() == {"new": moved}


def test_links_folders_and_empty_files_have_no_bytes(host: Host, tmp_path: Path) -> None:
    def few(save: Save) -> None:
        save.put(Entry(path="folder", type="dir", mode=0o750))
        save.put(Entry(path="link", type="link", target="folder/empty"))
        save.whole(Entry(path="folder/empty", mode=0o600), b"")
        put_file("folder/written", b"", Cut.PLAIN, save)
        put_file("folder/cut", b"", Cut.CONTENT, save)
        put_file("folder/paged", b"", Cut.PAGES, save)
        save.put(Entry(path="folder/again", type="hardlink", target="folder/cut"))

    for sealed in (0, 0):
        done = host.back_up(few)
        assert done.sealed == sealed
        assert own_packs(host, done) == []
    found = host.written(tmp_path / "out")
    names = ("empty", "written", "cut", "paged", "again")
    assert found == {f"folder/{name}": b"" for name in names}
    assert (tmp_path / "out/link").readlink() == Path("folder/empty")
    assert (tmp_path / "out/folder").stat().st_mode & 0o7777 == 0o750


def test_same_takes_new_names_modes_and_times_with_the_old_bytes(host: Host) -> None:
    content = os.urandom(300_000)
    host.back_up(functools.partial(put_file, "a", content, Cut.CONTENT))

    def newer(save: Save) -> None:
        old = save.parent("a")
        assert old is not None
        assert old.size == len(content)
        save.same(Entry(path="a", size=old.size, mode=0o640, mtime=7), mark="later")

    assert host.back_up(newer).sealed == 0
    with host.opened() as reader:
        (entry,) = reader.entries()
    assert (entry.mode, entry.mtime) == (0o640, 7)
    assert host.streamed() == {"a": content}


@pytest.mark.parametrize("entry", [Entry(path="b", size=5), Entry(path="a", size=6)], ids=repr)
def test_same_refuses_what_the_parent_does_not_hold(entry: Entry, host: Host) -> None:
    host.back_up(functools.partial(put_file, "a", b"12345", Cut.PLAIN))
    with pytest.raises(ValueError, match=entry.path):
        host.back_up(lambda save: save.same(entry))
    assert host.streamed() == {"a": b"12345"}


def test_what_is_not_saved_again_is_gone_and_marks_are_kept(host: Host) -> None:
    def first(save: Save) -> None:
        assert save.parent("a") is None
        assert save.mark("a") == ""
        for path in ("a", "b", "c"):
            save.whole(Entry(path=path, size=1), path.encode(), mark=f"mark of {path}")

    def second(save: Save) -> None:
        assert save.mark("b") == "mark of b"
        old = save.parent("b")
        assert old is not None
        save.same(old, mark=save.mark("b"))
        assert save.parent("never there") is None

    host.back_up(first)
    host.back_up(second)
    assert host.streamed() == {"b": b"b"}
    host.back_up(second)
    assert host.streamed() == {"b": b"b"}


def test_a_path_may_change_its_kind(host: Host, tmp_path: Path) -> None:
    kinds: list[Callable[[Save], None]] = [
        functools.partial(put_file, "x", b"file", Cut.PAGES),
        lambda save: save.put(Entry(path="x", type="dir", mode=0o700)),
        functools.partial(put_file, "x", b"file", Cut.PAGES),
        lambda save: save.put(Entry(path="x", type="link", target="file")),
        lambda save: save.whole(Entry(path="x", size=4), b"file"),
    ]
    for number, kind in enumerate(kinds):
        host.back_up(kind)
        into = tmp_path / str(number)
        assert host.written(into) == ({"x": b"file"} if number % 2 == 0 else {})
        assert (into / "x").is_dir() is (number == 1)
        assert (into / "x").is_symlink() is (number == 3)


def test_pages_are_compared_with_the_parent_only_if_they_are_of_it(host: Host) -> None:
    """A, then B by another cut, then A again: what was remembered of A's pages is no more."""
    one, two = os.urandom(100_000), os.urandom(100_000)
    between: list[Callable[[Save], None]] = [
        functools.partial(put_file, "x", two, Cut.CONTENT),
        functools.partial(put_file, "x", two, Cut.PLAIN),
        lambda save: save.whole(Entry(path="x", size=100_000), two),
        functools.partial(spliced, "x", two),
    ]
    for other in between:
        host.back_up(functools.partial(put_file, "x", one, Cut.PAGES))
        host.back_up(other)
        assert host.streamed() == {"x": two}
        host.back_up(functools.partial(put_file, "x", one, Cut.PAGES))
        assert host.streamed() == {"x": one}


def spliced(path: str, content: bytes, save: Save) -> None:
    splicer = save.splice(Entry(path=path, size=len(content)), len(content))
    splicer.at(0, content)
    splicer.close()


@pytest.mark.parametrize("cut", [Cut.CONTENT, Cut.PLAIN])
def test_a_hole_stays_one(cut: Cut, any_host: Host, tmp_path: Path) -> None:
    def holed(save: Save) -> None:
        writer = save.write(Entry(path="x", size=(40 << 20) + 5), cut)
        writer.write(b"start")
        writer.zero(20 << 20)
        writer.zero(20 << 20)
        writer.close()

    assert any_host.back_up(holed).sealed == 5
    found = any_host.written(tmp_path / "out")["x"]
    assert found == b"start" + bytes(40 << 20)
    assert (tmp_path / "out/x").stat().st_blocks * 512 < 1 << 20


def test_a_hole_of_terabytes_streams_piece_by_piece(host: Host) -> None:
    def holed(save: Save) -> None:
        splicer = save.splice(Entry(path="x", size=1 << 43), 1 << 43)
        splicer.at((1 << 43) - 3, b"end")
        splicer.close()

    host.back_up(holed)
    with host.opened() as reader, reader.stream(next(reader.entries())) as stream:
        for _ in range(20):
            assert not stream.read(1 << 20).strip(b"\0")


def test_a_writer_that_is_given_up_leaves_no_file(host: Host) -> None:
    def torn(save: Save) -> None:
        for cut in Cut:
            writer = save.write(Entry(path="x"), cut)
            writer.write(os.urandom(2_000_000))
            writer.abandon()
        put_file("x", b"at last", Cut.CONTENT, save)

    host.back_up(torn)
    assert host.streamed() == {"x": b"at last"}


def test_the_entry_given_at_the_end_replaces_the_first(host: Host) -> None:
    def changing(save: Save) -> None:
        for n, cut in enumerate(Cut):
            writer = save.write(Entry(path=f"f{n}", size=1, mtime=1), cut)
            writer.write(b"four")
            writer.close(Entry(path=f"f{n}", size=4, mtime=2))

    host.back_up(changing)
    with host.opened() as reader:
        entries = list(reader.entries())
    assert [(e.path, e.size, e.mtime) for e in entries] == [(f"f{n}", 4, 2) for n in range(3)]


def test_no_descriptor_and_no_temporary_file_is_left(
    any_host: Host, case: Case, tmp_path: Path
) -> None:
    any_host.back_up(case.source)
    with ExitStack() as stack:
        before = stack.enter_context(descriptors())
        case.step()
        any_host.back_up(case.source)
        for part in ("packs", "manifest", "outcome"):
            case.step()
            with pytest.raises(StoreError):
                any_host.back_up(case.source, store=Refusing(any_host.store, part))
        with pytest.raises(KeyboardInterrupt):
            any_host.back_up(Interrupted(case, KeyboardInterrupt()))
        any_host.streamed()
    assert before
    spools = [tmp_path / "state/spool", tmp_path / "store/.staging"]
    assert [list(s.iterdir()) for s in spools if s.exists()] in ([], [[]], [[], []])


class descriptors:  # noqa: N801  reads as a word
    def __enter__(self) -> list[str]:
        self._before = open_files()
        return self._before

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            assert open_files() == self._before


def open_files() -> list[str]:
    return sorted(found())


def found() -> Iterator[str]:
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:  # the one that lists
            continue
        yield target


def test_packs_have_names_of_their_session(host: Host, case: Case) -> None:
    done = host.back_up(case.source)
    assert names_of(host.listed("packs")) == [
        f"{done.session}-{n:06d}" for n in range(len(host.listed("packs")))
    ]

"""The host's memory damaged, lost, rolled back, shared: never a wrong snapshot, at worst a full."""

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from drkit.errors import Busy
from drkit.model.snapshot import BackupKind
from drkit.repository.cache import Cache
from tests.fixtures import trees
from tests.fixtures.ledger import Ended, Ledger, change, world

CACHE = "cache.sqlite"


def many_files(root: Path) -> None:
    for i in range(300):
        trees.write(root / f"many/{i % 10}/file {i}", trees.noise(50 + i, i))
    for i in range(3):
        trees.write(root / f"large {i}", trees.noise(400_000, 1000 + i))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """One full is there, its memory too, and one file has changed."""
    made = Ledger(world=world(tmp_path / "world", many_files))
    assert made.run(made.world.back_up).kind == "full"
    trees.write(made.world.tree / "many/0/file 0", b"changed")
    return made


def cache_of(ledger: Ledger) -> Path:
    return ledger.world.plan.state / CACHE


def test_sound_memory_gives_an_incremental(ledger: Ledger) -> None:
    assert ledger.run(ledger.world.back_up).kind == "incremental"
    assert ledger.settle().kind == "incremental"


def damaged(ledger: Ledger, damage: Callable[[bytearray], None]) -> Ended:
    path = cache_of(ledger)
    data = bytearray(path.read_bytes())
    damage(data)
    path.write_bytes(data)
    return ledger.run(ledger.world.back_up)


def said(ended: Ended) -> None:
    assert ended.kind == "full", ended
    assert "cache.sqlite" in ended.why, ended


@pytest.mark.parametrize("page", range(0, 40, 3))
def test_a_bit_somewhere(ledger: Ledger, page: int) -> None:
    def flip(data: bytearray) -> None:
        at = random.Random(page).randrange(4096)
        data[min(page * 4096 + at, len(data) - 1)] ^= 1 << (page % 8)

    said(damaged(ledger, flip))
    assert ledger.settle().kind == "incremental"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.clear(),
        lambda data: data.__delitem__(slice(len(data) // 2, None)),
        lambda data: data.__delitem__(slice(50, None)),
        lambda data: data.__setitem__(slice(0, 4096), os.urandom(4096)),
        lambda data: data.__setitem__(slice(0, None), os.urandom(len(data))),
        lambda data: data.extend(b"more"),
    ],
    ids=["empty", "half", "header only", "first page", "all of it", "longer"],
)
def test_a_file_that_is_no_database_any_more(
    ledger: Ledger, damage: Callable[[bytearray], None]
) -> None:
    said(damaged(ledger, damage))
    assert ledger.settle().kind == "incremental"


SWAPS = {
    "another record of the same size": "update files set line = replace(line, "
    "'\"extents\":[1,', '\"extents\":[2,')",
    "two files' lines swapped": "update files set line = (select line from files f where f.k = "
    "case files.k when 20 then 21 else 20 end) where k in (20, 21)",
    "another offset": "update files set line = replace(line, ',0,400000]', ',1,400000]')",
    "a chunk that is another": "update chunks set record = 2 where record = 1",
    "a chunk elsewhere in its record": "update chunks set at = at + 1 where at > 0",
    "another mark": "update files set mark = (select mark from files where k = 9)",
    "a file forgotten": "delete from files where k = 17",
    "a record elsewhere": "update records set at = at + 1",
    "a pack of another size": "update packs set size = size + 1",
    "a pack of another number": "update packs set number = number + 1",
    "another key": "update meta set value = cast(replace(value, 'id_key', 'id_kez') as blob)",
    "another parent": "update meta set value = x'00' where key = 'memory'",
    "no memory": "delete from meta",
    "an id of another record": "update records set id = (select id from records where n = 1)",
}


@pytest.mark.parametrize("sql", SWAPS.values(), ids=SWAPS)
def test_rows_that_a_sound_database_holds_and_are_wrong(ledger: Ledger, sql: str) -> None:
    """SQLite finds nothing wrong with any of these; some would restore, to something else."""
    before = cache_of(ledger).read_bytes()
    with sqlite3.connect(cache_of(ledger)) as db:
        db.execute(sql)
    db.close()
    assert cache_of(ledger).read_bytes() != before
    said(ledger.run(ledger.world.back_up))
    assert ledger.settle().kind == "incremental"


@pytest.mark.parametrize("content", [None, b"", b"0" * 64])
def test_an_imprint_that_is_gone_or_wrong(ledger: Ledger, content: bytes | None) -> None:
    """Killed between the two, for one: nothing proves the memory any more."""
    beside = cache_of(ledger).with_name(CACHE + ".blake3")
    beside.unlink()
    if content is not None:
        beside.write_bytes(content)
    said(ledger.run(ledger.world.back_up))
    assert ledger.settle().kind == "incremental"


def test_a_journal_of_a_killed_run_is_played_back(ledger: Ledger) -> None:
    """Its changes are undone, and the imprint fits again."""
    pid = os.fork()
    if not pid:
        cache = Cache(cache_of(ledger), fresh=False)
        cache._db.execute("pragma cache_spill = 1")
        cache._db.execute("pragma cache_size = 5")
        for k in range(1, 300):
            cache.change(k, "half", b"{}" * 200)
        os._exit(0)
    os.waitpid(pid, 0)
    assert cache_of(ledger).with_name(CACHE + "-journal").stat().st_size > 0
    assert ledger.run(ledger.world.back_up).kind == "incremental"
    assert ledger.settle().kind == "incremental"


@pytest.mark.parametrize("junk", [b"", b"[", b"\xff\xfe", b'[["a"]]', b"null", b"\0" * 100_000])
def test_heads_that_are_damaged(ledger: Ledger, junk: bytes) -> None:
    (ledger.world.plan.state / "heads.json").write_bytes(junk)
    assert ledger.run(ledger.world.back_up).session
    ledger.settle()


def test_a_memory_from_before(ledger: Ledger) -> None:
    """State of session 1, store of sessions 1 to 3: a sibling of 2, and nothing is mixed up."""
    old = ledger.world.root / "old state"
    shutil.copytree(ledger.world.plan.state, old)
    for seed in (1, 2):
        change(ledger.world.tree, seed)
        assert ledger.run(ledger.world.back_up).kind == "incremental"
    shutil.rmtree(ledger.world.plan.state)
    old.rename(ledger.world.plan.state)
    change(ledger.world.tree, 3)
    ended = ledger.run(ledger.world.back_up)
    assert ended.kind == "incremental"
    commits = {s.session: s for s in ledger.world.history().snapshots}
    first = next(s for s in commits.values() if s.kind == "full")
    assert commits[ended.session].parent == first.session
    assert len([s for s in commits.values() if s.parent == first.session]) == 2
    ledger.settle()


def test_a_memory_on_two_machines(ledger: Ledger) -> None:
    """A cloned machine: both go on from one memory, in turns."""
    clone = ledger.world.root / "clone"
    shutil.copytree(ledger.world.plan.state, clone)
    for seed in range(4):
        change(ledger.world.tree, seed)
        state = clone if seed % 2 else None
        ended = ledger.run(partial(ledger.world.back_up, state=state))
        assert ended.kind == "incremental", ended
    ledger.settle()


def test_a_lost_state(ledger: Ledger) -> None:
    shutil.rmtree(ledger.world.plan.state)
    ledger.world.plan.state.mkdir()
    ended = ledger.run(ledger.world.back_up)
    assert (ended.kind, ended.findings) == ("full", ())
    ledger.settle()


def test_a_store_from_before(ledger: Ledger) -> None:
    """Rolled back to session 1: told once it is seen, and the new backup stands by itself."""
    old = ledger.world.root / "old store"
    shutil.copytree(ledger.world.root / "store", old)
    change(ledger.world.tree, 1)
    ended = ledger.run(ledger.world.back_up)
    shutil.rmtree(ledger.world.root / "store")
    old.rename(ledger.world.root / "store")
    del ledger.copies[ended.session]
    told = ledger.run(ledger.world.back_up)
    assert told.kind == "full"
    assert any("not in the store" in line for line in told.findings), told
    ledger.settle()


def test_the_newest_outcome_hidden(ledger: Ledger) -> None:
    ended = ledger.run(ledger.world.back_up)
    store = ledger.world.store
    name = next(s.name for s in store.list("") if s.name.endswith(f"outcome/{ended.session}"))
    store.delete(name)
    del ledger.copies[ended.session]
    told = ledger.run(ledger.world.back_up)
    assert told.kind == "full"
    assert any("not in the store" in line for line in told.findings), told
    ledger.settle()


def test_an_older_outcome_hidden(ledger: Ledger) -> None:
    """A later one names it."""
    first = ledger.run(ledger.world.back_up)
    ledger.run(ledger.world.back_up)
    store = ledger.world.store
    name = next(s.name for s in store.list("") if s.name.endswith(f"outcome/{first.session}"))
    store.delete(name)
    del ledger.copies[first.session]
    told = ledger.run(ledger.world.back_up)
    assert any("is gone" in line for line in told.findings), told
    ledger.tampered = True
    ledger.settle()


def test_one_run_at_a_time_uses_a_state(ledger: Ledger) -> None:
    kinds: tuple[BackupKind | None, ...] = ("full", None)
    for fresh in (True, False):
        with Cache(cache_of(ledger), fresh=fresh):
            for kind in kinds:
                ended = ledger.run(partial(ledger.world.back_up, kind=kind))
                assert (ended.code, ended.error) == (6, "Busy"), ended
    ledger.settle()


def test_a_database_that_another_process_holds(ledger: Ledger) -> None:
    """Something that is no drkit: a person with sqlite3, a backup tool."""
    with sqlite3.connect(cache_of(ledger), isolation_level=None) as held:
        held.execute("begin exclusive")
        ended = ledger.run(ledger.world.back_up)
        assert ended.code == Busy.exit_code, ended
    held.close()
    assert ledger.settle().kind == "incremental"


def test_a_broken_schema_beside_a_journal(ledger: Ledger) -> None:
    """SQLite quotes the broken bytes in its error, and Python can't read them as text."""
    path = cache_of(ledger)
    data = bytearray(path.read_bytes())
    at = data.index(b"CREATE TABLE files" if b"CREATE TABLE files" in data else b"files")
    data[at : at + 5] = b"\xee\xff\xfe\x00\x80"
    path.write_bytes(data)
    path.with_name(CACHE + "-journal").write_bytes(b"no journal")
    said(ledger.run(ledger.world.back_up))
    assert ledger.settle().kind == "incremental"

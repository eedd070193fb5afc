"""The server's increments laid over a parent, against the same done on bytes."""

import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drkit.errors import CantBuild, DrkitError, PostgresError
from drkit.model.entry import Entry
from drkit.postgres.increment import Increment
from drkit.postgres.names import PAGE, SEGMENT_PAGES
from drkit.source import Save, Splicer
from drkit.stores.memory import MemoryStore
from drkit.system import System
from tests.fixtures.base_backup import ClusterSource, combined
from tests.fixtures.host import contents, new_host
from tests.fixtures.postgres import serving

MAGIC = 0xD3AE1F0D
PATH = "base/5/16384"


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What a server says of one segment. A page is known by the letter it is full of."""

    blocks: tuple[tuple[int, str], ...] = ()
    length: int = 0  # the truncation length

    def bytes(self) -> bytes:
        numbers = [number for number, _ in self.blocks]
        header = struct.pack(f"<III{len(numbers)}I", MAGIC, len(numbers), self.length, *numbers)
        if numbers:
            header += bytes(-len(header) % PAGE)
        return header + b"".join(page(letter) for _, letter in self.blocks)


def page(letter: str) -> bytes:
    return letter.encode() * PAGE


def rule(parent: bytes, sent: Sent, limit: int | None) -> bytes:
    """What the server's pg_combinebackup does, and what it should: `limit`."""
    new = dict(sent.blocks)
    length = max(sent.length, max(new, default=-1) + 1)
    old = min(len(parent) // PAGE, sent.length, length if limit is None else limit)
    return b"".join(
        page(new[n]) if n in new else parent[n * PAGE : (n + 1) * PAGE] if n < old else bytes(PAGE)
        for n in range(length)
    )


class Over:
    """A session's hand that holds one file, and what becomes of it."""

    def __init__(self, parent: bytes | None, mode: int = 0o600) -> None:
        self.old = parent
        self.mode = mode
        self.state = b""
        self.recorded: dict[str, object] = {}
        self.new: bytes | None = None
        self.size = 0
        self.calls: list[tuple[str, int, int]] = []
        self._changes: list[tuple[int, bytes]] = []

    def parent(self, path: str) -> Entry | None:
        assert path == PATH
        if self.old is None:
            return None
        return Entry(path=path, mode=self.mode, size=len(self.old), extents=(1, 0, 1))

    def same(self, entry: Entry, mark: str = "") -> None:
        assert self.old is not None
        assert entry.size == len(self.old)
        self.calls.append(("same", len(entry.extents), entry.mode))
        self.new = self.old

    def splice(self, entry: Entry, size: int, mark: str = "") -> Splicer:
        assert entry.path == PATH
        assert entry.size == size
        self.size = size
        return self

    def at(self, offset: int, data: bytes | memoryview) -> None:
        assert offset + len(data) <= self.size
        self.calls.append(("at", offset, len(data)))
        self._changes.append((offset, bytes(data)))

    def zero(self, offset: int, length: int) -> None:
        self.calls.append(("zero", offset, length))
        self._changes.append((offset, bytes(length)))

    def close(self) -> None:
        new = bytearray((self.old or b"")[: self.size].ljust(self.size, b"\0"))
        for offset, data in self._changes:
            new[offset : offset + len(data)] = data
        spans = sorted((offset, offset + len(data)) for offset, data in self._changes)
        assert all(before[1] <= after[0] for before, after in pairwise(spans))
        self.new = bytes(new)


def laid(over: Over, stream: bytes, limit: int | None, cuts: tuple[int, ...] = ()) -> Over:
    """Pushed in pieces, each in a buffer that is used for the next one as well."""
    entry = Entry(path=PATH, mode=0o600, size=len(stream))
    increment = Increment(cast("Save", over), entry, len(stream), limit)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    for start, end in pairwise(places):
        lent = bytearray(stream[start:end])
        increment.data(memoryview(lent))
        lent[:] = b"?" * len(lent)
    increment.end()
    return over


numbers = st.integers(0, 14)
letters = st.sampled_from("abc")
parents = st.builds(
    lambda pages, rest: b"".join(map(page, pages)) + b"r" * rest,
    st.lists(st.sampled_from("xyz"), max_size=12),
    st.sampled_from((0, 0, 0, 1, 5000)),
)
increments = st.builds(
    lambda blocks, length: Sent(blocks=tuple(sorted(blocks.items())), length=length),
    st.dictionaries(numbers, letters, max_size=10),
    numbers,
)
limits = st.none() | st.integers(-2, 14)
cut_places = st.lists(st.integers(1, 12 * PAGE), max_size=12).map(tuple)


@given(parents, increments, limits, cut_places)
def test_it_is_what_the_server_s_own_tool_makes_of_it_with_the_correction(
    parent: bytes, sent: Sent, limit: int | None, cuts: tuple[int, ...]
) -> None:
    over = laid(Over(parent), sent.bytes(), limit, cuts)
    assert over.new == rule(parent, sent, None if limit is None else max(limit, 0))


@given(parents, increments)
def test_only_what_has_to_change_is_said(parent: bytes, sent: Sent) -> None:
    over = laid(Over(parent), sent.bytes(), None)
    came = sum(length for what, _, length in over.calls if what == "at")
    assert came == len(sent.blocks) * PAGE
    assert (over.calls[:1] == [("same", 3, 0o600)]) == (
        not sent.blocks and sent.length * PAGE == len(parent)
    )
    gone = [(at, length) for what, at, length in over.calls if what == "zero"]
    assert all(at + length <= -(-len(parent) // PAGE) * PAGE for at, length in gone)


def test_neighbours_are_one_piece() -> None:
    blocks = tuple((n, "b") for n in (0, 1, 2, 5, 6, 9))
    over = laid(Over(bytes(10 * PAGE)), Sent(blocks=blocks, length=10).bytes(), None)
    places = [(0, 3 * PAGE), (5 * PAGE, 2 * PAGE), (9 * PAGE, PAGE)]
    assert over.calls == [("at", *place) for place in places]


def test_an_unchanged_file_takes_over_new_permissions() -> None:
    sent = Sent(length=3)
    same = laid(Over(page("p") * 3), sent.bytes(), None)
    assert same.calls == [("same", 3, 0o600)]  # the very entry that the parent gave
    changed = laid(Over(page("p") * 3, mode=0o640), sent.bytes(), None)
    assert changed.calls == [("same", 0, 0o600)]


def test_blocks_above_the_limit_are_zero_unless_they_came() -> None:
    parent = b"".join(map(page, "pqrstu"))
    sent = Sent(blocks=((3, "n"),), length=7)
    over = laid(Over(parent), sent.bytes(), 2)
    expected = page("p") + page("q") + page("\0") + page("n") + bytes(3 * PAGE)
    assert over.new == expected
    assert ("zero", 4 * PAGE, 2 * PAGE) in over.calls  # what the parent never had is zero anyway
    assert laid(Over(parent), sent.bytes(), None).new == rule(parent, sent, None)


def test_a_whole_segment_of_single_blocks() -> None:
    """The longest header there is, in pieces as the server sends them."""
    blocks = range(0, SEGMENT_PAGES, 2)
    header = struct.pack(f"<III{len(blocks)}I", MAGIC, len(blocks), SEGMENT_PAGES, *blocks)
    header += bytes(-len(header) % PAGE)
    size = len(header) + len(blocks) * PAGE
    over = Counting(SEGMENT_PAGES * PAGE)
    entry = Entry(path=PATH, size=size)
    increment = Increment(cast("Save", over), entry, size, None)
    stream = memoryview(bytes(32768))
    for start in range(0, len(header), 32768):
        increment.data(memoryview(header)[start : start + 32768])
    for _ in range(len(blocks) // 4):
        increment.data(stream)
    increment.end()
    assert over.pieces == len(blocks)
    assert over.length == len(blocks) * PAGE
    assert over.closed == SEGMENT_PAGES * PAGE


class Counting(Over):
    """Keeps no bytes, and says that the parent was as long as that."""

    def __init__(self, size: int) -> None:
        super().__init__(b"")
        self.long = size
        self.pieces = self.length = self.closed = 0

    def parent(self, path: str) -> Entry | None:
        return Entry(path=path, size=self.long)

    def at(self, offset: int, data: bytes | memoryview) -> None:
        assert offset % PAGE == 0
        self.pieces += 1
        self.length += len(data)

    def close(self) -> None:
        self.closed = self.size


GOOD = Sent(blocks=((1, "a"), (4, "b")), length=6)


def raw(*words: int, blocks: int = 0, padded: bool = True) -> bytes:
    header = struct.pack(f"<{len(words)}I", *words)
    return header + bytes(-len(header) % PAGE if padded else 0) + bytes(blocks * PAGE)


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"abc",
        raw(MAGIC ^ 1, 0, 5, padded=False),
        raw(0x0D1FAED3, 0, 5, padded=False),
        raw(MAGIC, 0, 5),  # padded, though there are no blocks
        raw(MAGIC, 1, 5, 0, blocks=1, padded=False),
        raw(MAGIC, 1, 5, 0, blocks=2),
        raw(MAGIC, 2, 5, 0, 1, blocks=1),
        raw(MAGIC, 2, 5, 3, 3, blocks=2),
        raw(MAGIC, 3, 5, 2, 4, 3, blocks=3),
        raw(MAGIC, 2, 5, 4, 0, blocks=2),
        raw(MAGIC, 1, 5, SEGMENT_PAGES, blocks=1),
        raw(MAGIC, 1, 5, 0xFFFFFFFF, blocks=1),
        raw(MAGIC, 0, SEGMENT_PAGES + 1, padded=False),
        raw(MAGIC, SEGMENT_PAGES + 1, 5, padded=False),
        raw(MAGIC, 0xFFFFFFFF, 0xFFFFFFFF, padded=False),
        GOOD.bytes()[:-1],
        GOOD.bytes() + b"\0",
    ],
    ids=lambda stream: f"{len(stream)}-{stream[:16].hex()}",
)
def test_what_is_no_increment_is_refused(stream: bytes) -> None:
    over = Over(bytes(8 * PAGE))
    with pytest.raises(PostgresError, match="changes of base/5/16384 can't be understood"):
        laid(over, stream, None, (5, 100))
    assert over.new is None


@given(st.binary(max_size=200), st.integers(0, 3 * PAGE), st.data())
def test_it_is_refused_or_understood_whatever_comes(
    junk: bytes, end: int, data: st.DataObject
) -> None:
    stream = bytearray(GOOD.bytes()[:end])
    at = data.draw(st.integers(0, min(len(stream), 40)))
    stream[at : at + len(junk)] = junk
    over = Over(bytes(8 * PAGE))
    try:
        laid(over, bytes(stream), None, (7, 50))
    except DrkitError:
        assert over.new is None
    else:
        assert over.new is not None


@pytest.mark.parametrize(("announced", "sent"), [(1, 0), (0, 1), (PAGE, 0), (0, PAGE)])
def test_as_many_bytes_come_as_were_announced(announced: int, sent: int) -> None:
    stream = GOOD.bytes()
    over = Over(bytes(8 * PAGE))
    entry = Entry(path=PATH, size=len(stream))
    increment = Increment(cast("Save", over), entry, len(stream) + announced, None)
    with pytest.raises(PostgresError):  # noqa: PT012  at the end, or before
        increment.data(memoryview(stream + bytes(sent)))
        increment.end()
    assert over.new is None


def test_changes_of_a_file_that_the_parent_lacks_are_no_base() -> None:
    over = Over(None)
    with pytest.raises(CantBuild, match="base/5/16384, which the last backup does not hold"):
        laid(over, GOOD.bytes(), None)
    assert over.new is None


@pytest.mark.pg
def test_a_cluster_equals_what_the_server_s_own_tool_builds(tmp_path: Path) -> None:
    """Without a relation that was cut: bit for bit, through a real repository."""
    host = new_host(MemoryStore(System().now), tmp_path / "state", kind="postgres-physical")
    settings = {"summarize_wal": "on", "wal_keep_size": "1GB"}
    with serving(tmp_path / "server", 18, **settings) as server:
        server.sql(
            "create table a (g int primary key, p text)",
            "create table b (like a including all)",
            "insert into a select g, repeat('a', 300) from generate_series(1, 9000) g",
            "insert into b select * from a",
            "create unlogged table c as select * from a",
            "vacuum (freeze)",
        )
        source = ClusterSource(server.dsn, tmp_path / "sent")
        host.back_up(source)
        for step in range(3):
            server.sql(
                f"update a set p = 'step {step}' where g % 97 = {step}",
                f"insert into b select {step + 1} * 10000 + g, 'new' from generate_series(1, 99) g",
                f"create table new{step} as select * from a where g < 500",
                "create database more strategy file_copy" if step == 1 else "select 1",
            )
            assert host.back_up(source).kind == "incremental"
        ours = host.written(tmp_path / "ours")
        theirs = contents(combined(source, server, 4))
    del theirs["backup_manifest"]
    assert ours.keys() == theirs.keys()
    assert [path for path in ours if ours[path] != theirs[path]] == []

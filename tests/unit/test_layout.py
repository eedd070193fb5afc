"""What a restore will write, in the order of the packs."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from drkit.model.entry import Entry
from drkit.repository.cache import Pack
from drkit.repository.layout import Layout, Load
from drkit.repository.lines import Places


def places(*packs_of_records: int) -> Places:
    """Record n (from 1) is in that pack, 1000 bytes long, at 500 times its number."""
    found = Places()
    for n, pack in enumerate(packs_of_records, 1):
        found.packs[pack] = Pack(id=pack, session="5" * 32, number=pack, size=1 << 20, sha256=b"")
        found.numbers.append(n)
        found.raw.append(1000)
        found.pack.append(pack)
        found.at.append(n * 500)
        found.stored.append(400)
        found.ids += bytes(16)
    return found


def file(path: str, *extents: int) -> Entry:
    return Entry(path=path, size=sum(extents[2::3]), extents=extents)


@contextmanager
def layout(entries: list[Entry], where: Places) -> Iterator[Layout]:
    made = Layout(iter(entries), lambda: where)
    try:
        yield made
    finally:
        made.close()


ENTRIES = [
    Entry(path="a", type="dir", mode=0o755),
    Entry(path="a/b", type="dir"),
    file("a/b/small", 2, 10, 20),
    file("a/empty"),
    file("a/hole", 0, 0, 5000),
    file("a/large", 3, 0, 1000, 0, 0, 300, 1, 100, 200),
    file("a/other", 2, 0, 10),
    file("a/two", 3, 0, 5, 3, 900, 5),
    Entry(path="z1", type="link", target="a/b"),
    Entry(path="z2", type="hardlink", target="a/two"),
    Entry(path="z3", type="fifo"),
]


def by_pack(loads: Iterator[Load]) -> dict[int, list[tuple[int, int, int, str, int, bool]]]:
    return {
        load.pack: [(p.i, p.offset, p.length, p.path, p.at, bool(p.entry)) for p in load.pieces]
        for load in loads
    }


def test_each_pack_is_one_load_in_its_order() -> None:
    with layout(ENTRIES, places(7, 7, 4)) as made:
        assert by_pack(made.loads(2)) == {
            4: [
                (2, 0, 1000, "a/large", 0, False),
                (2, 0, 5, "a/two", 0, False),
                (2, 900, 5, "a/two", 5, False),
            ],
            7: [
                (0, 100, 200, "a/large", 1300, False),
                (1, 0, 10, "a/other", 0, True),
                (1, 10, 20, "a/b/small", 0, True),
            ],
        }
        assert made.files == 6
        assert made.bytes == 1000 + 200 + 20 + 10 + 10


def test_folders_come_before_and_are_dressed_after_what_is_in_them() -> None:
    with layout(ENTRIES, places(7, 7, 4)) as made:
        assert [e.path for e in made.folders()] == ["a", "a/b"]
        assert [e.path for e in made.folders(deepest_first=True)] == ["a/b", "a"]
        assert next(made.folders()).mode == 0o755


def test_what_is_made_before_its_bytes_come() -> None:
    with layout(ENTRIES, places(7, 7, 4)) as made:
        assert [e.path for e in made.unwritten()] == ["a/empty", "a/hole", "a/large", "a/two"]
        assert [e.path for e in made.in_pieces()] == ["a/hole", "a/large", "a/two"]


def test_symbolic_links_are_the_last() -> None:
    with layout(ENTRIES, places(7, 7, 4)) as made:
        assert [e.type for e in made.links()] == ["fifo", "hardlink", "link"]


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
@pytest.mark.parametrize("packs", [0, 1, 2, 7, 50])
def test_no_pack_is_left_out_whatever_the_threads(threads: int, packs: int) -> None:
    where = places(*range(1, packs + 1))
    entries = [file(f"{n:04d}", n, 0, 100) for n in range(1, packs + 1)]
    with layout(entries, where) as made:
        loads = [load.pack for load in made.loads(threads)]
    assert sorted(loads) == list(range(1, packs + 1))


def test_more_entries_than_a_batch() -> None:
    entries = [file(f"{n:06d}", 1 + n % 3, n % 900, 7) for n in range(5000)]
    with layout(entries, places(1, 2, 3)) as made:
        pieces = [piece for load in made.loads(2) for piece in load.pieces]
    assert sorted(piece.path for piece in pieces) == [e.path for e in entries]
    assert all(piece.entry and piece.entry.path == piece.path for piece in pieces)

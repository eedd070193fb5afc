"""Pages compared with the parent's, against a model of bytes."""

from hypothesis import given
from hypothesis import strategies as st

from drkit.model.entry import ZEROS, Entry
from drkit.model.extents import total, triples
from drkit.repository.pages import PAGE, ROW, PageWriter
from drkit.repository.writers import Desk


class Paper:
    """A desk that keeps shared pieces in one long record."""

    id_key = b"i" * 32

    def __init__(self, before: "Paper | None" = None) -> None:
        self.record: bytearray = bytearray() if before is None else before.record
        self.entry: Entry | None = None if before is None else before.entry
        self.ids: bytes = b"" if before is None else before.ids
        self.stored = 0

    def parent(self, path: str) -> Entry | None:
        return self.entry

    def share(self, content: bytes | memoryview, size: int) -> tuple[int, int, int]:
        self.record += content
        self.stored += size
        return 1, len(self.record) - size, size

    def file(self, entry: Entry, extents: tuple[int, ...], size: int, mark: str) -> None:
        assert total(extents) == size
        self.entry = Entry(path=entry.path, size=size, extents=extents)

    def pages(self, path: str) -> bytes:
        return self.ids

    def set_pages(self, path: str, ids: bytes) -> None:
        self.ids = ids

    first_chunk = buffer = give_back = small = chunk = plain = None

    @property
    def content(self) -> bytes:
        assert self.entry is not None
        return b"".join(
            bytes(length) if record == ZEROS else bytes(self.record[at : at + length])
            for record, at, length in triples(self.entry.extents)
        )


def written(before: Paper | None, content: bytes, cuts: list[int]) -> Paper:
    desk = Paper(before)
    as_desk: Desk = desk  # type: ignore[assignment]  # it has all that pages need
    writer = PageWriter(as_desk, Entry(path="x"), "")
    at = 0
    for length in cuts:
        lent = bytearray(content[at : at + length])
        writer.write(memoryview(lent))
        lent[:] = bytes(len(lent))
        at += length
    if at < len(content):
        writer.write(content[at:])
    writer.close()
    return desk


def page(n: int) -> bytes:
    return bytes([n]) * PAGE if n else bytes(PAGE)


# Few kinds of pages, so that equal ones stand in many places; a tail of any length.
contents = st.tuples(st.lists(st.integers(0, 3), max_size=14), st.integers(0, PAGE - 1)).map(
    lambda drawn: b"".join(map(page, drawn[0])) + b"t" * drawn[1]
)
cuts = st.lists(st.sampled_from([1, 100, PAGE, ROW - 1, ROW, ROW + 1, 3 * ROW]), max_size=8)


@given(st.lists(st.tuples(contents, cuts), min_size=1, max_size=4))
def test_each_version_is_what_was_written(versions: list[tuple[bytes, list[int]]]) -> None:
    desk: Paper | None = None
    for content, parts in versions:
        desk = written(desk, content, parts)
        assert desk.content == content


@given(contents, contents, cuts)
def test_only_pages_that_differ_are_stored(old: bytes, new: bytes, parts: list[int]) -> None:
    desk = written(written(None, old, []), new, parts)
    changed = sum(
        len(new[at : at + PAGE])
        for at in range(0, len(new), PAGE)
        if new[at : at + PAGE] != old[at : at + PAGE]
    )
    assert desk.stored == changed


@given(contents, cuts)
def test_the_same_again_stores_nothing(content: bytes, parts: list[int]) -> None:
    assert written(written(None, content, parts), content, parts[::-1]).stored == 0


def test_ids_without_a_parent_are_not_believed() -> None:
    desk = written(None, page(1) * 4, [])
    desk.entry = None
    again = written(desk, page(1) * 4, [])
    assert again.stored == 4 * PAGE
    assert again.content == page(1) * 4


def test_zeros_written_as_a_hole_read_as_zeros() -> None:
    desk = Paper()
    as_desk: Desk = desk  # type: ignore[assignment]
    writer = PageWriter(as_desk, Entry(path="x"), "")
    writer.write(b"a" * 100)
    writer.zero(5 * ROW)
    writer.write(b"b")
    writer.close()
    assert desk.content == b"a" * 100 + bytes(5 * ROW) + b"b"

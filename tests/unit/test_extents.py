"""Changes laid over a parent, against the same done on bytes."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drkit.model.entry import ZEROS
from drkit.model.extents import Change, append, splice, total, triples

RECORDS = {n: bytes((n * 37 + i * 11) % 251 + 1 for i in range(40)) for n in range(1, 6)}


def content(extents: Sequence[int]) -> bytes:
    parts = (
        bytes(length) if record == ZEROS else RECORDS[record][at : at + length]
        for record, at, length in triples(extents)
    )
    return b"".join(parts)


@st.composite
def places(draw: st.DrawFn, longest: int = 12) -> tuple[int, int, int]:
    record = draw(st.integers(0, 5))
    length = draw(st.integers(1, longest))
    return record, 0 if record == ZEROS else draw(st.integers(0, 40 - length)), length


@st.composite
def lists(draw: st.DrawFn) -> tuple[int, ...]:
    extents: list[int] = []
    for place in draw(st.lists(places(), max_size=8)):
        append(extents, *place)
    return tuple(extents)


@st.composite
def changes(draw: st.DrawFn) -> tuple[list[Change], int]:
    """In any order, touching or apart, and a size that holds them all."""
    found, at = [], 0
    for _ in range(draw(st.integers(0, 6))):
        offset = at + draw(st.integers(0, 15))
        record, start, length = draw(places())
        found.append(Change(offset=offset, length=length, record=record, at=start))
        at = offset + length
    size = at + draw(st.integers(0, 60))
    return list(draw(st.permutations(found))), size


@given(lists(), changes())
def test_a_splice_equals_the_same_on_bytes(
    parent: tuple[int, ...], given: tuple[list[Change], int]
) -> None:
    over, size = given
    expected = bytearray(content(parent)[:size].ljust(size, b"\0"))
    for change in over:
        one = (change.record, change.at, change.length)
        expected[change.offset : change.offset + change.length] = content(one)
    result = splice(parent, over, size)
    assert content(result) == bytes(expected)
    assert total(result) == size


@given(lists(), changes())
def test_no_extent_could_be_joined_to_the_one_before(
    parent: tuple[int, ...], given: tuple[list[Change], int]
) -> None:
    result = list(triples(splice(parent, *given)))
    assert all(length > 0 for _, _, length in result)
    for (a, at, length), (b, next_at, _) in itertools.pairwise(result):
        assert a != b or (a != ZEROS and at + length != next_at)


@given(lists())
def test_without_changes_it_is_the_parent(parent: tuple[int, ...]) -> None:
    assert splice(parent, (), total(parent)) == parent


@given(lists(), changes(), changes())
def test_splices_follow_one_another(
    parent: tuple[int, ...], first: tuple[list[Change], int], second: tuple[list[Change], int]
) -> None:
    once = splice(parent, *first)
    expected = bytearray(content(once)[: second[1]].ljust(second[1], b"\0"))
    for change in second[0]:
        one = (change.record, change.at, change.length)
        expected[change.offset : change.offset + change.length] = content(one)
    assert content(splice(once, *second)) == bytes(expected)


@pytest.mark.parametrize(
    ("over", "size"),
    [
        ([(0, 5), (4, 2)], 10),
        ([(3, 2), (3, 1)], 10),
        ([(8, 3)], 10),
        ([(-1, 2)], 10),
    ],
)
def test_changes_that_overlap_or_pass_the_end_are_a_bug(
    over: list[tuple[int, int]], size: int
) -> None:
    given = [Change(offset=offset, length=length, record=1, at=0) for offset, length in over]
    with pytest.raises(ValueError, match="overlap or pass the end"):
        splice((1, 0, 10), given, size)


def test_a_huge_hole_is_one_extent() -> None:
    change = Change(offset=(1 << 50) - 1, length=1, record=1, at=0)
    assert splice((), [change], 1 << 50) == (ZEROS, 0, (1 << 50) - 1, 1, 0, 1)

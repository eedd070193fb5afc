"""Where content is cut: by a key, within limits, the same again."""

import pytest

from drkit.repository.chunker import MINIMUM, Chunker
from drkit.repository.format import RECORD
from tests.fixtures.trees import noise

DATA = noise(8 << 20)


def cuts(chunker: Chunker, data: bytes) -> list[int]:
    view, found = memoryview(data), []
    while view:
        length = chunker.first(view[:RECORD])
        found.append(length)
        view = view[length:]
    return found


def test_chunks_are_within_limits_and_make_up_the_whole() -> None:
    found = cuts(Chunker(b"k" * 32), DATA)
    assert sum(found) == len(DATA)
    assert max(found) <= RECORD
    assert min(found[:-1]) >= MINIMUM
    assert 250_000 < len(DATA) / len(found) < 600_000


@pytest.mark.parametrize("size", [0, 1, MINIMUM - 1, MINIMUM])
def test_what_is_short_stays_whole(size: int) -> None:
    assert Chunker(b"k" * 32).first(memoryview(DATA)[:size]) == size


def test_what_has_no_features_is_cut_at_the_limit() -> None:
    assert cuts(Chunker(b"k" * 32), bytes(3 << 20)) == [RECORD] * 3


def test_the_key_decides_and_only_the_key() -> None:
    """Else the lengths of chunks would tell which public file was backed up."""
    one, again, other = (cuts(Chunker(key * 32), DATA) for key in (b"a", b"a", b"b"))
    assert one == again
    assert one != other
    assert len(set(one) & set(other)) < len(one) / 2


def test_a_key_of_zeros_is_a_key() -> None:
    assert sum(cuts(Chunker(bytes(32)), DATA)) == len(DATA)

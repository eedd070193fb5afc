"""The frame of packs and manifests: sizes, limits, and everything that can be cut or swapped."""

import itertools
import struct
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from drkit.crypto.seal import CONTENTS, DATA, MANIFEST, Opener, Sealer
from drkit.errors import Damaged
from drkit.repository.format import (
    END_MAGIC,
    ENVELOPE_LIMIT,
    HEAD,
    MANIFEST_MAGIC,
    PACK_MAGIC,
    RECORD,
    RECORD_STORED,
    ROW,
    SEALED_MORE,
    TAIL,
    Row,
    contents_id,
    decode_rows,
    encode_rows,
    padme,
)
from drkit.repository.frame import envelope_of, rows_of, split_keys, unpack
from drkit.repository.pack import PackWriter, discard, staging_buffer

KEY, REPOSITORY, DOMAIN = b"k" * 32, b"r" * 16, b"d" * 16
SESSION = "5" * 32
OPENER = Opener(KEY, REPOSITORY, DOMAIN)


# Padding.


@given(st.integers(0, 1 << 50))
def test_padding_is_at_most_12_percent_and_never_less(size: int) -> None:
    assert size <= padme(size) <= size + size * 12 // 100


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_padding_keeps_the_order(one: int, other: int) -> None:
    assert (padme(one) <= padme(other)) or one > other


@given(st.integers(0, 1 << 50))
def test_padding_what_is_padded_changes_nothing(size: int) -> None:
    assert padme(padme(size)) == padme(size)


def test_few_sizes_are_left() -> None:
    mib = 1 << 20
    sizes = {padme(size) for size in range(mib, 2 * mib, 97)}
    assert len(sizes) <= 33
    assert padme(32 * mib) == 32 * mib


# Rows.

rows = st.lists(
    st.builds(
        Row,
        kind=st.integers(0, 255),
        id=st.binary(min_size=16, max_size=16),
        raw=st.integers(0, RECORD),
        offset=st.integers(0, 1 << 40),
        stored=st.integers(0, RECORD_STORED),
    )
)


@given(rows)
def test_rows_lead_back_to_themselves(found: list[Row]) -> None:
    assert decode_rows(encode_rows(found), 1 << 41) == found


@pytest.mark.parametrize(
    "row",
    [
        Row(kind=DATA, id=bytes(16), raw=RECORD + 1, offset=0, stored=10),
        Row(kind=DATA, id=bytes(16), raw=10, offset=0, stored=RECORD_STORED + 1),
        Row(kind=DATA, id=bytes(16), raw=10, offset=91, stored=10),
        Row(kind=DATA, id=bytes(16), raw=10, offset=(1 << 64) - 5, stored=10),
    ],
)
def test_a_row_beyond_its_limits_is_damage(row: Row) -> None:
    with pytest.raises(Damaged, match="limits"):
        decode_rows(encode_rows([row]), 100 if row.stored == 10 else 1 << 30)


def test_half_a_row_is_damage() -> None:
    with pytest.raises(Damaged, match="broken row"):
        decode_rows(bytes(ROW.size + 1), 1 << 30)


# Heads.


def test_an_envelope_is_what_the_head_says() -> None:
    data = HEAD.pack(PACK_MAGIC, 5) + b"agefile" + bytes(100)
    assert envelope_of(data, PACK_MAGIC) == b"agefi"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HEAD.pack(PACK_MAGIC, 5)[:-1],
        HEAD.pack(PACK_MAGIC, 5) + b"agef",
        HEAD.pack(MANIFEST_MAGIC, 5) + b"agefile",
        HEAD.pack(PACK_MAGIC, ENVELOPE_LIMIT + 1) + bytes(ENVELOPE_LIMIT + 1),
        HEAD.pack(PACK_MAGIC, (1 << 32) - 1) + bytes(100),
    ],
)
def test_a_head_that_cannot_be_is_damage(data: bytes) -> None:
    with pytest.raises(Damaged, match="head"):
        envelope_of(data, PACK_MAGIC)


@pytest.mark.parametrize("length", [0, 63, 65, 32])
def test_an_envelope_holds_two_keys(length: int) -> None:
    with pytest.raises(Damaged, match="two keys"):
        split_keys(bytes(length))
    keys = split_keys(b"s" * 32 + b"i" * 32)
    assert (keys.session_key, keys.id_key) == (b"s" * 32, b"i" * 32)


# Whole objects.


def whole(folder: Path) -> bytes:
    pack = PackWriter(
        session=SESSION,
        magic=PACK_MAGIC,
        envelope=b"an envelope",
        sealer=Sealer(KEY, REPOSITORY, DOMAIN),
        folder=folder,
        compressor=zstandard.ZstdCompressor(level=3),
        staging=staging_buffer(),
    )
    for number in range(1, 4):
        pack.add(number, DATA, bytes([number]) * 16, number.to_bytes(12), b"content %d" % number)
    finished = pack.finish(bytes(12))
    data = b"".join(finished.body.pieces())
    discard(finished)
    return data


def test_a_table_of_contents_opens_for_its_session_only(tmp_path: Path) -> None:
    data = whole(tmp_path)
    assert [row.id[0] for row in rows_of(data, SESSION, OPENER)] == [1, 2, 3]
    with pytest.raises(Damaged):
        rows_of(data, "6" * 32, OPENER)
    for other in (
        Opener(b"K" * 32, REPOSITORY, DOMAIN),
        Opener(KEY, b"R" * 16, DOMAIN),
        Opener(KEY, REPOSITORY, b"D" * 16),
    ):
        with pytest.raises(Damaged):
            rows_of(data, SESSION, other)


def test_a_pack_cut_anywhere_is_damage(tmp_path: Path) -> None:
    data = whole(tmp_path)
    for size in range(len(data)):
        with pytest.raises(Damaged):
            rows_of(data[:size], SESSION, OPENER)


def test_no_bit_of_contents_or_trailer_may_flip(tmp_path: Path) -> None:
    data = bytearray(whole(tmp_path))
    length = TAIL.unpack_from(data, len(data) - TAIL.size)[0]
    for at in range(len(data) - TAIL.size - length, len(data)):
        data[at] ^= 1
        with pytest.raises(Damaged):
            rows_of(bytes(data), SESSION, OPENER)
        data[at] ^= 1


@pytest.mark.parametrize("length", [0, SEALED_MORE - 1, 10_000, (1 << 32) - 1])
def test_a_trailer_that_cannot_be_is_damage(length: int) -> None:
    data = HEAD.pack(PACK_MAGIC, 0) + bytes(100) + TAIL.pack(length, END_MAGIC)
    with pytest.raises(Damaged):
        rows_of(data, SESSION, OPENER)


def test_contents_that_are_a_bomb_do_not_unfold() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(600 << 20))
    sealed = bytearray(len(bomb) + SEALED_MORE)
    Sealer(KEY, REPOSITORY, DOMAIN).seal_into(
        CONTENTS, contents_id(SESSION), bytes(12), bomb, memoryview(sealed)
    )
    data = HEAD.pack(PACK_MAGIC, 0) + sealed + TAIL.pack(len(sealed), END_MAGIC)
    with pytest.raises(Damaged, match="unfolds to more"):
        rows_of(data, SESSION, OPENER)


# Frames of zstd.


def packed(data: bytes) -> memoryview:
    return memoryview(zstandard.ZstdCompressor().compress(data))


@given(st.binary(max_size=2000))
def test_a_frame_unfolds_to_what_it_was(data: bytes) -> None:
    assert unpack(packed(data), len(data)) == data
    assert unpack(packed(data), len(data) + 1) == data


@given(st.binary(min_size=1, max_size=2000))
def test_a_frame_longer_than_its_record_does_not_unfold(data: bytes) -> None:
    with pytest.raises(Damaged, match="more than its length"):
        unpack(packed(data), len(data) - 1)


def test_a_frame_that_hides_its_size_does_not_unfold() -> None:
    silent = zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 1000)
    with pytest.raises(Damaged, match="more than its length"):
        unpack(memoryview(silent), RECORD)


def test_a_frame_that_lies_about_its_size_is_damage() -> None:
    """Declared 100 bytes, holds a hundred mebibytes."""
    bomb = bytearray(zstandard.ZstdCompressor().compress(bytes(100 << 20)))
    field = bomb.index(struct.pack("<I", 100 << 20))
    bomb[field : field + 4] = struct.pack("<I", 100)
    with pytest.raises(Damaged):
        unpack(memoryview(bomb), RECORD)
    less = bytearray(zstandard.ZstdCompressor().compress(b"x" * 100_000))
    field = less.index(struct.pack("<I", 100_000))
    less[field : field + 4] = struct.pack("<I", 100_001)
    with pytest.raises(Damaged):
        unpack(memoryview(less), RECORD)


@pytest.mark.parametrize("data", [b"", b"x", b"\x28\xb5\x2f\xfd", b"no frame at all" * 10])
def test_what_is_no_frame_is_damage(data: bytes) -> None:
    with pytest.raises(Damaged):
        unpack(memoryview(data), RECORD)


@given(st.binary(min_size=10, max_size=500), st.data())
def test_a_broken_frame_is_damage_or_other_bytes_never_more(
    data: bytes, draw: st.DataObject
) -> None:
    frame = bytearray(packed(data))
    at = draw.draw(st.integers(0, len(frame) - 1))
    frame[at] ^= draw.draw(st.integers(1, 255))
    try:
        out = unpack(memoryview(frame), 500)
    except Damaged:
        return
    assert len(out) <= 500


def test_kinds_of_records_are_not_taken_for_one_another(tmp_path: Path) -> None:
    data = whole(tmp_path)
    row = rows_of(data, SESSION, OPENER)[0]
    sealed, out = memoryview(data)[row.offset : row.offset + row.stored], bytearray(100)
    assert OPENER.open_into(DATA, row.id, sealed, memoryview(out))
    for kind, id in itertools.product((CONTENTS, MANIFEST), (row.id, bytes(16))):
        with pytest.raises(Damaged):
            OPENER.open_into(kind, id, sealed, memoryview(out))

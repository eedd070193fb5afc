import hashlib
import hmac
import struct
from dataclasses import replace
from itertools import count

import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from drkit.crypto.recipients import new_identity, seal_envelope
from drkit.crypto.seal import MORE, WAL, Sealer
from drkit.crypto.sign import new_signer
from drkit.errors import Damaged, KeyMissing
from drkit.repository import names
from drkit.repository.format import RECORD
from drkit.repository.walobject import (
    LARGEST,
    Hand,
    Header,
    Part,
    Place,
    decode,
    encode,
    join_pieces,
    read_header,
    tag_of,
)

R, D = "a" * 32, "b" * 32
SEGMENT = "00000002000000000000000A"
MIB = 1 << 20
KEY, OTHER = new_signer(b"s" * 32), new_signer(b"t" * 32)
IDENTITY, STRANGER = new_identity(), new_identity()
SESSION_KEY = b"k" * 32
ENVELOPE = seal_envelope(SESSION_KEY, [IDENTITY.recipient])
HEAD = ("c" * 32, "d" * 64)
HEADER = struct.Struct("<IIII16s16s32s64sI")


def hand(**changes: object) -> Hand:
    numbers = count(1)
    made = Hand(
        key=KEY,
        session_key=SESSION_KEY,
        envelope=ENVELOPE,
        random_bytes=lambda n: next(numbers).to_bytes(n, "big"),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def whole(data: bytes, file: str = SEGMENT) -> tuple[Part, Place]:
    part = Part(file=file, start=0, end=len(data), size=len(data))
    return part, Place(repository=R, domain=D, name=names.wal_file(D, file))


def piece(start: int, end: int, size: int) -> tuple[Part, Place]:
    part = Part(file=SEGMENT, start=start, end=end, size=size, head=HEAD)
    return part, Place(repository=R, domain=D, name=names.wal_piece(D, SEGMENT, start, end))


def resigned(data: bytes, place: Place) -> bytes:
    """What a writer with the key could make of changed bytes."""
    name = place.name.encode()
    words = bytes.fromhex(R + D) + struct.pack("<H", len(name)) + name
    return data[:8] + KEY.sign("wal", words + hashlib.sha256(data[72:]).digest()) + data[72:]


SMALL = b"some WAL " * 10
PART, PLACE = whole(SMALL)
OBJECT = encode(PART, SMALL, PLACE, hand())


@pytest.mark.parametrize("size", [1, MIB - 1, MIB, MIB + 1, 2 * MIB, 2 * MIB + 777])
def test_a_segment_is_read_back(size: int) -> None:
    data = (b"%08d" % size) * (size // 8 + 1)
    data = data[:size]
    part, place = whole(data)
    header, got = decode(encode(part, data, place, hand()), place, [IDENTITY])
    assert got == data
    assert header == Header(part=part, tag=tag_of(KEY, D, SEGMENT, data), signer=KEY.public)


def test_a_segment_of_64_mib() -> None:
    data = bytes(64 * MIB)
    part, place = whole(data)
    header, got = decode(encode(part, data, place, hand(level=1)), place, [IDENTITY])
    assert got == data
    assert header.part.size == 64 * MIB


@pytest.mark.parametrize(
    "file",
    ["00000002.history", SEGMENT + ".partial", SEGMENT + ".00000028.backup"],
)
def test_other_files_of_the_archive(file: str) -> None:
    part, place = whole(SMALL, file)
    header, got = decode(encode(part, SMALL, place, hand()), place, [IDENTITY])
    assert (header.part.file, header.part.timeline, got) == (file, 2, SMALL)


def test_a_piece_is_read_back_with_the_head_it_saw() -> None:
    data = b"p" * 5000
    part, place = piece(8192, 13192, 16 * MIB)
    header, got = decode(encode(part, data, place, hand()), place, [IDENTITY])
    assert (header.part, got) == (part, data)
    assert header.part.head == HEAD


@given(st.binary(min_size=1, max_size=5000), st.integers(0, 2**20), st.integers(0, 2**20))
@settings(max_examples=50, deadline=None)
def test_any_piece_is_read_back(data: bytes, start: int, more: int) -> None:
    end = start + len(data)
    part, place = piece(start, end, end + more)
    assert decode(encode(part, data, place, hand()), place, [IDENTITY])[1] == data


def test_the_bytes_are_those_of_the_format() -> None:
    data, rest = OBJECT, OBJECT[72:]
    assert data[:8] == b"DRKITW1\n"
    name = PLACE.name.encode()
    signed = bytes.fromhex(R + D) + struct.pack("<H", len(name)) + name
    signed += hashlib.sha256(rest).digest()
    verifier = Ed25519PublicKey.from_public_bytes(rest[:32])
    verifier.verify(data[8:72], b"drkit1 wal\0" + signed)
    wal_key = hmac.digest(b"s" * 32, b"drkit1 wal key\0" + bytes.fromhex(D), "sha256")
    tag = hmac.digest(wal_key, SEGMENT.encode() + SMALL, "sha256")[:16]
    file = SEGMENT.encode().ljust(64, b"\0")
    header = (2, 0, 90, 90, tag, bytes(16), bytes(32), file, len(ENVELOPE))
    assert HEADER.unpack_from(rest, 32) == header
    at = 32 + HEADER.size
    assert rest[at : at + len(ENVELOPE)] == ENVELOPE
    sealed = rest[at + len(ENVELOPE) + 4 :]
    assert struct.unpack_from("<I", rest, at + len(ENVELOPE)) == (len(sealed),)
    id = struct.pack("<QB7x", 0, 1)
    key = hmac.digest(SESSION_KEY, b"\x04" + id, "sha256")
    words = b"DRKIT1" + bytes.fromhex(R + D) + b"\x04" + id + struct.pack("<III64s", 2, 0, 90, file)
    plain = AESGCM(key).decrypt(sealed[:12], sealed[12:], words)
    assert zstandard.ZstdDecompressor().decompress(plain) == SMALL


def test_the_same_is_told_from_other_bytes_by_its_writer_alone() -> None:
    assert tag_of(KEY, D, SEGMENT, SMALL) == tag_of(KEY, D, SEGMENT, memoryview(SMALL))
    tags = {
        tag_of(KEY, D, SEGMENT, SMALL),
        tag_of(KEY, D, SEGMENT, SMALL[:-1]),
        tag_of(KEY, D, SEGMENT[:-1] + "B", SMALL),
        tag_of(KEY, R, SEGMENT, SMALL),
        tag_of(OTHER, D, SEGMENT, SMALL),
    }
    assert len(tags) == 5


def test_every_flip_and_cut_is_damage() -> None:
    for at in range(len(OBJECT)):
        flipped = bytearray(OBJECT)
        flipped[at] ^= 0x21
        for wrong in (bytes(flipped), OBJECT[:at]):
            with pytest.raises(Damaged):
                read_header(wrong, PLACE)
            with pytest.raises(Damaged):
                decode(wrong, PLACE, [IDENTITY])
    with pytest.raises(Damaged):
        read_header(OBJECT + b"\0", PLACE)


def test_every_flip_and_cut_is_damage_even_when_signed_again() -> None:
    """The records and the header stand without the signature, too; an envelope may look foreign."""
    envelope = range(72 + 32 + HEADER.size, 72 + 32 + HEADER.size + len(ENVELOPE))
    head = range(72 + 32 + 32, 72 + 32 + 80)
    for at in range(72, len(OBJECT)):
        flipped = bytearray(OBJECT)
        flipped[at] ^= 0x21
        wrong = [resigned(OBJECT[:at], PLACE)]
        if at not in head and not 88 + 32 <= at < 88 + 48:
            wrong.append(resigned(bytes(flipped), PLACE))
        for data in wrong:
            with pytest.raises((Damaged, KeyMissing) if at in envelope else Damaged):
                decode(data, PLACE, [IDENTITY])
    with pytest.raises(Damaged, match="goes on behind"):
        decode(resigned(OBJECT + b"\0", PLACE), PLACE, [IDENTITY])


def test_a_wrong_identity_is_told_whose_it_is() -> None:
    with pytest.raises(KeyMissing, match="sealed to age1"):
        decode(OBJECT, PLACE, [STRANGER], [IDENTITY.recipient.fingerprint])


@pytest.mark.parametrize(
    "place",
    [
        replace(PLACE, repository="f" * 32),
        replace(PLACE, domain="f" * 32),
        replace(PLACE, name=names.wal_file("f" * 32, SEGMENT)),
        replace(PLACE, name=names.wal_file(D, SEGMENT[:-1] + "B")),
        replace(PLACE, name=names.wal_file(D, SEGMENT, "0" * 32)),
        replace(PLACE, name=names.wal_piece(D, SEGMENT, 0, 80)),
    ],
)
def test_elsewhere_it_is_swapped(place: Place) -> None:
    with pytest.raises(Damaged, match="damaged or swapped"):
        read_header(OBJECT, place)
    with pytest.raises(Damaged):
        decode(resigned(OBJECT, place), place, [IDENTITY])


def test_a_segment_by_another_key_carries_its_tag_in_its_name() -> None:
    tag = tag_of(OTHER, D, SEGMENT, SMALL).hex()
    for name in (names.wal_file(D, SEGMENT, tag), names.wal_conflict(D, SEGMENT, tag)):
        place = replace(PLACE, name=name)
        data = encode(PART, SMALL, place, hand(key=OTHER))
        assert decode(data, place, [IDENTITY])[1] == SMALL
        assert read_header(data, place).signer == OTHER.public


@pytest.mark.parametrize(
    ("part", "data"),
    [
        (replace(PART, file="pg_wal"), SMALL),
        (replace(PART, file="0" * 24), SMALL),
        (replace(PART, start=1), SMALL[1:]),
        (PART, SMALL[1:]),
        (replace(PART, end=0, size=0), b""),
        (replace(PART, size=LARGEST + 1), SMALL),
        (replace(PART, size=10), SMALL),
    ],
)
def test_what_cannot_be_is_never_put(part: Part, data: bytes) -> None:
    with pytest.raises(ValueError, match="doesn't describe"):
        encode(part, data, PLACE, hand())


def with_header(**changes: int | bytes) -> bytes:
    fields = ["timeline", "start", "end", "size", "tag", "generation", "hash", "file", "envelope"]
    values = dict(zip(fields, HEADER.unpack_from(OBJECT, 104), strict=True)) | changes
    return OBJECT[:104] + HEADER.pack(*values.values()) + OBJECT[104 + HEADER.size :]


@pytest.mark.parametrize(
    "changes",
    [
        {"timeline": 3},
        {"start": 1},
        {"start": 90},
        {"end": 91},
        {"end": 89},
        {"size": 91},
        {"end": LARGEST, "size": LARGEST},
        {"end": 2**32 - 1, "size": 2**32 - 1},
        {"end": 0, "size": 0},
        {"file": b"\xff" * 64},
        {"file": b""},
        {"file": b"\0" + SEGMENT.encode()},
        {"envelope": 0},
        {"envelope": 70000},
        {"envelope": 2**32 - 1},
        {"envelope": len(ENVELOPE) - 1},
    ],
)
def test_headers_that_lie_are_damage(changes: dict[str, int]) -> None:
    with pytest.raises(Damaged):
        decode(resigned(with_header(**changes), PLACE), PLACE, [IDENTITY])


def with_plain(plain: bytes, *, envelope: bytes = ENVELOPE, length: int | None = None) -> bytes:
    """The object with another sealed content, everything else in order."""
    file = SEGMENT.encode()
    more = struct.pack("<III64s", 2, 0, 90, file)
    sealed = bytearray(len(plain) + MORE)
    sealer = Sealer(SESSION_KEY, bytes.fromhex(R), bytes.fromhex(D), more)
    sealer.seal_into(WAL, struct.pack("<QB7x", 0, 1), bytes(12), plain, memoryview(sealed))
    count = struct.pack("<I", len(sealed) if length is None else length)
    head = with_header(envelope=len(envelope))[: 104 + HEADER.size]
    return resigned(head + envelope + count + sealed, PLACE)


ZSTD = zstandard.ZstdCompressor()


@pytest.mark.parametrize(
    "plain",
    [
        ZSTD.compress(SMALL[:-1]),
        ZSTD.compress(SMALL + b"x"),
        ZSTD.compress(bytes(200 * MIB)),
        ZSTD.compress(SMALL)[:-1],
        zstandard.ZstdCompressor(write_content_size=False).compress(SMALL),
        b"",
        b"not zstd at all",
    ],
)
def test_a_record_that_unfolds_to_something_else_is_damage(plain: bytes) -> None:
    assert decode(with_plain(ZSTD.compress(SMALL)), PLACE, [IDENTITY])[1] == SMALL
    with pytest.raises(Damaged):
        decode(with_plain(plain), PLACE, [IDENTITY])


@pytest.mark.parametrize("length", [0, 28, 2**32 - 1])
def test_record_lengths_that_lie_are_damage(length: int) -> None:
    with pytest.raises(Damaged):
        decode(with_plain(ZSTD.compress(SMALL), length=length), PLACE, [IDENTITY])


def test_an_envelope_holds_one_key() -> None:
    envelope = seal_envelope(SESSION_KEY * 2, [IDENTITY.recipient])
    with pytest.raises(Damaged, match="doesn't hold a session key"):
        decode(with_plain(ZSTD.compress(SMALL), envelope=envelope), PLACE, [IDENTITY])


def test_records_left_out_or_in_another_order_are_damage() -> None:
    data = bytes(RECORD) + b"1" * RECORD + b"2" * RECORD
    part, place = whole(data)
    made = encode(part, data, place, hand())
    at = 104 + HEADER.size + len(ENVELOPE)
    records = []
    while at < len(made):
        (length,) = struct.unpack_from("<I", made, at)
        records.append(made[at : at + 4 + length])
        at += 4 + length
    head = made[: 104 + HEADER.size + len(ENVELOPE)]
    assert decode(head + b"".join(records), place, [IDENTITY])[1] == data
    first, second, third = records
    for wrong in ((first, second), (second, first, third), (first, third), (first, first, third)):
        with pytest.raises(Damaged):
            decode(resigned(head + b"".join(wrong), place), place, [IDENTITY])


# pieces


def test_pieces_are_joined_from_the_beginning() -> None:
    assert join_pieces(10, [(3, b"de"), (0, b"abc")]) == (b"abcde" + bytes(5), 5)
    assert join_pieces(5, [(0, b"abcde")]) == (b"abcde", 5)
    assert join_pieces(5, []) == (bytes(5), 0)


def test_of_overlapping_pieces_the_longest_reach_counts() -> None:
    pieces = [(0, b"abc"), (0, b"abcdef"), (1, b"bc"), (2, b"cdefgh"), (4, b"e")]
    assert join_pieces(9, pieces) == (b"abcdefgh\0", 8)
    assert join_pieces(9, reversed(pieces)) == (b"abcdefgh\0", 8)


def test_behind_a_hole_nothing_counts() -> None:
    assert join_pieces(9, [(0, b"abc"), (4, b"efg")]) == (b"abc" + bytes(6), 3)
    assert join_pieces(9, [(1, b"abc")]) == (bytes(9), 0)


def test_pieces_that_differ_or_reach_too_far_are_damage() -> None:
    with pytest.raises(Damaged, match="different bytes between 1 and 3"):
        join_pieces(9, [(0, b"abc"), (1, b"bXd")])
    with pytest.raises(Damaged, match="ends at 6, beyond its segment of 5"):
        join_pieces(5, [(0, b"abcdef")])


@given(st.binary(max_size=60), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60))))
def test_joined_pieces_are_the_bytes_they_were_cut_from(
    data: bytes, cuts: list[tuple[int, int]]
) -> None:
    pieces = [(a, data[a:b]) for a, b in cuts if a < b <= len(data)]
    segment, reach = join_pieces(len(data), pieces)
    assert segment == data[:reach] + bytes(len(data) - reach)
    covered = {at for start, piece in pieces for at in range(start, start + len(piece))}
    assert reach == next(at for at in range(len(data) + 1) if at not in covered)

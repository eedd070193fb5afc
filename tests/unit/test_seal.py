import hashlib
import hmac

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from drkit.crypto.seal import (
    CONTENTS,
    DATA,
    KINDS,
    MANIFEST,
    MORE,
    WAL,
    Opener,
    Sealer,
    aad,
    record_id,
    record_key,
)
from drkit.errors import Damaged

KEY, REPOSITORY, DOMAIN = b"k" * 32, b"r" * 16, b"d" * 16
ID, NONCE = bytes(range(16)), b"n" * 12


def sealed(data: bytes, kind: int = DATA, id: bytes = ID, more: bytes = b"") -> bytes:
    out = bytearray(len(data) + MORE)
    sealer = Sealer(KEY, REPOSITORY, DOMAIN, more)
    assert sealer.seal_into(kind, id, NONCE, data, memoryview(out)) == len(out)
    return bytes(out)


def opened(data: bytes, kind: int = DATA, id: bytes = ID, opener: Opener | None = None) -> bytes:
    out = bytearray(len(data) + 10)
    opener = opener or Opener(KEY, REPOSITORY, DOMAIN)
    got = opener.open_into(kind, id, memoryview(data), memoryview(out))
    return bytes(out[:got])


def test_the_bytes_are_those_of_the_format() -> None:
    assert (DATA, CONTENTS, MANIFEST, WAL) == KINDS == (1, 2, 3, 4)
    key = hmac.new(KEY, b"\x03" + ID, hashlib.sha256).digest()
    assert record_key(KEY, MANIFEST, ID) == key
    words = b"DRKIT1" + REPOSITORY + DOMAIN + b"\x03" + ID
    assert aad(REPOSITORY, DOMAIN, MANIFEST, ID) == words
    expected = NONCE + AESGCM(key).encrypt(NONCE, b"hello", words)
    assert sealed(b"hello", MANIFEST) == expected
    more = NONCE + AESGCM(key).encrypt(NONCE, b"hello", words + b"more")
    assert sealed(b"hello", MANIFEST, more=b"more") == more


def test_a_record_id_is_the_keyed_hash() -> None:
    assert record_id(KEY, b"hello") == blake3(b"hello", key=KEY).digest()[:16]
    assert record_id(KEY, memoryview(bytearray(b"hello"))) == record_id(KEY, b"hello")
    assert record_id(b"x" * 32, b"hello") != record_id(KEY, b"hello")


@given(st.binary(max_size=5000), st.sampled_from(KINDS), st.binary(min_size=16, max_size=16))
def test_what_was_sealed_opens(data: bytes, kind: int, id: bytes) -> None:
    assert opened(sealed(data, kind, id), kind, id) == data


def test_sealing_writes_only_its_bytes() -> None:
    out = bytearray(b"." * 64)
    Sealer(KEY, REPOSITORY, DOMAIN).seal_into(DATA, ID, NONCE, b"hello", memoryview(out)[10:])
    assert out[:10] == b"." * 10
    assert out[10:43] == sealed(b"hello")
    assert out[43:] == b"." * 21


def test_every_flip_and_cut_is_damage() -> None:
    data = sealed(b"some bytes of a record")
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 1
        with pytest.raises(Damaged):
            opened(bytes(flipped))
        with pytest.raises(Damaged):
            opened(data[:at])
    with pytest.raises(Damaged):
        opened(data + b"\0")


@pytest.mark.parametrize(
    "opener",
    [
        Opener(b"x" * 32, REPOSITORY, DOMAIN),
        Opener(KEY, b"x" * 16, DOMAIN),
        Opener(KEY, REPOSITORY, b"x" * 16),
        Opener(KEY, DOMAIN, REPOSITORY),
        Opener(KEY, REPOSITORY, DOMAIN, b"more"),
    ],
)
def test_a_record_opens_only_in_its_place(opener: Opener) -> None:
    with pytest.raises(Damaged):
        opened(sealed(b"hello"), opener=opener)


def test_a_record_opens_only_as_what_it_is() -> None:
    with pytest.raises(Damaged):
        opened(sealed(b"hello", DATA), CONTENTS)
    with pytest.raises(Damaged):
        opened(sealed(b"hello"), id=bytes(16))


def test_a_record_larger_than_the_room_is_refused() -> None:
    data = sealed(b"hello")
    opener = Opener(KEY, REPOSITORY, DOMAIN)
    with pytest.raises(Damaged, match="33 bytes"):
        opener.open_into(DATA, ID, memoryview(data), memoryview(bytearray(4)))
    assert opener.open_into(DATA, ID, memoryview(data), memoryview(bytearray(5))) == 5


@pytest.mark.parametrize("lengths", [(31, 16, 16), (32, 15, 16), (32, 16, 17)])
def test_widths_are_fixed(lengths: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Sealer(*(bytes(n) for n in lengths))

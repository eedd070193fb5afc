import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from drkit.crypto.sign import (
    LIMIT,
    canonical,
    new_signer,
    open_signed,
    parse_canonical,
    parse_signer,
    sign_object,
    signer_from_text,
    signer_text,
    signer_to_text,
)
from drkit.errors import ConfigError, Damaged, UsageError

KEY = new_signer(b"s" * 32)
DATA = sign_object(KEY, "fence", b'{"a":1}')

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(max_codepoint=127)), inner, max_size=4)
    ),
    max_leaves=12,
)
objects = st.dictionaries(st.text(st.characters(max_codepoint=127)), plain, max_size=5)


def test_a_signer_is_written_as_hex() -> None:
    assert KEY.public_text == "ed25519:" + KEY.public.hex()
    assert parse_signer(f" {KEY.public_text.upper()} ") == KEY.public
    assert signer_text(KEY.public) == KEY.public_text
    assert (b"s" * 32).hex() not in repr(KEY)
    assert str(b"s" * 32) not in repr(KEY)


@pytest.mark.parametrize(
    "text", ["", "ed25519:", "ed25519:" + "a" * 63, "a" * 64, "rsa:" + "a" * 64]
)
def test_a_bad_signer_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no signer"):
        parse_signer(text)


def test_a_private_signer_key_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_signer(signer_to_text(KEY))
    assert KEY.seed.hex() not in caught.value.message


def test_a_signer_file_comes_back() -> None:
    text = signer_to_text(KEY)
    assert repr(text) == "***"
    assert signer_from_text(f"# of db1\n\n{text}") == KEY


def test_a_damaged_signer_file_is_noticed() -> None:
    text = str(signer_to_text(KEY))
    for at in range(len(text) - 1):
        wrong = text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :]
        with pytest.raises(ConfigError, match="damaged") as caught:
            signer_from_text(wrong)
        assert KEY.seed.hex()[:16] not in caught.value.message
    for wrong in ("", text * 2, text[:40]):
        with pytest.raises(ConfigError, match="damaged"):
            signer_from_text(wrong)


def test_the_signature_is_over_mark_type_and_payload() -> None:
    assert DATA[64:96] == KEY.public
    assert DATA[96:] == b'{"a":1}'
    verifier = Ed25519PublicKey.from_public_bytes(KEY.public)
    verifier.verify(DATA[:64], b'drkit1 fence\0{"a":1}')
    assert open_signed("fence", DATA) == (KEY.public, b'{"a":1}')


def test_a_signed_object_is_of_one_type() -> None:
    with pytest.raises(Damaged, match=r"signature of a signed object \(commit\)"):
        open_signed("commit", DATA)


def test_every_flip_and_cut_of_a_signed_object_is_damage() -> None:
    for at in range(len(DATA)):
        for bit in (1, 0x80):
            flipped = bytearray(DATA)
            flipped[at] ^= bit
            with pytest.raises(Damaged):
                open_signed("fence", bytes(flipped))
        with pytest.raises(Damaged):
            open_signed("fence", DATA[:at])
    with pytest.raises(Damaged):
        open_signed("fence", DATA + b" ")


def test_limits() -> None:
    payload = b"x" * (LIMIT - 96)
    data = sign_object(KEY, "open", payload)
    assert open_signed("open", data) == (KEY.public, payload)
    with pytest.raises(Damaged, match="not 97 to 4096"):
        open_signed("open", data, 4096)
    with pytest.raises(UsageError, match="more than 65536"):
        sign_object(KEY, "open", payload + b"x")


def test_canonical_bytes() -> None:
    obj = {"b": [1, -2, True, None], "a": 'é "\\\n\x01\u2028€😀', "A": {}}
    expected = '{"A":{},"a":"é \\"\\\\\\n\\u0001\u2028€😀","b":[1,-2,true,null]}'
    assert canonical(obj) == expected.encode()


@pytest.mark.parametrize(
    "value",
    [1.0, float("nan"), 2**53, -(2**53), b"x", {"é": 1}, {1: 2}, {"a": [{"b": 0.5}]}, {1, 2}],
)
def test_what_canonical_json_does_not_hold(value: object) -> None:
    with pytest.raises(TypeError):
        canonical({"value": value})


@given(objects)
def test_canonical_comes_back(obj: dict[str, object]) -> None:
    assert parse_canonical(canonical(obj)) == obj
    assert json.loads(canonical(obj)) == obj


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"a"',
        b"{}\n",
        b" {}",
        b'{"a": 1}',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b'{"a":1.0}',
        b'{"a":1e2}',
        b'{"a":-0}',
        b'{"a":01}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":9007199254740992}',
        b'{"a":' + b"1" * 5000 + b"}",
        b'{"a":"\\u0041"}',
        b'{"a":"\\/"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xff"}',
        b'{"\xc3\xa9":1}',
        b"\xef\xbb\xbf{}",
        b'{"a":' * 60 + b"1" + b"}" * 60,
        b'{"a":' + b"[" * 30000,
        b'{"a":' + b"[" * 20000 + b"]" * 20000 + b"}",
        '{"a":1}'.encode("utf-16"),
    ],
)
def test_everything_but_canonical_is_damage(data: bytes) -> None:
    with pytest.raises(Damaged, match="no canonical JSON"):
        parse_canonical(data)


def test_a_long_object_is_not_even_parsed() -> None:
    with pytest.raises(Damaged, match="more than 10"):
        parse_canonical(b'{"a":"12345678"}', 10)


@given(st.binary(max_size=200))
def test_noise_is_damage(data: bytes) -> None:
    for read in (parse_canonical, lambda data: open_signed("open", data)):
        try:
            read(data)
        except Damaged:
            continue
        assert read is parse_canonical
        assert canonical(parse_canonical(data)) == data

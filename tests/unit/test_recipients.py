import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from drkit.crypto.paper import from_paper
from drkit.crypto.recipients import (
    LIMIT,
    Identity,
    Secret,
    new_identity,
    open_envelope,
    paper_form,
    parse_identity,
    parse_recipient,
    read_identities,
    seal_envelope,
)
from drkit.errors import ConfigError, Damaged, DrkitError, KeyMissing

ONE, TWO, OTHER = new_identity(), new_identity(), new_identity()
PAYLOAD = bytes(range(64))
ENVELOPE = seal_envelope(PAYLOAD, [ONE.recipient, TWO.recipient])


def secretless(error: DrkitError, identity: Identity) -> bool:
    shown = f"{error.message} {error.hint} {error!r}".upper()
    body = identity.text.removeprefix("AGE-SECRET-KEY-1")
    return not any(body[at : at + 8] in shown for at in range(0, len(body) - 8, 4))


def test_a_secret_does_not_show_itself() -> None:
    assert repr(Secret("hush")) == "***"
    assert "***" in repr(ONE)
    assert ONE.text not in repr(ONE)
    assert str(ONE.text).startswith("AGE-SECRET-KEY-1")


def test_a_recipient_is_known_by_its_first_characters() -> None:
    again = parse_recipient(f"  {ONE.recipient.text.upper()}\n")
    assert again == ONE.recipient
    assert again.fingerprint == ONE.recipient.text[:20]


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("", "is no age recipient"),
        ("age1abc", "is no age recipient"),
        (ONE.recipient.text[:-1] + ("q" if ONE.recipient.text[-1] != "q" else "p"), "is no age"),
        ("age1pq1qqqqqqqqqqqqqqqqqqqqqqqq", "post-quantum"),
        ("age1tagpq1qqqqqqqqqqqqqqqqqqqqq", "post-quantum"),
        ("age1tag1qqqqqqqqqqqqqqqqqqqqq", "hardware"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5", "SSH"),
        ("x" * 1000, "…"),
    ],
    ids=range(8),  # not by keys that are made anew each time
)
def test_a_bad_recipient_is_named(typed: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_recipient(typed)


def test_a_private_key_given_as_recipient_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match="private key") as caught:
        parse_recipient(ONE.text)
    assert secretless(caught.value, ONE)


def test_each_recipient_opens_the_envelope() -> None:
    assert open_envelope(ENVELOPE, [ONE]) == PAYLOAD
    assert open_envelope(ENVELOPE, [OTHER, TWO]) == PAYLOAD


def test_what_cannot_be_sealed_to() -> None:
    with pytest.raises(ConfigError, match="0 recipients"):
        seal_envelope(PAYLOAD, [])
    with pytest.raises(ConfigError, match="32 recipients"):
        seal_envelope(PAYLOAD, [ONE.recipient] * 32)
    assert open_envelope(seal_envelope(PAYLOAD, [ONE.recipient] * 31), [ONE]) == PAYLOAD


def test_a_wrong_identity_hears_who_would_open_it() -> None:
    names = [ONE.recipient.fingerprint, TWO.recipient.text]
    with pytest.raises(KeyMissing) as caught:
        open_envelope(ENVELOPE, [OTHER, OTHER], names)
    shown = f"{ONE.recipient.text[:20]}…, {TWO.recipient.text[:20]}…"
    said = f"none of the 2 identities given opens this: it was sealed to {shown}"
    assert caught.value.message == said
    with pytest.raises(KeyMissing, match="the identity given doesn't open this"):
        open_envelope(ENVELOPE, [OTHER], names)
    with pytest.raises(KeyMissing, match="no identity was given: this was sealed to age1"):
        open_envelope(ENVELOPE, [], names)


def test_limits_come_before_parsing() -> None:
    head, body = b"age-encryption.org/v1\n", b"-> X25519 AAAA\nAAAA\n"
    with pytest.raises(Damaged, match="more than 65536"):
        open_envelope(ENVELOPE + bytes(LIMIT), [ONE])
    with pytest.raises(Damaged, match="more than 32 stanzas"):
        open_envelope(head + body * 33 + b"--- mac\n", [ONE])
    with pytest.raises(Damaged, match="passphrase"):
        open_envelope(head + b"-> scrypt c2FsdA 22\nAAAA\n--- mac\n", [ONE])
    with pytest.raises(Damaged, match="has no end"):
        open_envelope(head + body, [ONE])
    with pytest.raises(Damaged, match="no age file"):
        open_envelope(b"-----BEGIN AGE ENCRYPTED FILE-----\n", [ONE])


def opens_or_says(data: bytes) -> None:
    with suppress(Damaged, KeyMissing):
        assert open_envelope(data, [ONE]) == PAYLOAD


def test_every_cut_and_flip_is_damage_or_no_key() -> None:
    for at in range(len(ENVELOPE)):
        with pytest.raises(Damaged):
            open_envelope(ENVELOPE[:at], [ONE])
        flipped = bytearray(ENVELOPE)
        flipped[at] ^= 0x41
        # a damaged stanza can't be told from one for somebody else: age names nobody in it
        with pytest.raises((Damaged, KeyMissing)):
            open_envelope(bytes(flipped), [ONE])


@given(st.binary(max_size=300), st.integers(0, len(ENVELOPE)), st.integers(0, 40))
@settings(max_examples=300, deadline=None)
def test_no_other_error_leaves_the_envelope(noise: bytes, at: int, cut: int) -> None:
    opens_or_says(ENVELOPE[:at] + noise + ENVELOPE[at + cut :])


# identity files


def test_an_identity_file_with_comments_and_several_keys() -> None:
    text = f"# created: today\r\n\r\n  {ONE.text}\r\n# the safe\n{TWO.text.lower()}\n"
    assert read_identities(text) == [ONE, TWO]
    assert read_identities("\ufeff".encode() + text.encode()) == [ONE, TWO]


def under_passphrase(payload: bytes, passphrase: bytes) -> bytes:
    """An age file by the book, with a work factor that a test can wait for."""

    def base(data: bytes) -> bytes:
        return base64.b64encode(data).rstrip(b"=")

    def derived(key: bytes, salt: bytes, info: bytes) -> bytes:
        return HKDF(SHA256(), 32, salt, info).derive(key)

    file_key, salt, nonce = b"f" * 16, b"s" * 16, b"n" * 16
    words = b"age-encryption.org/v1/scrypt" + salt
    wrap = hashlib.scrypt(passphrase, salt=words, n=1 << 10, r=8, p=1, dklen=32)
    body = ChaCha20Poly1305(wrap).encrypt(bytes(12), file_key, None)
    head = b"age-encryption.org/v1\n-> scrypt %s 10\n%s\n---" % (base(salt), base(body))
    mac = hmac.digest(derived(file_key, b"", b"header"), head, "sha256")
    stream = ChaCha20Poly1305(derived(file_key, nonce, b"payload"))
    chunk = stream.encrypt(bytes(11) + b"\x01", payload, None)
    return head + b" " + base(mac) + b"\n" + nonce + chunk


@pytest.mark.parametrize("armored", [False, True])
def test_an_identity_under_a_passphrase(armored: bool) -> None:
    sealed = under_passphrase(f"# mine\n{ONE.text}\n".encode(), b"long words")
    if armored:
        lines = base64.encodebytes(sealed).replace(b"\n", b"")
        rows = b"\n".join(lines[at : at + 64] for at in range(0, len(lines), 64))
        frame = b"-----%s AGE ENCRYPTED FILE-----\n"
        sealed = frame % b"BEGIN" + rows + b"\n" + frame % b"END"
    asked: list[str] = []

    def ask(answer: str) -> Callable[[], str]:
        def typed() -> str:
            asked.append(answer)
            return answer

        return typed

    assert read_identities(sealed, ask("long words")) == [ONE]
    with pytest.raises(KeyMissing, match="passphrase doesn't open"):
        read_identities(sealed, ask("wrong"))
    with pytest.raises(KeyMissing, match="nobody is here to type it"):
        read_identities(sealed)
    assert asked == ["long words", "wrong"]


def test_damaged_and_strange_identity_files() -> None:
    with pytest.raises(KeyMissing, match="itself sealed to another key"):
        read_identities(ENVELOPE, lambda: "x")
    with pytest.raises(Damaged):
        read_identities(b"-----BEGIN AGE ENCRYPTED FILE-----\n!\n", lambda: "x")
    with pytest.raises(Damaged):
        read_identities(b"age-encryption.org/v1\n", lambda: "x")
    with pytest.raises(ConfigError, match="no text"):
        read_identities(b"\xff\xfe\x00A")
    with pytest.raises(ConfigError, match="more than"):
        read_identities("#" * (LIMIT + 1))
    with pytest.raises(KeyMissing, match="holds no identity"):
        read_identities("# nothing\n\n")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (ONE.recipient.text, "line 2 .* is a recipient"),
        ("AGE-PLUGIN-YUBIKEY-1QQQQQQ", "line 2 .* kind that isn't accepted"),
        ("AGE-SECRET-KEY-PQ-1QQQQQQ", "line 2 .* kind that isn't accepted"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "line 2 .* isn't age's"),
        ("hunter2 is my password, do not show it", "line 2 .* no age identity"),
        (ONE.text[:-1] + ("Q" if ONE.text[-1] != "Q" else "P"), "line 2 .* typing error"),
        (ONE.text[:-9], "line 2 .* typing error"),
    ],
    ids=range(7),
)
def test_a_bad_line_is_numbered_and_not_shown(line: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        read_identities(f"# head\n{line}\n{TWO.text}\n")
    assert "hunter2" not in caught.value.message
    assert secretless(caught.value, ONE)


# the paper form


def test_paper_comes_back_however_it_is_typed() -> None:
    paper = paper_form(ONE)
    assert read_identities(paper) == [ONE]
    assert read_identities(f"# drkit key, shop\n\n{paper.lower()}") == [ONE]
    assert read_identities(paper.replace(" ", "").replace("=", "-")) == [ONE]
    assert read_identities(paper.replace("0", "O").replace("8", "b")) == [ONE]
    bare = re.sub(r"(?m)^(\d):", r"\1", paper.partition("\n")[2])
    assert read_identities(bare) == [ONE]
    assert read_identities(re.sub(r"(?m)^\d: ", "", paper.partition("\n")[2])) == [ONE]
    wide = "".join(chr(ord(c) + 0xFEE0) if c.isalnum() else c for c in paper)
    assert read_identities(wide) == [ONE]


def test_paper_needs_no_drkit_to_be_read() -> None:
    first, *lines = paper_form(ONE).splitlines()
    joined = first + "".join(line[3:].partition("=")[0].replace(" ", "") for line in lines)
    assert joined == ONE.text
    assert len(lines) == 5
    assert max(map(len, lines)) <= 24


def test_every_wrong_character_on_paper_names_its_line() -> None:
    lines = paper_form(ONE).splitlines()
    for number in range(1, 6):
        for at in range(3, len(lines[number])):
            if not lines[number][at].isalnum():
                continue
            wrong = "Q" if lines[number][at] != "Q" else "P"
            typed = list(lines)
            typed[number] = lines[number][:at] + wrong + lines[number][at + 1 :]
            with pytest.raises(ConfigError, match=f"^line {number} of the paper form") as caught:
                read_identities("\n".join(typed))
            assert secretless(caught.value, ONE)


def test_lines_of_paper_left_out_swapped_or_too_long() -> None:
    lines = paper_form(ONE).splitlines()
    with pytest.raises(ConfigError, match="line 3 of the paper form is missing"):
        read_identities("\n".join(lines[:3] + lines[4:]))
    with pytest.raises(ConfigError, match="line 5 of the paper form is missing"):
        read_identities("\n".join(lines[:5]))
    with pytest.raises(ConfigError, match="line 2 of the paper form"):
        read_identities("\n".join([*lines[:2], lines[3], lines[2], *lines[4:]]))
    with pytest.raises(ConfigError, match="line 4 of the paper form has 17 characters, not 16"):
        read_identities("\n".join([*lines[:4], lines[4] + "Q", lines[5]]))
    with pytest.raises(ConfigError, match="6 lines, not 5"):
        read_identities("\n".join([*lines, lines[5]]))


@given(st.lists(st.text(max_size=30), max_size=7))
def test_anything_typed_gets_an_answer(lines: list[str]) -> None:
    with pytest.raises(ConfigError):
        from_paper(lines)
    with pytest.raises(DrkitError):
        read_identities("\n".join(lines))


def test_identities_are_parsed_with_their_recipient() -> None:
    assert parse_identity(f" {ONE.text.lower()} ") == ONE
    with pytest.raises(ConfigError, match="typing error"):
        parse_identity("AGE-SECRET-KEY-1")

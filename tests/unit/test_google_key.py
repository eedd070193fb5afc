"""Every way in which people have broken a key, and what is said of it."""

import json
import re

import pytest

from drkit.model.finding import Finding
from drkit.stores.google.account import diagnose
from tests.fixtures import google_keys as made

WHERE = "/etc/drkit/key.json"
NEW = "gcloud iam service-accounts keys create"


def only(data: bytes, endpoint: str | None = None) -> Finding:
    (found,) = diagnose(data, WHERE, endpoint)
    assert found.what == "credentials"
    assert "\n" not in found.message
    assert found.message[0] != found.message[0].upper() or found.message[0] in "/0123456789"
    made.assert_silent(found.message + (found.hint or ""))
    return found


def test_the_key_of_69_characters_that_users_met() -> None:
    found = only(made.broken("69 characters"))
    assert found.level == "fail"
    assert found.message == (
        "private_key in /etc/drkit/key.json is 69 characters; a 2048-bit key has about 1700: "
        "it has BEGIN but no END"
    )
    assert found.hint == (
        "it was cut at a line break (env file, shell read, YAML): store the JSON as a file, "
        "or base64"
    )


KEYS = {
    "no END, else whole": (r"is 16\d\d characters: it has BEGIN but no END", "cut at a line break"),
    "no BEGIN": (r"is 16\d\d characters: it has END but no BEGIN", "cut at a line break"),
    "a placeholder of 63": ("is 63 characters with both its lines: a placeholder, not a key", NEW),
    "a placeholder of 71": ("is 71 characters with both its lines: a placeholder, not a key", NEW),
    "a placeholder without lines": ("is 16 characters; .*: a placeholder, not a key", NEW),
    "backslash-n": ("contains backslash-n as text", "replace it by real line breaks"),
    "backslash-n doubled": ("contains backslash-n as text", "replace it by real line breaks"),
    "the body alone": ("only its base64 body, the BEGIN and END lines are missing", "downloaded"),
    "a line lost": (r"its base64 ends early, \d+ of \d+ bytes by the DER length", "lost or cut"),
    "the first line lost": ("its beginning is lost", "cut at a line break"),
    "the last line cut": (r"its base64 ends early, \d+ of \d+ bytes by the DER", "lost or cut"),
    "one character changed": ("is damaged: its numbers do not fit together", "download a new key"),
    "the public half": ("is a public key: this is the public half", NEW),
    "a certificate": ("is a certificate: this is the public half", NEW),
    "encrypted": ("is encrypted: keys for Google's storage have no passphrase", "wrong file"),
    "an EC key": ("is an EC key; Google's are RSA", NEW),
    "an Ed25519 key": ("is an Ed25519 key; Google's are RSA", NEW),
    "1024 bits": ("is a 1024-bit key; Google's have 2048", NEW),
    "null": ("is null", NEW),
    "a number": ("is no text", NEW),
    "nothing": ("is empty", NEW),
    "spaces for plus": (r"has spaces where '\+' belongs", "decoded it"),
    "a foreign character": ("holds a character in its line 5 that base64 has not", NEW),
    "empty lines": ("has empty lines in it", "take them out"),
    "em dashes": ("has no five hyphens at each side of BEGIN and END", "an editor"),
}


def test_every_broken_key_is_expected() -> None:
    assert set(KEYS) | {"69 characters"} == set(made.BROKEN)


@pytest.mark.parametrize("name", KEYS)
def test_a_broken_private_key(name: str) -> None:
    message, hint = KEYS[name]
    found = only(made.broken(name))
    assert found.level == "fail"
    assert re.fullmatch(rf"private_key in {WHERE} .*{message}.*", found.message)
    assert hint in (found.hint or "")


FILES = {
    "empty": ("is empty", NEW),
    "a byte order mark": (r"begins with a byte order mark \(UTF-8\)", "save it as UTF-8"),
    "UTF-16": (r"begins with a byte order mark \(UTF-16\)", "iconv -f UTF-16"),
    "single quotes around": ("has single quotes around it", "take them out"),
    "single quotes inside": (
        "has single quotes where JSON has double ones",
        "as it was downloaded",
    ),
    "a trailing comma": (r"has a trailing comma, at line \d", "take it out"),
    "base64": ("is the JSON in base64", "base64 -d"),
    "raw line ends": ("has line breaks inside private_key", r"a shell expanded its \n"),
    "twice": ("is encoded twice: a JSON string that holds JSON", "as it was downloaded"),
    "cut": ("ends early, after 900 characters", "it was cut"),
    "the PEM alone": ("is the key's PEM alone, not the JSON around it", "as it was downloaded"),
    "a P12": ("is no text: perhaps a P12 key, or compressed", "JSON form"),
    "a list": ("is JSON, but a list, not a key", "as it was downloaded"),
    "a stray word": (r"is not JSON: see line \d+, column \d+", "as it was downloaded"),
    "a string": ("is a JSON string", "as it was downloaded"),
}


def test_every_spoilt_file_is_expected() -> None:
    assert set(FILES) == set(made.SPOILT)


@pytest.mark.parametrize("name", FILES)
def test_a_spoilt_file(name: str) -> None:
    message, hint = FILES[name]
    found = only(made.SPOILT[name]())
    assert found.level == "fail"
    assert re.fullmatch(rf"{WHERE} {message}", found.message)
    assert hint in (found.hint or "")


@pytest.mark.parametrize(
    ("data", "message", "hint"),
    [
        (made.file(type="authorized_user"), "a gcloud user login file", "leave GOOGLE_"),
        (made.file(type="external_account"), "a workload identity config", "machine of Google's"),
        (made.file(type="impersonated_service_account"), "an impersonation file", NEW),
        (made.file(type="external_account_authorized_user"), "a workforce login file", NEW),
        (made.file(type="other"), 'has another type than "service_account"', NEW),
        (made.without("type"), 'has no type: a key has "service_account"', NEW),
        (b'{"installed": {}}', "an OAuth client secrets file (installed)", NEW),
        (b'{"web": {}}', "an OAuth client secrets file (web)", NEW),
        (b'{"privateKeyData": "x"}', "the API's answer, with the key inside", "base64 -d"),
        (made.without("private_key"), "private_key is missing in", "as it was downloaded"),
        (made.without("client_email"), "client_email is missing in", "as it was downloaded"),
        (
            made.without("token_uri", "private_key"),
            "private_key and token_uri are missing in",
            "as it was downloaded",
        ),
        (made.file(client_email="a b"), "client_email in", "NAME@PROJECT"),
        (made.file(client_email=None), "client_email in", "NAME@PROJECT"),
        (made.file(universe_domain="evil.example"), "universe_domain in", "public cloud"),
        (made.file(token_uri=None), "token_uri in", "https://oauth2.googleapis.com/token"),
    ],
)
def test_fields_and_types(data: bytes, message: str, hint: str) -> None:
    found = only(data)
    assert found.level == "fail"
    assert message in found.message
    assert WHERE in found.message
    assert hint in (found.hint or "")


@pytest.mark.parametrize("note", made.UNUSUAL)
def test_what_is_unusual_and_accepted(note: str) -> None:
    data = made.file(made.UNUSUAL[note]())
    first, *notes = diagnose(data, WHERE)
    assert first.level == "pass"
    assert f"private_key in {WHERE} has {note}: accepted" in [n.message for n in notes]
    assert {n.level for n in notes} == {"pass"}


def test_a_whole_key_tells_whose_it_is_and_no_more() -> None:
    found = only(made.file())
    shown = rf"{re.escape(made.EMAIL)}, key {made.KEY_ID}, sha256 [0-9a-f]{{8}}, from {WHERE}"
    assert found.level == "pass"
    assert re.fullmatch(shown, found.message)
    hidden = only(made.file(private_key_id="a secret"))
    assert "key without an id" in hidden.message


@pytest.mark.parametrize(
    ("uri", "endpoint", "level"),
    [
        ("https://oauth2.googleapis.com/token", None, "pass"),
        ("https://accounts.google.com/o/oauth2/token", None, "pass"),
        ("https://OAUTH2.googleapis.com:443/token", None, "pass"),
        ("https://oauth2.googleapis.com/token", "http://127.0.0.1:9", "pass"),
        ("http://127.0.0.1:9/token", "http://127.0.0.1:9", "pass"),
        ("http://127.0.0.1:9/token", None, "fail"),
        ("http://127.0.0.1:8/token", "http://127.0.0.1:9", "fail"),
        ("https://127.0.0.1:9/token", "http://127.0.0.1:9", "fail"),
        ("http://oauth2.googleapis.com/token", None, "fail"),
        ("https://oauth2.googleapis.com.evil.example/token", None, "fail"),
        ("https://evilgoogleapis.com/token", None, "fail"),
        ("https://oauth2.googleapis.com@evil.example/token", None, "fail"),
        ("https://oauth2.googleapis.com:x/token", None, "fail"),
        ("https://oauth2.googleapis.com\\@evil.example/", None, "fail"),
        ("oauth2.googleapis.com", None, "fail"),
        ("", None, "fail"),
    ],
)
def test_who_is_sent_signed_assertions(uri: str, endpoint: str | None, level: str) -> None:
    found = only(made.file(token_uri=uri), endpoint)
    assert found.level == level
    if level == "fail":
        assert found.message.startswith(f"token_uri in {WHERE} is not Google's: who answers there")
        assert "evil" not in found.message
        assert "same host and port as endpoint=" in (found.hint or "")


def test_a_json_number_of_any_length_is_no_crash() -> None:
    assert only(json.dumps({"type": 1}).replace("1", "9" * 5000).encode()).level == "fail"
    assert only(b"[" * 200_000).level == "fail"

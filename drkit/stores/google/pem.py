"""The private_key of a service account: what is wrong with it, without showing any of it."""

import base64
import re
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from drkit.errors import ConfigError

NEW_KEY = "gcloud iam service-accounts keys create FILE --iam-account=ADDRESS"
_DOWNLOAD = f"download a new key: {NEW_KEY}"
_CUT = (
    "it was cut at a line break (env file, shell read, YAML): store the JSON as a file, or base64"
)
_BEGIN = re.compile(r"-----BEGIN ?([A-Z0-9 ]*)(?:-----)?")
_END = re.compile(r"-----END [A-Z0-9 ]+-----")
_NO_BASE64 = re.compile(r"[^A-Za-z0-9+/=\s\ufeff]")
_USABLE = 1500  # characters; a 2048-bit key has about 1700, one of 1024 bits 916
_PLACEHOLDER = 120  # an Ed25519 key, the smallest there is, has 119
_BITS = 2048
_PUBLIC = frozenset({"PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE"})
_OTHERS = {
    "EC PRIVATE KEY": "an EC key; Google's are RSA",
    "DSA PRIVATE KEY": "a DSA key; Google's are RSA",
    "OPENSSH PRIVATE KEY": "an ssh key, not a Google key",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    key: RSAPrivateKey
    notes: tuple[str, ...]  # what is unusual about its text, and does no harm


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    text: str
    where: str

    def wrong(self, what: str, hint: str = _DOWNLOAD) -> ConfigError:
        return ConfigError(f"private_key in {self.where} {what}", hint=hint)

    @property
    def size(self) -> str:
        """Of a key that is too short, what it should be."""
        expected = "; a 2048-bit key has about 1700" if len(self.text) < _USABLE else ""
        return f"is {len(self.text)} characters{expected}"


def sound_key(text: object, where: str) -> Sound:
    """Else a ConfigError that says what happened to it."""
    held = _Text(text=text if isinstance(text, str) else "", where=where)
    if text is None:
        raise held.wrong("is null")
    if not isinstance(text, str):
        raise held.wrong("is no text")
    if not text.strip():
        raise held.wrong("is empty")
    return Sound(key=_loaded(held), notes=tuple(_notes(text)))


def _loaded(held: _Text) -> RSAPrivateKey:
    try:
        key = load_pem_private_key(held.text.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _explained(held) from None
    if not isinstance(key, RSAPrivateKey):
        kind = type(key).__name__.removesuffix("PrivateKey")
        raise held.wrong(f"is {'an' if kind[0] in 'AEO' else 'a'} {kind} key; Google's are RSA")
    if key.key_size < _BITS:
        raise held.wrong(f"is a {key.key_size}-bit key; Google's have {_BITS}")
    return key


# --- why it can't be loaded


def _explained(held: _Text) -> ConfigError:
    return (
        _of_another_kind(held)
        or _without_lines(held)
        or _mangled(held)
        or _of_its_bytes(_der(held), held)
    )


def _of_another_kind(held: _Text) -> ConfigError | None:
    begin = _BEGIN.search(held.text)
    kind = begin[1].strip() if begin else ""
    if kind in _PUBLIC:
        return held.wrong(f"is a {kind.lower()}: this is the public half")
    if "ENCRYPTED" in held.text:
        return held.wrong(
            "is encrypted: keys for Google's storage have no passphrase", f"wrong file; {_DOWNLOAD}"
        )
    if kind in _OTHERS:
        return held.wrong(f"is {_OTHERS[kind]}", f"wrong file; {_DOWNLOAD}")
    return None


def _without_lines(held: _Text) -> ConfigError | None:
    begin, end = _BEGIN.search(held.text), _END.search(held.text)
    if begin and not end:
        return held.wrong(f"{held.size}: it has BEGIN but no END", _CUT)
    if end and not begin:
        return held.wrong(f"{held.size}: it has END but no BEGIN", _CUT)
    if begin:
        return None
    if "BEGIN" in held.text:
        return held.wrong(
            "has no five hyphens at each side of BEGIN and END",
            f"an editor changed them: {_DOWNLOAD}",
        )
    if len(held.text) < _PLACEHOLDER or _NO_BASE64.search(held.text):
        return held.wrong(f"{held.size}: a placeholder, not a key")
    return held.wrong(
        f"{held.size}: only its base64 body, the BEGIN and END lines are missing",
        "store the JSON as it was downloaded",
    )


def _mangled(held: _Text) -> ConfigError | None:
    if "\\n" in held.text:
        return held.wrong(
            "contains backslash-n as text",
            "replace it by real line breaks: in the JSON each is written \\n, with one backslash",
        )
    if len(held.text) < _PLACEHOLDER:
        return held.wrong(
            f"is {len(held.text)} characters with both its lines: a placeholder, not a key"
        )
    body = _body(held.text)
    if " " in body.strip() and "+" not in body and "\n" in body:
        return held.wrong(
            "has spaces where '+' belongs",
            "a form or an address decoded it: store the JSON as it was downloaded",
        )
    bad = _NO_BASE64.search(body)
    if bad:
        line = body[: bad.start()].count("\n") + 1
        return held.wrong(f"holds a character in its line {line} that base64 has not")
    return None


def _body(text: str) -> str:
    begin, end = _BEGIN.search(text), _END.search(text)
    return text[begin.end() : end.start()] if begin and end else ""


def _der(held: _Text) -> bytes:
    """As much as there is: a cut last line needn't be a whole number of bytes."""
    digits = re.sub(r"[\s=\ufeff]", "", _body(held.text))
    whole = len(digits) - (len(digits) % 4 == 1)
    return base64.b64decode(digits[:whole] + "=" * (-whole % 4))


def _of_its_bytes(der: bytes, held: _Text) -> ConfigError:
    """DER says at its beginning how long it is."""
    if len(der) < 4 or der[0] != 0x30:
        return held.wrong(f"{held.size}: its beginning is lost", _CUT)
    more = der[1] & 0x7F if der[1] & 0x80 else 0
    wanted = 2 + more + int.from_bytes(der[2 : 2 + more] if more else der[1:2])
    if len(der) < wanted:
        return held.wrong(
            f"{held.size}: its base64 ends early, {len(der)} of {wanted} bytes by the DER length",
            "a line was lost or cut: store the JSON as it was downloaded",
        )
    if "\n\n" in held.text.replace("\r", "").strip():
        return held.wrong("has empty lines in it", "take them out, or " + _DOWNLOAD)
    return held.wrong("is damaged: its numbers do not fit together", _DOWNLOAD)


# --- what is accepted


def _notes(text: str) -> list[str]:
    lines = text.strip().splitlines()
    said = {
        "no line breaks": len(lines) == 1,
        "CRLF line ends": "\r\n" in text,
        "spaces in its lines": any(line != line.strip() for line in lines)
        or " " in _body(text).strip(),
        "quotes around it": text.strip()[0] in "\"'",
        "a byte order mark": "\ufeff" in text,
        "the form of PKCS#1": "BEGIN RSA PRIVATE KEY" in text,
    }
    return [note for note, holds in said.items() if holds]

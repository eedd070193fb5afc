"""Signatures: canonical JSON under Ed25519, bound to the type of the object."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from drkit.crypto.recipients import Secret
from drkit.errors import ConfigError, Damaged, UsageError

LIMIT: Final = 64 << 10  # of a signed object
SIGNATURE: Final = 64
PUBLIC: Final = 32
FRAME: Final = SIGNATURE + PUBLIC

_SCHEME = "ed25519:"
_SECRET = "DRKIT-SIGNER-1"  # noqa: S105 - the mark before the secret, not the secret
_DEPTH = 32
_EXACT = (1 << 53) - 1  # RFC 8785's numbers are doubles
_PUBLIC = re.compile(re.escape(_SCHEME) + "([0-9a-f]{64})", re.IGNORECASE)
_STORED = re.compile(re.escape(_SECRET) + r"\s+([0-9a-f]{64})\s+(\S+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerKey:
    seed: bytes = field(repr=False)
    public: bytes

    @property
    def public_text(self) -> str:
        return signer_text(self.public)

    def sign(self, type: str, payload: bytes) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(_words(type, payload))


def new_signer(random: bytes) -> SignerKey:
    public = Ed25519PrivateKey.from_private_bytes(random).public_key().public_bytes_raw()
    return SignerKey(seed=random, public=public)


def signer_to_text(key: SignerKey) -> Secret:
    """One line for a file: the public key behind the secret one shows a damaged file."""
    return Secret(f"{_SECRET} {key.seed.hex()} {key.public_text}\n")


def signer_from_text(text: str) -> SignerKey:
    lines = [line.strip() for line in text.splitlines()]
    found = _STORED.fullmatch("\n".join(line for line in lines if line and line[0] != "#"))
    key = new_signer(bytes.fromhex(found[1])) if found else None
    if key is None or found is None or key.public_text != found[2].lower():
        raise ConfigError(
            "a signer key file is damaged, or is none",
            hint="put back its copy, or make a new signer: drkit key rotate --signer",
        )
    return key


def signer_text(public: bytes) -> str:
    return _SCHEME + public.hex()


def parse_signer(text: str) -> bytes:
    found = _PUBLIC.fullmatch(text.strip())
    if found is None:
        shown = "a private signer key" if _SECRET in text.upper() else repr(text[:80])
        raise ConfigError(f"{shown} is no signer: ed25519: and 64 hex digits are wanted")
    return bytes.fromhex(found[1])


def verify(type: str, public: bytes, signature: bytes, payload: bytes) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, _words(type, payload))
    except (InvalidSignature, ValueError):
        raise Damaged(f"the signature of a signed object ({type}) doesn't fit its bytes") from None


def sign_object(key: SignerKey, type: str, payload: bytes, limit: int = LIMIT) -> bytes:
    size = FRAME + len(payload)
    if size > limit:
        raise UsageError(f"a signed object ({type}) would take {size} bytes, more than {limit}")
    return key.sign(type, payload) + key.public + payload


def open_signed(type: str, data: bytes, limit: int = LIMIT) -> tuple[bytes, bytes]:
    """The public key and the payload. Who that key is, is the caller's to ask."""
    if not FRAME < len(data) <= limit:
        raise Damaged(f"a signed object ({type}) has {len(data)} bytes, not {FRAME + 1} to {limit}")
    signature, public, payload = data[:SIGNATURE], data[SIGNATURE:FRAME], data[FRAME:]
    verify(type, public, signature, payload)
    return public, payload


def canonical(obj: Mapping[str, object]) -> bytes:
    """RFC 8785 without its hard parts: no floats, no integers a double can't hold, ASCII keys."""
    _check(obj, 0)
    return json.dumps(obj, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def parse_canonical(data: bytes, limit: int = LIMIT) -> dict[str, object]:
    """Encoded again it must be the same bytes: so no doubled keys, no spaces, no other spelling."""
    if len(data) > limit:
        raise Damaged(f"a signed object has {len(data)} bytes, more than {limit}")
    try:
        obj = json.loads(data.decode(), parse_float=_refuse, parse_constant=_refuse)
        if isinstance(obj, dict) and canonical(obj) == data:
            return obj
    except (ValueError, TypeError, RecursionError):
        pass
    raise Damaged("a signed object is no canonical JSON")


def _words(type: str, payload: bytes) -> bytes:
    return b"drkit1 " + type.encode() + b"\0" + payload


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no integer")


def _check(value: object, depth: int) -> None:
    """A TypeError here is a bug of the caller, never a person's mistake."""
    if depth > _DEPTH:
        raise TypeError("canonical JSON nests too deep")
    if value is None or isinstance(value, str):
        return
    if isinstance(value, dict | Mapping):
        for key, inner in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise TypeError("canonical JSON has ASCII keys here")
            _check(inner, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check(inner, depth + 1)
    elif isinstance(value, int):
        if not -_EXACT <= value <= _EXACT:
            raise TypeError("an integer is too large for canonical JSON")
    else:
        raise TypeError(f"canonical JSON has no {type(value).__name__} here")

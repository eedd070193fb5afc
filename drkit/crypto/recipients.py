"""Recipients and identities: age envelopes, so that a private key alone opens any object."""

import binascii
import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import pyrage  # type: ignore[import-untyped]  # it ships no types

from drkit.crypto.paper import PREFIX, from_paper, looks_like_paper, to_paper
from drkit.errors import ConfigError, Damaged, KeyMissing

LIMIT: Final = 64 << 10  # of an envelope, and of an identity file
STANZAS: Final = 32

_MAGIC = b"age-encryption.org/v1\n"
_ARMOR = b"-----BEGIN AGE ENCRYPTED FILE-----", b"-----END AGE ENCRYPTED FILE-----"
_NO_KEY = (
    "No matching keys found"  # pyrage has one exception for everything, told apart by its text
)
_FINGERPRINT = 20


class Secret(str):
    """Text that must not be shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "***"


@dataclass(frozen=True, slots=True)
class Recipient:
    text: str

    @property
    def fingerprint(self) -> str:
        """Its first characters: enough to be found again in a policy, by eye or by a search."""
        return self.text[:_FINGERPRINT]


@dataclass(frozen=True, slots=True)
class Identity:
    text: Secret
    recipient: Recipient


def new_identity() -> Identity:
    """The randomness is the operating system's, taken by age itself."""
    return _identity(pyrage.x25519.Identity.generate())


def parse_identity(text: str) -> Identity:
    try:
        return _identity(pyrage.x25519.Identity.from_str(text.strip().upper()))
    except pyrage.IdentityError:
        raise ConfigError("an identity has a typing error: its own checksum doesn't fit") from None


def parse_recipient(text: str) -> Recipient:
    typed = text.strip()
    if typed.upper().startswith("AGE-SECRET-KEY-"):
        raise ConfigError(
            "a private key stands where a recipient is wanted",
            hint="use the public key of it (age1…), and treat the private one as lost",
        )
    try:
        return Recipient(str(pyrage.x25519.Recipient.from_str(typed.lower())))
    except pyrage.RecipientError:
        raise _no_recipient(typed) from None


def fingerprint_of(text: str) -> str:
    return text[:_FINGERPRINT]


def paper_form(identity: Identity) -> str:
    return to_paper(identity.text)


def seal_envelope(payload: bytes, recipients: Sequence[Recipient]) -> bytes:
    if not 0 < len(recipients) < STANZAS:  # one stanza stays free: age adds a meaningless one
        raise ConfigError(f"{len(recipients)} recipients: from 1 to {STANZAS - 1} are possible")
    keys = [pyrage.x25519.Recipient.from_str(recipient.text) for recipient in recipients]
    return bytes(pyrage.encrypt(payload, keys))


def open_envelope(
    data: bytes, identities: Sequence[Identity], sealed_to: Sequence[str] = ()
) -> bytes:
    """A damaged stanza looks like a key that doesn't fit: compare the object's hash first."""
    if "scrypt" in _stanzas(data):
        raise Damaged("an envelope asks for a passphrase, which drkit never seals with")
    if not identities:
        raise _no_key(0, sealed_to)
    keys = [pyrage.x25519.Identity.from_str(str(identity.text)) for identity in identities]
    try:
        return bytes(pyrage.decrypt(data, keys))
    except pyrage.DecryptError as error:
        if str(error) == _NO_KEY:
            raise _no_key(len(keys), sealed_to) from None
        raise Damaged("an envelope is damaged: it is no sound age file") from None


def read_identities(
    text: str | bytes, passphrase: Callable[[], str] | None = None
) -> list[Identity]:
    """An age identity file, plain or under a passphrase, or the paper form as it was typed."""
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    if len(data) > LIMIT:
        raise ConfigError(f"an identity file has {len(data)} bytes, more than {LIMIT}")
    if data.startswith(_MAGIC) or data.lstrip().startswith(_ARMOR[0]):
        data = _unlock(data, passphrase)
    try:
        return _read_lines(data.removeprefix(codecs.BOM_UTF8).decode())
    except UnicodeDecodeError:
        raise ConfigError("an identity file is no text and no age file") from None


def _identity(key: "pyrage.x25519.Identity") -> Identity:
    return Identity(text=Secret(key), recipient=Recipient(str(key.to_public())))


def _no_recipient(typed: str) -> ConfigError:
    kinds = {"age1pq1": "a post-quantum", "age1tagpq1": "a post-quantum", "age1tag1": "a hardware"}
    kind = next((k for prefix, k in kinds.items() if typed.lower().startswith(prefix)), None)
    if typed.startswith("ssh-"):
        kind = "an SSH"
    if kind is not None:
        return ConfigError(
            f"{typed[:_FINGERPRINT]}… is {kind} key: only age1… (X25519) is accepted"
        )
    shown = typed if len(typed) <= 80 else typed[:80] + "…"
    return ConfigError(f"{shown!r} is no age recipient", hint="drkit key new makes a pair")


def _no_key(given: int, sealed_to: Sequence[str]) -> KeyMissing:
    names = ", ".join(f"{fingerprint_of(name)}…" for name in sealed_to) or "other recipients"
    hint = "give the private key of one of them with --identity FILE"
    if given == 0:
        return KeyMissing(f"no identity was given: this was sealed to {names}", hint=hint)
    opens = f"none of the {given} identities given opens"
    who = "the identity given doesn't open" if given == 1 else opens
    return KeyMissing(f"{who} this: it was sealed to {names}", hint=hint)


def _stanzas(data: bytes) -> list[str]:
    """The kinds of an age header's stanzas, within limits, before anybody parses it."""
    if len(data) > LIMIT:
        raise Damaged(f"an envelope has {len(data)} bytes, more than {LIMIT}")
    if not data.startswith(_MAGIC):
        raise Damaged("an envelope is no age file")
    kinds: list[str] = []
    for line in data[len(_MAGIC) :].split(b"\n"):
        if line.startswith(b"---"):
            return kinds
        if line.startswith(b"-> "):
            kinds.append(line[3:].partition(b" ")[0].decode("ascii", "replace"))
        if len(kinds) > STANZAS:
            raise Damaged(f"an envelope has more than {STANZAS} stanzas")
    raise Damaged("an envelope's header has no end")


def _unlock(data: bytes, passphrase: Callable[[], str] | None) -> bytes:
    if _stanzas(_unarmored(data)) != ["scrypt"]:
        raise KeyMissing(
            "the identity file is itself sealed to another key",
            hint="open it first with age --decrypt, and give what comes out",
        )
    if passphrase is None:
        raise KeyMissing(
            "the identity file is under a passphrase, and nobody is here to type it",
            hint="run it at a terminal, or give an identity without a passphrase",
        )
    try:
        return bytes(pyrage.passphrase.decrypt(data, passphrase()))
    except pyrage.DecryptError:
        raise KeyMissing(
            "the passphrase doesn't open the identity file, or the file is damaged"
        ) from None


def _unarmored(data: bytes) -> bytes:
    if data.startswith(_MAGIC):
        return data
    inner = data.strip().removeprefix(_ARMOR[0]).removesuffix(_ARMOR[1])
    try:
        return binascii.a2b_base64(inner)
    except binascii.Error:
        raise Damaged("an armored identity file is damaged") from None


def _read_lines(text: str) -> list[Identity]:
    numbered = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1)]
    lines = [(n, line) for n, line in numbered if line and not line.startswith("#")]
    if not lines:
        raise KeyMissing("an identity file holds no identity")
    typed = [line for _, line in lines]
    if not any(_is_identity(line) for line in typed) and looks_like_paper(typed):
        return [parse_identity(from_paper(typed))]
    return [_read_line(number, line) for number, line in lines]


def _is_identity(line: str) -> bool:
    return line.upper().startswith(PREFIX) and len(line) > len(PREFIX)


def _read_line(number: int, line: str) -> Identity:
    if not _is_identity(line):
        raise ConfigError(f"line {number} of an identity file {_what(line)}")
    try:
        return parse_identity(line)
    except ConfigError:
        raise ConfigError(
            f"line {number} of an identity file has a typing error: the key's checksum doesn't fit"
        ) from None


def _what(line: str) -> str:
    """Says what a line is without showing it: it may be a secret of another kind."""
    if line.lower().startswith("age1"):
        return "is a recipient (a public key), not the private one"
    if line.upper().startswith(("AGE-PLUGIN-", "AGE-SECRET-KEY-")):
        return "is of a kind that isn't accepted: only AGE-SECRET-KEY-1… (X25519) is"
    if line.startswith("-----BEGIN"):
        return "begins a key that isn't age's"
    return "is no age identity"

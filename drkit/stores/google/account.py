"""The key file of a service account, looked at by its bytes alone: is it whole, and whose is it."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from drkit.errors import ConfigError
from drkit.model.finding import Finding
from drkit.stores.endpoint import split
from drkit.stores.google.document import service_account
from drkit.stores.google.pem import NEW_KEY, sound_key

WHAT = "credentials"
_FIELDS = ("client_email", "private_key", "token_uri")
_EMAIL = re.compile(r"[A-Za-z0-9._-]{1,64}@[A-Za-z0-9.-]{1,200}")
_KEY_ID = re.compile(r"[0-9a-f]{8,64}")
_UNIVERSE = "googleapis.com"
_AS_DOWNLOADED = "store the JSON as it was downloaded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A sound key: what of it may be shown, and what Google's library needs."""

    email: str
    key_id: str | None
    public: str  # the first 8 hex digits of the public key's sha256
    notes: tuple[str, ...]
    asks_google: bool  # for tokens; else the test server that the store's address names
    token_uri: str
    project: str | None
    key: RSAPrivateKey = field(repr=False)

    @property
    def shown(self) -> str:
        return f"{self.email}, key {self.key_id or 'without an id'}, sha256 {self.public}"


# --- the key, by its bytes


def diagnose(data: bytes, where: str, endpoint: str | None = None) -> tuple[Finding, ...]:
    try:
        account = parse_key(data, where, endpoint)
    except ConfigError as error:
        return (Finding(level="fail", what=WHAT, message=error.message, hint=error.hint),)
    notes = [f"private_key in {where} has {note}: accepted" for note in account.notes]
    said = [f"{account.shown}, from {where}", *notes]
    return tuple(Finding(level="pass", what=WHAT, message=message) for message in said)


def parse_key(data: bytes, where: str, endpoint: str | None = None) -> Account:
    fields = service_account(data, where)
    missing = [name for name in _FIELDS if name not in fields]
    if missing:
        has = "is missing" if len(missing) == 1 else "are missing"
        raise ConfigError(f"{' and '.join(missing)} {has} in {where}", hint=_AS_DOWNLOADED)
    sound = sound_key(fields["private_key"], where)
    public = _signs(sound.key, where)
    id = fields.get("private_key_id")
    project = fields.get("project_id")
    _check_universe(fields, where)
    return Account(
        email=_email(fields["client_email"], where),
        key_id=id if isinstance(id, str) and _KEY_ID.fullmatch(id) else None,
        public=public[:8],
        notes=sound.notes,
        asks_google=_asks_google(fields["token_uri"], where, endpoint),
        token_uri=str(fields["token_uri"]),
        project=project if isinstance(project, str) else None,
        key=sound.key,
    )


def _email(value: object, where: str) -> str:
    if not isinstance(value, str) or not _EMAIL.fullmatch(value):
        raise ConfigError(
            f"client_email in {where} is no address of a service account",
            hint=f"{_AS_DOWNLOADED}; it looks like NAME@PROJECT.iam.gserviceaccount.com",
        )
    return value


def _signs(key: RSAPrivateKey, where: str) -> str:
    """The public key's sha256, when what the private one signs is accepted by it."""
    public = key.public_key()
    try:
        public.verify(key.sign(b"drkit", PKCS1v15(), SHA256()), b"drkit", PKCS1v15(), SHA256())
    except (ValueError, TypeError, InvalidSignature):
        raise ConfigError(
            f"private_key in {where} signs, but not so that its public half accepts it",
            hint=f"the file is damaged: download a new key: {NEW_KEY}",
        ) from None
    form = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(form).hexdigest()


def _check_universe(fields: Mapping[str, object], where: str) -> None:
    if fields.get("universe_domain", _UNIVERSE) != _UNIVERSE:
        raise ConfigError(
            f"universe_domain in {where} is not {_UNIVERSE}",
            hint=f"drkit knows Google's public cloud only; {_AS_DOWNLOADED}",
        )


def _asks_google(uri: object, where: str, endpoint: str | None) -> bool:
    """Whoever answers there is sent assertions signed by the key."""
    found = split(uri) if isinstance(uri, str) else None
    if found is not None and _is_googles(found):
        return True
    own = None if endpoint is None else split(endpoint)
    if found is not None and own is not None and _origin(found) == _origin(own):
        return False
    raise ConfigError(
        f"token_uri in {where} is not Google's: who answers there would get signed assertions",
        hint="it must be https://oauth2.googleapis.com/token; for a test server, of the same "
        "host and port as endpoint= in the store's address",
    )


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _is_googles(parts: SplitResult) -> bool:
    if parts.scheme != "https" or "@" in parts.netloc or parts.port not in {None, 443}:
        return False
    host = parts.hostname or ""
    return host == "accounts.google.com" or f".{host}".endswith(".googleapis.com")


def at_google(endpoint: str | None) -> bool:
    """None is Google itself."""
    parts = None if endpoint is None else split(endpoint)
    return endpoint is None or (parts is not None and _is_googles(parts))

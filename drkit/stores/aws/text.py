"""Key id, secret and token of S3: what is wrong with their text, without showing any of it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from drkit.model.finding import Finding, Level

WHAT = "credentials"
_AMAZONS = re.compile(r"(AKIA|ASIA)[A-Z0-9]{16}")
_OF_OTHER_THINGS = {"AROA": "a role", "AIDA": "a user", "AGPA": "a group", "ANPA": "a policy"}
_PERCENT = re.compile(r"%[0-9A-Fa-f]{2}")
_EXAMPLE = "EXAMPLE"
_SECRET_LENGTH = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    id: str = field(repr=False)
    secret: str = field(repr=False)
    token: str | None = field(repr=False)
    names: tuple[str, str, str]  # what the three are called there
    where: str
    expires: datetime | None = None

    @property
    def shown(self) -> str:
        if len(self.id) < 12:
            return f"a key id of {len(self.id)} characters, from {self.where}"
        return f"key id {self.id[:4]}…{self.id[-4:]}, from {self.where}"


def finding(level: Level, message: str, hint: str | None = None) -> Finding:
    return Finding(level=level, what=WHAT, message=message, hint=hint)


def lint(keys: Keys, now: datetime, *, amazon: bool) -> tuple[Finding, ...]:
    """Amazon's own keys have a known shape, those of other vendors any."""
    found = [*_texts(keys), *(_of_amazon(keys) if amazon else _of_others(keys))]
    if keys.expires is not None and keys.expires <= now:
        found.append(
            finding(
                "fail",
                f"the temporary credentials in {keys.where} expired at "
                f"{keys.expires:%Y-%m-%dT%H:%M:%SZ}",
                "fetch new ones; a host that runs at night needs a key that doesn't expire, or a "
                "role of its own",
            )
        )
    return tuple(found)


def _texts(keys: Keys) -> Iterator[Finding]:
    """A line end in a token would put the token into the library's own message."""
    texts = (keys.id, keys.secret, keys.token or "")
    for name, text in zip(keys.names, texts, strict=True):
        if wrong := _dirt(text):
            yield finding(
                "fail", f"{name} in {keys.where} has {wrong}", f"write {name} anew, without it"
            )


def _dirt(text: str) -> str | None:
    if "\n" in text or "\r" in text:
        return "a line end in it"
    if text != text.strip():
        return "spaces around it"
    if text[:1] in {"'", '"'} or text[-1:] in {"'", '"'}:
        return "quotes around it"
    if not text.isascii() or not text.isprintable():
        return "a character that no request can carry"
    return None


def _of_amazon(keys: Keys) -> Iterator[Finding]:
    id_name, secret_name, token_name = keys.names
    if _AMAZONS.fullmatch(keys.secret.strip()) and not _AMAZONS.fullmatch(keys.id):
        hint = f"exchange {id_name} and {secret_name}"
        yield finding("fail", f"key id and secret in {keys.where} are swapped", hint)
    elif _EXAMPLE in keys.id or keys.secret.endswith("EXAMPLEKEY"):
        message = f"the key in {keys.where} is the example of Amazon's documents"
        yield finding("fail", message, "make a key: aws iam create-access-key --user-name USER")
    elif not _dirt(keys.id) and not _AMAZONS.fullmatch(keys.id):
        yield finding(
            "fail",
            f"{id_name} in {keys.where} {_shape(keys.id)}",
            "an access key id is AKIA or ASIA and 16 more; for another vendor's server write "
            "endpoint= in the store's address",
        )
    elif keys.id.startswith("ASIA") and not keys.token:
        message = f"{id_name} in {keys.where} is temporary (ASIA), and {token_name} is missing"
        yield finding("fail", message, f"set all three anew: also {token_name}")
    elif keys.id.startswith("AKIA") and keys.token:
        message = f"{id_name} in {keys.where} is permanent (AKIA), and yet {token_name} is set"
        yield finding("warn", message, f"take {token_name} out: it is of another key")
    yield from _odd_secret(keys, "fail")
    if not _dirt(keys.secret) and len(keys.secret) != _SECRET_LENGTH:
        message = (
            f"{secret_name} in {keys.where} is {len(keys.secret)} characters; Amazon's have 40"
        )
        yield finding("warn", message, "it was cut, or another thing was copied: write it anew")


def _shape(id: str) -> str:
    other = _OF_OTHER_THINGS.get(id[:4])
    if other:
        return f"is the id of {other}, not of a key"
    return f"is {len(id)} characters, not in the shape of Amazon's"


def _of_others(keys: Keys) -> Iterator[Finding]:
    if not _dirt(keys.id) and " " in keys.id:
        id_name = keys.names[0]
        message = f"{id_name} in {keys.where} has spaces in it"
        yield finding("fail", message, f"write {id_name} anew")
    yield from _odd_secret(keys, "warn")


def _odd_secret(keys: Keys, level: Level) -> Iterator[Finding]:
    name = keys.names[1]
    if _dirt(keys.secret):
        return
    if " " in keys.secret:
        yield finding(level, f"{name} in {keys.where} has spaces in it", f"write {name} anew")
    if _PERCENT.search(keys.secret):
        yield finding(
            level,
            f"{name} in {keys.where} is percent-encoded, as in an address",
            "write it as it was given: + and / as they are",
        )

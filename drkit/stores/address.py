"""Where a store of the cloud is: scheme://bucket/prefix?option=value."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from drkit.errors import ConfigError, StoreError
from drkit.stores.base import check_name

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_SHORTEST, _LONGEST = 3, 222  # of a bucket's name
_LONGEST_PREFIX = 300  # the format's own names must fit behind it


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    scheme: str
    bucket: str
    prefix: str  # empty, or with its slash at the end
    options: Mapping[str, str]

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")


def parse_address(url: str, known: Collection[str]) -> Address:
    """`known`: the options of that kind of store."""
    scheme = url.partition(":")[0].lower()
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise ConfigError(f"{_shown(url)} is no address: {error}") from None
    if "@" in parts.netloc:
        raise ConfigError(
            "something secret stands in the address of a store: take it out",
            hint=f"write {scheme}://bucket/prefix; how to give credentials: drkit doctor",
        )
    if not _BUCKET.fullmatch(parts.netloc) or parts.fragment:
        raise ConfigError(
            f"{_shown(url)} {_no_bucket(parts.netloc)}",
            hint=f"write it like {scheme}://bucket/prefix: small letters, digits, '-' and '.'",
        )
    return Address(
        scheme=scheme,
        bucket=parts.netloc,
        prefix=_prefix(url, unquote(parts.path).strip("/")),
        options=_options(url, pairs, known),
    )


def _no_bucket(name: str) -> str:
    if name and not _SHORTEST <= len(name) <= _LONGEST:
        return f"has a bucket's name of {len(name)}: it has {_SHORTEST} to {_LONGEST} characters"
    return "names no bucket"


def _prefix(url: str, path: str) -> str:
    if not path:
        return ""
    try:
        check_name(path)
    except StoreError:
        path = ""
    if not path or len(path) > _LONGEST_PREFIX:
        raise ConfigError(
            f"the prefix in {_shown(url)} is none that drkit can use",
            hint="letters, digits, '.', '_', '+' and '-', parts joined by '/', none with a dot "
            f"first, {_LONGEST_PREFIX} characters at most",
        )
    return path + "/"


def _options(url: str, pairs: list[tuple[str, str]], known: Collection[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise ConfigError(
                f"{_shown(url)} has an option {name[:40]!r}",
                hint=f"known here: {', '.join(sorted(known))}",
            )
        if name in found or not value:
            raise ConfigError(f"{_shown(url)}: {name} stands there twice or without a value")
        found[name] = value
    return found


def _shown(url: str) -> str:
    """Without its options: somebody may have put a secret there."""
    return repr(url.partition("?")[0][:120])

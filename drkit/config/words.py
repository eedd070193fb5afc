"""What single values of a policy look like: names, paths, stores, durations."""

import re
from collections.abc import Callable
from datetime import UTC, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from drkit.files.patterns import compiled
from drkit.model import policy, units
from drkit.stores import STORES, check_url

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?")
_PASSWORD = re.compile(r"://[^/]*:[^/]*@")


def version(text: str) -> int:
    if text == str(policy.VERSION):
        return policy.VERSION
    later = text.isascii() and text.isdigit() and text > "0"
    raise ValueError(
        f"{text[:20]!r} is of another drkit: this one reads version {policy.VERSION}"
        if later
        else f"{text[:20]!r} is not a version: write {policy.VERSION}"
    )


def name(text: str) -> str:
    if NAME.fullmatch(text):
        return text
    rule = "small letters, digits, '.', '_' and '-', 63 at most, the first a letter or a digit"
    raise ValueError(f"{text[:80]!r} is not a name: {rule}")


def path(text: str) -> Path:
    if not text.startswith("/"):
        raise ValueError(f"{text[:80]!r} is not an absolute path: it must begin with /")
    if ".." in text.split("/"):
        raise ValueError(f"{text[:80]!r} holds '..': write the path it leads to")
    return Path(text)


def pattern(text: str) -> str:
    compiled([text])
    return text


def store(text: str) -> str:
    if _PASSWORD.search(text):
        raise ValueError("a password stands in the address of a store: take it out of the file")
    scheme = _SCHEME.match(text)
    if scheme is None:
        return str(path(text))
    kind = scheme[1].lower()
    if kind not in STORES or not scheme[2]:
        raise ValueError(
            f"{text[:80]!r} is not a store: write it like file:///srv/backup, s3://… or gs://…"
        )
    if kind == "file" and not text[7:].startswith("/"):
        raise ValueError(f"{text[:80]!r} is not absolute: three slashes, like file:///srv/backup")
    check_url(text)
    return text


def compression(text: str) -> int:
    found = re.fullmatch(r"zstd:([0-9]{1,2})", text)
    if found is None or not 1 <= int(found[1]) <= 19:
        raise ValueError(f"{text[:20]!r} is not a compression: write zstd:1 to zstd:19")
    return int(found[1])


def zone(text: str) -> tzinfo:
    try:
        return UTC if text == "UTC" else ZoneInfo(text)
    except (OSError, ValueError, LookupError):  # a folder, a path that leads out, no such zone
        raise ValueError(
            f"{text[:60]!r} is not a time zone: write it like Europe/Berlin or UTC"
        ) from None


def some(parse: Callable[[str], int | timedelta]) -> Callable[[str], int | timedelta]:
    def checked(text: str) -> int | timedelta:
        value = parse(text)
        if not value:
            raise ValueError(f"{text[:40]!r} is nothing: it must be more than that")
        return value

    return checked


def show_duration(value: object) -> str:
    return units.in_words(value) if isinstance(value, timedelta) else str(value)


_SECRETS = (
    "password",
    "sslpassword",
    "oauth_client_secret",
    "scram_client_key",
    "scram_server_key",
)


def dsn(text: str) -> str:
    """As libpq reads it: it knows its own words best."""
    from psycopg import OperationalError  # noqa: PLC0415  only who has such a policy waits for it
    from psycopg.pq import Conninfo  # noqa: PLC0415

    write = "write it like service=shop or postgresql://host/db"
    try:
        parsed = Conninfo.parse(text.encode())
    except UnicodeEncodeError:
        raise ValueError(f"not UTF-8: {write}") from None
    except OperationalError as error:
        said = str(error).strip()
        if "@" in text or any(name in text for name in _SECRETS):  # its words may repeat them
            said = "not a connection string"
        raise ValueError(f"{said}: {write}") from None
    options = {o.keyword.decode() for o in parsed if o.val is not None}
    if not options:
        raise ValueError(f"says nothing: {write}")
    for key in _SECRETS:
        if key in options:
            raise ValueError(
                f"a {key} stands in dsn: take it out of the file, "
                "and put it into ~/.pgpass or a service file"
            )
    if "replication" in options:
        raise ValueError("replication= in dsn: drkit sets it itself where it is needed")
    return text


def max_rate(text: str) -> int:
    value = units.rate(text)
    if not 32 << 10 <= value <= 1 << 30:
        raise ValueError(f"{text[:40]!r} is not within 32 KiB/s and 1 GiB/s, which the server asks")
    return value


def memory(text: str) -> int:
    value = units.size(text)
    if not 16 << 20 <= value <= 1 << 40:
        raise ValueError(f"{text[:40]!r} is not within 16 MiB and 1 TiB")
    return value


def user(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?", text):
        raise ValueError(f"{text[:40]!r} is not a user's name")
    return text

"""Where objects live: the kinds of store by URL scheme, each imported only when it is opened."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from drkit.errors import ConfigError
from drkit.model.finding import Finding
from drkit.stores.address import parse_address
from drkit.stores.base import Settings, Store
from drkit.system import System

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_REAL = System()
_PLAIN = Settings()


_OPTIONS = {
    "s3": frozenset({"endpoint", "region", "profile", "addressing", "checksum"}),
    "gs": frozenset({"endpoint", "credentials", "project"}),
}


def _local(url: str, _system: System, _settings: Settings) -> Store:
    from drkit.stores.local import LocalStore

    return LocalStore(_folder(url))


def _memory(url: str, system: System, _settings: Settings) -> Store:
    from drkit.stores.memory import at

    return at(url, system.now)


def _s3(url: str, system: System, settings: Settings) -> Store:
    from drkit.stores.s3 import open_s3

    return open_s3(parse_address(url, _OPTIONS["s3"]), system, settings)


def _gcs(url: str, system: System, settings: Settings) -> Store:
    from drkit.stores.gcs import open_gcs

    return open_gcs(parse_address(url, _OPTIONS["gs"]), system, settings)


def _s3_credentials(url: str, system: System, _settings: Settings) -> tuple[Finding, ...]:
    from drkit.stores.aws.key import examine_session

    address = parse_address(url, _OPTIONS["s3"])
    return examine_session(address.options, system, address.bucket)


def _gcs_credentials(url: str, _system: System, settings: Settings) -> tuple[Finding, ...]:
    from drkit.stores.google.key import examine_key

    options = parse_address(url, _OPTIONS["gs"]).options
    return examine_key(options.get("credentials"), settings, options.get("endpoint"))


Kind = Callable[[str, System, Settings], Store]
STORES: dict[str, Kind] = {"file": _local, "s3": _s3, "gs": _gcs, "memory": _memory}


_CREDENTIALS = {"s3": _s3_credentials, "gs": _gcs_credentials}


def open_store(url: str, system: System = _REAL, settings: Settings = _PLAIN) -> Store:
    """A URL, or the path of a folder. Nothing is asked of it yet."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        return _local(url, system, settings)
    kind = STORES.get(scheme[1].lower())
    if kind is None:
        known = ", ".join(f"{name}://" for name in STORES if name != "memory")
        raise ConfigError(f"no kind of store is called {scheme[1]}://", hint=f"use one of {known}")
    return kind(url, system, settings)


def examine_credentials(url: str, system: System, settings: Settings) -> tuple[Finding, ...]:
    """What can be told before any request; nothing for a store that needs none."""
    ask = _CREDENTIALS.get(scheme_of(url))
    return () if ask is None else ask(url, system, settings)


def needs_credentials(url: str) -> bool:
    return scheme_of(url) in _CREDENTIALS


def check_url(url: str) -> None:
    """As far as it can be told without opening it."""
    scheme = scheme_of(url)
    if scheme in _OPTIONS:
        parse_address(url, _OPTIONS[scheme])


def can_lock(url: str) -> bool:
    return scheme_of(url) in _OPTIONS


def plain_url(url: str) -> str:
    """Without options: as the store itself says it, two addresses of one place are the same."""
    scheme = scheme_of(url)
    if scheme in _OPTIONS:
        return parse_address(url, _OPTIONS[scheme]).url
    return "file://" + quote(os.fsencode(_folder(url))) if scheme == "file" else url


def folder_of(url: str) -> Path | None:
    """Of this machine; None for a store that is elsewhere."""
    return _folder(url) if scheme_of(url) == "file" else None


def scheme_of(url: str) -> str:
    found = _SCHEME.match(url)
    return "file" if found is None else found[1].lower()


def _folder(url: str) -> Path:
    path = _decoded(url) if url.lower().startswith("file:") else url
    whole = os.path.abspath(path)
    if not path or "\0" in path or not whole.strip("/"):
        raise ConfigError(f"{url!r} can't be a store", hint="give a folder: file:///path/of/it")
    return Path(whole)


def _decoded(url: str) -> str:
    host, slash, path = url[len("file:") :].removeprefix("//").partition("/")
    if host not in ("", "localhost") or not slash or "?" in path or "#" in path:
        raise ConfigError(
            f"{url!r} names no folder of this machine",
            hint="three slashes and an absolute path, %-encoded: file:///path/of/a/folder",
        )
    return os.fsdecode(unquote_to_bytes("/" + path))

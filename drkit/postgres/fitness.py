"""What a restored cluster misses on this machine: extensions, libraries, collations, paths."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from drkit.model.finding import Finding
from drkit.postgres.binaries import Binaries

_SETTING = re.compile(
    r"^\s*(shared_preload_libraries|data_directory|hba_file|ident_file)\s*=?\s*'((?:[^']|'')*)'",
    re.MULTILINE,
)
# -2: its DROP DATABASE was under way, and nobody gets into it any more
_DATABASES = """select datname from pg_database
  where datallowconn and datconnlimit <> -2 order by datname"""
_EXTENSIONS = """select extname from pg_extension e
  where not exists (select from pg_available_extensions a where a.name = e.extname) order by 1"""
_COLLATIONS = """select count(*) from pg_collation
  where collversion is not null and collversion <> pg_collation_actual_version(oid)"""
_WHOLE = """select datname from pg_database
  where datallowconn and datconnlimit <> -2
  and datcollversion <> pg_database_collation_actual_version(oid)"""


class Asked(Protocol):
    """A server that runs."""

    def query(self, sql: str, database: str | None = None) -> list[tuple[str | None, ...]]: ...


def extensions(server: Asked) -> Iterator[Finding]:
    for database in _names(server, _DATABASES):
        missing = _names(server, _EXTENSIONS, database)
        if missing:
            yield Finding(
                level="warn",
                what="extensions",
                message=f"database {database} uses extensions that are not installed here: "
                f"{', '.join(missing)}",
                hint="install their packages before you use it",
            )


def collations(server: Asked) -> Iterator[Finding]:
    """Another libc or ICU sorts differently: indexes on text would miss rows."""
    ((version,),) = server.query("show server_version_num")
    differing = set(_names(server, _WHOLE)) if int(version or 0) >= 150000 else set()
    for database in _names(server, _DATABASES):
        ((count,),) = server.query(_COLLATIONS, database)
        if count != "0":
            differing.add(database)
    if differing:
        yield Finding(
            level="warn",
            what="collations",
            message="text sorts differently on this machine than on the original, in database "
            f"{', '.join(sorted(differing))}: indexes on text may miss rows",
            hint="REINDEX DATABASE each of them before it is used; only then "
            "ALTER DATABASE … REFRESH COLLATION VERSION",
        )


def _names(server: Asked, sql: str, database: str | None = None) -> list[str]:
    return [name for (name,) in server.query(sql, database) if name]


def settings_in(data: Path) -> dict[str, str]:
    """Of those that decide whether and where a server starts; the last one counts."""
    found: dict[str, str] = {}
    for name in ("postgresql.conf", "postgresql.auto.conf"):
        try:
            text = (data / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        found |= {key: value.replace("''", "'") for key, value in _SETTING.findall(text)}
    return found


def preloaded(data: Path, recorded: Mapping[str, Any]) -> tuple[str, ...]:
    """shared_preload_libraries, from the folder, or where it lay outside of it, as recorded."""
    said = settings_in(data).get("shared_preload_libraries")
    if said is None:
        preload = recorded.get("preload")
        known = preload if isinstance(preload, Mapping) else {}
        said = str(known.get("shared_preload_libraries") or "")
    return tuple(word.strip().strip('"') for word in said.split(",") if word.strip(' "'))


def libraries(wanted: Iterable[str], binaries: Binaries) -> Iterator[Finding]:
    folder = binaries.libraries
    if folder is None:
        return
    missing = [name for name in wanted if not _is_there(folder, name)]
    if missing:
        yield Finding(
            level="warn",
            what="libraries",
            message="shared_preload_libraries names what is not installed here: "
            f"{', '.join(missing)}: a server won't start with the original's settings",
            hint="install their packages, or start it with -o \"-c shared_preload_libraries=''\"",
        )


def _is_there(folder: Path, name: str) -> bool:
    plain = name.removeprefix("$libdir/").removesuffix(".so")
    return (folder / f"{plain}.so").exists()


def outside(data: Path) -> Iterator[Finding]:
    """A postgresql.conf may say that the data lie elsewhere: with the original."""
    said = settings_in(data).get("data_directory")
    if said is not None and Path(said).resolve() != data.resolve():
        yield Finding(
            level="warn",
            what="data_directory",
            message=f"{data}/postgresql.conf names {said} as data_directory: a server started "
            "with it would work there, not on the restored folder",
            hint="take that line out before you start it",
        )

"""What a restore leaves in a data folder besides the snapshot: a mark, settings, a marked block."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drkit.errors import DiskError, UsageError
from drkit.system import System

MARKER = "DRKIT-INCOMPLETE"
RECORDED = "drkit-recorded.conf"
RECORDED_HBA = "drkit-recorded-hba.conf"
RECORDED_IDENT = "drkit-recorded-ident.conf"
BEGIN = "# drkit restore: begin. `drkit restore --rearm` takes these lines out"
END = "# drkit restore: end"
_AUTO = "postgresql.auto.conf"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

# Last in postgresql.auto.conf they beat everything but the command line. Commits would wait for
# standbys that don't follow this copy, and subscriptions would take rows meant for the original.
# The commands of a standby tidy up an archive; pid file and log may be the original's own.
QUIET = {
    "archive_mode": "off",
    "archive_cleanup_command": "",
    "recovery_end_command": "",
    "external_pid_file": "",
    "log_directory": "log",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "restore_command": "",
    "synchronous_standby_names": "",
    "max_logical_replication_workers": "0",
}

# As they were they act on the original, or say where it kept its own.
_HARMFUL = re.compile(
    "archive_.*|restore_command|recovery_.*|primary_.*|synchronous_standby_names|data_directory"
    "|config_file|hba_file|ident_file|external_pid_file|listen_addresses|port|cluster_name"
    "|unix_socket_.*|log_directory|.*_libraries|ssl.*|dynamic_library_path|bonjour.*"
)
# The server computes them, or got them from initdb: in a file they are an error.
_PRESET = re.compile(
    "block_size|data_checksums|data_directory_mode|debug_assertions|in_hot_standby"
    "|integer_datetimes|lc_collate|lc_ctype|max_function_args|max_identifier_length|max_index_keys"
    "|segment_size|server_.*|shared_memory_size.*|wal_block_size|wal_segment_size|num_os_.*"
    "|huge_pages_status|is_superuser|session_authorization|transaction_.*|role|application_name"
    "|client_encoding"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A data folder and who will own what is put there."""

    folder: Path
    owner: tuple[int, int] | None
    group: bool = False  # its group may read

    def write(self, name: str, text: str) -> None:
        """New, or in the place of what was there; on the disk when it returns."""
        path = self.folder / name
        new = path.with_name(f"{path.name}.drkit")
        new.unlink(missing_ok=True)
        fd = os.open(new, _NEW, 0o600)
        try:
            with open(fd, "w", encoding="utf-8", errors="surrogateescape", closefd=False) as file:
                file.write(text)
            os.fchmod(fd, 0o640 if self.group else 0o600)
            if self.owner is not None:
                os.fchown(fd, *self.owner)
            os.fsync(fd)
        finally:
            os.close(fd)
        new.replace(path)
        self.sync("")

    def give(self, name: str) -> None:
        if self.owner is not None:
            os.chown(self.folder / name, *self.owner, follow_symlinks=False)

    def sync(self, name: str) -> None:
        fd = os.open(self.folder / name, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def text(self, name: str) -> str:
        fd = os.open(self.folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(fd, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()


def place_of(folder: Path) -> Place:
    """Of a folder that is there: what is added belongs to whom it belongs."""
    found = folder.stat()
    owner = (found.st_uid, found.st_gid) if os.geteuid() == 0 else None
    return Place(folder=folder, owner=owner, group=bool(found.st_mode & 0o050))


# The mark


def write_marker(folder: Path, tablespaces: Iterable[Path], system: System) -> None:
    begun = system.now().isoformat(timespec="seconds")
    others = "".join(f"    {place}\n" for place in tablespaces)
    text = (
        f"drkit began to restore a cluster here at {begun} and has not come to the end.\n"
        "As long as this file is here, the folder is not complete or not proven: don't use it.\n"
    )
    if others:
        text += f"These belong to it:\n{others}"
    with open(os.open(folder / MARKER, _NEW, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def remove_marker(folder: Path) -> None:
    (folder / MARKER).unlink(missing_ok=True)
    Place(folder=folder, owner=None).sync("")


# What the original's settings were, for a person to take from


def write_configuration(place: Place, recorded: Mapping[str, Any]) -> None:
    place.write(RECORDED, "".join(f"{line}\n" for line in _settings(recorded)))
    for name, key, head in (
        (RECORDED_HBA, "hba", "pg_hba.conf"),
        (RECORDED_IDENT, "ident", "pg_ident.conf"),
    ):
        lines = [f"# The rules of the original, as drkit read them. Take into {head} what you want"]
        lines += [_rule(rule) for rule in recorded.get(key) or ()]
        if key not in recorded:
            lines.append(
                "# they were not recorded: the role that took the backup may not read them"
            )
        place.write(name, "".join(f"{line}\n" for line in lines))
    for name, lines in _needed(recorded):
        if not (place.folder / name).exists():
            place.write(name, "".join(f"{line}\n" for line in lines))


def _settings(recorded: Mapping[str, Any]) -> Iterator[str]:
    yield "# Settings of the original that differ from the defaults, as drkit read them."
    yield "# Nothing includes this file: take into postgresql.conf what you want."
    yield "# Those behind a # name places of the original, or would act on it."
    settings = recorded.get("settings") or {}
    if not settings:
        yield "# none were recorded"
    for name in sorted(settings):
        value = _value(settings[name])
        if _NAME.fullmatch(name) and not _PRESET.fullmatch(name):
            harmful = _HARMFUL.fullmatch(name) or value.startswith("/")
            yield f"{'# ' if harmful else ''}{name} = {quoted(value)}"


def _value(said: object) -> str:
    """Recorded with its source beside it."""
    if isinstance(said, Mapping):
        said = said.get("value")
    return "" if said is None else str(said)


def quoted(value: str) -> str:
    """As a configuration file wants it: on one line."""
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return "'" + escaped.replace("\n", "\\n").replace("\r", "\\r") + "'"


def _rule(rule: object) -> str:
    line = str(rule)
    return line if line.isprintable() else f"# {line!r}"


def _needed(recorded: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Where the original kept its configuration elsewhere: without any, no server starts."""
    said = recorded.get("recovery")
    least = said if isinstance(said, Mapping) else {}
    yield (
        "postgresql.conf",
        [
            "# Written by drkit: the original kept its own outside of its data folder.",
            f"# Its settings stand in {RECORDED}: take from there what you want.",
            "listen_addresses = 'localhost'",
            *(f"{name} = {quoted(str(least[name]))}" for name in sorted(least)),
        ],
    )
    yield (
        "pg_hba.conf",
        [
            "# Written by drkit: the original kept its own outside of its data folder.",
            f"# Its rules stand in {RECORDED_HBA}: take from there what you want.",
            "local all all peer",
        ],
    )
    yield "pg_ident.conf", ["# Written by drkit: the original had none in its data folder."]


# The marked block


def add_block(place: Place, why: Iterable[str], settings: Mapping[str, str]) -> None:
    before = place.text(_AUTO) if (place.folder / _AUTO).exists() else ""
    if before and not before.endswith("\n"):
        before += "\n"
    lines = [BEGIN, *(f"# {line}" for line in why)]
    lines += [f"{name} = {quoted(value)}" for name, value in settings.items()]
    place.write(_AUTO, before + "".join(f"{line}\n" for line in (*lines, END)))


def rearm(folder: Path) -> None:
    """Takes the block out, and nothing else."""
    try:
        _rearm(folder)
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        raise DiskError(
            f"can't change {error.filename or folder}: {said}",
            hint="run it as root or as the user who owns the folder",
        ) from error


def _rearm(folder: Path) -> None:
    if not (folder / "PG_VERSION").is_file():
        raise UsageError(f"{folder} is no data folder of PostgreSQL: it has no PG_VERSION")
    if (folder / MARKER).exists():
        raise UsageError(
            f"{folder} is an incomplete restore: its {MARKER} says so",
            hint="remove it and restore again",
        )
    if (folder / "postmaster.pid").exists():
        raise UsageError(
            f"{folder} has a postmaster.pid: its server runs",
            hint="stop it with pg_ctl stop first; after a crash, start and stop it",
        )
    place = place_of(folder)
    text = place.text(_AUTO) if (folder / _AUTO).exists() else ""
    lines = text.split("\n")
    if (lines.count(BEGIN), lines.count(END)) != (1, 1) or lines.index(BEGIN) > lines.index(END):
        raise UsageError(
            f"{folder}/{_AUTO} holds no lines of drkit: it was re-armed before, is not ours, or "
            "ALTER SYSTEM has rewritten it",
            hint="if archive_mode = 'off' stands there still: ALTER SYSTEM RESET archive_mode",
        )
    kept = lines[: lines.index(BEGIN)] + lines[lines.index(END) + 1 :]
    place.write(_AUTO, "\n".join(kept))

"""A cluster's snapshot as a data folder: planned before a byte is written, pg_control last."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from drkit.errors import Damaged, DiskError
from drkit.model.entry import Entry
from drkit.model.snapshot import Snapshot
from drkit.postgres.leftovers import Place, write_configuration, write_marker
from drkit.postgres.shape import LEFT_OUT, Shape, look_over
from drkit.postgres.tablespaces import Tablespace, below, enterable, placed, room
from drkit.postgres.written import check_files
from drkit.source import Reader
from drkit.system import System

_FOLDERS = (
    *("base", "global", "pg_commit_ts", "pg_dynshmem", "pg_logical", "pg_logical/mappings"),
    *("pg_logical/snapshots", "pg_multixact", "pg_multixact/members", "pg_multixact/offsets"),
    *("pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat", "pg_stat_tmp"),
    *("pg_subtrans", "pg_tblspc", "pg_twophase", "pg_wal", "pg_wal/archive_status", "pg_xact"),
)
_CONTROL = "global/pg_control"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutPlan:
    into: Path
    tablespaces: Mapping[str, Path] = field(default_factory=dict)  # original path or oid → where
    owner: tuple[int, int] | None = None  # who will run the server; None: who runs drkit
    recorded: Mapping[str, Any] = field(default_factory=dict)  # from the manifest's head
    pages: bool = False  # check pages now: no server will be there to do it later


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """A data folder that a server of that major version can recover."""

    data: Path
    tablespaces: tuple[Tablespace, ...]
    owner: tuple[int, int] | None
    recorded: Mapping[str, Any]
    shape: Shape
    end_lsn: int | None  # what must be replayed; None: the backup never got its end
    checked: int = 0  # files whose bytes were compared with the server's own checksums

    @property
    def major(self) -> int:
        return self.shape.major


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Everything that can be refused was looked at."""

    shape: Shape
    tablespaces: tuple[Tablespace, ...]


def prepare(reader: Reader, snapshot: Snapshot, plan: LayoutPlan) -> Prepared:
    shape = look_over(reader, snapshot)
    tablespaces = placed(shape, plan.tablespaces, plan.into)
    if plan.owner is not None:
        for path in (plan.into, *(t.place for t in tablespaces)):
            enterable(path, plan.owner)
    return Prepared(shape=shape, tablespaces=tablespaces)


def lay_out(
    reader: Reader,
    snapshot: Snapshot,
    plan: LayoutPlan,
    system: System,
    prepared: Prepared | None = None,
) -> Laid:
    prepared = prepared or prepare(reader, snapshot, plan)
    shape, tablespaces = prepared.shape, prepared.tablespaces
    room(plan.into, shape.bytes, tablespaces)
    with _disk(plan.into):
        plan.into.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_marker(plan.into, [t.place for t in tablespaces], system)
    as_root = plan.owner is not None
    reader.tree(_main(reader, tablespaces, plan.owner), plan.into, as_root=as_root)
    for tablespace in tablespaces:
        _write(reader, tablespace, plan, shape)
    with _disk(plan.into):
        place = Place(folder=plan.into, owner=plan.owner, group=bool(shape.mode & 0o050))
        _complete(place, tablespaces)
        write_configuration(place, plan.recorded)
    checked = check_files(reader, plan.into, shape, pages=plan.pages)
    control = [_owned(shape.control, plan.owner)]
    now = int(system.now().timestamp() * 1_000_000_000)
    top = _folder("", shape.mode, plan.owner, now)
    reader.tree(control, plan.into, as_root=as_root, top=top)
    return Laid(
        data=plan.into,
        tablespaces=tablespaces,
        owner=plan.owner,
        recorded=plan.recorded,
        shape=shape,
        end_lsn=shape.end_lsn,
        checked=checked,
    )


def _main(
    reader: Reader, tablespaces: Iterable[Tablespace], owner: tuple[int, int] | None
) -> Iterator[Entry]:
    """What lies in the data folder itself, pg_control apart."""
    elsewhere = tuple(below(t.oid) for t in tablespaces)
    links = {prefix.rstrip("/") for prefix in elsewhere}
    for entry in reader.entries():
        path = entry.path
        if path in LEFT_OUT or path == _CONTROL or path in links or path.startswith(elsewhere):
            continue
        yield _owned(entry, owner)


def _write(reader: Reader, tablespace: Tablespace, plan: LayoutPlan, shape: Shape) -> None:
    prefix = below(tablespace.oid)
    entries = (
        _owned(msgspec.structs.replace(entry, path=entry.path[len(prefix) :]), plan.owner)
        for entry in reader.entries()
        if entry.path.startswith(prefix)
    )
    with _disk(tablespace.place):
        inside = tablespace.place.is_relative_to(plan.into)
        tablespace.place.parent.mkdir(mode=0o700 if inside else 0o755, parents=True, exist_ok=True)
        tablespace.place.mkdir(mode=0o700, exist_ok=True)
        if inside and plan.owner is not None:
            os.chown(tablespace.place.parent, *plan.owner)
    top = _folder("", shape.mode, plan.owner, tablespace.mtime)
    reader.tree(entries, tablespace.place, as_root=plan.owner is not None, top=top)


def _complete(place: Place, tablespaces: Iterable[Tablespace]) -> None:
    for name in _FOLDERS:
        if not (place.folder / name).is_dir():
            (place.folder / name).mkdir(mode=0o750 if place.group else 0o700)
            place.give(name)
    for tablespace in tablespaces:
        name = f"pg_tblspc/{tablespace.oid}"
        (place.folder / name).symlink_to(tablespace.place)
        place.give(name)
    place.sync("pg_tblspc")
    place.sync("")


def _owned(entry: Entry, owner: tuple[int, int] | None) -> Entry:
    """As a server wants it: for its user alone, or readable by the group, and nothing else."""
    if entry.type == "dir":
        mode = entry.mode & 0o750 | 0o700
    elif entry.type == "file":
        mode = entry.mode & 0o640 | 0o600
    else:
        raise Damaged(f"{entry.path}: a {entry.type} is no part of a cluster's backup")
    uid, gid = owner or (0, 0)
    return msgspec.structs.replace(entry, mode=mode, uid=uid, gid=gid, user="", group="", xattrs={})


def _folder(path: str, mode: int, owner: tuple[int, int] | None, mtime: int) -> Entry:
    return _owned(Entry(path=path, type="dir", mode=mode, mtime=mtime), owner)


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """What the local disk refuses, in a person's words."""
    try:
        yield
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        raise DiskError(
            f"can't write {error.filename or path}: {said}",
            hint=f"{path} is not complete: remove it, make room, and restore again",
        ) from error

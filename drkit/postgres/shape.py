"""What a cluster's snapshot holds, and whether a server could be made of it at all."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from drkit.errors import Damaged, UsageError
from drkit.model.entry import Entry, shown
from drkit.model.lsn import Position, parse_lsn, segment_name, segment_start, show_lsn
from drkit.model.snapshot import Snapshot
from drkit.postgres.control import Control, parse_control
from drkit.source import Reader

KIND = "postgres-physical"
_TABLESPACE = re.compile(r"pg_tblspc/(\d{1,10})(/.*)?")
_START = re.compile(r"^START WAL LOCATION: ([0-9A-F/]+) \(file ([0-9A-F]{24})\)", re.MULTILINE)
_STANDBY = "BACKUP FROM: standby"
_LONGEST = 64 << 10  # of backup_label
_OTHER = "an older snapshot or a copy may be whole: drkit list shows them"

# The server's own list of links, what belongs to a running server, and how it should recover:
# drkit makes its own of each.
LEFT_OUT = frozenset(
    (
        *("tablespace_map", "postmaster.pid", "postmaster.opts"),
        *("recovery.signal", "standby.signal"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A tablespace as the snapshot holds it."""

    oid: str
    original: str
    bytes: int
    mtime: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    major: int
    version: str
    system: str
    files: int
    bytes: int  # in the data folder itself
    tablespaces: tuple[Kept, ...]
    control: Entry
    about: Control
    manifest: Entry | None  # the server's own, of the backup
    start_lsn: int
    end_lsn: int | None
    mode: int  # of the data folder
    configured: bool  # postgresql.conf lies in it
    standby: bool  # where it was taken

    @property
    def total(self) -> int:
        return self.bytes + sum(kept.bytes for kept in self.tablespaces)


@dataclass(slots=True)
class _Found:
    files: int = 0
    bytes: int = 0
    roots: dict[str, Entry] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    wal: set[str] = field(default_factory=set)
    entries: dict[str, Entry] = field(default_factory=dict)  # by path, of those looked at

    def add(self, entry: Entry) -> None:
        self.files += entry.type == "file"
        inside = _TABLESPACE.fullmatch(entry.path)
        if inside and not inside[2]:
            self.roots[inside[1]] = entry
        if inside:
            self.sizes[inside[1]] = self.sizes.get(inside[1], 0) + entry.size
        else:
            self.bytes += entry.size
        if entry.path.startswith("pg_wal/"):
            self.wal.add(entry.path[7:])
        if entry.path in _LOOKED_AT:
            self.entries[entry.path] = entry

    def tablespaces(self) -> Iterator[Kept]:
        """Those that had a place of their own; others are folders among folders."""
        for oid, root in sorted(self.roots.items(), key=lambda item: int(item[0])):
            original = str(root.facts.get("tablespace", ""))
            if original.startswith("/"):
                yield Kept(oid=oid, original=original, bytes=self.sizes[oid], mtime=root.mtime)

    def in_place(self) -> int:
        own = {kept.oid for kept in self.tablespaces()}
        return sum(size for oid, size in self.sizes.items() if oid not in own)


_LOOKED_AT = frozenset(
    (
        *("PG_VERSION", "backup_label", "global/pg_control", "backup_manifest"),
        *("postgresql.conf", "base"),
    )
)


def look_over(reader: Reader, snapshot: Snapshot) -> Shape:
    """Refuses what could never become a server, before anything is written."""
    found = _Found()
    for entry in reader.entries():
        found.add(entry)
    for path in ("PG_VERSION", "backup_label", "global/pg_control"):
        if path not in found.entries:
            raise Damaged(f"the snapshot holds no {path}: no server can be made of it", hint=_OTHER)
    facts = snapshot.facts
    label = _text(reader, found.entries["backup_label"])
    version = _text(reader, found.entries["PG_VERSION"]).strip()
    if not version.isdigit():
        raise Damaged(f"the snapshot's PG_VERSION holds {shown(version)}", hint=_OTHER)
    about = _control(reader, found.entries["global/pg_control"], facts.system)
    start, timeline = _start(label)
    end = _lsn(facts.details.get("end_lsn"))
    if end is not None:
        _wal_is_there(found.wal, Position(timeline=timeline, lsn=start), end, about.segment_size)
    return Shape(
        major=int(version),
        version=str(facts.details.get("version") or version),
        system=facts.system or "",
        files=found.files,
        bytes=found.bytes + found.in_place(),
        tablespaces=tuple(found.tablespaces()),
        control=found.entries["global/pg_control"],
        about=about,
        manifest=found.entries.get("backup_manifest"),
        start_lsn=start,
        end_lsn=end,
        mode=found.entries["base"].mode & 0o750 | 0o700 if "base" in found.entries else 0o700,
        configured="postgresql.conf" in found.entries,
        standby=_STANDBY in label,
    )


def of_kind(snapshot: Snapshot) -> bool:
    return snapshot.facts.kind == KIND


def refuse_paths(paths: tuple[str, ...]) -> None:
    if paths:
        raise UsageError(
            f"{paths[0]}: a part of a cluster is no cluster: its files mean nothing alone",
            hint="restore all of it, and take the table you want out of the restored server",
        )


def _text(reader: Reader, entry: Entry) -> str:
    with reader.stream(entry) as stream:
        return stream.read(_LONGEST).decode("utf-8", "replace")


def _control(reader: Reader, entry: Entry, system: str | None) -> Control:
    with reader.stream(entry) as stream:
        found = parse_control(stream.read(_LONGEST), "the snapshot's pg_control")
    if system and str(found.system_id) != system:
        raise Damaged(
            f"the snapshot's pg_control is of system {found.system_id}, its commit says {system}",
            hint=_OTHER,
        )
    return found


def _start(label: str) -> tuple[int, int]:
    """Position and timeline."""
    found = _START.search(label)
    if found is None:
        raise Damaged("the snapshot's backup_label names no start in the WAL", hint=_OTHER)
    if "INCREMENTAL FROM" in label:
        raise Damaged(
            "the snapshot's backup_label calls it an increment: a server would refuse it",
            hint=_OTHER,
        )
    return parse_lsn(found[1]), int(found[2][:8], 16)


def _lsn(said: str | int | None) -> int | None:
    try:
        return parse_lsn(str(said)) if said else None
    except ValueError:
        return None


def _wal_is_there(wal: set[str], start: Position, end: int, size: int) -> None:
    """A server that misses a segment of its backup never becomes consistent."""
    for lsn in range(segment_start(start.lsn, size), end, size):
        name = segment_name(start.timeline, lsn, size)
        if name not in wal:
            raise Damaged(
                f"the snapshot lacks WAL segment {name}, which it needs from "
                f"{show_lsn(start.lsn)} to {show_lsn(end)}",
                hint=_OTHER,
            )

"""What the server streams, as files of the snapshot."""

from dataclasses import dataclass
from functools import partial

import msgspec

from drkit.errors import PostgresError
from drkit.model.entry import Entry, text
from drkit.postgres.basebackup import Tablespace
from drkit.postgres.damage import Damage
from drkit.postgres.increment import Increment
from drkit.postgres.limits import Limits
from drkit.postgres.meter import Meter
from drkit.postgres.names import relation_segment
from drkit.postgres.sinks import Changed, Relation, Whole, Written
from drkit.postgres.tar import Member, Sink, Tar
from drkit.source import Cut, Save

_PREFIX = "INCREMENTAL."
_LEFT_OUT = ("tablespace_map", "pg_wal/")  # at restore links are made anew; the WAL comes apart
_LABEL = "backup_label"
_OWN_LINES = b"INCREMENTAL FROM"  # a server refuses to start from a label that has them
_SMALL = 64 << 10
_FOLDERS = ("pg_wal", "pg_wal/archive_status")  # a server does not start without


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How files are to be kept."""

    relations: Cut
    tablespaces: tuple[Tablespace, ...]
    limits: Limits | None = None  # of an increment of the server's own


class Intake:
    """Implements `basebackup.Taker`."""

    def __init__(self, save: Save, shape: Shape, damage: Damage, meter: Meter) -> None:
        self._save = save
        self._shape = shape
        self._damage = damage
        self._meter = meter
        self._tar: Tar | None = None
        self._prefix = b""
        self._folders: set[str] = set()
        self.listed = bytearray()  # the server's own list, in its words
        self.came: dict[bytes, int] = {}
        self.files = 0
        self.bytes = 0

    def archive(self, tablespace: int | None) -> None:
        self._end_archive()
        self._tar = Tar(self)
        self._prefix = b""
        if tablespace is not None:
            self._prefix = b"pg_tblspc/%d/" % tablespace
            self._folder(self._top(tablespace))

    def data(self, view: memoryview) -> None:
        assert self._tar is not None
        self._meter.advance(len(view))
        self._tar.data(view)

    def manifest(self, view: memoryview) -> None:
        self._end_archive()
        self.listed += view

    def end(self) -> None:
        """All has come."""
        self._end_archive()
        for path in _FOLDERS:
            if path not in self._folders:
                self._folder(Entry(path=path, type="dir", mode=0o700))

    def _end_archive(self) -> None:
        if self._tar is not None:
            self._tar.end()
        self._tar = None

    def _top(self, oid: int) -> Entry:
        place = next((t.location for t in self._shape.tablespaces if t.oid == oid), None)
        if place is None:
            raise PostgresError(f"the server sent a tablespace {oid} that it had not announced")
        facts: dict[str, str | int] = {"tablespace": _text(place)}
        return Entry(path=f"pg_tblspc/{oid}", type="dir", mode=0o700, facts=facts)

    def _folder(self, entry: Entry) -> None:
        self._folders.add(entry.path)
        self._save.put(entry)

    def member(self, member: Member) -> Sink | None:
        name = self._prefix + member.name
        entry = Entry(
            path=_text(name),
            type="dir" if member.folder else "file",
            mode=member.mode,
            mtime=member.mtime * 1_000_000_000,
            size=member.size,
        )
        if member.folder:
            self._folder(entry)
            return None
        if name in self.came:
            raise PostgresError(f"the server sent {entry.path} twice")
        self.came[name] = member.size
        return None if entry.path.startswith(_LEFT_OUT) else self._sink(entry)

    def _sink(self, entry: Entry) -> Sink:
        folder, _, name = entry.path.rpartition("/")
        if self._shape.limits is not None and name.startswith(_PREFIX):
            real = f"{folder}/{name.removeprefix(_PREFIX)}"
            return self._changed(msgspec.structs.replace(entry, path=real), self._shape.limits)
        self._damage.file(entry.path, relation_segment(entry.path) or 0)
        if entry.path == _LABEL:
            return Whole(entry.size, partial(self._keep_label, entry))
        self._count(entry.size)
        if relation_segment(entry.path) is not None:
            return Relation(self._save.write(entry, self._shape.relations), self._damage)
        if entry.size <= _SMALL:
            return Whole(entry.size, partial(self._save.whole, entry))
        return Written(self._save.write(entry, Cut.CONTENT))

    def _changed(self, entry: Entry, limits: Limits) -> Sink:
        self._damage.file(entry.path, relation_segment(entry.path) or 0)
        inner = Increment(self._save, entry, entry.size, limits.of(entry.path))
        return Changed(inner, self._damage, partial(self._count_changed, entry.size))

    def _keep_label(self, entry: Entry, content: bytes | memoryview) -> None:
        lines = bytes(content).splitlines(keepends=True)
        kept = b"".join(line for line in lines if not line.startswith(_OWN_LINES))
        self.keep(msgspec.structs.replace(entry, size=len(kept)), kept)

    def keep(self, entry: Entry, content: bytes) -> None:
        self._count(entry.size)
        self._save.whole(entry, content)

    def _count_changed(self, came: int, size: int) -> None:
        self._count(size)
        self._meter.advance(max(size - came, 0))

    def _count(self, size: int) -> None:
        self.files += 1
        self.bytes += size
        self._meter.file()


def _text(name: bytes) -> str:
    return text(name.decode("utf-8", "surrogateescape"))

"""The WAL that a backup needs, streamed beside it into the snapshot."""

import struct
from datetime import datetime

from psycopg.pq import ExecStatus

from drkit.errors import PostgresError
from drkit.model.entry import Entry
from drkit.model.lsn import Position, segment_name, segment_start, show_lsn
from drkit.postgres.refusals import silent
from drkit.postgres.wire import NAME, Wire
from drkit.source import Cut, Save, Writer
from drkit.system import System

_PAGE = 64 << 10  # no server is built with larger pages of WAL
_DATA, _ALIVE = ord("w"), ord("k")
_HEADER = 25
_REPLY_EVERY = 10.0
_EPOCH = 946684800  # 2000-01-01, where the server's clock begins


def reserve(wire: Wire, system: System) -> str:
    """A slot that goes with the connection: from here on the server keeps its WAL."""
    name = f"{NAME}_{system.random_bytes(8).hex()}"
    wire.query(f"CREATE_REPLICATION_SLOT {name} TEMPORARY PHYSICAL RESERVE_WAL")
    return name


class WalCarry:
    """Streams from the segment in which a backup starts, until its end is covered."""

    def __init__(self, wire: Wire, save: Save, segment_size: int, system: System) -> None:
        self._wire = wire
        self._save = save
        self._size = segment_size
        self._system = system
        self._timeline = 0
        self._at = 0
        self._hole = (0, 0)  # LSNs
        self._writer: Writer | None = None
        self._told = system.monotonic()
        self._tells = False
        self.bytes = 0  # as they came
        self.files = 0
        self.size = 0  # of the files

    @property
    def fileno(self) -> int:
        return self._wire.fileno

    def absorb(self) -> None:
        self._wire.absorb()

    def start(self, slot: str, start: Position) -> None:
        self._timeline = start.timeline
        self._at = segment_start(start.lsn, self._size)
        self._hole = (self._at + _PAGE, start.lsn - start.lsn % _PAGE)
        self._tells = self._may_tell()
        if start.timeline > 1:
            self._history(start.timeline)
        lsn = show_lsn(self._at)
        self._wire.send(f"START_REPLICATION SLOT {slot} PHYSICAL {lsn} TIMELINE {start.timeline}")
        result = self._wire.result()
        if result is None or result.status != ExecStatus.COPY_BOTH:
            raise PostgresError(f"{self._wire.where} streams no WAL from {lsn}")

    def _may_tell(self) -> bool:
        """Where this connection could count as a synchronous standby, nothing is confirmed:
        else commits would rely on what no disk holds yet."""
        ((names,),) = self._wire.query("SHOW synchronous_standby_names")
        return not names or ("*" not in names and NAME not in names)

    def _history(self, timeline: int) -> None:
        ((name, content),) = self._wire.raw_query(f"TIMELINE_HISTORY {timeline}")
        assert name is not None
        assert content is not None
        self._put(f"pg_wal/{name.decode()}", content)
        self._done(name.decode())

    def pump(self) -> None:
        """Takes what has come."""
        while True:
            length, view = self._wire.take()
            if length > 0:
                self._row(view)
            elif length < 0:
                raise self._ended()
            else:
                break
        if self._system.monotonic() - self._told >= _REPLY_EVERY:
            self._reply()

    def finish(self, end: Position, patience: float, *, more: bool) -> None:
        """Until all before `end` is here; what the last segment lacks is a hole. `more`: a record
        follows, and a server that stops where its copy is consistent wants to read one."""
        begun = self._system.monotonic()
        wanted = end.lsn + (1 if more and end.lsn % self._size else 0)
        self._reply()
        self.pump()
        while self._at < wanted:
            left = patience - (self._system.monotonic() - begun)
            if left <= 0:
                raise self._late(end, patience)
            self._wire.wait(min(left, _REPLY_EVERY))
            self.pump()
        rest = -self._at % self._size
        if rest:
            self._give(memoryview(b""), rest)
        self._wire.close()

    def _row(self, view: memoryview) -> None:
        if view[0] == _DATA:
            (start,) = struct.unpack_from(">Q", view, 1)
            if start != self._at:
                raise PostgresError(
                    f"{self._wire.where} sent WAL from {show_lsn(start)}, "
                    f"where {show_lsn(self._at)} was expected"
                )
            self._write(view[_HEADER:])
        elif view[0] == _ALIVE and view[17]:
            self._reply()

    def _write(self, view: memoryview) -> None:
        self.bytes += len(view)
        while view:
            part = view[: self._until_edge()]
            inside = self._hole[0] <= self._at < self._hole[1]
            self._give(memoryview(b"") if inside else part, len(part) if inside else 0)
            view = view[len(part) :]

    def _until_edge(self) -> int:
        """Bytes until the segment ends, or the hole begins or ends."""
        edges = [edge - self._at for edge in self._hole if edge > self._at]
        return min([self._size - self._at % self._size, *edges])

    def _give(self, view: memoryview, hole: int) -> None:
        """One of them is empty. What lies before the start is not needed, but for the first page:
        the server reads it whenever it opens a segment."""
        if self._writer is None:
            self.files += 1
            self._writer = self._save.write(self._entry(), Cut.CONTENT)
        if hole:
            self._writer.zero(hole)
        else:
            self._writer.write(view)
        self._at += len(view) + hole
        self.size += len(view) + hole
        if not self._at % self._size:
            self._writer.close()
            self._writer = None
            self._done(segment_name(self._timeline, self._at - self._size, self._size))

    def _entry(self) -> Entry:
        name = segment_name(self._timeline, self._at, self._size)
        return Entry(
            path=f"pg_wal/{name}", mode=0o600, size=self._size, mtime=_nanoseconds(self._now)
        )

    def _done(self, name: str) -> None:
        """A copy that archives must not send this one: the archive has its own, and a whole one."""
        self._put(f"pg_wal/archive_status/{name}.done", b"")

    def _put(self, path: str, content: bytes) -> None:
        self.files += 1
        self.size += len(content)
        mtime = _nanoseconds(self._now)
        self._save.whole(Entry(path=path, mode=0o600, size=len(content), mtime=mtime), content)

    @property
    def _now(self) -> datetime:
        return self._system.now()

    def _reply(self) -> None:
        self._told = self._system.monotonic()
        flushed = self._at if self._tells else 0
        clock = int((self._now.timestamp() - _EPOCH) * 1e6)
        self._wire.put(struct.pack(">cQQQQB", b"r", self._at, flushed, flushed, clock, 0))

    def _ended(self) -> PostgresError:
        self._wire.result()  # says so when it was an error
        return PostgresError(
            f"{self._wire.where} ended timeline {self._timeline} while the backup ran: "
            "it was promoted, or follows another primary now",
            hint="run drkit backup again: it takes a full",
        )

    def _late(self, end: Position, patience: float) -> PostgresError:
        late = silent(self._wire.where, patience)
        return PostgresError(
            f"the WAL of the backup has come up to {show_lsn(self._at)} within {patience:.0f} "
            f"seconds after its end, and {show_lsn(end.lsn)} is needed: nothing was committed",
            hint=late.hint,
        )


def _nanoseconds(when: datetime) -> int:
    return int(when.timestamp()) * 1_000_000_000

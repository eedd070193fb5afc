"""BASE_BACKUP, from the command to the last row: what comes, in the order in which it comes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from drkit.errors import CantBuild, PostgresError
from drkit.model.lsn import Position, parse_lsn
from drkit.postgres.server import differs
from drkit.postgres.wire import Wire, rows_of

DAMAGED = "XX001"  # at the end, instead of the end position: pages with wrong checksums were sent
_NO_BASE = {"55000", "XX000"}  # no such manifest, or summaries missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    label: str
    max_rate: int | None = None  # bytes a second
    manifest: bytes = b""  # the last backup's: only what has changed since then


@dataclass(frozen=True, slots=True, kw_only=True)
class Tablespace:
    oid: int | None  # None: the data folder itself
    location: bytes
    size: int  # about as many bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    start: Position
    tablespaces: tuple[Tablespace, ...]


class Taker(Protocol):
    """What comes is pushed in here."""

    def archive(self, tablespace: int | None) -> None: ...
    def data(self, view: memoryview) -> None: ...
    def manifest(self, view: memoryview) -> None: ...


def begin(wire: Wire, wanted: Wanted, patience: float) -> Begun:
    """`patience`: seconds for the server's checkpoint."""
    try:
        if wanted.manifest:
            _upload(wire, wanted.manifest)
        wire.send(_command(wire.version, wanted))
        ((lsn, timeline, *_),) = rows_of(_next(wire, patience))
    except PostgresError as error:
        if wanted.manifest and error.sqlstate in _NO_BASE:
            raise CantBuild(error.message, hint=error.hint) from error
        raise
    rows = rows_of(_next(wire, patience))
    assert lsn is not None
    assert timeline is not None
    return Begun(
        start=Position(timeline=int(timeline), lsn=parse_lsn(lsn.decode())),
        tablespaces=tuple(_tablespace(*row[:3]) for row in rows),
    )


def _tablespace(oid: bytes | None, location: bytes | None, size: bytes | None) -> Tablespace:
    return Tablespace(
        oid=None if oid is None else int(oid),
        location=location or b"",
        size=int(size or 0) << 10,
    )


def _upload(wire: Wire, manifest: bytes) -> None:
    wire.send("UPLOAD_MANIFEST")
    _expect(_next(wire), ExecStatus.COPY_IN)
    wire.put(manifest)
    wire.put_end()
    while wire.result() is not None:
        pass


def _command(version: int, wanted: Wanted) -> str:
    label = wanted.label.replace("'", "''")
    rate = [] if wanted.max_rate is None else [f"MAX_RATE {wanted.max_rate >> 10}"]
    both = [f"LABEL '{label}'", "PROGRESS", "TABLESPACE_MAP", *rate]
    both += ["MANIFEST 'yes'", "MANIFEST_CHECKSUMS 'CRC32C'"]
    if not differs(version).backup_options:
        return f"BASE_BACKUP {' '.join([*both, 'FAST', 'NOWAIT'])}"
    more = ["INCREMENTAL"] if wanted.manifest else []
    options = ", ".join([*both, "CHECKPOINT 'fast'", "WAIT 0", *more])
    return f"BASE_BACKUP ({options})"


def receive(wire: Wire, begun: Begun, taker: Taker, idle: Callable[[], None]) -> None:
    """All files and the manifest. `idle` waits until there may be more."""
    if differs(wire.version).backup_options:
        _expect(_next(wire), ExecStatus.COPY_OUT)
        _lettered(wire, taker, idle)
        return
    for tablespace in begun.tablespaces:
        _expect(_next(wire), ExecStatus.COPY_OUT)
        taker.archive(tablespace.oid)
        _copy(wire, taker.data, idle)
    _expect(_next(wire), ExecStatus.COPY_OUT)
    _copy(wire, taker.manifest, idle)


def _copy(wire: Wire, take: Callable[[memoryview], None], idle: Callable[[], None]) -> None:
    while True:
        length, view = wire.take()
        if length > 0:
            take(view)
        elif not length:
            idle()
        else:
            return


def _lettered(wire: Wire, taker: Taker, idle: Callable[[], None]) -> None:
    take = taker.data

    def row(view: memoryview) -> None:
        nonlocal take
        letter = view[0]
        if letter == ord("d"):
            take(view[1:])
        elif letter == ord("n"):
            take = taker.data
            taker.archive(_archive(bytes(view[1:])))
        elif letter == ord("m"):
            take = taker.manifest
        elif letter != ord("p"):
            raise PostgresError(f"{wire.where} sent a message of kind {chr(letter)!r} in a backup")

    _copy(wire, row, idle)


def _archive(names: bytes) -> int | None:
    """The name of the archive and the place of its tablespace, each with a zero at its end."""
    name = names.split(b"\0")[0].removesuffix(b".tar")
    return None if name == b"base" else int(name)


def finish(wire: Wire, patience: float) -> Position | None:
    """Where it ended; None: all was sent, but there are pages with wrong checksums in it."""
    end: Position | None = None
    try:
        while (result := wire.result(patience)) is not None:
            if result.status == ExecStatus.TUPLES_OK:
                ((lsn, timeline, *_),) = rows_of(result)
                assert lsn is not None
                assert timeline is not None
                end = Position(timeline=int(timeline), lsn=parse_lsn(lsn.decode()))
            elif result.status == ExecStatus.COMMAND_OK and end is not None:
                return end
    except PostgresError as error:
        if error.sqlstate != DAMAGED:
            raise
        return None
    raise PostgresError(f"{wire.where} did not say where the backup ended: it counts for nothing")


def _next(wire: Wire, patience: float | None = None) -> PGresult:
    result = wire.result(patience)
    if result is None:
        raise PostgresError(f"{wire.where} ended the backup before it began")
    return result


def _expect(result: PGresult, status: ExecStatus) -> None:
    if result.status != status:
        found = ExecStatus(result.status).name
        raise PostgresError(f"the server answered a backup with {found} instead of {status.name}")

"""`global/pg_control`: what a data folder says of itself; one layout from 13 to 18."""

import struct
from dataclasses import dataclass
from pathlib import Path

from drkit.errors import Damaged, PostgresError

_HEAD = struct.Struct("<QII i")  # system id, version, catalog version, state
_FORMATS = {1300: 288, 1700: 288, 1800: 292}  # pg_control's version: where its checksum stands
_READABLE = 8192
_WAL_LEVELS = ("minimal", "replica", "logical")
_STATES = (
    *("starting up", "shut down", "shut down in recovery", "shutting down"),
    *("in crash recovery", "in archive recovery", "in production"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    system_id: int
    catalog: int
    state: str
    checkpoint: int  # where its record begins
    redo: int
    timeline: int
    minimum: int  # the position replay must reach
    backup_start: int
    backup_end_required: bool
    wal_level: str
    minimums: dict[str, int]  # what a standby needs at least, by the names of the settings
    track_commit_timestamp: bool
    block_size: int
    segment_size: int  # of the WAL
    checksums: bool


def read_control(data: Path) -> Control:
    path = data / "global/pg_control"
    try:
        with path.open("rb") as file:
            return parse_control(file.read(_READABLE), str(path))
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        raise PostgresError(f"can't read {path}: {said}") from error


def parse_control(raw: bytes, where: str = "pg_control") -> Control:
    if len(raw) < max(_FORMATS.values()) + 4:
        raise Damaged(f"{where} is too short: {len(raw)} bytes")
    system_id, version, catalog, state = _HEAD.unpack_from(raw)
    end = _FORMATS.get(version)
    if end is None:
        raise PostgresError(
            f"{where} has format {version}: not of PostgreSQL 13 to 18 on this kind of machine"
        )
    if crc32c(raw[:end]) != int.from_bytes(raw[end : end + 4], "little"):
        raise Damaged(f"{where} is damaged: its checksum is wrong")
    return _control(raw, system_id, catalog, state)


def _control(raw: bytes, system_id: int, catalog: int, state: int) -> Control:
    checkpoint, redo, timeline = struct.unpack_from("<QQI", raw, 32)
    numbers = struct.unpack_from("<5i?", raw, 180)
    block_size, _, _, segment_size = struct.unpack_from("<4I", raw, 216)
    return Control(
        system_id=system_id,
        catalog=catalog,
        state=_STATES[state] if 0 <= state < len(_STATES) else f"state {state}",
        checkpoint=checkpoint,
        redo=redo,
        timeline=timeline,
        minimum=_u64(raw, 136),
        backup_start=_u64(raw, 152),
        backup_end_required=bool(raw[168]),
        wal_level=_WAL_LEVELS[raw[172]] if raw[172] < len(_WAL_LEVELS) else "replica",
        minimums={
            "max_connections": numbers[0],
            "max_worker_processes": numbers[1],
            "max_wal_senders": numbers[2],
            "max_prepared_transactions": numbers[3],
            "max_locks_per_transaction": numbers[4],
        },
        track_commit_timestamp=numbers[5],
        block_size=block_size,
        segment_size=segment_size,
        checksums=int.from_bytes(raw[252:256], "little") != 0,
    )


def _u64(raw: bytes, at: int) -> int:
    return int.from_bytes(raw[at : at + 8], "little")


def crc32c(data: bytes) -> int:
    """Bit by bit: for a few hundred bytes."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF

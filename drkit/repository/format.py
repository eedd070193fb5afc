"""The frame that packs and manifests share: limits, magic, padding, the table of contents."""

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from drkit.errors import Damaged

FORMAT = 1
RECORD = 1 << 20  # plaintext of a record at most
PACK_TARGET = 32 << 20  # a pack closes before it would pass this
SEALED_MORE = 12 + 16  # nonce and tag
RECORD_STORED = RECORD + (RECORD >> 8) + 1024 + SEALED_MORE  # zstd's worst case, sealed
ENVELOPE_LIMIT = 64 << 10
SMALL = 64 << 10  # files up to this share a record
LINE_LIMIT = 1 << 20

PACK_MAGIC = b"DRKITP1\n"
MANIFEST_MAGIC = b"DRKITM1\n"
END_MAGIC = b"DRKITE1\n"
HEAD = struct.Struct("<8sI")
TAIL = struct.Struct("<I8s")
ROW = struct.Struct("<B16sIQI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Where one record lies in its object."""

    kind: int
    id: bytes
    raw: int
    offset: int
    stored: int


def contents_id(session: str) -> bytes:
    """Of the session and not of the pack's number: where a name is taken, the same bytes go to
    the next one."""
    return hashlib.sha256(b"contents " + session.encode()).digest()[:16]


def encode_rows(rows: Iterable[Row]) -> bytes:
    return b"".join(ROW.pack(r.kind, r.id, r.raw, r.offset, r.stored) for r in rows)


def decode_rows(data: bytes, end: int) -> list[Row]:
    if len(data) % ROW.size:
        raise Damaged("a table of contents has a broken row")
    rows = [
        Row(kind=kind, id=id, raw=raw, offset=offset, stored=stored)
        for kind, id, raw, offset, stored in ROW.iter_unpack(data)
    ]
    for row in rows:
        if row.raw > RECORD or row.stored > RECORD_STORED or row.offset + row.stored > end:
            raise Damaged("a table of contents names a record beyond its limits")
    return rows


def padme(size: int) -> int:
    """At most 12 % more, and few sizes are left to tell contents apart by."""
    if size < 2:
        return size
    exponent = size.bit_length() - 1
    drop = exponent - exponent.bit_length()
    mask = (1 << drop) - 1
    return (size + mask) & ~mask

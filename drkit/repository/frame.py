"""Opening packs and manifests: everything is checked before it is used."""

import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import zstandard

from drkit.crypto.seal import CONTENTS, MANIFEST, Opener, record_id
from drkit.errors import Damaged
from drkit.repository.format import (
    END_MAGIC,
    ENVELOPE_LIMIT,
    HEAD,
    RECORD,
    SEALED_MORE,
    TAIL,
    Row,
    contents_id,
    decode_rows,
)

_CONTENTS_LIMIT = 512 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    session_key: bytes
    id_key: bytes


def split_keys(payload: bytes) -> Keys:
    if len(payload) != 64:
        raise Damaged("an envelope does not hold two keys")
    return Keys(session_key=payload[:32], id_key=payload[32:])


def envelope_of(data: bytes | mmap.mmap, magic: bytes) -> bytes:
    """The age envelope at the head of a pack or manifest."""
    if len(data) < HEAD.size:
        raise Damaged("an object is too short for its head")
    found, length = HEAD.unpack_from(data)
    if found != magic or length > ENVELOPE_LIMIT or HEAD.size + length > len(data):
        raise Damaged("an object has no valid head")
    return bytes(data[HEAD.size : HEAD.size + length])


def rows_of(data: bytes | mmap.mmap, name: str, opener: Opener) -> list[Row]:
    """The table of contents of a whole pack or manifest."""
    if len(data) < HEAD.size + TAIL.size:
        raise Damaged("an object is too short for its trailer")
    length, magic = TAIL.unpack_from(data, len(data) - TAIL.size)
    end = len(data) - TAIL.size - length
    if magic != END_MAGIC or length < SEALED_MORE or end < HEAD.size:
        raise Damaged("an object has no valid trailer: it was cut")
    plain = bytearray(length)
    with memoryview(data) as view, view[end : end + length] as sealed:
        got = opener.open_into(CONTENTS, contents_id(name), sealed, memoryview(plain))
    return decode_rows(unpack(memoryview(plain)[:got], _CONTENTS_LIMIT), end)


def unpack(data: memoryview, limit: int) -> bytes:
    """One zstd frame of a declared size within the limit: a bomb doesn't unfold."""
    try:
        declared = zstandard.frame_content_size(data)
        if not 0 <= declared <= limit:
            raise Damaged("a record unfolds to more than its length")
        out = zstandard.ZstdDecompressor().decompress(data, max_output_size=max(declared, 1))
    except zstandard.ZstdError as error:
        raise Damaged(f"a record does not decompress: {error}") from error
    if len(out) != declared:
        raise Damaged("a record has not its length")
    return out


def blocks(data: mmap.mmap, rows: Iterable[Row], opener: Opener, id_key: bytes) -> Iterator[bytes]:
    plain = bytearray(RECORD * 2)
    for row in rows:
        if row.kind != MANIFEST:
            raise Damaged("a manifest holds a record of another kind")
        with memoryview(data) as view, view[row.offset : row.offset + row.stored] as sealed:
            got = opener.open_into(row.kind, row.id, sealed, memoryview(plain))
        block = unpack(memoryview(plain)[:got], row.raw)
        if len(block) != row.raw or record_id(id_key, block) != row.id:
            raise Damaged("a manifest's record is not what its id says")
        yield block

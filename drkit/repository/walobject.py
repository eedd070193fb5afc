r"""WAL objects: a segment, a piece of one, a history file; each sealed and signed on its own.

Little-endian, without gaps:

    magic        8  "DRKITW1\n"
    signature   64  Ed25519 over "drkit1 wal" 0x00, repository 16, domain 16, u16 length of the
                    object's full name, that name, SHA-256 of everything after the signature
    public key  32
    timeline     4  u32
    from         4  u32, the first byte of the file that is in here; 0 but for pieces
    to           4  u32, one behind the last
    size         4  u32, of the whole file; the same as `to` but for pieces
    tag         16  HMAC-SHA256(wal key, file name, the bytes)[:16]; wal key =
                    HMAC-SHA256(the signer's 32 secret bytes, "drkit1 wal key" 0x00, domain 16)
    head        48  generation 16 and SHA-256 32 of the newest commit seen; zeros when none was
    name        64  PostgreSQL's name of the file, filled with zeros
    envelope     4  u32 its length, then the age file, which holds the session key 32
    records         each: u32 length, then so many bytes: nonce 12, ciphertext and tag 16

The bytes are cut at every 1 MiB. Each part is one zstd frame that declares its size, sealed as kind
WAL (4) under the id: u64 number from 0, u8 1 for the last and else 0, 7 zeros. What is
authenticated is, as for every record, "DRKIT1", repository, domain, kind, id; and here then
timeline u32, from u32, to u32, name 64.
"""

import hashlib
import hmac
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import zstandard

from drkit.crypto.recipients import Identity, open_envelope
from drkit.crypto.seal import KEY, MORE, NONCE, WAL, Bytes, Opener, Sealer
from drkit.crypto.sign import PUBLIC, SIGNATURE, SignerKey, verify
from drkit.errors import Damaged
from drkit.repository import names
from drkit.repository.format import ENVELOPE_LIMIT, RECORD, RECORD_STORED
from drkit.repository.frame import unpack

MAGIC: Final = b"DRKITW1\n"
LARGEST: Final = 1 << 30  # PostgreSQL's largest segment

_HEADER = struct.Struct("<IIII16s16s32s64sI")
_START = len(MAGIC) + SIGNATURE
_ENVELOPE = _START + PUBLIC + _HEADER.size
_ID = struct.Struct("<QB7x")
_MORE = struct.Struct("<III64s")
_LENGTH = struct.Struct("<I")
_NO_HEAD = (bytes(16), bytes(32))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Ids in hex, and the full name the object has in the store."""

    repository: str
    domain: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Which bytes of which file these are."""

    file: str
    start: int
    end: int
    size: int  # of the whole file
    head: tuple[str, str] | None = None  # generation and hash of the newest commit seen

    @property
    def timeline(self) -> int:
        return int(self.file[:8], 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """What seals and signs; one envelope may serve many objects of a run."""

    key: SignerKey
    session_key: bytes
    envelope: bytes  # holds the session key, for the recipients
    random_bytes: Callable[[int], bytes]
    level: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    part: Part
    tag: bytes
    signer: bytes  # the public key whose signature fits; pinned or not


def tag_of(key: SignerKey, domain: str, file: str, data: Bytes) -> bytes:
    """Tells the same bytes from others under a name, to the holder of the key alone."""
    words = b"drkit1 wal key\0" + bytes.fromhex(domain)
    wal_key = hmac.digest(key.seed, words, "sha256")
    state = hmac.new(wal_key, file.encode(), "sha256")
    state.update(data)
    return state.digest()[:16]


def encode(part: Part, data: Bytes, place: Place, hand: Hand) -> bytes:
    if part.end - part.start != len(data) or not _possible(part) or not _fits(part, place):
        raise ValueError(f"{part} doesn't describe {len(data)} bytes at {place.name}")
    tag = tag_of(hand.key, place.domain, part.file, data)
    head = _NO_HEAD if part.head is None else tuple(bytes.fromhex(text) for text in part.head)
    fields = (part.timeline, part.start, part.end, part.size, tag, *head, part.file.encode())
    header = _HEADER.pack(*fields, len(hand.envelope))
    rest = b"".join((hand.key.public, header, hand.envelope, *_seal(part, data, place, hand)))
    return MAGIC + hand.key.sign("wal", _signed(place, rest)) + rest


def read_header(data: Bytes, place: Place) -> Header:
    """No identity is needed; all of the object is, because the signature covers it."""
    view = memoryview(data)
    if bytes(view[: len(MAGIC)]) != MAGIC or len(view) <= _ENVELOPE:
        raise Damaged(f"{place.name} is no WAL object")
    signature, rest = bytes(view[len(MAGIC) : _START]), view[_START:]
    signer = bytes(rest[:PUBLIC])
    try:
        verify("wal", signer, signature, _signed(place, rest))
    except Damaged:
        raise Damaged(f"{place.name} is damaged or swapped: its signature doesn't fit") from None
    return _header(view, place, signer)


def decode(
    data: Bytes, place: Place, identities: Sequence[Identity], sealed_to: Sequence[str] = ()
) -> tuple[Header, bytes]:
    """The header, and the bytes of the file from `start` to `end`."""
    header = read_header(data, place)
    view = memoryview(data)
    (length,) = _LENGTH.unpack_from(view, _ENVELOPE - _LENGTH.size)
    end = _ENVELOPE + length
    session_key = open_envelope(bytes(view[_ENVELOPE:end]), identities, sealed_to)
    if len(session_key) != KEY:
        raise Damaged(f"the envelope of {place.name} doesn't hold a session key")
    return header, b"".join(_open(header.part, view[end:], place, session_key))


def join_pieces(size: int, pieces: Iterable[tuple[int, bytes]]) -> tuple[bytes, int]:
    """A segment from (start, bytes) of its pieces: filled with zeros, and how far it is real."""
    segment = bytearray(size)
    reach = 0
    for start, data in sorted(pieces, key=lambda piece: piece[0]):
        if start > reach:
            break
        end = start + len(data)
        if end > size:
            raise Damaged(f"a piece of WAL ends at {end}, beyond its segment of {size} bytes")
        known = min(reach, end) - start
        if segment[start : start + known] != data[:known]:
            raise Damaged(f"two pieces of WAL hold different bytes between {start} and {reach}")
        segment[start + known : end] = data[known:]
        reach = max(reach, end)
    return bytes(segment), reach


def _possible(part: Part) -> bool:
    return names.is_wal_file(part.file) and 0 <= part.start < part.end <= part.size <= LARGEST


def _fits(part: Part, place: Place, tag: bytes | None = None) -> bool:
    """Whether an object of that name may hold this; a tag in the name must be its own."""
    said = names.parse(place.name)
    if said is None or said.kind not in {"wal", "piece", "conflict"}:
        return False
    if (said.domain, said.file) != (place.domain, part.file):
        return False
    if tag is not None and said.tag not in {None, tag.hex()}:
        return False
    if said.kind == "piece":
        return (said.start, said.end) == (part.start, part.end)
    # a conflict may be about a piece: its name has no room for the range
    return said.kind == "conflict" or (part.start, part.end) == (0, part.size)


def _signed(place: Place, rest: Bytes) -> bytes:
    name = place.name.encode()
    ids = bytes.fromhex(place.repository) + bytes.fromhex(place.domain)
    return ids + struct.pack("<H", len(name)) + name + hashlib.sha256(rest).digest()


def _header(view: memoryview, place: Place, signer: bytes) -> Header:
    fields = _HEADER.unpack_from(view, _START + PUBLIC)
    timeline, start, end, size, tag, generation, digest, file, length = fields
    text = file.rstrip(b"\0").decode("ascii", "replace")
    head = None if (generation, digest) == _NO_HEAD else (generation.hex(), digest.hex())
    part = Part(file=text, start=start, end=end, size=size, head=head)
    if not (_possible(part) and part.timeline == timeline and _fits(part, place, tag)):
        raise Damaged(f"{place.name} says of itself that it is something else")
    if length > min(ENVELOPE_LIMIT, len(view) - _ENVELOPE):
        raise Damaged(f"the envelope of {place.name} is longer than it may be")
    return Header(part=part, tag=tag, signer=signer)


def _more(part: Part) -> bytes:
    return _MORE.pack(part.timeline, part.start, part.end, part.file.encode())


def _ids(part: Part) -> Iterator[tuple[bytes, int, int]]:
    """Of each record its id, and where its bytes begin and end."""
    length = part.end - part.start
    count = -(-length // RECORD)
    for n in range(count):
        yield _ID.pack(n, n == count - 1), n * RECORD, min((n + 1) * RECORD, length)


def _seal(part: Part, data: Bytes, place: Place, hand: Hand) -> Iterator[bytes]:
    ids = bytes.fromhex(place.repository), bytes.fromhex(place.domain)
    sealer = Sealer(hand.session_key, *ids, _more(part))
    compressor = zstandard.ZstdCompressor(level=hand.level)
    view = memoryview(data)
    for id, start, end in _ids(part):
        plain = compressor.compress(view[start:end])
        sealed = bytearray(len(plain) + MORE)
        sealer.seal_into(WAL, id, hand.random_bytes(NONCE), plain, memoryview(sealed))
        yield _LENGTH.pack(len(sealed))
        yield bytes(sealed)


def _open(part: Part, view: memoryview, place: Place, session_key: bytes) -> Iterator[bytes]:
    ids = bytes.fromhex(place.repository), bytes.fromhex(place.domain)
    opener = Opener(session_key, *ids, _more(part))
    room = memoryview(bytearray(RECORD_STORED))
    at = 0
    for id, start, end in _ids(part):
        length = _LENGTH.unpack_from(view, at)[0] if len(view) - at >= _LENGTH.size else 0
        at += _LENGTH.size + length
        if not MORE < length <= RECORD_STORED or at > len(view):
            raise Damaged(f"{place.name} ends before its last record")
        got = opener.open_into(WAL, id, view[at - length : at], room)
        plain = unpack(room[:got], end - start)
        if len(plain) != end - start:
            raise Damaged(f"a record of {place.name} hasn't the length it must have")
        yield plain
    if at != len(view):
        raise Damaged(f"{place.name} goes on behind its last record")

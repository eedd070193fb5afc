"""One object on its way up: its bytes between two short texts, of a length known before."""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC

import google_crc32c
import msgspec

from drkit.errors import StoreError
from drkit.stores.base import Body, Lock
from drkit.stores.google.errors import Asked

_SMALL = 1 << 16  # joined into one piece: one packet instead of three
_PIECE = 1 << 20
_MODES = {"compliance": "Locked", "governance": "Unlocked"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """Can be sent again from its beginning."""

    head: bytes
    body: Body
    tail: bytes
    what: str  # for errors

    def __len__(self) -> int:
        return len(self.head) + self.body.size + len(self.tail)

    def __iter__(self) -> Iterator[bytes]:
        if self.body.size <= _SMALL:
            yield b"".join((self.head, *_pieces(self.body, self.what), self.tail))
            return
        yield self.head
        yield from _pieces(self.body, self.what)
        yield self.tail


def upload(asked: Asked, body: Body, boundary: str) -> Upload:
    """multipart/related: the object's description, then its bytes."""
    checksum = _crc32c(body, asked.text)
    described = {"name": asked.name, "crc32c": checksum} | _retention(body.lock)
    kind = b"Content-Type: application/"
    mark = b"--" + boundary.encode()
    head = b"\r\n".join(
        (mark, kind + b"json", b"", msgspec.json.encode(described), mark, kind + b"octet-stream")
    )
    return Upload(
        head=head + b"\r\n\r\n", body=body, tail=b"\r\n" + mark + b"--\r\n", what=asked.text
    )


def crc32c_of(data: bytes | memoryview) -> str:
    """The library takes nothing but `bytes`."""
    checksum = 0
    for offset in range(0, len(data), _PIECE):
        checksum = google_crc32c.extend(checksum, bytes(data[offset : offset + _PIECE]))
    return _text(checksum)


def _text(checksum: int) -> str:
    return base64.b64encode(checksum.to_bytes(4)).decode()


def _crc32c(body: Body, what: str) -> str:
    digest, checksum, size = hashlib.sha256(), 0, 0
    for piece in _pieces(body, what):
        digest.update(piece)
        checksum = google_crc32c.extend(checksum, piece)
        size += len(piece)
    if size != body.size or digest.digest() != body.sha256:
        raise StoreError(f"{what}: its bytes are no longer those that were sealed: not sent")
    return _text(checksum)


def _pieces(body: Body, what: str) -> Iterator[bytes]:
    """A failing disk is no failing network."""
    try:
        yield from body.pieces(_PIECE)
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise StoreError(f"{what}: its local file can't be read: {reason}") from error


def _retention(lock: Lock | None) -> dict[str, object]:
    if lock is None:
        return {}
    until = lock.until.astimezone(UTC).isoformat(timespec="microseconds")
    until = until.replace("+00:00", "Z")
    return {"retention": {"mode": _MODES[lock.mode], "retainUntilTime": until}}

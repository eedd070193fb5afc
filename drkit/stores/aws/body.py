"""Bytes on their way to S3 and back: never a copy of a whole object."""

import os
from base64 import b64encode
from hashlib import md5
from typing import TYPE_CHECKING

from drkit.errors import StoreError
from drkit.stores.aws.errors import Asked
from drkit.stores.aws.wire import PIECE
from drkit.stores.base import Body

if TYPE_CHECKING:
    from botocore.response import StreamingBody

SMALL = 1 << 16  # sent at once; for more the server is asked first whether it takes it


class Upload:
    """The file that botocore wants: read from its beginning as often as it likes."""

    def __init__(self, asked: Asked, body: Body) -> None:
        self._asked = asked
        self._body = body
        self._data = None if body.data is None else memoryview(body.data)
        self._buffer = memoryview(bytearray(min(PIECE, body.size) if body.data is None else 0))
        self._at = 0
        self._check()

    def read(self, size: int) -> memoryview:
        """To be sent before the next one is read."""
        length = min(size, PIECE, self._body.size - self._at)
        piece = self._piece(length)
        if len(piece) != length:
            raise self._short(self._at + len(piece))
        self._at += length
        return piece

    def seek(self, offset: int, _whence: int = 0) -> int:
        self._at = offset
        return offset

    def tell(self) -> int:
        return self._at

    def all(self) -> bytes:
        self.seek(0)
        return b"".join(bytes(piece) for piece in iter(lambda: self.read(PIECE), b""))

    def md5(self) -> str:
        digest = md5(usedforsecurity=False)
        self.seek(0)
        while piece := self.read(PIECE):
            digest.update(piece)
        self.seek(0)
        return b64encode(digest.digest()).decode()

    def _check(self) -> None:
        """Before anything is sent: some servers keep what a broken request has brought."""
        if self._data is not None and len(self._data) != self._body.size:
            raise self._short(len(self._data))
        if self._body.fd is not None:
            found = os.fstat(self._body.fd).st_size
            if found < self._body.size:
                raise self._short(found)

    def _piece(self, length: int) -> memoryview:
        if self._data is not None:
            return self._data[self._at : self._at + length]
        assert self._body.fd is not None
        try:
            got = os.preadv(self._body.fd, [self._buffer[:length]], self._at)
        except OSError as error:
            raise StoreError(
                f"{self._asked}: the file with its bytes can't be read: "
                f"{os.strerror(error.errno or 0).lower()}",
                hint="the disk of this machine fails: see the kernel's log",
            ) from None
        return self._buffer[:got]

    def _short(self, found: int) -> StoreError:
        return StoreError(f"{self._asked}: {found} of {self._body.size} bytes came")


def fill(source: "StreamingBody", view: memoryview) -> int:
    """How much came, at most what the view holds."""
    done = 0
    while done < len(view):
        got = source.readinto(view[done : done + PIECE])  # type: ignore[arg-type]  # no IO, a buffer
        if not got:
            break
        done += got
    return done


def check_whole(asked: Asked, came: int, size: int) -> None:
    if came != size:
        raise StoreError(f"{asked}: cut after {came} of {size} bytes", transient=True)

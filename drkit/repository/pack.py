"""One object being written: sealed records past the page cache into a nameless file."""

import errno
import hashlib
import mmap
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import zstandard

from drkit.crypto.seal import CONTENTS, Sealer
from drkit.errors import DiskError
from drkit.repository.format import (
    END_MAGIC,
    HEAD,
    PACK_TARGET,
    RECORD_STORED,
    ROW,
    SEALED_MORE,
    TAIL,
    Row,
    contents_id,
    encode_rows,
    padme,
)
from drkit.stores.base import Body, Store

_STAGE = 1 << 20  # what is written at once
_BLOCK = 4096
_ROOM_FOR_END = 64 << 10


def discard(pack: "Finished") -> None:
    """It will not be put: a nameless file keeps its room on the disk as long as it is open."""
    assert pack.body.fd is not None
    os.close(pack.body.fd)


def nameless(folder: Path) -> int:
    """A file without a name in that folder: a crash leaves nothing."""
    try:
        try:
            return os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
        except OSError:
            fd, path = tempfile.mkstemp(dir=folder)
            os.unlink(path)
            return fd
    except OSError as error:
        raise DiskError(
            f"no temporary file in {folder}: {error.strerror}",
            hint="free some room there, or move the state folder with DRKIT_STATE",
        ) from error


def waiting_room(store: Store, spool: Path) -> tuple[Path, bool]:
    """On the store's own disk where it has one: then a pack is put by a link. Else it is sent."""
    own = store.staging()
    folder = own or spool
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"no folder {folder} for what is sent: {error.strerror}") from error
    return folder, own is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A complete object in a nameless file, not yet put."""

    body: Body
    records: tuple[tuple[int, int, int], ...]  # number, offset, stored length


@dataclass(slots=True, kw_only=True)
class PackWriter:
    """Owned by one worker, with its own buffer and hash, so that there are no locks."""

    session: str
    magic: bytes
    envelope: bytes
    sealer: Sealer
    folder: Path
    compressor: zstandard.ZstdCompressor
    staging: mmap.mmap
    limit: int | None = PACK_TARGET
    direct: bool = True  # past the page cache, which saves a fifth of the time; unless it is read
    # again right away, to be sent: then it may well be gone before the kernel writes it at all
    _fd: int = -1
    _direct: int = -1
    _fill: int = 0
    _written: int = 0
    _rows: list[Row] = field(default_factory=list)
    _numbers: list[int] = field(default_factory=list)
    _view: memoryview = field(default_factory=lambda: memoryview(b""))
    _hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def __post_init__(self) -> None:
        self._fd = nameless(self.folder)
        if self.direct:
            with suppress(OSError):  # a file system that refuses it: through the cache
                self._direct = os.open(f"/proc/self/fd/{self._fd}", os.O_WRONLY | os.O_DIRECT)
        self._view = memoryview(self.staging)
        self._stage(HEAD.pack(self.magic, len(self.envelope)) + self.envelope)

    @property
    def size(self) -> int:
        return self._written + self._fill

    def takes(self, raw: int) -> bool:
        """Whether a record of that length surely fits, with contents and trailer."""
        if self.limit is None:
            return True
        end = (len(self._rows) + 1) * ROW.size + SEALED_MORE + TAIL.size + 128
        return self.size + raw + (raw >> 8) + 1024 + SEALED_MORE + end <= self.limit

    def add(
        self, number: int, kind: int, id: bytes, nonce: bytes, data: bytes | memoryview
    ) -> None:
        """Seal one record; its plaintext may be reused when this returns."""
        offset = self.size
        stored = self._seal(kind, id, nonce, self.compressor.compress(data))
        self._rows.append(Row(kind=kind, id=id, raw=len(data), offset=offset, stored=stored))
        self._numbers.append(number)

    def last(self) -> tuple[memoryview, Row]:
        """The record just added, still in the staging buffer: only valid before the next call."""
        row = self._rows[-1]
        start = row.offset - self._written
        return self._view[start : start + row.stored], row

    def finish(self, nonce: bytes) -> Finished:
        plain = self.compressor.compress(encode_rows(self._rows))
        size = self.size
        end = len(plain) + SEALED_MORE
        padding = padme(size + end + TAIL.size) - size - end - TAIL.size
        self._zeros(padding)
        self._big_stage(CONTENTS, contents_id(self.session), nonce, plain)
        self._stage(TAIL.pack(end, END_MAGIC))
        self._flush(everything=True)
        if self._direct >= 0:
            os.close(self._direct)
            self._direct = -1
        body = Body(size=self._written, sha256=self._hash.digest(), fd=self._fd)
        rows = zip(self._numbers, self._rows, strict=True)
        return Finished(body=body, records=tuple((n, r.offset, r.stored) for n, r in rows))

    def close(self) -> None:
        """Drop it; after `finish` the descriptor belongs to whoever holds the body."""
        for fd in (self._fd, self._direct):
            if fd >= 0:
                os.close(fd)
        self._fd = self._direct = -1

    def _seal(self, kind: int, id: bytes, nonce: bytes, data: bytes) -> int:
        if self._fill >= _STAGE:
            self._flush()
        room = self._view[self._fill :]
        stored = self.sealer.seal_into(kind, id, nonce, data, room)
        self._hash.update(room[:stored])
        self._fill += stored
        return stored

    def _big_stage(self, kind: int, id: bytes, nonce: bytes, data: bytes) -> None:
        """Contents of a huge manifest may pass the staging buffer."""
        sealed = bytearray(len(data) + SEALED_MORE)
        self.sealer.seal_into(kind, id, nonce, data, memoryview(sealed))
        for start in range(0, len(sealed), _STAGE):
            self._stage(memoryview(sealed)[start : start + _STAGE])

    def _stage(self, data: bytes | memoryview) -> None:
        if self._fill >= _STAGE:
            self._flush()
        self._view[self._fill : self._fill + len(data)] = data
        self._hash.update(data)
        self._fill += len(data)

    def _zeros(self, length: int) -> None:
        zeros = bytes(min(length, _STAGE))
        while length:
            part = min(length, _STAGE)
            self._stage(zeros[:part] if part < len(zeros) else zeros)
            length -= part

    def _flush(self, *, everything: bool = False) -> None:
        whole = self._fill & -_BLOCK
        try:
            if whole:
                self._whole_blocks(whole)
            rest = self._fill - whole
            if everything and rest:
                _pwrite(self._fd, self._view[whole : self._fill], self._written + whole)
                whole = self._fill
                rest = 0
        except OSError as error:
            raise DiskError(
                f"{self.folder} did not take the next {self._fill} bytes: {error.strerror}",
                hint="free some room there and run the backup again; nothing was committed",
            ) from error
        self._view[:rest] = self._view[whole : self._fill]
        self._written += whole
        self._fill = rest

    def _whole_blocks(self, whole: int) -> None:
        if self._direct >= 0:
            try:
                _pwrite(self._direct, self._view[:whole], self._written)
                return
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                os.close(self._direct)
                self._direct = -1
        _pwrite(self._fd, self._view[:whole], self._written)


def _pwrite(fd: int, view: memoryview, offset: int) -> None:
    done = 0
    while done < len(view):
        done += os.pwrite(fd, view[done:], offset + done)


def staging_buffer() -> mmap.mmap:
    """Page-aligned room for what waits to be written plus one record."""
    return mmap.mmap(-1, 2 * _STAGE + RECORD_STORED + _ROOM_FOR_END)

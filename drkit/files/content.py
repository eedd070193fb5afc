"""Reads the bytes of one open file into a save, and notices when they change meanwhile."""

import errno
import os
from collections.abc import Iterator
from enum import Enum

import msgspec

from drkit.files.stat import FILE, OPEN_FILE, TYPE, Describer, mark_of, unchanged
from drkit.files.tally import Tally
from drkit.model.entry import Entry, native
from drkit.source import Cut, Save, Writer

SMALL = 64 << 10
_PIECE = 1 << 20
_OTHER_NOW = frozenset((errno.ELOOP, errno.ENXIO, errno.EAGAIN, errno.ENODEV))


class Result(Enum):
    KEPT = "kept"
    TORN = "torn"  # kept, as it was read last
    CHANGED = "changed"  # nothing kept: try again
    GONE = "gone"


class Unreadable(Exception):
    """The file system refused. A store's or a state's refusal must never pass for it."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(cause)
        self.cause = cause


class Contents:
    """Reads files, one after the other, through one buffer."""

    __slots__ = ("_buffer", "_describe", "_euid", "_save", "_settled", "_tally")

    def __init__(self, save: Save, describe: Describer, tally: Tally, settled: int) -> None:
        self._save = save
        self._describe = describe
        self._tally = tally
        self._settled = settled
        self._buffer = memoryview(bytearray(_PIECE))
        self._euid = os.geteuid()

    def keep(self, folder: int, path: str, seen: os.stat_result, *, last: bool) -> Result:
        """Reads the file seen in an open folder; `last`: torn is better than nothing."""
        try:
            fd = self._open(folder, native(path[path.rfind("/") + 1 :]), seen.st_uid)
        except OSError as refused:
            if refused.errno == errno.ENOENT:
                return Result.GONE
            if refused.errno in _OTHER_NOW:
                return Result.CHANGED
            raise Unreadable(refused) from refused
        try:
            st = os.fstat(fd)
            if st.st_mode & TYPE != FILE or st.st_ino != seen.st_ino:
                return Result.CHANGED
            if st.st_size <= SMALL:
                return self._small(fd, path, st, last=last)
            return self._large(fd, path, st, last=last)
        finally:
            os.close(fd)

    def _open(self, folder: int, name: str, owner: int) -> int:
        if self._euid in (0, owner):
            try:
                return os.open(name, OPEN_FILE | os.O_NOATIME, dir_fd=folder)
            except PermissionError:
                pass  # root without the capability (a container): the access time moves
        return os.open(name, OPEN_FILE, dir_fd=folder)

    def _small(self, fd: int, path: str, st: os.stat_result, *, last: bool) -> Result:
        size = st.st_size
        try:
            content = _read(fd, size)
            entry = self._describe.entry(path, "file", st, where=fd)
            sound = len(content) == size and unchanged(st, os.fstat(fd))
        except OSError as refused:
            raise Unreadable(refused) from refused
        if sound:
            self._save.whole(entry, content, mark_of(st, self._settled))
            self._tally.read_file(size)
            return Result.KEPT
        if not last or len(content) < size:
            return Result.CHANGED
        self._save.whole(_torn(entry), content[:size])
        self._tally.read_file(size)
        return Result.TORN

    def _large(self, fd: int, path: str, st: os.stat_result, *, last: bool) -> Result:
        entry = self._describe.entry(path, "file", st, where=fd)
        mark = "" if last else mark_of(st, self._settled)
        writer = self._save.write(entry, Cut.CONTENT, mark)
        try:
            whole = self._pour(fd, st, writer)
            sound = whole and unchanged(st, _again(fd))
        except BaseException:
            writer.abandon()
            raise
        if sound or (last and whole):
            writer.close(None if sound else _torn(entry))
            self._tally.read_file(st.st_size, st.st_size)
            return Result.KEPT if sound else Result.TORN
        writer.abandon()
        return Result.CHANGED

    def _pour(self, fd: int, st: os.stat_result, writer: Writer) -> bool:
        """All of its bytes, holes as holes; False when the file ended early."""
        size = st.st_size
        sparse = st.st_blocks * 512 < size
        for is_data, length in _regions(fd, size) if sparse else ((True, size),):
            if not is_data:
                writer.zero(length)
                self._tally.advance(0, length)
            elif not self._copy(fd, length, writer):
                return False
        return True

    def _copy(self, fd: int, length: int, writer: Writer) -> bool:
        buffer, advance = self._buffer, self._tally.advance
        while length:
            try:
                got = os.readv(fd, (buffer if length >= _PIECE else buffer[:length],))
            except OSError as refused:
                raise Unreadable(refused) from refused
            if not got:
                return False
            writer.write(buffer if got == _PIECE else buffer[:got])
            advance(0, got)
            length -= got
        return True


def _read(fd: int, size: int) -> bytes:
    """Up to a byte more than expected, so that growth is seen; short reads are no end of file."""
    content = os.read(fd, size + 1)
    while len(content) < size and (more := os.read(fd, size + 1 - len(content))):
        content += more
    return content


def _again(fd: int) -> os.stat_result:
    try:
        return os.fstat(fd)
    except OSError as refused:
        raise Unreadable(refused) from refused


def _regions(fd: int, size: int) -> Iterator[tuple[bool, int]]:
    """(is it data, length) one after the other; the descriptor stands where the data begins."""
    at = 0
    while at < size:
        start = _seek(fd, at, os.SEEK_DATA, size)
        if start > at:
            yield False, start - at
        if start >= size:
            return
        at = _seek(fd, start, os.SEEK_HOLE, size)
        os.lseek(fd, start, os.SEEK_SET)
        yield True, at - start


def _seek(fd: int, at: int, whence: int, size: int) -> int:
    try:
        return min(os.lseek(fd, at, whence), size)
    except OSError as refused:
        if refused.errno == errno.ENXIO:  # no data beyond, or the file is shorter by now
            return size
        if refused.errno in (errno.EINVAL, errno.ENOTSUP):  # no such seek here: all data
            return at if whence == os.SEEK_DATA else size
        raise Unreadable(refused) from refused


def _torn(entry: Entry) -> Entry:
    return msgspec.structs.replace(entry, facts={"torn": 1})

"""Files written below a root, part by part and without following links."""

import base64
import ctypes
import errno
import grp
import os
import pwd
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from drkit.errors import Damaged, DiskError
from drkit.model.entry import Entry, native

_FOLDERS = (384, 8, 64)  # held open by all threads together; by one, at least and at most:
_FILES = (96, 4, 16)  # a process may have 1,024 files open, and a store has its connections
_BEHIND = 8 << 20  # written pages are sent to the disk and dropped this far behind
_SYNC_WRITE = 2  # SYNC_FILE_RANGE_WRITE
_SYNC_ALL = 7
_libc = ctypes.CDLL(None, use_errno=True)


class TreeWriter:
    """Owned by one thread: its own open folders and files."""

    def __init__(
        self, root: Path, *, as_root: bool, warn: Callable[[str], None], among: int = 1
    ) -> None:
        self._most_folders, self._most_files = _share(_FOLDERS, among), _share(_FILES, among)
        self._root = root
        self._as_root = as_root
        self._warn = warn
        self._folders: OrderedDict[str, int] = OrderedDict()
        self._files: OrderedDict[str, int] = OrderedDict()
        with self._errors(""):
            self._top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for fd in (*self._folders.values(), *self._files.values(), self._top):
            os.close(fd)
        self._folders.clear()
        self._files.clear()

    @contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._told(path, error) from error

    def _told(self, path: str, error: OSError) -> Exception:
        where = f"{self._root}/{path}" if path else str(self._root)
        if error.errno == errno.EEXIST:
            return Damaged(f"{where}: the snapshot holds two entries of this name")
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            return Damaged(
                f"{where}: a part of the path is no folder: nothing is written through it"
            )
        if error.errno == errno.ENOENT:
            return Damaged(f"{where}: the snapshot doesn't hold what it stands in or links to")
        refused = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        mend = "restore where this user may write" if refused else "make room"
        return DiskError(
            f"{where}: {error.strerror}",
            hint=f"{self._root} is not complete: remove it, {mend}, and restore again",
        )

    # folders
    def _folder(self, path: str) -> int:
        if not path:
            return self._top
        fd = self._folders.get(path)
        if fd is not None:
            self._folders.move_to_end(path)
            return fd
        parent, _, name = path.rpartition("/")
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        fd = os.open(native(name), flags, dir_fd=self._folder(parent))
        self._folders[path] = fd
        if len(self._folders) > self._most_folders:
            os.close(self._folders.popitem(last=False)[1])
        return fd

    def _place(self, path: str) -> tuple[int, str]:
        parent, _, name = path.rpartition("/")
        return self._folder(parent), native(name)

    def make_folder(self, path: str) -> None:
        with self._errors(path):
            folder, name = self._place(path)
            os.mkdir(name, 0o700, dir_fd=folder)

    # files
    def create(self, entry: Entry) -> None:
        """An empty file, or one whose pieces come later."""
        with self._errors(entry.path):
            fd = self._new(entry.path)
            try:
                if entry.size:
                    os.ftruncate(fd, entry.size)
                else:
                    self._dress(fd, entry)
            finally:
                os.close(fd)

    def small(self, entry: Entry, content: memoryview) -> None:
        """A whole file at once."""
        try:
            fd = self._new(entry.path)
            try:
                _write_at(fd, content, 0)
                self._dress(fd, entry)
            finally:
                os.close(fd)
        except OSError as error:
            raise self._told(entry.path, error) from error

    def piece(self, path: str, content: memoryview, offset: int) -> None:
        try:
            fd = self._file(path)
            _write_at(fd, content, offset)
            self._pass_on(fd, offset, len(content))
        except OSError as error:
            raise self._told(path, error) from error

    def dress(self, entry: Entry) -> None:
        """Owner, attributes, mode and time, of a file or folder that is complete."""
        with self._errors(entry.path):
            folder, name = self._place(entry.path)
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            try:
                self._dress(fd, entry)
            finally:
                os.close(fd)

    def dress_top(self, entry: Entry) -> None:
        with self._errors(""):
            self._dress(self._top, entry)

    def remove(self, path: str) -> None:
        with self._errors(path), suppress(FileNotFoundError):
            folder, name = self._place(path)
            os.unlink(name, dir_fd=folder)

    def _new(self, path: str) -> int:
        folder, name = self._place(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        return os.open(name, flags, 0o600, dir_fd=folder)

    def _file(self, path: str) -> int:
        fd = self._files.get(path)
        if fd is not None:
            return fd
        folder, name = self._place(path)
        fd = os.open(name, os.O_WRONLY | os.O_NOFOLLOW, dir_fd=folder)
        self._files[path] = fd
        if len(self._files) > self._most_files:
            os.close(self._files.popitem(last=False)[1])
        return fd

    def _pass_on(self, fd: int, offset: int, length: int) -> None:
        """To the disk now and out of the page cache soon: fresh cache pages are what costs most."""
        _sync_range(fd, offset, length, _SYNC_WRITE)
        if offset >= _BEHIND:
            _sync_range(fd, offset - _BEHIND, length, _SYNC_ALL)
            os.posix_fadvise(fd, offset - _BEHIND, length, os.POSIX_FADV_DONTNEED)

    # links
    def link(self, entry: Entry) -> None:
        with self._errors(entry.path):
            folder, name = self._place(entry.path)
            if entry.type == "hardlink":
                there, first = self._place(entry.target)
                os.link(first, name, src_dir_fd=there, dst_dir_fd=folder, follow_symlinks=False)
                return
            if entry.type == "fifo":
                os.mkfifo(name, 0o600, dir_fd=folder)
                os.chmod(name, entry.mode & 0o777, dir_fd=folder)  # mkfifo heeds the umask
            else:
                os.symlink(native(entry.target), name, dir_fd=folder)
            if self._as_root:
                owner = _owner(entry)
                os.chown(name, *owner, dir_fd=folder, follow_symlinks=False)
            times = (entry.mtime, entry.mtime)
            os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)

    def _dress(self, fd: int, entry: Entry) -> None:
        mode = entry.mode & 0o1777
        if self._as_root:
            os.fchown(fd, *_owner(entry))
            mode = entry.mode & 0o7777
        for name, value in entry.xattrs.items():
            self._attribute(fd, entry.path, name, value)
        os.fchmod(fd, mode)
        os.utime(fd, ns=(entry.mtime, entry.mtime))

    def _attribute(self, fd: int, path: str, name: str, value: str) -> None:
        if not name.startswith("user.") and not self._as_root:
            return
        try:
            os.setxattr(fd, native(name), base64.b64decode(value, validate=True))
        except ValueError as error:
            raise Damaged(f"{path}: attribute {name!r} is none: {error}") from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._warn(f"{path}: attribute {name} could not be set: {error.strerror}")

    def durable(self) -> None:
        """All of it on the disk, with one call for the whole file system."""
        with self._errors(""):
            if _libc.syncfs(self._top):
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code))
            parent = os.open(self._root.parent, os.O_RDONLY)
            try:
                os.fsync(parent)
            finally:
                os.close(parent)


def _share(bounds: tuple[int, int, int], among: int) -> int:
    all_together, least, most = bounds
    return max(least, min(most, all_together // among))


def _write_at(fd: int, view: memoryview, offset: int) -> None:
    done = os.pwrite(fd, view, offset)
    while done < len(view):
        done += os.pwrite(fd, view[done:], offset + done)


def _sync_range(fd: int, offset: int, length: int, flags: int) -> None:
    _libc.sync_file_range(fd, ctypes.c_int64(offset), ctypes.c_int64(length), ctypes.c_uint(flags))


def _owner(entry: Entry) -> tuple[int, int]:
    """By name where this host knows it, as a number otherwise: numbers differ between hosts."""
    user = _user(entry.user) if entry.user else None
    group = _group(entry.group) if entry.group else None
    return (entry.uid if user is None else user), (entry.gid if group is None else group)


@cache
def _user(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):  # unknown here, or a name that nobody can have
        return None


@cache
def _group(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):  # unknown here, or a name that nobody can have
        return None

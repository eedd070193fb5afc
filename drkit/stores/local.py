"""A folder of this machine as a store: nameless files, linked once they are whole and durable."""

import errno
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from drkit.errors import AlreadyExists, NotFound, StoreError
from drkit.stores.base import LONGEST_NAME, Body, Stored, check_name, check_prefix

_STAGING = ".staging"  # begins with a dot, so no object can be in it
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a planted fifo must not block
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RACES = 100  # how often a put may lose its folder to deletes before it gives up
_STALE = 86_400  # seconds after which a named temporary file is a dead process's
_PART = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]*")
_WRITE = "write"

# What file systems answer that know no O_TMPFILE, or can't link this file: another way is tried.
_REFUSED = frozenset(
    {errno.ENOENT, errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}
)
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
# Not EIO: after a failed fsync the lost pages count as clean, so a second one proves nothing.
_TRANSIENT = frozenset(
    {errno.EAGAIN, errno.EBUSY, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE}
    | {errno.ENOLCK, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN}
)
_NO_LINKS = "drkit follows no links inside a store: put the real file or folder in its place"
_HINTS = {
    errno.ENOSPC: "free space there, then run the same command again",
    errno.EDQUOT: "raise the quota or free space there, then run the same command again",
    errno.EROFS: "the file system is mounted read-only: mount it for writing, or see why it is not",
    errno.EIO: "the disk or its connection fails: see the kernel's log before anything else",
    errno.EACCES: "run as the user who owns the folder, or give this user rights on it",
    errno.EPERM: "the file system must allow hard links, and this user to make them there",
    errno.ELOOP: _NO_LINKS,
    errno.ENOTDIR: _NO_LINKS,
}

Made = AbstractContextManager[tuple[int, str]]  # an open file, and the path it can be linked from
Way = Callable[[int, Body], Made]


class LocalStore:
    """Holds no open file: a disk may be mounted and unmounted between two calls."""

    lanes = 2
    locks = False

    def __init__(self, root: Path, *, nameless: bool = True) -> None:
        self._root = os.fspath(root)
        self.url = "file://" + quote(os.fsencode(self._root))
        self._proc = os.path.isdir("/proc/self/fd")
        self._nameless = nameless and self._proc
        self._settled: set[str] = set()  # folders whose own names are known to be durable
        self._swept = False

    def prepare(self) -> None:
        root = Path(self._root)
        with self._translated("make the folder", self._root):
            missing = [folder for folder in (root, *root.parents) if not folder.exists()]
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in missing:
                _sync(os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY))

    def put(self, name: str, body: Body) -> None:
        path = self._path(name)
        with self._translated(_WRITE, path):
            if os.path.lexists(path):
                raise AlreadyExists(f"{path} is already there")
            ways: tuple[Way, ...] = (_unnamed, self._named) if self._nameless else (self._named,)
            if body.fd is not None and self._proc and self._linkable(body.fd, body.size):
                ways = (_given, *ways)
            if not any(self._placed(way, path, body, last=way is ways[-1]) for way in ways):
                raise StoreError(f"write {path}: its folder keeps vanishing", transient=True)

    def read(self, name: str, limit: int) -> bytes:
        path = self._path(name)
        with self._translated("read", path), _opened(path) as fd:
            size = _plain(os.fstat(fd), path).st_size
            if size > limit:
                raise StoreError(f"{path} has {size} bytes, more than the {limit} it may have")
            data = bytearray(size)
            _read(fd, memoryview(data), 0, path)
            return bytes(data)

    def read_into(self, name: str, offset: int, view: memoryview) -> None:
        path = self._path(name)
        with self._translated("read", path), _opened(path) as fd:
            _read(fd, view, offset, path)

    def size(self, name: str) -> int:
        path = self._path(name)
        with self._translated("look at", path):
            return _plain(os.stat(path, follow_symlinks=False), path).st_size

    def list(self, prefix: str) -> Iterator[Stored]:
        levels = [self.level(prefix)]
        while levels:
            found = next(levels[-1], None)
            if found is None:
                levels.pop()
            elif isinstance(found, str):
                levels.append(self._level(found, ""))
            else:
                yield found

    def level(self, prefix: str) -> Iterator[Stored | str]:
        check_prefix(prefix)
        folder, slash, start = prefix.rpartition("/")
        return self._level(folder + slash, start)

    def delete(self, name: str) -> None:
        path = self._path(name)
        folder = os.path.dirname(path)
        with self._translated("delete", path):
            os.unlink(path)
            with suppress(FileNotFoundError):  # another delete has taken the empty folder
                _sync(self._open_folder(folder))
        with suppress(OSError):  # not empty, most often
            while folder != self._root:
                os.rmdir(folder)
                self._settled.discard(folder)
                folder = os.path.dirname(folder)

    def staging(self) -> Path | None:
        path = f"{self._root}/{_STAGING}"
        with self._translated(_WRITE, path):
            with suppress(FileExistsError):
                os.mkdir(path, 0o700)
            found = os.lstat(path)
            if not stat.S_ISDIR(found.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, path)
            return Path(path) if found.st_dev == os.stat(self._root).st_dev else None

    def close(self) -> None:
        pass

    def _path(self, name: str) -> str:
        check_name(name)
        return f"{self._root}/{name}"

    @contextmanager
    def _translated(self, operation: str, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._refusal(operation, path, error) from error

    def _refusal(self, operation: str, path: str, error: OSError) -> StoreError:
        if isinstance(error, _ABSENT) and not os.path.isdir(self._root):
            return StoreError(
                f"no repository folder there: {self._root}",
                hint="mount the disk it is on; drkit init only where no backup has ever been",
            )
        if isinstance(error, _ABSENT) and operation != _WRITE:
            return NotFound(f"{path} is not there")
        number = error.errno or 0
        return StoreError(
            f"{operation} {path}: {os.strerror(number).lower()}",
            hint=_HINTS.get(number),
            transient=number in _TRANSIENT,
        )

    # A put: some way to a whole and durable file, then one link.

    def _placed(self, way: Way, path: str, body: Body, *, last: bool) -> bool:
        """False: this file system refuses this way."""
        for _ in range(_RACES):
            folder = self._folder(os.path.dirname(path))
            try:
                self._settle(os.path.dirname(path))
                with way(folder, body) as (fd, origin):
                    links = _seal(fd, body.size, path)
                    _link(fd, origin, folder, os.path.basename(path), links)
            except FileExistsError:
                raise AlreadyExists(f"{path} is already there") from None
            except OSError as error:
                if os.fstat(folder).st_nlink == 0:
                    continue  # a delete has taken the folder
                if last or error.errno not in _REFUSED:
                    raise
                return False
            else:
                os.fsync(folder)
                return True
            finally:
                os.close(folder)
        return False

    def _folder(self, path: str) -> int:
        for _ in range(_RACES):
            try:
                return self._open_folder(path)
            except FileNotFoundError:
                self._make(path)
        raise StoreError(f"write {path}: the folder keeps vanishing", transient=True)

    def _make(self, path: str) -> None:
        self._settled.clear()
        os.stat(self._root)
        parts = path[len(self._root) + 1 :].split("/")
        with suppress(FileNotFoundError):  # a delete took a folder again: the caller begins anew
            for count in range(1, len(parts) + 1):
                with suppress(FileExistsError):
                    os.mkdir("/".join((self._root, *parts[:count])), 0o700)

    def _settle(self, path: str) -> None:
        chain = []
        while path != self._root and path not in self._settled:
            chain.append(path)
            path = os.path.dirname(path)
            _sync(self._open_folder(path))
        self._settled.update(chain)

    def _open_folder(self, path: str) -> int:
        """The root itself may be a link: where a repository is, is its owner's choice."""
        return os.open(f"{path}/." if path == self._root else path, _FOLDER)

    def _linkable(self, fd: int, size: int) -> bool:
        """Made in `staging`, and put nowhere yet: two objects must never share their bytes."""
        found = os.fstat(fd)
        if found.st_size != size or found.st_dev != os.stat(self._root).st_dev:
            return False
        if found.st_nlink == 0:
            return True
        name = os.readlink(f"/proc/self/fd/{fd}")
        home = f"{os.path.realpath(self._root)}/{_STAGING}"
        return found.st_nlink == 1 and os.path.dirname(name) == home and os.path.lexists(name)

    @contextmanager
    def _named(self, _folder: int, body: Body) -> Iterator[tuple[int, str]]:
        staging = self.staging()
        if staging is None:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        fd, path = tempfile.mkstemp(dir=staging)
        try:
            self._sweep(staging, os.fstat(fd).st_mtime)
            _fill(fd, body)
            yield fd, path
        finally:
            os.close(fd)
            with suppress(FileNotFoundError):
                os.unlink(path)

    def _sweep(self, staging: Path, now: float) -> None:
        """What killed processes left; `now` is the file system's own time."""
        if self._swept:
            return
        self._swept = True
        for path in staging.iterdir():
            with suppress(OSError):
                if now - path.lstat().st_mtime > _STALE:
                    path.unlink()

    # A listing: only the names of the chain of open folders are in memory.

    def _level(self, folder: str, start: str) -> Iterator[Stored | str]:
        """Objects, and folders with their slash: as bytes sort, 'a-b' comes before 'a/'."""
        path = f"{self._root}/{folder}".rstrip("/")
        for key in self._keys(path, folder, start):
            if key.endswith("/"):
                yield folder + key
                continue
            try:
                found = os.stat(f"{path}/{key}", follow_symlinks=False)
            except FileNotFoundError:
                continue  # deleted since
            except OSError as error:
                raise self._refusal("look at", f"{path}/{key}", error) from error
            when = _when(found.st_mtime, path, key)
            yield Stored(name=folder + key, size=found.st_size, modified=when)

    def _keys(self, path: str, folder: str, start: str) -> Sequence[str]:
        try:
            with self._translated("list", path):
                if folder and stat.S_ISLNK(os.lstat(path).st_mode):
                    raise StoreError(f"list {path}: it is a link", hint=_NO_LINKS)
                with os.scandir(path) as entries:
                    return sorted(_wanted(entries, folder, start))
        except NotFound:
            return []


def _wanted(entries: Iterator[os.DirEntry[str]], folder: str, start: str) -> Iterator[str]:
    for entry in entries:
        name = entry.name
        if not name.startswith(start) or not _PART.fullmatch(name):
            continue
        if entry.is_file(follow_symlinks=False):
            yield name
        elif entry.is_dir(follow_symlinks=False):
            ours = folder or name != "lost+found"
            if ours and len(folder) + len(name) < LONGEST_NAME:
                yield name + "/"
        elif os.path.lexists(entry.path):
            raise StoreError(f"list {entry.path}: it is no plain file", hint=_NO_LINKS)


def _when(seconds: float, path: str, key: str) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise StoreError(f"list {path}/{key}: its time is no time: {seconds}") from None


@contextmanager
def _given(_folder: int, body: Body) -> Iterator[tuple[int, str]]:
    assert body.fd is not None
    os.utime(body.fd)  # a pack may have been written for hours
    yield body.fd, f"/proc/self/fd/{body.fd}"


@contextmanager
def _unnamed(folder: int, body: Body) -> Iterator[tuple[int, str]]:
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        _fill(fd, body)
        yield fd, f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _fill(fd: int, body: Body) -> None:
    for piece in body.pieces():
        left = memoryview(piece)
        while left:
            left = left[os.write(fd, left) :]


def _seal(fd: int, size: int, path: str) -> int:
    """Durable and private; how many names it has."""
    found = os.fstat(fd)
    if found.st_size != size:
        raise StoreError(f"write {path}: {found.st_size} of {size} bytes came")
    if stat.S_IMODE(found.st_mode) != 0o600:
        os.fchmod(fd, 0o600)
    os.fsync(fd)
    return found.st_nlink


def _link(fd: int, origin: str, folder: int, name: str, links: int) -> None:
    try:
        os.link(origin, name, dst_dir_fd=folder, follow_symlinks=True)
    except FileExistsError:
        # NFS may send a request twice and answer the second: then the first one made the link.
        if os.fstat(fd).st_nlink == links:
            raise


def _sync(folder: int) -> None:
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _opened(path: str) -> Iterator[int]:
    fd = os.open(path, _OPEN)
    try:
        yield fd
    finally:
        os.close(fd)


def _plain(found: os.stat_result, path: str) -> os.stat_result:
    if stat.S_ISDIR(found.st_mode):
        raise NotFound(f"{path} is not there")
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(f"{path} is no plain file", hint=_NO_LINKS)
    return found


def _read(fd: int, view: memoryview, offset: int, path: str) -> None:
    done = 0
    while done < len(view):
        count = os.preadv(fd, [view[done:]], offset + done)
        if not count:
            raise StoreError(f"{path} ends before {offset + len(view)}")
        done += count

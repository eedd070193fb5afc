"""Walks a tree into a save: every name once, sorted by path, never through a link."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass

from drkit.files.content import Contents, Result, Unreadable
from drkit.files.patterns import Rules
from drkit.files.stat import (
    FIFO,
    FILE,
    FOLDER,
    LINK,
    OPEN_FOLDER,
    SPECIAL,
    TYPE,
    Describer,
    mark_of,
    said,
)
from drkit.files.tally import Tally
from drkit.model.entry import Entry, native, text
from drkit.source import Save

_OPEN = 64  # folders kept open at once: deeper trees than descriptors exist
_PAUSES = (0.02, 0.1, 0.5)  # before a file that changed is read again


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is left out."""

    include: Rules | None
    exclude: Rules | None
    one_file_system: bool
    made_up: frozenset[int]  # devices
    apart: frozenset[tuple[int, int]]  # device and inode of drkit's own folders

    @property
    def some(self) -> bool:
        return self.include is not None or self.exclude is not None


class _Frame:
    """A folder being walked. Names are in text form, the next one last."""

    __slots__ = ("fd", "identity", "inside", "names", "pending", "prefix", "waiting")

    def __init__(self, fd: int, prefix: str, identity: tuple[int, int], *, inside: bool) -> None:
        self.fd = fd
        self.prefix = prefix
        self.identity = identity  # device, inode
        self.inside = inside  # what stands here is included
        self.names = [text(name) for name in os.listdir(fd)]
        self.names.sort(reverse=True)
        self.pending: list[str] = []  # folders to be entered, with "/", the next one last
        self.waiting: Entry | None = None  # this folder, taken only when something in it is


class Walk:
    """One capture of one tree. Hard links are found here; bytes are read by `contents`."""

    def __init__(self, save: Save, limits: Limits, tally: Tally, tools: "Tools") -> None:
        self._save = save
        self._limits = limits
        self._limited = limits.some
        self._tally = tally
        self._describe = tools.describe
        self._contents = tools.contents
        self._settled = tools.settled
        self._sleep = tools.sleep
        self._links: dict[tuple[int, int], str] = {}
        self._frames: list[_Frame] = []
        self._waiting: list[_Frame] = []

    def start(self, root: int) -> None:
        """Lists the root, whose descriptor stays the caller's. OSError: it can't be read."""
        st = os.fstat(root)
        self._frames = [
            _Frame(root, "", (st.st_dev, st.st_ino), inside=self._limits.include is None)
        ]

    def run(self) -> None:
        try:
            while self._frames:
                frame = self._frames[-1]
                folder = self._until_folder(frame)
                if folder is not None:
                    self._descend(frame, folder)
                else:
                    self._leave()
        finally:
            for frame in self._frames[1:]:
                _close(frame)

    def _until_folder(self, frame: _Frame) -> str | None:
        """Everything up to the next folder to be entered: sorted by path means a, a.txt, a/b."""
        names, pending = frame.names, frame.pending
        while names:
            if pending and pending[-1] < names[-1]:
                return pending.pop()
            self._visit(frame, names.pop(), 0)
        return pending.pop() if pending else None

    def _visit(self, frame: _Frame, name: str, attempt: int) -> None:
        path = frame.prefix + name
        try:
            st = os.stat(native(name), dir_fd=frame.fd, follow_symlinks=False)
        except OSError as refused:
            if refused.errno != errno.ENOENT:
                self._unreadable(path, refused)
            return
        kind = st.st_mode & TYPE
        if self._limited and not self._wanted(frame, name, st):
            return
        if kind == FILE:
            self._file(frame, name, st, attempt)
        elif kind == FOLDER:
            self._folder(frame, name, st)
        elif kind == LINK:
            self._link(frame, name, st)
        elif kind == FIFO:
            self._put(self._describe.entry(path, "fifo", st, where=_where(frame, name)), "fifos")
        else:
            self._skip(path, f"a {SPECIAL.get(kind, 'file of no known type')}")

    def _file(self, frame: _Frame, name: str, st: os.stat_result, attempt: int) -> None:
        path, tally = frame.prefix + name, self._tally
        if st.st_nlink > 1:
            first = self._links.get((st.st_dev, st.st_ino))
            if first is not None:
                self._put(self._describe.entry(path, "hardlink", st, target=first), "hardlinks")
                return
        mark = mark_of(st, self._settled)
        if mark and mark == self._save.mark(path) and self._same(path, mark):
            tally.same_file(st.st_size)
        elif not self._read(frame, name, st, attempt):
            return
        if st.st_nlink > 1:
            self._links[st.st_dev, st.st_ino] = path

    def _same(self, path: str, mark: str) -> bool:
        parent = self._save.parent(path)
        if parent is None or parent.type != "file":
            return False
        self._save.same(parent, mark)
        return True

    def _read(self, frame: _Frame, name: str, st: os.stat_result, attempt: int) -> bool:
        """Whether this visit kept it; a file that changes is visited again, a few times."""
        path, last = frame.prefix + name, attempt == len(_PAUSES)
        try:
            result = self._contents.keep(frame.fd, path, st, last=last)
        except Unreadable as refused:
            self._unreadable(path, refused.cause)
            return False
        if result is Result.TORN:
            self._tally.counts["torn"] += 1
            self._tally.trouble(path, "changed while it was read")
        elif result is Result.CHANGED and last:
            self._tally.counts["unreadable"] += 1
            self._tally.trouble(path, "changed each time it was read, left out")
        elif result is Result.CHANGED:
            self._sleep(_PAUSES[attempt])
            self._visit(frame, name, attempt + 1)
        return result in (Result.KEPT, Result.TORN)

    def _link(self, frame: _Frame, name: str, st: os.stat_result) -> None:
        path = frame.prefix + name
        try:
            target = text(os.readlink(native(name), dir_fd=frame.fd))
        except OSError as refused:
            if refused.errno not in (errno.ENOENT, errno.EINVAL):  # gone, or no link any more
                self._unreadable(path, refused)
            return
        where = _where(frame, name)
        self._put(self._describe.entry(path, "link", st, target=target, where=where), "links")

    def _folder(self, frame: _Frame, name: str, st: os.stat_result) -> None:
        path = frame.prefix + name
        if (st.st_dev, st.st_ino) in self._limits.apart:
            self._tally.note(path, "drkit's own folder, left out")
            return
        self._put(self._describe.entry(path, "dir", st, where=_where(frame, name)), "folders")
        frame.pending.append(name + "/")

    def _put(self, entry: Entry, word: str) -> None:
        self._save.put(entry)
        self._tally.counts[word] += 1
        self._tally.advance(1, 0)

    # Patterns.

    def _wanted(self, frame: _Frame, name: str, st: os.stat_result) -> bool:
        path, is_folder = native(frame.prefix + name), st.st_mode & TYPE == FOLDER
        start = len(path) - len(native(name))
        limits = self._limits
        if limits.exclude is not None and limits.exclude.match(path, start, folder=is_folder):
            self._tally.counts["excluded"] += 1
            return False
        if (
            frame.inside
            or limits.include is None
            or limits.include.match(path, start, folder=is_folder)
        ):
            self._put_waiting()
            return True
        if is_folder and limits.include.lead_through(path):
            frame.pending.append(name + "/")
        return False

    def _put_waiting(self) -> None:
        for frame in self._waiting:
            if frame.waiting is not None:
                self._put(frame.waiting, "folders")
                frame.waiting = None
        self._waiting.clear()

    # Folders in and out.

    def _descend(self, above: _Frame, pended: str) -> None:
        name, path = pended[:-1], above.prefix + pended
        try:
            fd = os.open(native(name), OPEN_FOLDER, dir_fd=above.fd)
        except OSError as refused:
            self._lost_folder(path[:-1], refused)
            return
        try:
            frame = self._entered(above, fd, path)
        except OSError as refused:
            self._lost_folder(path[:-1], refused)
            frame = None
        except BaseException:
            os.close(fd)
            raise
        if frame is None:
            os.close(fd)
            return
        self._frames.append(frame)
        if len(self._frames) > _OPEN:
            _close(self._frames[-_OPEN])

    def _entered(self, above: _Frame, fd: int, path: str) -> _Frame | None:
        st, limits, name = os.fstat(fd), self._limits, path[len(above.prefix) : -1]
        if (st.st_dev, st.st_ino) in limits.apart:
            return None
        if st.st_dev != above.identity[0] and not self._may_cross(path[:-1], st):
            return None
        inside = above.inside or limits.include is None or self._includes(path[:-1], name)
        frame = _Frame(fd, path, (st.st_dev, st.st_ino), inside=inside)
        if not inside:
            frame.waiting = self._describe.entry(path[:-1], "dir", st, where=fd)
            self._waiting.append(frame)
        return frame

    def _includes(self, path: str, name: str) -> bool:
        include, whole = self._limits.include, native(path)
        start = len(whole) - len(native(name))
        return include is not None and include.match(whole, start, folder=True)

    def _may_cross(self, path: str, st: os.stat_result) -> bool:
        if st.st_dev in self._limits.made_up:
            return False
        if self._limits.one_file_system:
            self._tally.note(path, "another file system, left out")
            return False
        return True

    def _lost_folder(self, path: str, refused: OSError) -> None:
        if refused.errno in (errno.ELOOP, errno.ENOTDIR):
            self._tally.counts["unreadable"] += 1
            self._tally.trouble(path, "was replaced while the folder was read")
        elif refused.errno != errno.ENOENT:
            self._unreadable(path, refused)

    def _leave(self) -> None:
        done = self._frames.pop()
        if done in self._waiting:
            self._waiting.remove(done)
        if not self._frames:
            return
        above = self._frames[-1]
        if above.fd < 0:
            self._reopen(above, done.fd)
        _close(done)

    def _reopen(self, frame: _Frame, below: int) -> None:
        """A folder closed on the way down; `..` may lead elsewhere when a folder was moved."""
        for by in (below, None):
            try:
                fd = self._from_root(frame) if by is None else os.open("..", OPEN_FOLDER, dir_fd=by)
            except OSError:
                continue
            st = os.fstat(fd)
            if (st.st_dev, st.st_ino) == frame.identity:
                frame.fd = fd
                return
            os.close(fd)
        frame.names.clear()
        frame.pending.clear()
        self._tally.counts["unreadable"] += 1
        self._tally.trouble(frame.prefix[:-1], "was moved while it was read, its rest is left out")

    def _from_root(self, frame: _Frame) -> int:
        fd = os.dup(self._frames[0].fd)
        for part in frame.prefix[:-1].split("/"):
            above = fd
            try:
                fd = os.open(native(part), OPEN_FOLDER, dir_fd=above)
            finally:
                os.close(above)
        return fd

    # What can't be taken.

    def _unreadable(self, path: str, refused: OSError) -> None:
        self._tally.counts["unreadable"] += 1
        self._tally.trouble(path, f"can't be read: {said(refused)}")

    def _skip(self, path: str, what: str) -> None:
        self._tally.counts["skipped"] += 1
        self._tally.note(path, f"{what}, left out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    describe: Describer
    contents: Contents
    settled: int
    sleep: Callable[[float], None]


def _where(frame: _Frame, name: str) -> str:
    """A path to a name in an open folder, for calls that take no descriptor."""
    return f"/proc/self/fd/{frame.fd}/{native(name)}"


def _close(frame: _Frame) -> None:
    if frame.fd >= 0:
        os.close(frame.fd)
        frame.fd = -1

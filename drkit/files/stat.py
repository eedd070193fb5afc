"""What the file system says about one name: change mark, owner's names, extended attributes."""

import base64
import errno
import grp
import os
import pwd
from collections.abc import Iterator

from drkit.files.tally import Tally
from drkit.model.entry import Entry, Kind, text

Where = int | str | None

TYPE = 0o170000
FILE, FOLDER, LINK, FIFO = 0o100000, 0o040000, 0o120000, 0o010000
SPECIAL = {0o140000: "socket", 0o020000: "character device", 0o060000: "block device"}

OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Not blocking: a FIFO may have taken the file's place.
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

# A write soon after a reading can leave the times as they were: the clock of a file system is
# 4 ms coarse on ext4, a second on NFS 3, two on FAT.
UNSETTLED = 2_000_000_000

# What the kernel makes up: endless (/proc/kcore) and never wanted back.
_MADE_UP = (
    *("binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs"),
    *("efivarfs", "fusectl", "mqueue", "nsfs", "proc", "pstore", "securityfs", "selinuxfs"),
    *("sysfs", "tracefs"),
)
_NONE: dict[str, str] = {}
_UNSUPPORTED = frozenset((errno.ENOTSUP, errno.ENOSYS, errno.EINVAL))


def settled_before(begun: float) -> int:
    """Times below this, in nanoseconds, can be trusted to change with the file."""
    return int(begun * 1_000_000_000) - UNSETTLED


def mark_of(st: os.stat_result, settled: int) -> str:
    """Equal marks: equal content. Empty while the file is too young to tell."""
    mtime, ctime = st.st_mtime_ns, st.st_ctime_ns
    if mtime >= settled or ctime >= settled:
        return ""
    return f"{st.st_size}:{mtime}:{ctime}:{st.st_ino}"


def unchanged(before: os.stat_result, after: os.stat_result) -> bool:
    return (
        before.st_mtime_ns == after.st_mtime_ns
        and before.st_ctime_ns == after.st_ctime_ns
        and before.st_size == after.st_size
    )


def made_up_devices() -> frozenset[int]:
    """Device numbers of the kernel's own file systems; none where there is no /proc."""
    try:
        with open("/proc/self/mountinfo", "rb") as mounts:
            return frozenset(_made_up(mounts.read().decode(errors="replace").splitlines()))
    except OSError:
        return frozenset()


def _made_up(lines: list[str]) -> Iterator[int]:
    for line in lines:
        mount, _, system = line.partition(" - ")
        if system.split(" ", 1)[0] in _MADE_UP:
            major, minor = mount.split(" ")[2].split(":")
            yield os.makedev(int(major), int(minor))


class Describer:
    """Makes entries. Holds what would be asked for again with every file."""

    __slots__ = ("_groups", "_silent", "_tally", "_users", "_xattrs")

    def __init__(self, tally: Tally, *, xattrs: bool) -> None:
        self._users: dict[int, str] = {}
        self._groups: dict[int, str] = {}
        self._silent: set[int] = set()  # devices that have no extended attributes
        self._xattrs = xattrs and hasattr(os, "listxattr")
        self._tally = tally

    def entry(
        self, path: str, kind: Kind, st: os.stat_result, *, target: str = "", where: Where = None
    ) -> Entry:
        """`where`: a descriptor, or a path not to be followed, to ask for extended attributes."""
        uid, gid = st.st_uid, st.st_gid
        user, group = self._users.get(uid), self._groups.get(gid)
        return Entry(
            path=path,
            type=kind,
            mode=st.st_mode & 0o7777,
            uid=uid,
            gid=gid,
            user=self._user(uid) if user is None else user,
            group=self._group(gid) if group is None else group,
            mtime=st.st_mtime_ns,
            size=st.st_size if kind == "file" else 0,
            target=target,
            xattrs=_NONE if where is None else self._attributes(path, st.st_dev, where),
        )

    def _user(self, uid: int) -> str:
        try:
            name = text(pwd.getpwuid(uid).pw_name)
        except (KeyError, OSError):
            name = ""
        return self._users.setdefault(uid, name)

    def _group(self, gid: int) -> str:
        try:
            name = text(grp.getgrgid(gid).gr_name)
        except (KeyError, OSError):
            name = ""
        return self._groups.setdefault(gid, name)

    def _attributes(self, path: str, device: int, where: int | str) -> dict[str, str]:
        if not self._xattrs or device in self._silent:
            return _NONE
        # Links themselves are asked through a path; a descriptor takes no such argument.
        follow = isinstance(where, int)
        try:
            names = os.listxattr(where, follow_symlinks=follow)
        except OSError as refused:
            if refused.errno in _UNSUPPORTED:
                self._silent.add(device)
            else:
                self._refused("attributes", path, refused)
            return _NONE
        if not names:
            return _NONE
        return self._values(path, where, sorted(names))

    def _values(self, path: str, where: int | str, names: list[str]) -> dict[str, str]:
        values = {}
        for name in names:
            try:
                value = os.getxattr(where, name, follow_symlinks=isinstance(where, int))
            except OSError as refused:
                self._refused(f"attribute {name}", path, refused)
            else:
                values[text(name)] = base64.b64encode(value).decode()
        return values

    def _refused(self, what: str, path: str, refused: OSError) -> None:
        if refused.errno in (errno.EPERM, errno.EACCES):
            self._tally.note(path, f"{what} may not be read")
        elif refused.errno not in (errno.ENODATA, errno.ENOENT):
            self._tally.trouble(path, f"{what} can't be read: {said(refused)}")


def said(refused: OSError) -> str:
    return (refused.strerror or "unknown error").lower()

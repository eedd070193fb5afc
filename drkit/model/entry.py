"""One path of a snapshot, and how paths that are no text become text."""

import re
from typing import Annotated, Literal

import msgspec

Kind = Literal["file", "dir", "link", "hardlink", "fifo"]

# Where a manifest is read these hold; a number beyond them would pass what disks and calls take.
Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
Owner = Annotated[int, msgspec.Meta(ge=0, lt=(1 << 32) - 1)]  # the last one means "leave it"
Mode = Annotated[int, msgspec.Meta(ge=0, le=0o7777)]
Time = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]

ZEROS = 0  # the record number that stands for zeros; real records count from 1


class Entry(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """A line of the manifest. A file's content is the concatenation of its extents.

    A msgspec struct and not a dataclass: a million of these are made and encoded in a run.
    """

    path: str  # relative, parts joined by "/", in text form (see `text`)
    type: Kind = "file"
    mode: Mode = 0  # permission bits with setuid, setgid and sticky
    uid: Owner = 0
    gid: Owner = 0
    user: str = ""
    group: str = ""
    mtime: Time = 0  # nanoseconds since 1970
    size: Count = 0
    target: str = ""  # of a link what it holds, of a hardlink its first name's path
    xattrs: dict[str, str] = {}  # values in base64
    extents: tuple[Count, ...] = ()  # flat: record number, offset in it, length; record 0 is zeros
    facts: dict[str, str | int] = {}  # what the source knows (a checksum, a tablespace)


_SHOWN = 200  # of a path in a message
_ESCAPED = re.compile(r"\\(\\|x[89a-f][0-9a-f])")


def text(path: str) -> str:
    r"""A file system's path as text: `\` doubled, bytes that are no UTF-8 as `\xNN`."""
    if path.isascii() and "\\" not in path:
        return path
    doubled = path.replace("\\", "\\\\")
    return doubled.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def native(path: str) -> str:
    """The reverse of `text`: what to hand to the operating system."""
    if "\\" not in path:
        return path
    raw = _ESCAPED.sub(lambda m: "\\" if m[1] == "\\" else chr(0xDC00 + int(m[1][1:], 16)), path)
    return raw.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def shown(path: str) -> str:
    """A path as part of one line."""
    if len(path) > _SHOWN:
        path = f"{path[: _SHOWN // 2]}…{path[-_SHOWN // 2 :]}"
    return path if path.isprintable() else repr(path)

"""The server's tar stream, pushed in pieces of any size: members, and their bytes as they come."""

from dataclasses import dataclass
from typing import Protocol

from drkit.errors import PostgresError

_BLOCK = 512
_FILE, _LINK, _FOLDER = b"0\0", b"2", b"5"


class Sink(Protocol):
    """The bytes of one file of the stream. The view is not kept."""

    def data(self, view: memoryview) -> None: ...
    def end(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file or a folder, as its header says."""

    name: bytes  # without "./" before and "/" behind
    folder: bool
    size: int
    mode: int
    mtime: int  # seconds


class Taker(Protocol):
    def member(self, member: Member) -> Sink | None:
        """Where its bytes go; a folder has none."""


class Tar:
    """One archive. It has no end mark: `end` says that no more comes."""

    def __init__(self, taker: Taker) -> None:
        self._taker = taker
        self._header = bytearray()
        self._sink: Sink | None = None
        self._left = 0  # of this file
        self._padding = 0

    def data(self, view: memoryview) -> None:
        while view:
            if self._left:
                view = self._content(view)
            elif self._padding:
                part = min(self._padding, len(view))
                self._padding -= part
                view = view[part:]
            else:
                view = self._read_header(view)

    def end(self) -> None:
        if self._left or self._padding or self._header:
            raise _odd("it ends within a file")

    def _content(self, view: memoryview) -> memoryview:
        part = view if len(view) <= self._left else view[: self._left]
        if self._sink is not None:
            self._sink.data(part)
        self._left -= len(part)
        if not self._left:
            self._end_of_file()
        return view[len(part) :]

    def _end_of_file(self) -> None:
        if self._sink is not None:
            self._sink.end()
        self._sink = None

    def _read_header(self, view: memoryview) -> memoryview:
        part = view[: _BLOCK - len(self._header)]
        self._header += part
        if len(self._header) == _BLOCK:
            header, self._header = bytes(self._header), bytearray()
            if header.count(0) != _BLOCK:  # servers send no end of archive; it would do no harm
                self._begin(_member(header))
        return view[len(part) :]

    def _begin(self, member: Member) -> None:
        self._sink = self._taker.member(member)
        self._left = member.size
        self._padding = -member.size % _BLOCK
        if not self._left:
            self._end_of_file()


def _member(header: bytes) -> Member:
    if sum(header) - sum(header[148:156]) + 8 * 32 != _number(header[148:156]):
        raise _odd("a header's checksum is wrong")
    kind = header[156:157]
    if kind not in _FILE and kind != _FOLDER:
        what = "a symbolic link" if kind == _LINK else f"a member of type {kind!r}"
        raise _odd(f"{what} is in it")
    return Member(
        name=_name(header),
        folder=kind == _FOLDER,
        size=0 if kind == _FOLDER else _number(header[124:136]),
        mode=_number(header[100:108]) & 0o7777,
        mtime=_number(header[136:148]),
    )


def _name(header: bytes) -> bytes:
    """What leads out of the cluster is no name."""
    name, prefix = _text(header[:100]), _text(header[345:500])
    whole = (prefix + b"/" + name if prefix else name).removeprefix(b"./").rstrip(b"/")
    parts = whole.split(b"/")
    if b"" in parts or b"." in parts or b".." in parts:
        raise _odd(f"a member is called {whole[:100]!r}")
    return whole


def _text(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _number(field: bytes) -> int:
    """Octal digits; what they can't hold is binary, with the first bit set."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.strip(b"\0 ")
    try:
        return int(digits or b"0", 8)
    except ValueError as error:
        raise _odd(f"{field!r} is no number") from error


def _odd(what: str) -> PostgresError:
    return PostgresError(
        f"the server's stream can't be understood: {what}",
        hint="run it again; if it comes back, something between here and the server changes bytes",
    )

"""A manifest being read, strictly in its order; nothing in it is believed unchecked."""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from drkit.errors import Damaged
from drkit.model.entry import ZEROS, Entry
from drkit.model.extents import total, triples
from drkit.repository.cache import Pack
from drkit.repository.format import FORMAT, LINE_LIMIT, RECORD, RECORD_STORED
from drkit.repository.manifest import (
    EndLine,
    Head,
    PackLine,
    RecordLine,
    decode_entry,
    decode_more,
)

T = TypeVar("T")
_pack = msgspec.json.Decoder(PackLine).decode
_record = msgspec.json.Decoder(RecordLine).decode
_end = msgspec.json.Decoder(EndLine).decode
_head = msgspec.json.Decoder(Head).decode


def split_lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        if max(len(rest), len(lines[0]) if lines else 0) > LINE_LIMIT:  # others lie within a block
            raise Damaged("a manifest has a line beyond its limit")
        yield from lines
    if rest:
        raise Damaged("a manifest ends in the middle of a line")


@dataclass(slots=True, kw_only=True)
class Places:
    """Where every record of a snapshot lies, in 44 bytes each."""

    packs: dict[int, Pack] = field(default_factory=dict)
    numbers: "array[int]" = field(default_factory=lambda: array("Q"))
    raw: "array[int]" = field(default_factory=lambda: array("I"))
    pack: "array[int]" = field(default_factory=lambda: array("Q"))
    at: "array[int]" = field(default_factory=lambda: array("Q"))
    stored: "array[int]" = field(default_factory=lambda: array("I"))
    ids: bytearray = field(default_factory=bytearray)

    def index(self, number: int) -> int:
        i = bisect_left(self.numbers, number)
        if i == len(self.numbers) or self.numbers[i] != number:
            raise Damaged(f"a manifest names record {number}, which it does not describe")
        return i

    def id(self, i: int) -> bytes:
        return bytes(self.ids[16 * i : 16 * i + 16])

    def check(self, entry: Entry) -> None:
        """Every extent lies within a described record, and together they are the file."""
        if len(entry.extents) % 3 or total(entry.extents) != entry.size:
            raise Damaged(f"{entry.path}: its extents are not its size")
        for number, at, length in triples(entry.extents):
            if not length:
                raise Damaged(f"{entry.path}: an extent is no extent")
            if number != ZEROS and at + length > self.raw[self.index(number)]:
                raise Damaged(f"{entry.path}: an extent passes the end of its record")


class Lines:
    """A manifest being read, strictly in its order; each part once."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self._line = self._next()
        self.head = self._decode(_head)
        if self.head.manifest != FORMAT:
            raise Damaged(f"a manifest of format {self.head.manifest}, which this drkit can't read")
        self._line = self._next()
        self.places = Places()
        while self._line.startswith(b'{"pack"'):
            self._read_pack()
        while self._line.startswith(b'{"record"'):
            self._read_record()

    def _next(self) -> bytes:
        line = next(self._lines, None)
        if line is None:
            raise Damaged("a manifest has no end line: it was cut")
        return line

    def _decode(self, decoder: Callable[[bytes], T]) -> T:
        try:
            return decoder(self._line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Damaged(f"a manifest has a line that is none: {error}") from error

    def _read_pack(self) -> None:
        id, session, number, size, sha = self._decode(_pack).pack
        if id in self.places.packs or not _is_hex(session, 32) or not _is_hex(sha, 64):
            raise Damaged("a manifest describes a pack twice or badly")
        self.places.packs[id] = Pack(
            id=id, session=session, number=number, size=size, sha256=bytes.fromhex(sha)
        )
        self._line = self._next()

    def _read_record(self) -> None:
        n, id, raw, pack, at, stored = self._decode(_record).record
        places = self.places
        known = places.packs.get(pack)
        if known is None or not _is_hex(id, 32) or at + stored > known.size:
            raise Damaged(f"a manifest places record {n} where nothing can be")
        if n <= (places.numbers[-1] if places.numbers else ZEROS):
            raise Damaged(f"a manifest has record {n} out of its order")
        if not 0 < raw <= RECORD or stored > RECORD_STORED:
            raise Damaged(f"a manifest has record {n} beyond the limits of a record")
        places.numbers.append(n)
        places.raw.append(raw)
        places.pack.append(pack)
        places.at.append(at)
        places.stored.append(stored)
        places.ids += bytes.fromhex(id)
        self._line = self._next()

    def entries(self) -> Iterator[Entry]:
        count = size = 0
        last = ""
        while self._line.startswith(b'{"path"'):
            entry = self._decode(decode_entry)
            _check_path(entry.path, last)
            last = entry.path
            count += 1
            size += entry.size if entry.type == "file" else 0
            self._line = self._next()
            if self._line.startswith(b'{"more"'):
                entry = self._with_more(entry)
            self.places.check(entry)
            if entry.type != "file":
                _check_other(entry)
            yield entry
        self._check_end(count, size)

    def _with_more(self, entry: Entry) -> Entry:
        extents = list(entry.extents)
        while self._line.startswith(b'{"more"'):
            extents += self._decode(decode_more).more
            self._line = self._next()
        return msgspec.structs.replace(entry, extents=tuple(extents))

    def _check_end(self, count: int, size: int) -> None:
        end = self._decode(_end).end
        found = (len(self.places.packs), len(self.places.numbers), count)
        if found != (end.packs, end.records, end.lines):
            raise Damaged("a manifest's end line counts something else than it holds")
        if size != self.head.bytes:
            said = self.head.bytes
            raise Damaged(f"a manifest holds {size} bytes of files, its head says {said}")
        if next(self._lines, None) is not None:
            raise Damaged("a manifest goes on after its end line")


def _is_hex(text: str, length: int) -> bool:
    return len(text) == length and all(c in "0123456789abcdef" for c in text)


def _check_other(entry: Entry) -> None:
    if entry.type == "hardlink":
        _check_path(entry.target, "")
    if entry.extents or "\0" in entry.target or (entry.type == "link" and not entry.target):
        raise Damaged(f"{entry.path}: no {entry.type} can be like this")


def _check_path(path: str, last: str) -> None:
    if path <= last or path[0] == "/" or "\0" in path:
        raise Damaged(f"a manifest has a path that is unsafe or out of order: {path!r}")
    for part in path.split("/"):
        if part in ("", ".", ".."):
            raise Damaged(f"a manifest has an unsafe path: {path!r}")

"""What a snapshot consists of, as JSON lines: head, packs, records, files by path, end."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import msgspec

from drkit.crypto.seal import MANIFEST, record_id
from drkit.errors import ConfigError, SourceError
from drkit.model.entry import Count, Entry
from drkit.repository.cache import Pack, Record
from drkit.repository.format import LINE_LIMIT, RECORD
from drkit.repository.pack import PackWriter

_PER_LINE = 3 * 8_000  # integers of extents a line: under half the limit of a line
_NAMES_LIMIT = LINE_LIMIT // 2  # the other half: path, owners, attributes

Number = Annotated[int, msgspec.Meta(ge=0, lt=1_000_000)]  # of a pack
_encode = msgspec.json.Encoder().encode


class Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    manifest: int  # the format
    draft: bool
    repository: str
    domain: str
    generation: str
    session: str
    kind: str
    label: str
    files: int
    bytes: int
    policy: str  # the policy file as it was
    notes: tuple[str, ...] = ()  # names stand here and not in the commit, which the store can read
    recorded: dict[str, Any] = {}  # what the source noted of its server, as JSON


class End(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    packs: int
    records: int
    lines: int


class PackLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pack: tuple[Count, str, Number, Count, str]


class RecordLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    record: tuple[Count, str, Count, Count, Count, Count]


class MoreLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    more: list[Count]


class EndLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    end: End


_entries = msgspec.json.Decoder(Entry)
_mores = msgspec.json.Decoder(MoreLine)


def decode_entry(line: bytes) -> Entry:
    return _entries.decode(line)


def decode_more(line: bytes) -> MoreLine:
    return _mores.decode(line)


def encode_file(entry: Entry, extents: tuple[int, ...], size: int | None = None) -> bytes:
    """One line, or several where the extents are many; the entry's own extents are not used."""
    if entry.extents or (size is not None and size != entry.size):
        entry = msgspec.structs.replace(
            entry, extents=(), size=entry.size if size is None else size
        )
    line = _encode(entry)
    if len(line) > _NAMES_LIMIT:
        raise SourceError(
            f"{entry.path[:200]}: its name and attributes take {len(line) >> 10} KiB, "
            f"more than the {_NAMES_LIMIT >> 10} KiB a manifest holds",
            hint="leave it out with an exclude pattern, or give it fewer attributes",
        )
    if not extents:
        return line
    lines = [line[:-1] + b',"extents":' + _encode(extents[:_PER_LINE]) + b"}"]
    lines += (
        b'{"more":' + _encode(extents[start : start + _PER_LINE]) + b"}"
        for start in range(_PER_LINE, len(extents), _PER_LINE)
    )
    return b"\n".join(lines)


def decode_file(line: bytes) -> Entry:
    """The reverse, for the host's own cache."""
    if b"\n" not in line:
        return decode_entry(line)
    first, *rest = line.split(b"\n")
    entry = decode_entry(first)
    extents = entry.extents + tuple(i for more in rest for i in decode_more(more).more)
    return msgspec.structs.replace(entry, extents=extents)


class ManifestWriter:
    def __init__(self, pack: PackWriter, id_key: bytes, nonce: Callable[[], bytes]) -> None:
        self._pack = pack
        self._id_key = id_key
        self._nonce = nonce
        self._lines: list[bytes] = []
        self._size = 0

    def line(self, line: bytes) -> None:
        """May hold several lines; each is under the limit, a block holds many."""
        for part in line.split(b"\n") if len(line) > LINE_LIMIT // 2 else (line,):
            if self._size + len(part) + 1 > RECORD:
                self.flush()
            self._lines.append(part)
            self._size += len(part) + 1

    def flush(self) -> None:
        if not self._lines:
            return
        block = b"\n".join(self._lines) + b"\n"
        self._pack.add(0, MANIFEST, record_id(self._id_key, block), self._nonce(), block)
        self._lines.clear()
        self._size = 0


def write_lines(
    writer: ManifestWriter,
    head: Head,
    packs: Iterable[Pack],
    records: Iterable[Record],
    files: Iterable[bytes],
) -> End:
    counts = [0, 0, 0]
    first = _encode(head)
    if len(first) >= LINE_LIMIT:
        raise ConfigError(
            f"the policy takes {len(head.policy) >> 10} KiB, more than a manifest holds",
            hint="shorten it: comments and long lists of patterns count too",
        )
    writer.line(first)
    for p in packs:
        writer.line(_encode(PackLine((p.id, p.session, p.number, p.size, p.sha256.hex()))))
        counts[0] += 1
    for r in records:
        writer.line(_encode(RecordLine((r.n, r.id.hex(), r.raw, r.pack, r.at, r.stored))))
        counts[1] += 1
    for line in files:
        writer.line(line)
        counts[2] += 1
    end = End(packs=counts[0], records=counts[1], lines=counts[2])
    writer.line(_encode(EndLine(end)))
    writer.flush()
    return end

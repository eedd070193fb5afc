"""What every object is called, and what a listed name means."""

import re
from dataclasses import dataclass
from typing import Final, Literal

REPOSITORY: Final = "repository.json"
STORE: Final = "store.json"
FORMAT: Final = "FORMAT.md"
RESTORE: Final = "restore.py"
DOMAINS: Final = "domains/"
EVIDENCE: Final = "evidence/"

Kind = Literal[
    "repository", "store", "format", "restore",
    "open", "begin", "pack", "manifest", "packlist", "outcome", "closed", "expired",
    "wal", "piece", "conflict", "floor",
    "evidence",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    kind: Kind
    domain: str | None = None
    generation: str | None = None
    session: str | None = None
    number: int | None = None  # of a pack, of an evidence record
    file: str | None = None  # PostgreSQL's name of a WAL file; of a piece: its segment's
    start: int | None = None  # of a piece: bytes in the segment
    end: int | None = None
    tag: str | None = None  # of the same WAL by another key, and of a conflict
    lsn: int | None = None  # of a floor
    signer: str | None = None  # of evidence: the public key in hex


_ROOT: dict[str, Kind] = {
    REPOSITORY: "repository", STORE: "store", FORMAT: "format", RESTORE: "restore",
}  # fmt: skip
_ID = re.compile(r"[0-9a-f]{32}")
_SIGNER = re.compile(r"[0-9a-f]{64}")
_PACK = re.compile(r"([0-9a-f]{32})-([0-9]{6})")
_NUMBER = re.compile(r"[0-9]{8}")
_LSN = re.compile(r"[0-9A-F]{16}")
_TIMELINE = re.compile(r"[0-9A-F]{8}")
_FILE = r"([0-9A-F]{24}(?:\.partial|\.[0-9A-F]{8}\.backup)?|[0-9A-F]{8}\.history)"
_TAG = r"([0-9a-f]{32})"
_WAL_FILE = re.compile(_FILE)
_WAL = re.compile(_FILE + rf"(?:\+{_TAG})?")
_CONFLICT = re.compile(_FILE + "-" + _TAG)
_PIECES = re.compile(r"([0-9A-F]{24})\.d")
_PIECE = re.compile(rf"([0-9A-F]{{8}})-([0-9A-F]{{8}})(?:\+{_TAG})?")


def domain(domain: str) -> str:
    return f"domains/{domain}/"


def generations(domain: str) -> str:
    return f"domains/{domain}/generations/"


def generation(domain: str, generation: str) -> str:
    return f"domains/{domain}/generations/{generation}/"


def opened(domain: str, gen: str) -> str:
    return generation(domain, gen) + "open"


def closed(domain: str, gen: str) -> str:
    return generation(domain, gen) + "closed"


def expired(domain: str, gen: str) -> str:
    return generation(domain, gen) + "expired"


def begins(domain: str, gen: str) -> str:
    return generation(domain, gen) + "begin/"


def begin(domain: str, gen: str, session: str) -> str:
    return begins(domain, gen) + session


def packs(domain: str, gen: str) -> str:
    return generation(domain, gen) + "packs/"


def pack(domain: str, gen: str, session: str, number: int) -> str:
    return f"{packs(domain, gen)}{session}-{number:06d}"


def manifests(domain: str, gen: str) -> str:
    return generation(domain, gen) + "manifest/"


def manifest(domain: str, gen: str, session: str) -> str:
    return manifests(domain, gen) + session


def packlists(domain: str, gen: str) -> str:
    return generation(domain, gen) + "packlist/"


def packlist(domain: str, gen: str, session: str) -> str:
    return packlists(domain, gen) + session


def outcomes(domain: str, gen: str) -> str:
    return generation(domain, gen) + "outcome/"


def outcome(domain: str, gen: str, session: str) -> str:
    return outcomes(domain, gen) + session


def wal(domain: str) -> str:
    return f"domains/{domain}/wal/"


def wal_file(domain: str, file: str, tag: str | None = None) -> str:
    """A segment, .history, .backup or .partial; with a tag: the same by another key."""
    return f"{wal(domain)}{file[:8]}/{file}" + (f"+{tag}" if tag else "")


def wal_pieces(domain: str, segment: str) -> str:
    return f"{wal(domain)}{segment[:8]}/{segment}.d/"


def wal_piece(domain: str, segment: str, start: int, end: int, tag: str | None = None) -> str:
    return f"{wal_pieces(domain, segment)}{start:08X}-{end:08X}" + (f"+{tag}" if tag else "")


def wal_conflict(domain: str, file: str, tag: str) -> str:
    return f"{wal(domain)}conflict/{file}-{tag}"


def floors(domain: str) -> str:
    return wal(domain) + "floor/"


def floor(domain: str, lsn: int) -> str:
    return f"{floors(domain)}{lsn:016X}"


def evidences(signer: str) -> str:
    return f"evidence/{signer}/"


def evidence(signer: str, number: int) -> str:
    return f"evidence/{signer}/{number:08d}"


def is_id(text: str) -> bool:
    """Of a repository, domain, generation or session."""
    return _ID.fullmatch(text) is not None


def is_wal_file(file: str) -> bool:
    return _WAL_FILE.fullmatch(file) is not None


def parse(name: str) -> Name | None:
    """None for what drkit never puts: a finding for some, nothing to anybody else."""
    if name in _ROOT:
        return Name(kind=_ROOT[name])
    parts = name.split("/")
    match parts:
        case ["domains", domain, "generations", gen, *rest] if is_id(domain) and is_id(gen):
            return _in_generation(domain, gen, rest)
        case ["domains", domain, "wal", *rest] if is_id(domain):
            return _in_wal(domain, rest)
        case ["evidence", signer, number] if _SIGNER.fullmatch(signer):
            if _NUMBER.fullmatch(number):
                return Name(kind="evidence", signer=signer, number=int(number))
    return None


def _in_generation(domain: str, gen: str, rest: list[str]) -> Name | None:
    match rest:
        case ["open" | "closed" | "expired" as kind]:
            return Name(kind=kind, domain=domain, generation=gen)
        case ["begin" | "manifest" | "packlist" | "outcome" as kind, session] if is_id(session):
            return Name(kind=kind, domain=domain, generation=gen, session=session)
        case ["packs", last] if found := _PACK.fullmatch(last):
            session, number = found[1], int(found[2])
            return Name(kind="pack", domain=domain, generation=gen, session=session, number=number)
    return None


def _in_wal(domain: str, rest: list[str]) -> Name | None:
    match rest:
        case ["floor", lsn] if _LSN.fullmatch(lsn):
            return Name(kind="floor", domain=domain, lsn=int(lsn, 16))
        case ["conflict", last] if found := _CONFLICT.fullmatch(last):
            return Name(kind="conflict", domain=domain, file=found[1], tag=found[2])
        case [timeline, last] if found := _WAL.fullmatch(last):
            if timeline == last[:8]:
                return Name(kind="wal", domain=domain, file=found[1], tag=found[2])
        case [timeline, folder, last] if _PIECES.fullmatch(folder) and timeline == folder[:8]:
            return _piece(domain, folder.removesuffix(".d"), last)
    return None


def _piece(domain: str, segment: str, last: str) -> Name | None:
    found = _PIECE.fullmatch(last)
    if found is None or int(found[1], 16) >= int(found[2], 16):
        return None
    start, end = int(found[1], 16), int(found[2], 16)
    return Name(kind="piece", domain=domain, file=segment, start=start, end=end, tag=found[3])

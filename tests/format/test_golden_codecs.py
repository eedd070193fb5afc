"""The bytes of format 1 in `golden/`: what was written once must be read for ever, and made again.

The files are never rewritten; running this file writes those that are missing.
"""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from drkit.crypto.recipients import (
    open_envelope,
    paper_form,
    parse_identity,
    read_identities,
    seal_envelope,
)
from drkit.crypto.seal import KINDS, MORE, Opener, Sealer, record_id
from drkit.crypto.sign import new_signer, signer_from_text, signer_to_text
from drkit.errors import Damaged, KeyMissing
from drkit.model.evidence import FIRST, ChainHead, CommitHead, Record
from drkit.model.pins import Pins
from drkit.model.snapshot import Facts
from drkit.repository import evidence, names, signed, walobject
from drkit.repository.signed import (
    Begin,
    Closed,
    Commit,
    Expired,
    Fence,
    Floor,
    Object,
    Open,
    Origin,
    Where,
)
from drkit.repository.walobject import Hand, Part, Place

GOLDEN = Path(__file__).parent / "golden"
# made for these samples: it protects nothing
IDENTITY = parse_identity(
    "AGE-SECRET-KEY-1D3QLR9955P6WHJGX37G0GX446UZTKM6SW5VJN4VN3WUK662LR5LSKT9T2Q"
)
KEY = new_signer(bytes(range(32)))
SESSION_KEY, ID_KEY = bytes(range(100, 132)), bytes(range(132, 164))
R, D, G, S = (c * 16 for c in ("1a", "2b", "3c", "4d"))
AT = datetime(2026, 11, 21, 2, 0, 0, 5, UTC)
SEGMENT = "00000001000000000000000A"

GENERATION = Where(repository=R, domain=D, generation=G)
SESSION = replace(GENERATION, session=S)
FLOOR = Where(repository=R, domain=D, lsn=0x5A000028)

SIGNED: dict[str, tuple[Object, Where]] = {
    "open": (
        Open(
            kind="postgres-physical",
            part="physical",
            writer=KEY.public_text,
            recipients=("age1eja4xg63h7y7385", "age1safe000000000000"),
            source=Origin(kind="postgres-physical", system="7300000000000000001"),
            created=AT,
            expected_end=AT.replace(day=28),
        ),
        GENERATION,
    ),
    "begin": (Begin(kind="incremental", parent="5e" * 16, begun=AT, start_lsn=0x5A000028), SESSION),
    "commit": (
        Commit(
            kind="incremental",
            parent="5e" * 16,
            begun=AT,
            ended=AT.replace(minute=3),
            heads=((G, "6f" * 32),),
            facts=Facts(
                kind="files",
                label="서버 /srv",
                files=3,
                bytes=4096,
                notes=("unreadable: a\\xff/b",),
                details={"excluded": 2, "mount": "/srv"},
            ),
            packlist=(321, "7a" * 32),
            manifest=(654, "8b" * 32),
            tools={"restore.py": "9c" * 32},
            added=1234,
        ),
        SESSION,
    ),
    "fence": (Fence(reason="older than 24 h", by="keeper1", at=AT, scope="ad" * 16), SESSION),
    "closed": (
        Closed(by="keeper1", at=AT, reason="outside retention", plan="keep 30 d"),
        GENERATION,
    ),
    "expired": (
        Expired(by="keeper1", at=AT, reason="outside retention", plan="keep 30 d"),
        GENERATION,
    ),
    "floor": (Floor(lsn=0x5A000028, at=AT), FLOOR),
}


def noise(size: int) -> bytes:
    """Bytes zstd can't make smaller, so that sealing them again gives the same with any zstd."""
    return hashlib.shake_256(b"golden").digest(size)


SEGMENT_BYTES = b"golden segment\n" * 80_000 + bytes(1 << 20)  # three records, little stored
PIECE_BYTES = noise(700)
WHOLE = (
    Part(file=SEGMENT, start=0, end=len(SEGMENT_BYTES), size=len(SEGMENT_BYTES)),
    Place(repository=R, domain=D, name=names.wal_file(D, SEGMENT)),
)
PIECE = (
    Part(file=SEGMENT, start=8192, end=8892, size=16 << 20, head=(G, "6f" * 32)),
    Place(repository=R, domain=D, name=names.wal_piece(D, SEGMENT, 8192, 8892)),
)


def hand() -> Hand:
    numbers = count(1)
    return Hand(
        key=KEY,
        session_key=SESSION_KEY,
        envelope=read("envelope-wal.age"),
        random_bytes=lambda n: next(numbers).to_bytes(n, "big"),
    )


def chain() -> list[tuple[str, bytes]]:
    made: list[tuple[str, bytes]] = []
    prev = FIRST
    for seq in (1, 2, 3):
        record = Record(
            signer=KEY.public_text,
            seq=seq,
            prev=prev,
            at=AT.replace(hour=seq),
            kind="drill_run",
            subject="shop/physical",
            heads=(ChainHead(signer="ed25519:" + "be" * 32, seq=7, hash="cf" * 32),)[: seq - 1],
            commits=(CommitHead(domain=D, generation=G, hash="6f" * 32),)[: seq - 1],
            body={"verdict": "PASS", "phases": [{"ms": 1400 * seq, "phase": "P4"}]},
        )
        data = evidence.encode(record, KEY)
        made.append((evidence.name_of(record), data))
        prev = evidence.hash_of(data)
    return made


def record(kind: int) -> bytes:
    out = bytearray(100 + MORE)
    sealer = Sealer(SESSION_KEY, bytes.fromhex(R), bytes.fromhex(D))
    sealer.seal_into(kind, record_id(ID_KEY, noise(100)), bytes(12), noise(100), memoryview(out))
    return bytes(out)


def everything() -> dict[str, bytes]:
    """What can be made again bit by bit: all but envelopes and what zstd may compress otherwise."""
    made = {f"{n}.signed": signed.encode(obj, at, KEY) for n, (obj, at) in SIGNED.items()}
    made |= {f"evidence-{n}.signed": data for n, (_, data) in enumerate(chain(), 1)}
    made |= {f"record-{kind}.sealed": record(kind) for kind in KINDS}
    made["piece.wal"] = walobject.encode(PIECE[0], PIECE_BYTES, PIECE[1], hand())
    made["signer.key"] = signer_to_text(KEY).encode()
    made["identity.paper"] = paper_form(IDENTITY).encode()
    return made


def read(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()


def test_every_sample_is_made_again() -> None:
    made = everything()
    for name, data in made.items():
        assert read(name) == data, name
    others = {"envelope.age", "envelope-wal.age", "segment.wal"}
    assert {
        path.name for path in GOLDEN.iterdir() if path.suffix != ".json"
    } >= made.keys() | others


@pytest.mark.parametrize("name", SIGNED)
def test_signed_objects_are_read(name: str) -> None:
    obj, where = SIGNED[name]
    assert signed.decode(type(obj), read(f"{name}.signed"), where) == (obj, KEY.public)


def test_the_evidence_is_a_chain() -> None:
    links = [
        evidence.decode(read(f"evidence-{n}.signed"), at) for n, (at, _) in enumerate(chain(), 1)
    ]
    assert [link.record.seq for link in links] == [1, 2, 3]
    findings = evidence.verify_chain(links, Pins(verifiers=frozenset([KEY.public])))
    assert len(findings) == 2  # the chain that the last two have seen is no sample
    assert all("ed25519:bebebebe" in finding for finding in findings)


def test_envelopes_open() -> None:
    assert open_envelope(read("envelope.age"), [IDENTITY]) == SESSION_KEY + ID_KEY
    assert open_envelope(read("envelope-wal.age"), [IDENTITY]) == SESSION_KEY


def test_keys_are_read() -> None:
    assert read_identities(read("identity.paper")) == [IDENTITY]
    assert signer_from_text(read("signer.key").decode()) == KEY


@pytest.mark.parametrize("kind", KINDS)
def test_records_open(kind: int) -> None:
    data, out = read(f"record-{kind}.sealed"), bytearray(100)
    opener = Opener(SESSION_KEY, bytes.fromhex(R), bytes.fromhex(D))
    id = record_id(ID_KEY, noise(100))
    assert opener.open_into(kind, id, memoryview(data), memoryview(out)) == 100
    assert bytes(out) == noise(100)


def test_wal_objects_are_read() -> None:
    for name, (part, place), data in (
        ("segment.wal", WHOLE, SEGMENT_BYTES),
        ("piece.wal", PIECE, PIECE_BYTES),
    ):
        header, got = walobject.decode(read(name), place, [IDENTITY])
        assert (header.part, header.signer) == (part, KEY.public)
        assert got == data
        assert header.tag == walobject.tag_of(KEY, D, SEGMENT, data)


SAMPLES = (
    *(f"{name}.signed" for name in SIGNED),
    *(f"evidence-{n}.signed" for n in (1, 2, 3)),
    "segment.wal",
    "piece.wal",
)


def decoded(name: str, data: bytes) -> object:
    """These bytes, read as the sample of that name."""
    stem, kind = name.split(".")
    if kind == "wal":
        place = (WHOLE if stem == "segment" else PIECE)[1]
        return walobject.decode(data, place, [IDENTITY])
    if stem in SIGNED:
        obj, where = SIGNED[stem]
        return signed.decode(type(obj), data, where)
    return evidence.decode(data, names.evidence(KEY.public.hex(), int(stem[-1])))


@pytest.mark.parametrize("name", SAMPLES)
def test_every_byte_counts(name: str) -> None:
    """Flipped at every byte, cut at every length, or a sibling's: damage, never another error."""
    data = read(name)
    decoded(name, data)
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 0x10
        for wrong in (bytes(flipped), data[:at]):
            with pytest.raises(Damaged):
                decoded(name, wrong)
    for sibling in SAMPLES:
        if sibling != name:
            with pytest.raises(Damaged):
                decoded(name, read(sibling))


def test_every_byte_of_an_envelope_counts() -> None:
    data = read("envelope.age")
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 0x10
        for wrong in (bytes(flipped), data[:at]):
            with pytest.raises((Damaged, KeyMissing)):
                open_envelope(wrong, [IDENTITY])


def _write(name: str, data: bytes) -> None:
    GOLDEN.mkdir(exist_ok=True)
    if not (GOLDEN / name).exists():
        (GOLDEN / name).write_bytes(data)


if __name__ == "__main__":
    _write("envelope.age", seal_envelope(SESSION_KEY + ID_KEY, [IDENTITY.recipient]))
    _write("envelope-wal.age", seal_envelope(SESSION_KEY, [IDENTITY.recipient]))
    _write("segment.wal", walobject.encode(WHOLE[0], SEGMENT_BYTES, WHOLE[1], hand()))
    for sample, content in everything().items():
        _write(sample, content)

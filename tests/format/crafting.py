"""Backups made by hand: what somebody could sign and seal who knows the format, and WAL."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import zstandard

from drkit.crypto.recipients import parse_identity, seal_envelope
from drkit.crypto.seal import DATA, Sealer, record_id
from drkit.crypto.sign import SignerKey, new_signer
from drkit.model.entry import Entry
from drkit.model.pins import Pins
from drkit.model.snapshot import Facts
from drkit.repository import names, signed, walobject
from drkit.repository.cache import Pack, Record
from drkit.repository.format import MANIFEST_MAGIC, PACK_MAGIC
from drkit.repository.history import read_history
from drkit.repository.manifest import Head, ManifestWriter, encode_file, write_lines
from drkit.repository.pack import Finished, PackWriter, staging_buffer
from drkit.repository.repository import Repository, body, domain_id, open_repository
from drkit.repository.signed import Origin, Where
from drkit.stores.base import Body
from drkit.stores.local import LocalStore
from drkit.system import System
from tests.fixtures.trees import noise

IDENTITIES = [
    parse_identity("AGE-SECRET-KEY-1D3QLR9955P6WHJGX37G0GX446UZTKM6SW5VJN4VN3WUK662LR5LSKT9T2Q"),
    parse_identity("AGE-SECRET-KEY-10Y00NDQ356CRS80SLNEH8WX9WXW6T93XMYE5SHTVDKGHZ66UURQSCX3C8J"),
]
RECIPIENTS = tuple(identity.recipient for identity in IDENTITIES)
KEY, FORGER = new_signer(bytes(range(32))), new_signer(b"somebody with the store's password"[:32])
PINS = Pins(writers=frozenset([KEY.public]), maintainers=frozenset([KEY.public]))
AT = datetime(2026, 11, 21, 2, 0, 0, 5, UTC)


def still(seed: int) -> System:
    """A clock that goes on by a minute a look, and counted randomness."""
    looks, draws = count(seed * 1000), count()

    def random(length: int) -> bytes:
        return hashlib.shake_128(b"%d %d" % (seed, next(draws))).digest(length)

    return System(now=lambda: AT + timedelta(minutes=next(looks)), random_bytes=random)


def domain_of(repository: Repository) -> str:
    return domain_id(repository.id, "golden", "files")


# what an attacker with the host can sign and seal


@dataclass(frozen=True, slots=True, kw_only=True)
class Crafted:
    """One backup of one record, as somebody made it who knows the format."""

    files: tuple[bytes, ...]  # lines of the manifest; the record has number 1
    content: bytes = b"outside\n"
    stored: bytes | None = None  # what is sealed for the record instead of the compressed content
    end: bool = True
    key: SignerKey = KEY


class _Stored:
    """A compressor that gives what it was told to for one content."""

    def __init__(self, crafted: Crafted) -> None:
        self._crafted = crafted
        self._real = zstandard.ZstdCompressor()

    def compress(self, data: bytes | memoryview) -> bytes:
        told = self._crafted.stored
        return (
            told
            if told is not None and data == self._crafted.content
            else self._real.compress(data)
        )


class _Session:
    """All that one crafted backup puts, by hand."""

    def __init__(self, folder: Path, crafted: Crafted) -> None:
        self.crafted = crafted
        self.store = LocalStore(folder)
        self.repository = open_repository(self.store)
        self.random = still(99).random_bytes
        domain = domain_of(self.repository)
        self.place = (domain, self.random(16).hex(), self.random(16).hex())
        self.session_key, self.id_key = self.random(32), self.random(32)
        self.envelope = seal_envelope(self.session_key + self.id_key, RECIPIENTS)
        self.where = Where(
            repository=self.repository.id,
            domain=domain,
            generation=self.place[1],
            session=self.place[2],
        )

    def run(self) -> None:
        generation = Where(
            repository=self.where.repository, domain=self.where.domain, generation=self.place[1]
        )
        opened = signed.Open(
            kind="files",
            part="files",
            writer=self.crafted.key.public_text,
            recipients=tuple(r.fingerprint for r in RECIPIENTS),
            source=Origin(kind="files", system=None),
            created=AT,
            expected_end=None,
        )
        begin = signed.Begin(kind="full", parent=None, begun=AT, start_lsn=None)
        self._put(
            names.opened(*self.place[:2]), signed.encode(opened, generation, self.crafted.key)
        )
        self._put(names.begin(*self.place), signed.encode(begin, self.where, self.crafted.key))
        pack = self._pack()
        manifest = self._manifest(pack)
        own = [[f"{self.place[2]}-000000", pack.body.size, pack.body.sha256.hex()]]
        packlist = body(json.dumps({"packs": own, "uses": []}).encode() + b"\n")
        self.store.put(names.pack(*self.place, 0), pack.body)
        self.store.put(names.packlist(*self.place), packlist)
        self.store.put(names.manifest(*self.place), manifest)
        self._commit(packlist, manifest)

    def _commit(self, packlist: Body, manifest: Body) -> None:
        history = read_history(self.repository, self.place[0], PINS)
        commit = signed.Commit(
            kind="full",
            parent=None,
            begun=AT,
            ended=AT + timedelta(days=30),
            heads=history.heads(),
            facts=Facts(kind="files", label="source", files=1, bytes=len(self.crafted.content)),
            packlist=(packlist.size, packlist.sha256.hex()),
            manifest=(manifest.size, manifest.sha256.hex()),
        )
        self._put(names.outcome(*self.place), signed.encode(commit, self.where, self.crafted.key))

    def _put(self, name: str, data: bytes) -> None:
        self.store.put(name, body(data))

    def _writer(self, magic: bytes) -> PackWriter:
        staging = self.store.staging()
        assert staging is not None
        ids = (self.repository.raw_id, bytes.fromhex(self.place[0]))
        return PackWriter(
            session=self.place[2],
            magic=magic,
            envelope=self.envelope,
            sealer=Sealer(self.session_key, *ids),
            folder=staging,
            compressor=_Stored(self.crafted),  # type: ignore[arg-type]
            staging=staging_buffer(),
            limit=None,
        )

    def _pack(self) -> Finished:
        writer, content = self._writer(PACK_MAGIC), self.crafted.content
        writer.add(1, DATA, record_id(self.id_key, content), self.random(12), content)
        return writer.finish(self.random(12))

    def _manifest(self, pack: Finished) -> Body:
        content = self.crafted.content
        ((_, at, stored),) = pack.records
        id = record_id(self.id_key, content)
        packs = [
            Pack(
                id=1, session=self.place[2], number=0, size=pack.body.size, sha256=pack.body.sha256
            )
        ]
        records = [Record(n=1, id=id, raw=len(content), pack=1, at=at, stored=stored)]
        frame = self._writer(MANIFEST_MAGIC)
        lines = _Lines(frame, self.id_key, lambda: self.random(12), end=self.crafted.end)
        write_lines(lines, self._head(), packs, records, self.crafted.files)
        return frame.finish(self.random(12)).body

    def _head(self) -> Head:
        return Head(
            manifest=1,
            draft=True,
            repository=self.repository.id,
            domain=self.place[0],
            generation=self.place[1],
            session=self.place[2],
            kind="full",
            label="source",
            files=1,
            bytes=sum(json.loads(line).get("size", 0) for line in self.crafted.files),
            policy="",
        )


class _Lines(ManifestWriter):
    """May leave out the end line."""

    def __init__(
        self, pack: PackWriter, id_key: bytes, nonce: Callable[[], bytes], *, end: bool
    ) -> None:
        super().__init__(pack, id_key, nonce)
        self._end = end

    def line(self, line: bytes) -> None:
        if self._end or not line.startswith(b'{"end"'):
            super().line(line)


def craft(folder: Path, crafted: Crafted) -> None:
    _Session(folder, crafted).run()


def line(path: str, *, size: int = 8, extents: tuple[int, ...] = (1, 0, 8)) -> bytes:
    return encode_file(Entry(path=path, mode=0o644, size=size), extents)


def link(path: str, target: str) -> bytes:
    return encode_file(Entry(path=path, type="link", target=target), ())


_BOMB = 64 << 20
CRAFTED = {
    "outcome-forged": Crafted(files=(line("forged"),), key=FORGER),
    "crafted-dotdot": Crafted(files=(line("../outside"),)),
    "crafted-absolute": Crafted(files=(line("/drkit-outside"),)),
    "crafted-link": Crafted(files=(link("a", ".."), line("a/outside"))),
    "crafted-duplicate": Crafted(files=(line("twice"), line("twice"))),
    "crafted-alias": Crafted(files=(line("\\xc3\\xa9"), line("\u00e9"))),
    "crafted-bomb": Crafted(
        files=(line("bomb"),),
        content=bytes(1000),
        stored=zstandard.ZstdCompressor(level=19).compress(bytes(_BOMB)),
    ),
    "crafted-no-end": Crafted(files=(line("file"),), end=False),
    "crafted-extents": Crafted(files=(line("file", size=9, extents=(1, 0, 9)),)),
}  # fmt: skip


# WAL as an archiver leaves it

SEGMENT_SIZE = 2 << 20  # three records, so that the last one is told from the others
SEGMENTS = [f"0000000100000000000000{number:02X}" for number in (9, 10, 11)]
HISTORY = b"1\t0/A000028\tno recovery target specified\n"
WAL_FILES = {
    "00000002.history": HISTORY,
    SEGMENTS[0]: noise(3000, 9) + bytes(SEGMENT_SIZE - 3000 - 9) + b"the end.\n",
    SEGMENTS[1]: noise(9000, 10) + bytes(SEGMENT_SIZE - 9000),  # pieces, and zeros
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    """Where some bytes of a WAL file are put, and by whom."""

    name: str
    data: bytes
    start: int = 0
    size: int = SEGMENT_SIZE
    key: SignerKey = KEY


def archive(folder: Path, archived: Archived) -> None:
    repository = open_repository(LocalStore(folder))
    random = still(77).random_bytes
    session_key = random(32)
    hand = walobject.Hand(
        key=archived.key,
        session_key=session_key,
        envelope=seal_envelope(session_key, RECIPIENTS),
        random_bytes=random,
    )
    end = archived.start + len(archived.data)
    name = names.parse(archived.name)
    assert name is not None
    assert name.file is not None
    part = walobject.Part(file=name.file, start=archived.start, end=end, size=archived.size)
    place = walobject.Place(
        repository=repository.id, domain=domain_of(repository), name=archived.name
    )
    data = walobject.encode(part, archived.data, place, hand)
    repository.store.put(archived.name, body(data))


def put_wal(folder: Path) -> None:
    domain = domain_of(open_repository(LocalStore(folder)))
    whole, pieces = (WAL_FILES[name] for name in SEGMENTS[:2])
    size = len(HISTORY)
    history = names.wal_file(domain, "00000002.history")
    archive(folder, Archived(name=history, data=HISTORY, size=size))
    archive(folder, Archived(name=names.wal_file(domain, SEGMENTS[0]), data=whole))
    tag = walobject.tag_of(FORGER, domain, SEGMENTS[0], whole).hex()
    twin = names.wal_file(domain, SEGMENTS[0], tag)
    archive(folder, Archived(name=twin, data=whole, key=FORGER))
    for segment, start, end in (
        (SEGMENTS[0], 0, 700),  # what was there before the whole one
        (SEGMENTS[1], 0, 5000),
        (SEGMENTS[1], 4000, 9000),
        (SEGMENTS[1], 20_000, 20_100),  # behind a hole
        (SEGMENTS[2], 8192, 9000),  # its beginning is nowhere
    ):
        data = pieces[start:end] if segment != SEGMENTS[0] else whole[start:end]
        piece = names.wal_piece(domain, segment, start, end)
        archive(folder, Archived(name=piece, data=data or b"x", start=start))

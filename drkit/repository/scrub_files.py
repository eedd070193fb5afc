"""A generation opened with its keys: what it needs of each pack, and which files are hit."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from drkit.errors import Damaged, NotFound, StoreError
from drkit.model.entry import ZEROS
from drkit.model.extents import triples
from drkit.model.snapshot import Snapshot
from drkit.repository import names
from drkit.repository.history import Generation
from drkit.repository.lines import Places
from drkit.repository.packlists import Fault, Packlist, Read
from drkit.repository.reader import SnapshotReader
from drkit.repository.repository import Repository
from drkit.repository.scrub_read import Row
from drkit.system import System

Unwrap = Callable[[bytes, Snapshot], bytes]

_NAMED = 100  # hit files named of each snapshot; all of them count
_REMEMBERED = 100_000  # hit files whose hard links are told as well
_TABLE = """create table rows (pack text, at integer, stored integer, raw integer, id blob,
    key blob, primary key (pack, at, stored, raw, id, key)) without rowid"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A snapshot that something is missing of, or may be."""

    generation: str
    session: str
    label: str
    sure: bool  # its files were looked at; else: it may be hit
    files: int | None  # None: nobody with a key has looked
    paths: tuple[str, ...] = ()  # the first of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """What does not open in a generation, by the last part of a pack's name."""

    packs: frozenset[str] = frozenset()  # whole ones
    records: Mapping[str, frozenset[int]]  # where they lie

    def hits(self, pack: str, at: int) -> bool:
        return pack in self.packs or at in self.records.get(pack, ())


class Opened:
    """What the manifests of one generation need, on disk, so that memory stays bounded."""

    def __init__(
        self, repository: Repository, generation: Generation, unwrap: Unwrap, system: System
    ) -> None:
        self._repository = repository
        self._generation = generation
        self._unwrap = unwrap
        self._system = system
        self._lost: dict[str, str] = {}  # session → why its manifest can't be read
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("pragma cache_size = -16000")
        self._db.execute("pragma synchronous = off")
        self._db.execute("begin")
        self._db.execute(_TABLE)

    def close(self) -> None:
        self._db.close()

    def load(self, lists: Mapping[str, Read], packs: frozenset[str] | None) -> Iterator[Fault]:
        """Every manifest, all of it: its records (of these packs), its extents, its end line."""
        for session, snapshot in sorted(self._generation.commits.items()):
            try:
                with self._reader(snapshot) as reader:
                    entries = reader.entries()
                    opening = reader.opening()
                    _check_packs(opening.places, lists)
                    self._add(opening.places, opening.id_key, packs)
                    for _ in entries:
                        pass
            except (Damaged, NotFound, StoreError) as error:
                if isinstance(error, StoreError) and error.transient:
                    raise
                self._lost[session] = error.message
                yield self._fault(snapshot, error)

    def _reader(self, snapshot: Snapshot) -> SnapshotReader:
        return SnapshotReader(
            store=self._repository.store,
            repository=self._repository.raw_id,
            snapshot=snapshot,
            unwrap=self._unwrap,
            system=self._system,
        )

    def _fault(self, snapshot: Snapshot, error: Damaged | StoreError) -> Fault:
        name = names.manifest(snapshot.domain, snapshot.generation, snapshot.session)
        missing = isinstance(error, NotFound)
        return Fault(
            kind="missing" if missing else "hash" if "signed" in error.message else "record",
            name=name,
            generation=snapshot.generation,
            session=snapshot.session,
            message=f"{name} is missing" if missing else f"{name}: {error.message}",
        )

    def _add(self, places: Places, key: bytes, packs: frozenset[str] | None) -> None:
        last = {id: f"{p.session}-{p.number:06d}" for id, p in places.packs.items()}
        wanted = {id for id, name in last.items() if packs is None or name in packs}
        self._db.executemany(
            "insert or ignore into rows values (?, ?, ?, ?, ?, ?)",
            (
                (last[pack], places.at[i], places.stored[i], places.raw[i], places.id(i), key)
                for i, pack in enumerate(places.pack)
                if pack in wanted
            ),
        )

    def rows(self, pack: str) -> list[Row]:
        """In their order; of one pack, so at most some thousands."""
        found = self._db.execute(
            "select at, stored, raw, id, key from rows where pack = ? order by at", (pack,)
        )
        return [
            Row(at=at, stored=stored, raw=raw, id=id, id_key=key)
            for at, stored, raw, id, key in found
        ]

    def hits(self, bad: Bad) -> Iterator[Hit]:
        """The second pass, made only when there is damage."""
        for session, snapshot in sorted(self._generation.commits.items()):
            if session in self._lost:
                yield _hit(snapshot, snapshot.facts.files, ())
                continue
            with self._reader(snapshot) as reader:
                count, paths = _hit_files(reader, bad)
            if count:
                yield _hit(snapshot, count, tuple(paths))


def _hit(snapshot: Snapshot, files: int, paths: tuple[str, ...]) -> Hit:
    return Hit(
        generation=snapshot.generation,
        session=snapshot.session,
        label=snapshot.facts.label,
        sure=True,
        files=files,
        paths=paths,
    )


def maybe_hit(generation: Generation, sessions: Iterable[str]) -> Iterator[Hit]:
    """Without a key: every snapshot that may need what is damaged."""
    for session in sorted(sessions):
        snapshot = generation.commits.get(session)
        if snapshot is not None:
            yield Hit(
                generation=generation.id,
                session=session,
                label=snapshot.facts.label,
                sure=False,
                files=None,
            )


def _hit_files(reader: SnapshotReader, bad: Bad) -> tuple[int, list[str]]:
    lines = reader.lines()
    numbers = _bad_numbers(lines.places, bad)
    if not numbers:
        return 0, []
    hit: set[str] = set()
    count, links = 0, False
    for entry in lines.entries():
        links = links or entry.type == "hardlink"
        if any(n != ZEROS and n in numbers for n, _, _ in triples(entry.extents)):
            count += 1
            if len(hit) < _REMEMBERED:
                hit.add(entry.path)
    if links and hit:  # a link may stand before its file
        more = {e.path for e in reader.entries() if e.type == "hardlink" and e.target in hit}
        count += len(more)
        hit |= more
    return count, sorted(hit)[:_NAMED]


def _bad_numbers(places: Places, bad: Bad) -> set[int]:
    last = {id: f"{p.session}-{p.number:06d}" for id, p in places.packs.items()}
    touched = {id for id, name in last.items() if name in bad.packs or name in bad.records}
    if not touched:
        return set()
    return {
        places.numbers[i]
        for i, pack in enumerate(places.pack)
        if pack in touched and bad.hits(last[pack], places.at[i])
    }


def _check_packs(places: Places, lists: Mapping[str, Read]) -> None:
    """The manifest and the packlists were signed by the same hand: they must agree."""
    for pack in places.packs.values():
        read = lists.get(pack.session)
        if isinstance(read, Packlist):
            name = f"{pack.session}-{pack.number:06d}"
            if read.packs.get(name) != (pack.size, pack.sha256):
                raise Damaged(f"it describes pack {name} otherwise than its packlist does")

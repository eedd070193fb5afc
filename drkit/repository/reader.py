"""One snapshot, opened: its entries, a stream of one file, a whole tree written out of order."""

import hashlib
import io
import mmap
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast

from drkit.crypto.seal import Opener
from drkit.errors import Damaged, DiskError, NotFound
from drkit.events import Advanced, Finished, Started, Warned
from drkit.model.entry import ZEROS, Entry, shown
from drkit.model.extents import triples
from drkit.model.snapshot import Snapshot
from drkit.repository import names
from drkit.repository.cache import Pack
from drkit.repository.fetch import Fetcher, Opening, part_of
from drkit.repository.format import HEAD, MANIFEST_MAGIC, RECORD, TAIL
from drkit.repository.frame import Keys, blocks, envelope_of, rows_of, split_keys
from drkit.repository.layout import Layout, Load
from drkit.repository.lines import Lines, Places, split_lines
from drkit.repository.transfer import parallel, readers
from drkit.repository.tree import TreeWriter
from drkit.stores.base import Store
from drkit.system import System

_PIECE = 4 << 20
_EXPIRED = "a forget has expired this generation since: drkit list shows what can be restored"
_ELSEWHERE = (
    "everything else was restored; drkit scrub shows which other snapshots are hit, "
    "an older snapshot or a copy may still hold these files"
)
_NAMED = 5  # how many hit files an error names
_ZEROS = memoryview(bytes(RECORD))


class SnapshotReader:
    """Implements `source.Reader`. Everything it believes hangs on the hash in the signed commit."""

    def __init__(
        self,
        *,
        store: Store,
        repository: bytes,
        snapshot: Snapshot,
        unwrap: Callable[[bytes, Snapshot], bytes],
        system: System,
    ) -> None:
        self._store = store
        self._snapshot = snapshot
        self._unwrap = unwrap
        self._system = system
        self._ids = (repository, bytes.fromhex(snapshot.domain))
        self._places: Places | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            with _scratch(OSError):
                file = stack.enter_context(tempfile.TemporaryFile(buffering=0))
                self._download(file)
            self._data = stack.enter_context(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
            envelope = envelope_of(self._data, MANIFEST_MAGIC)
            self._keys: Keys = split_keys(self._unwrap(envelope, self._snapshot))
            opener = self._opener(self._keys.session_key)
            self._rows = rows_of(self._data, self._snapshot.session, opener)
            self._manifest_opener = opener
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _download(self, file: BinaryIO) -> None:
        """Hashed as it comes: what is parsed later are these very bytes."""
        name = names.manifest(
            self._snapshot.domain, self._snapshot.generation, self._snapshot.session
        )
        size, sha256 = self._snapshot.manifest
        if size < HEAD.size + TAIL.size:
            raise Damaged(f"{name} can't be a manifest: its commit says it has {size} bytes")
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(min(_PIECE, size)))
        for offset in range(0, size, _PIECE):
            view = buffer[: min(_PIECE, size - offset)]
            part_of(self._store, name, size, offset, view)
            digest.update(view)
            while view:
                view = view[file.write(view) :]
        if digest.hexdigest() != sha256:
            raise Damaged(
                f"{name} is not the manifest that was signed",
                hint="restore another snapshot, or put the object back from a copy",
            )

    def _opener(self, session_key: bytes) -> Opener:
        return Opener(session_key, *self._ids)

    def expired(self) -> bool:
        """Whether a forget has let the generation go meanwhile."""
        try:
            self._store.size(names.expired(self._snapshot.domain, self._snapshot.generation))
        except NotFound:
            return False
        return True

    def lines(self) -> Lines:
        lines = Lines(
            split_lines(blocks(self._data, self._rows, self._manifest_opener, self._keys.id_key))
        )
        head, snapshot = lines.head, self._snapshot
        said = (head.domain, head.generation, head.session)
        if said != (snapshot.domain, snapshot.generation, snapshot.session):
            raise Damaged(f"swapped: the manifest of session {snapshot.session} names another one")
        return lines

    def entries(self) -> Iterator[Entry]:
        lines = self.lines()
        self._places = lines.places
        return lines.entries()

    def places(self) -> Places:
        if self._places is None:
            self._places = self.lines().places
        return self._places

    def opening(self) -> Opening:
        snapshot = self._snapshot
        return Opening(
            store=self._store,
            places=self.places(),
            id_key=self._keys.id_key,
            name_of=lambda p: names.pack(snapshot.domain, snapshot.generation, p.session, p.number),
            unwrap=lambda envelope: self._unwrap(envelope, snapshot),
            opener=self._opener,
            openers={snapshot.session: self._manifest_opener},
        )

    def stream(self, entry: Entry) -> BinaryIO:
        return cast("BinaryIO", io.BufferedReader(_Stream(self.opening(), entry), 1 << 20))

    def tree(
        self,
        entries: Iterable[Entry],
        root: Path,
        *,
        as_root: bool = False,
        top: Entry | None = None,
    ) -> None:
        with _scratch(sqlite3.DatabaseError), closing(Layout(entries, self.places)) as layout:
            _Restore(self, layout, root, self._system, as_root=as_root).run(top)


@contextmanager
def _scratch(refusal: type[Exception]) -> Iterator[None]:
    """What a restore lays down for itself."""
    try:
        yield
    except refusal as error:
        raise DiskError(
            f"no room for the manifest among temporary files: {error}",
            hint="free some, or set TMPDIR to a folder of a larger disk",
        ) from error


class _Restore:
    def __init__(
        self,
        reader: SnapshotReader,
        layout: Layout,
        root: Path,
        system: System,
        *,
        as_root: bool,
    ) -> None:
        self._reader = reader
        self._layout = layout
        self._root = root
        self._as_root = as_root
        self._system = system
        self._damage: dict[str, str] = {}  # path → why

    def run(self, top: Entry | None) -> None:
        self._check_room()
        task = f"restore into {self._root}"
        self._task = task
        self._system.tell(
            Started(task=task, total_bytes=self._layout.bytes, total_items=self._layout.files)
        )
        with self._writer() as writer:
            for folder in self._layout.folders():
                writer.make_folder(folder.path)
            for entry in self._layout.unwritten():
                writer.create(entry)
            self._write(self._reader.opening())
            self._end(writer, top)
        self._system.tell(Finished(task=task))
        self._report()

    def _write(self, opening: Opening) -> None:
        threads = readers(opening.store.lanes)
        opening.prepare(opening.places.packs[pack] for pack in self._layout.packs())
        parallel(
            self._layout.loads(threads),
            lambda: _Worker(self, opening, self._writer(threads)),
            threads,
        )

    def _writer(self, among: int = 1) -> TreeWriter:
        return TreeWriter(
            self._root,
            as_root=self._as_root,
            warn=lambda message: self._system.tell(Warned(message=message)),
            among=among,
        )

    def _check_room(self) -> None:
        try:
            stat = os.statvfs(self._root)
        except OSError as error:
            raise DiskError(f"{self._root} can't be looked at: {error.strerror}") from error
        free = stat.f_bavail * stat.f_frsize
        if self._layout.bytes > free:
            raise DiskError(
                f"{self._root} has {free >> 20} MiB free, the restore needs "
                f"{-(-self._layout.bytes >> 20)} MiB; nothing was written",
                hint="make room or restore to another disk",
            )

    def _end(self, writer: TreeWriter, top: Entry | None) -> None:
        for path in self._damage:
            writer.remove(path)
        for entry in self._layout.in_pieces():
            if entry.path not in self._damage:
                writer.dress(entry)
        for entry in self._layout.links():
            if entry.type == "hardlink" and entry.target in self._damage:
                self._damage[entry.path] = self._damage[entry.target]
            else:
                writer.link(entry)
        for entry in self._layout.folders(deepest_first=True):
            writer.dress(entry)
        if top is not None:
            writer.dress_top(top)
        writer.durable()

    def hit(self, path: str, why: str) -> None:
        self._damage.setdefault(path, why)

    def advanced(self, bytes: int, items: int) -> None:
        self._system.tell(Advanced(task=self._task, bytes=bytes, items=items))

    def _report(self) -> None:
        if not self._damage:
            return
        paths = sorted(self._damage)
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        why = sorted(set(self._damage.values()))
        raise Damaged(
            f"{len(paths)} files could not be restored and are left out: "
            f"{', '.join(map(shown, paths[:_NAMED]))}{more}: {'; '.join(why[:_NAMED])}",
            hint=_EXPIRED if self._reader.expired() else _ELSEWHERE,
        )


class _Worker:
    """One thread's part: fetches a pack's records and writes their pieces."""

    def __init__(self, restore: _Restore, opening: Opening, writer: TreeWriter) -> None:
        self._restore = restore
        self._writer = writer
        self._fetcher = Fetcher(opening)
        self._packs: dict[int, Pack] = opening.places.packs

    def __enter__(self) -> Callable[[Load], None]:
        return self._load

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._writer.__exit__(kind, error, at)

    def _load(self, load: Load) -> None:
        wanted = {i: list(group) for i, group in groupby(load.pieces, key=lambda p: p.i)}
        done = items = 0
        for i, content in self._fetcher.records(self._packs[load.pack], list(wanted)):
            for piece in wanted[i]:
                if isinstance(content, Damaged):
                    self._restore.hit(piece.path, content.message)
                    continue
                view = content[piece.offset : piece.offset + piece.length]
                if piece.entry is None:
                    self._writer.piece(piece.path, view, piece.at)
                else:
                    self._writer.small(piece.entry, view)
                done += piece.length
                items += piece.entry is not None
        self._restore.advanced(done, items)


class _Stream(io.RawIOBase):
    def __init__(self, opening: Opening, entry: Entry) -> None:
        self._fetcher = Fetcher(opening)
        self._places = opening.places
        self._parts: Iterator[tuple[int, int, int]] = triples(entry.extents)
        self._record = ZEROS  # whose plaintext is held: neighbours often share one
        self._plain = b""
        self._part = memoryview(b"")
        self._hole = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        while not self._part:
            if self._hole:
                self._part = _ZEROS[: min(self._hole, RECORD)]
                self._hole -= len(self._part)
                break
            extent = next(self._parts, None)
            if extent is None:
                return 0
            self._turn_to(*extent)
        n = min(len(buffer), len(self._part))
        buffer[:n] = self._part[:n]
        self._part = self._part[n:]
        return n

    def _turn_to(self, number: int, at: int, length: int) -> None:
        if number == ZEROS:
            self._hole = length
            return
        if number != self._record:
            self._plain = bytes(self._fetcher.one(self._places.index(number)))
            self._record = number
        self._part = memoryview(self._plain)[at : at + length]

"""The commit protocol: begin, look, packs, manifest, check, outcome; the order is the contract."""

import hashlib
import itertools
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import msgspec

from drkit.crypto.recipients import seal_envelope
from drkit.errors import AlreadyExists, Busy, Damaged, DiskError, StoreError
from drkit.events import Advanced
from drkit.model.finding import Finding
from drkit.model.snapshot import Facts
from drkit.repository import names
from drkit.repository.base import Base, Done, SessionPlan, choose_base, known_heads, remember
from drkit.repository.format import FORMAT
from drkit.repository.history import (
    Generation,
    History,
    lost_heads,
    missing,
    read_commits,
    read_generation,
)
from drkit.repository.manifest import Head, ManifestWriter, write_lines
from drkit.repository.outcome import fenced, put_outcome
from drkit.repository.pack import Finished, discard
from drkit.repository.packing import Packing
from drkit.repository.repository import Repository, body, tool
from drkit.repository.save import Hand
from drkit.repository.signed import Begin, Commit, Open, Where, encode
from drkit.repository.transfer import Sealing
from drkit.source import Source
from drkit.stores.base import Body
from drkit.stores.locked import lock_until, locked
from drkit.system import System

_LOOK_AGAIN = 4 << 20
_TAKEN = 100  # names of packs that others have put, before it is the store that is wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    number: int
    size: int
    sha256: bytes
    records: tuple[tuple[int, int, int], ...]


def back_up(repository: Repository, plan: SessionPlan, source: Source, system: System) -> Done:
    history = read_commits(repository, plan.domain, plan.pins)
    findings = [*history.tampered(), *missing(history, known_heads(plan.state))]
    base = choose_base(repository, plan, history, system)
    with base.cache:
        session = Session(repository, plan, base, system)
        try:
            session.begin()
            session.look()
            facts = session.packs(source)
            session.manifest(facts)
            session.check()
            done = session.outcome(facts, history, [*findings, *base.findings])
        finally:
            session.close()
        session.remember(done)
    return done


class Session:
    """One run: each step is one of the protocol's."""

    def __init__(
        self, repository: Repository, plan: SessionPlan, base: Base, system: System
    ) -> None:
        self._repository = repository
        self._store = locked(repository.store, lock_until(plan.rules, base.expected_end))
        self._plan = plan
        self._base = base
        self._system = system
        self._cache = base.cache
        self.id = system.random_bytes(16).hex()
        self._begun = system.now()
        session_key = system.random_bytes(32)
        self._packing = Packing(
            session=self.id,
            session_key=session_key,
            id_key=base.id_key,
            envelope=seal_envelope(session_key + base.id_key, plan.recipients),
            ids=(repository.raw_id, bytes.fromhex(plan.domain)),
            compression=plan.compression,
            verify=plan.verify,
            store=self._store,
            spool=plan.state / "spool",
        )
        self._numbers = itertools.count()
        self._sent: list[_Sent] = []
        self._added = 0
        self._hand: Hand | None = None
        self._written: Finished | None = None

    @property
    def _where(self) -> Where:
        return Where(
            repository=self._repository.id,
            domain=self._plan.domain,
            generation=self._base.generation,
            session=self.id,
        )

    def _name(self, of: Callable[[str, str, str], str]) -> str:
        return of(self._plan.domain, self._base.generation, self.id)

    # 1
    def begin(self) -> None:
        """Put before anything else of the session."""
        if self._base.kind == "full":
            self._open()
        begin = Begin(
            kind=self._base.kind, parent=self._base.parent, begun=self._begun, start_lsn=None
        )
        data = encode(begin, self._where, self._plan.signer)
        self._put(self._name(names.begin), body(data))

    def _open(self) -> None:
        opened = Open(
            kind=self._plan.origin.kind,
            part=self._plan.part,
            writer=self._plan.signer.public_text,
            recipients=tuple(r.fingerprint for r in self._plan.recipients),
            source=self._plan.origin,
            created=self._begun,
            expected_end=self._plan.expected_end,
        )
        where = Where(
            repository=self._repository.id,
            domain=self._plan.domain,
            generation=self._base.generation,
        )
        name = names.opened(self._plan.domain, self._base.generation)
        self._put(name, body(encode(opened, where, self._plan.signer)))

    def _put(self, name: str, data: Body) -> None:
        try:
            self._store.put(name, data)
        except AlreadyExists as error:  # ids are random: nobody meets one by chance
            raise AlreadyExists(
                f"{error.message}, and not from this session; nothing was committed",
                hint="run drkit backup again; if it comes back, check the store with: drkit doctor",
            ) from error

    # 2
    def look(self) -> Generation:
        """After begin, so that whoever closes the generation sees this session."""
        g = self._listed()
        if g.closed or g.swept:
            raise Busy(
                "a forget closed the generation just now; nothing was backed up",
                hint="run drkit backup again: it takes a full backup",
            )
        if self._base.parent is not None and self._base.parent not in g.commits:
            raise Damaged(
                f"the commit of session {self._base.parent}, on which this backup builds, is gone",
                hint="run drkit backup --full, and find out who has rights on the store",
            )
        return g

    def _listed(self) -> Generation:
        """A listing without what was just put can't be trusted to show what others have put."""
        plan = self._plan
        g = read_generation(self._repository, plan.domain, self._base.generation, plan.pins)
        if self.id not in g.begins:
            raise StoreError(
                f"{self._store.url} does not list what session {self.id} has put there; "
                "nothing was committed",
                hint="is it still the same disk or bucket? check the store with: drkit doctor",
            )
        return g

    # 3
    def packs(self, source: Source) -> Facts:
        random = self._system.random_bytes
        sealing = Sealing(
            make_tools=self._packing.tools,
            put=self._put_pack,
            random_bytes=random,
            lanes=self._store.lanes,
        )
        with sealing:
            hand = self._hand = Hand(self._cache, sealing, self._base.id_key, self._drain)
            facts = source.capture(hand)
            hand.seal_bundle()
            sealing.finish()
        self._drain()
        return facts

    def _put_pack(self, pack: Finished) -> None:
        """A name that foreign bytes have taken: the next number."""
        assert pack.body.fd is not None
        try:
            number = self._put_somewhere(pack.body)
        finally:
            os.close(pack.body.fd)
        self._system.tell(Advanced(task=self._plan.task, sent=pack.body.size))
        self._sent.append(
            _Sent(
                number=number,
                size=pack.body.size,
                sha256=pack.body.sha256,
                records=pack.records,
            )
        )

    def _put_somewhere(self, data: Body) -> int:
        for _ in range(_TAKEN):
            number = next(self._numbers)
            with suppress(AlreadyExists):
                self._store.put(self._pack_name(number), data)
                return number
        number = next(self._numbers)
        self._put(self._pack_name(number), data)
        return number

    def _pack_name(self, number: int) -> str:
        return names.pack(self._plan.domain, self._base.generation, self.id, number)

    def _drain(self) -> None:
        """What the putters have put goes to the cache, from the thread that owns it."""
        while self._sent:
            sent = self._sent.pop()
            self._cache.add_pack(self.id, sent.number, sent.size, sent.sha256, sent.records)
            self._added += sent.size

    # 4
    def manifest(self, facts: Facts) -> None:
        self._packlist = body(self._packlist_bytes())
        self._manifest = self._write_manifest(facts)
        self._put(self._name(names.packlist), self._packlist)
        self._put(self._name(names.manifest), self._manifest)
        self._added += self._manifest.size + self._packlist.size

    def _packlist_bytes(self) -> bytes:
        own = [
            [names.pack("", "", p.session, p.number).rpartition("/")[2], p.size, p.sha256.hex()]
            for p in self._cache.packs()
            if p.session == self.id
        ]
        uses = sorted({p.session for p in self._cache.packs() if p.session != self.id})
        return msgspec.json.encode({"packs": own, "uses": uses}) + b"\n"

    def _write_manifest(self, facts: Facts) -> Body:
        """In a nameless file: the body's descriptor stays open until the session ends."""
        pack = self._packing.manifest()
        try:
            cache = self._cache
            writer = ManifestWriter(pack, self._base.id_key, self._nonce)
            write_lines(writer, self._head(facts), cache.packs(), cache.records(), cache.lines())
            self._written = pack.finish(self._nonce())
        except BaseException:
            pack.close()
            raise
        return self._written.body

    def close(self) -> None:
        if self._written is not None:
            discard(self._written)

    def _nonce(self) -> bytes:
        return self._system.random_bytes(12)

    def _head(self, facts: Facts) -> Head:
        hand = self._hand
        assert hand is not None
        return Head(
            manifest=FORMAT,
            draft=True,
            repository=self._repository.id,
            domain=self._plan.domain,
            generation=self._base.generation,
            session=self.id,
            kind=self._base.kind,
            label=facts.label,
            files=hand.files,
            bytes=hand.bytes,
            policy=self._plan.policy,
            notes=facts.notes,
            recorded=hand.recorded,
        )

    # 5
    def check(self) -> None:
        """Every pack, own and used, is listed with its size; what was put last reads back."""
        g = self._listed()
        if g.closed or self.id in g.outcomes:
            raise fenced(self._where)
        for pack in self._cache.packs():
            name = self._pack_name(pack.number) if pack.session == self.id else None
            last = f"{pack.session}-{pack.number:06d}"
            size = g.packs.get(last)
            if size != pack.size:
                found = "not there" if size is None else f"{size} bytes"
                raise Damaged(
                    f"pack {name or last} should have {pack.size} bytes and is {found}; "
                    "nothing was committed",
                    hint="run drkit backup --full, and drkit scrub to see which backups are hit",
                )
        self._read_back(self._name(names.packlist), self._packlist)
        self._read_back(self._name(names.manifest), self._manifest)

    def _read_back(self, name: str, put: Body) -> None:
        digest = hashlib.sha256()
        for offset in range(0, put.size, _LOOK_AGAIN):
            view = memoryview(bytearray(min(_LOOK_AGAIN, put.size - offset)))
            self._store.read_into(name, offset, view)
            digest.update(view)
        if digest.digest() != put.sha256:
            raise StoreError(
                f"{self._store.url} gives other bytes for {name} than were put; "
                "nothing was committed",
                hint="check the store with: drkit doctor",
            )

    # 6
    def outcome(self, facts: Facts, history: History, findings: Sequence[Finding]) -> Done:
        commit = Commit(
            kind=self._base.kind,
            parent=self._base.parent,
            begun=self._begun,
            ended=self._system.now(),
            heads=history.heads(),
            facts=replace(facts, notes=()),
            packlist=(self._packlist.size, self._packlist.sha256.hex()),
            manifest=(self._manifest.size, self._manifest.sha256.hex()),
            tools={"restore.py": hashlib.sha256(tool("restore.py")).hexdigest()},
            added=self._added,
        )
        data = encode(commit, self._where, self._plan.signer)
        put_outcome(self._store, self._name(names.outcome), data, self._where)
        return Done(
            generation=self._base.generation,
            session=self.id,
            kind=self._base.kind,
            why=self._base.why,
            facts=facts,
            added=self._added,
            sealed=0 if self._hand is None else self._hand.sealed,
            hash=hashlib.sha256(data).hexdigest(),
            findings=tuple(findings),
            lost=lost_heads(history, known_heads(self._plan.state)),
        )

    def remember(self, done: Done) -> None:
        """The host's memory follows the store, never leads it."""
        assert self._hand is not None
        try:
            remember(self._cache, self._base, done, self._plan, self._hand.state)
        except (DiskError, sqlite3.DatabaseError) as error:
            raise DiskError(
                f"session {self.id} is committed, but this machine could not remember it: {error}",
                hint="make room for the state; the next backup may read and send more than usual",
            ) from error

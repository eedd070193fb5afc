"""What the next backup builds on: the host's memory, if the store still agrees with it."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec

from drkit.crypto.recipients import Recipient
from drkit.crypto.sign import SignerKey
from drkit.errors import ConfigError, DiskError
from drkit.model.finding import Finding
from drkit.model.pins import Pins
from drkit.model.retention import Rules
from drkit.model.snapshot import BackupKind, Facts
from drkit.repository.cache import Cache
from drkit.repository.evidence_chain import read_proofs
from drkit.repository.history import Generation, Heads, History, list_generation
from drkit.repository.repository import Repository
from drkit.repository.signed import Origin
from drkit.system import System


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPlan:
    repository: str
    domain: str
    part: str
    kind: BackupKind | None  # None: an incremental where one can be, else a full
    recipients: tuple[Recipient, ...]
    signer: SignerKey
    pins: Pins
    policy: str  # the policy file as it is, for the manifest
    state: Path  # this domain's folder
    origin: Origin
    why: str = "asked for"  # of a full that is wanted
    expected_end: datetime | None = None
    compression: int = 3
    verify: str = "sampled"  # all | sampled | none
    rules: Rules = field(default_factory=Rules)  # how long what is put stays locked
    task: str = "backup"  # what progress is told under
    unfit: Callable[[bytes], str] = lambda _state: ""  # why not to build on what a source remembers


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A committed session."""

    generation: str
    session: str
    kind: BackupKind
    why: str  # of a full: why it is one
    facts: Facts
    added: int  # bytes put
    sealed: int  # plaintext bytes that were new
    hash: str
    findings: tuple[Finding, ...]
    lost: Heads = ()  # commits seen once and gone: remembered until a person has looked


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What an incremental builds on, or where a full begins."""

    kind: BackupKind
    generation: str
    parent: str | None
    id_key: bytes
    cache: Cache
    why: str  # of a full: why it is one
    findings: tuple[Finding, ...] = ()
    expected_end: datetime | None = None  # of the generation


class _Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What the cache says of itself."""

    repository: str
    generation: str
    session: str
    hash: str
    id_key: bytes
    recipients: tuple[str, ...]
    writer: str
    lock: str = ""  # that all of its generation is under


def choose_base(
    repository: Repository, plan: SessionPlan, history: History, system: System
) -> Base:
    _check_origin(plan, history)
    if plan.kind == "full":
        return _full(plan, system, plan.why)
    cache = _open_cache(plan.state)
    if not isinstance(cache, Cache):
        return _full(plan, system, cache)
    with ExitStack() as held:
        held.enter_context(cache)
        memory = _memory(cache)
        why = _why_full(repository, plan, history, memory, system)
        why = why or plan.unfit(cache.get("state") or b"")
        harm = "" if why or memory is None else _harm(repository, plan, memory, cache)
        if memory is not None and not why and not harm:
            held.pop_all()  # stays open: it is the session's
            return Base(
                kind="incremental",
                generation=memory.generation,
                parent=memory.session,
                id_key=memory.id_key,
                cache=cache,
                why="",
                expected_end=_end_of(history, memory),
            )
    return _full(plan, system, why or harm, harm)


def _open_cache(state: Path) -> Cache | str:
    """Or why there is none."""
    path = state / "cache.sqlite"
    if not path.exists():
        return "first backup from this machine, or its memory is gone"
    try:
        return Cache(path, fresh=False)
    except DiskError as error:  # a full one makes a new file
        return error.message


def _memory(cache: Cache) -> _Memory | None:
    try:
        data = cache.get("memory")
        return None if data is None else msgspec.msgpack.decode(data, type=_Memory)
    except (msgspec.MsgspecError, sqlite3.DatabaseError):
        return None


def _harm(repository: Repository, plan: SessionPlan, memory: _Memory, cache: Cache) -> str:
    """What an incremental would build on is not what was put there."""
    g = list_generation(repository.store, plan.domain, memory.generation)
    for pack in cache.packs():
        name = f"{pack.session}-{pack.number:06d}"
        if g.packs.get(name) != pack.size:
            return f"pack {name} of the last backups is missing or cut"
    if g.id in read_proofs(repository, plan.domain, plan.pins, {}).damaged:
        return "a scrub or a drill found the last backups damaged"
    return ""


def _full(plan: SessionPlan, system: System, why: str, harm: str = "") -> Base:
    hint = "drkit scrub shows which snapshots are hit; older ones or a copy may be whole"
    found = Finding(level="fail", what="damage", message=harm, hint=hint)
    return Base(
        kind="full",
        generation=system.random_bytes(16).hex(),
        parent=None,
        id_key=system.random_bytes(32),
        cache=Cache(plan.state / "cache.sqlite", fresh=True),
        why=why,
        findings=(found,) if harm else (),
        expected_end=plan.expected_end,
    )


def _lock_words(plan: SessionPlan) -> str:
    return "" if plan.rules.lock is None else f"{plan.rules.lock} {plan.rules.keep}"


def _end_of(history: History, memory: _Memory) -> datetime | None:
    opened = history.generations[memory.generation].open
    return None if opened is None else opened.expected_end


def _why_full(
    repository: Repository,
    plan: SessionPlan,
    history: History,
    memory: _Memory | None,
    system: System,
) -> str:
    if memory is None or memory.repository != repository.id:
        return "this machine's memory is of another repository"
    g = history.generations.get(memory.generation)
    if g is None or memory.session not in g.commits:
        return "the last backup of this machine is not in the store"
    if g.commits[memory.session].hash != memory.hash:
        return "the last backup of this machine is another one in the store"
    return _why_not_there(plan, memory, g, system)


def _why_not_there(plan: SessionPlan, memory: _Memory, g: Generation, system: System) -> str:
    if g.closed or g.swept:
        return "a forget closed the generation"
    if memory.recipients != tuple(r.fingerprint for r in plan.recipients):
        return "the recipients changed"
    if memory.writer != plan.signer.public_text:
        return "the signing key changed"
    return _why_over(plan, memory, g, system)


def _why_over(plan: SessionPlan, memory: _Memory, g: Generation, system: System) -> str:
    """What a lock asks of the whole generation."""
    end = None if g.open is None else g.open.expected_end
    if plan.rules.lock is not None and memory.lock != _lock_words(plan):
        return "the lock changed, and what stands there already keeps the old one"
    if end is None and plan.rules.lock is not None:
        return "the generation has no expected end, which a lock needs"
    if end is not None and system.now() > end:
        return "the generation has reached its expected end"
    return ""


def _check_origin(plan: SessionPlan, history: History) -> None:
    for g in history.generations.values():
        if g.open is not None and g.open.source != plan.origin:
            raise ConfigError(
                f"this policy's backups are of {_words(g.open.source)}, "
                f"not of {_words(plan.origin)}",
                hint="set a new `id:` in the policy; the old backups stay readable",
            )


def _words(origin: Origin) -> str:
    return origin.kind if origin.system is None else f"{origin.kind} {origin.system}"


def remember(cache: Cache, base: Base, done: Done, plan: SessionPlan, state: bytes) -> None:
    memory = _Memory(
        repository=plan.repository,
        generation=done.generation,
        session=done.session,
        hash=done.hash,
        id_key=base.id_key,
        recipients=tuple(r.fingerprint for r in plan.recipients),
        writer=plan.signer.public_text,
        lock=_lock_words(plan),
    )
    cache.set("memory", msgspec.msgpack.encode(memory))
    cache.set("state", state)
    cache.commit()
    note_heads(plan.state, (*done.lost, (done.generation, done.hash)))


def known_heads(state: Path) -> Heads:
    """The newest commits this machine has seen: a store without them was rolled back."""
    try:
        data = (state / "heads.json").read_bytes()
        return msgspec.json.decode(data, type=Heads)
    except (OSError, msgspec.MsgspecError):
        return ()


def note_heads(state: Path, heads: Heads) -> None:
    new = state / "heads.json.new"
    try:
        with new.open("wb") as file:
            file.write(msgspec.json.encode(heads))
            file.flush()
            os.fsync(file.fileno())
        new.replace(state / "heads.json")
    except OSError as error:
        raise DiskError(f"{new} could not be written: {error.strerror}") from error

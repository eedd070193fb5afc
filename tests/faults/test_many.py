"""Sizes that the other tests are too small for: several packs, thousands of sessions."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from drkit.model.snapshot import Facts
from drkit.repository import names
from drkit.repository.base import SessionPlan
from drkit.repository.history import read_history
from drkit.repository.repository import Repository, body, create
from drkit.repository.signed import Begin, Commit, Open, Where, encode
from drkit.stores.memory import MemoryStore
from tests.fixtures import trees
from tests.fixtures.faulty_store import Call, Fault, FaultyStore, die, on, put_of
from tests.fixtures.ledger import REAL, Ledger, soon, world

GENERATIONS, SESSIONS = 5, 2000


def large_tree(root: Path) -> None:
    """Three packs at least, and it does not compress."""
    for i in range(5):
        trees.write(root / f"large {i}", trees.noise(15 << 20, i))
    trees.write(root / "small", b"small")


def test_killed_at_every_pack(tmp_path: Path) -> None:
    counted = world(tmp_path / "count", large_tree)
    counting = FaultyStore(counted.store)
    counted.back_up(counting)
    puts = sum(call.verb == "put" and call.kind == "pack" for call in counting.calls)
    assert puts >= 3
    for n in range(1, puts + 1):
        for when in ("before", "after"):
            ledger = Ledger(world=world(tmp_path / f"{n} {when}", large_tree))
            hook = on(nth_pack(n), die)
            fault = Fault(before=hook) if when == "before" else Fault(after=hook)
            store = FaultyStore(ledger.world.store, fault)
            assert ledger.run(partial(ledger.world.back_up, store), apart=True).killed
            assert ledger.copies == {}
            ledger.settle()


def nth_pack(n: int) -> Callable[[Call], bool]:
    met: list[int] = []

    def which(call: Call) -> bool:
        if put_of("pack")(call) and call.number not in met:
            met.append(call.number)
        return call.number in met[n - 1 : n]

    return which


def test_ten_thousand_sessions(tmp_path: Path) -> None:
    """Two objects each: every listing has many pages. They are read in 3 s, a signature each."""
    made = world(tmp_path / "world")
    store = MemoryStore(soon)
    repository = create(store, REAL)
    newest = fabricated(repository, made.plan)
    history = read_history(repository, made.plan.domain, made.plan.pins)
    assert history.findings == []
    assert len(history.snapshots) == GENERATIONS * SESSIONS
    assert history.snapshots[-1].hash == newest
    assert history.heads() == ((history.snapshots[-1].generation, newest),)


def fabricated(repository: Repository, plan: SessionPlan) -> str:
    """A chain of commits without packs; the hash of the last."""
    heads: tuple[tuple[str, str], ...] = ()
    at = soon()
    for i in range(GENERATIONS * SESSIONS):
        where = Where(
            repository=repository.id,
            domain=plan.domain,
            generation=f"{i // SESSIONS:032x}",
            session=f"{i:032x}",
        )
        at += timedelta(microseconds=1)
        if i % SESSIONS == 0:
            put_open(repository, plan, where, at)
        place = (plan.domain, f"{i // SESSIONS:032x}", f"{i:032x}")
        begin = Begin(kind="incremental", parent=None, begun=at, start_lsn=None)
        repository.store.put(names.begin(*place), body(encode(begin, where, plan.signer)))
        data = encode(commit(at, heads), where, plan.signer)
        repository.store.put(names.outcome(*place), body(data))
        heads = ((place[1], hashlib.sha256(data).hexdigest()),)
    return heads[0][1]


def put_open(repository: Repository, plan: SessionPlan, where: Where, at: datetime) -> None:
    opened = Open(
        kind="files",
        part="files",
        writer=plan.signer.public_text,
        recipients=tuple(r.fingerprint for r in plan.recipients),
        source=plan.origin,
        created=at,
        expected_end=None,
    )
    name = names.opened(where.domain, where.generation or "")
    whole = replace(where, session=None)
    repository.store.put(name, body(encode(opened, whole, plan.signer)))


def commit(at: datetime, heads: tuple[tuple[str, str], ...]) -> Commit:
    return Commit(
        kind="incremental",
        parent=None,
        begun=at,
        ended=at,
        heads=heads,
        facts=Facts(kind="files", label="/srv/shop", files=10, bytes=1000),
        packlist=(100, "0" * 64),
        manifest=(1000, "0" * 64),
    )

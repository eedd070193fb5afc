"""What the next backup builds on, and why it is a full when it is one."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from drkit.crypto.recipients import new_identity
from drkit.crypto.sign import new_signer
from drkit.errors import ConfigError
from drkit.model.entry import Entry
from drkit.repository import names
from drkit.repository.base import SessionPlan, known_heads, note_heads
from drkit.repository.cache import Cache
from drkit.repository.signed import Closed, Origin, Where, encode
from drkit.source import Save
from drkit.stores.memory import MemoryStore
from drkit.system import System
from tests.fixtures.host import Host, new_host
from tests.fixtures.kinds import body


def one(save: Save) -> None:
    save.whole(Entry(path="x", size=4), b"same")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return new_host(MemoryStore(System().now), tmp_path / "state")


def test_an_incremental_wherever_one_can_be(host: Host) -> None:
    first = host.back_up(one)
    assert (first.kind, first.why) == (
        "full",
        "first backup from this machine, or its memory is gone",
    )
    for kind in (None, "incremental"):
        done = host.back_up(one, kind)
        assert (done.kind, done.why, done.generation) == ("incremental", "", first.generation)
    done = host.back_up(one, "full")
    assert (done.kind, done.why) == ("full", "asked for")
    assert host.back_up(one).generation == done.generation


def another_recipient(plan: SessionPlan) -> SessionPlan:
    return replace(plan, recipients=(*plan.recipients[:1], new_identity().recipient))


def another_order(plan: SessionPlan) -> SessionPlan:
    return replace(plan, recipients=plan.recipients[::-1])


def another_signer(plan: SessionPlan) -> SessionPlan:
    signer = new_signer(os.urandom(32))
    pins = replace(plan.pins, writers=plan.pins.writers | {signer.public})
    return replace(plan, signer=signer, pins=pins)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (another_recipient, "the recipients changed"),
        (another_signer, "the signing key changed"),
    ],
)
def test_other_keys_make_a_full(
    change: Callable[[SessionPlan], SessionPlan], why: str, host: Host
) -> None:
    first = host.back_up(one)
    plan = change(host.plan)
    done = host.back_up(one, plan=plan)
    assert (done.kind, done.why) == ("full", why)
    assert done.generation != first.generation
    assert host.back_up(one, plan=plan).kind == "incremental"


def test_another_order_of_recipients_is_at_most_a_full(host: Host) -> None:
    host.back_up(one)
    assert host.back_up(one, plan=another_order(host.plan)).kind in ("full", "incremental")


def test_a_generation_past_its_end_is_followed_by_another(host: Host) -> None:
    now = datetime.now(UTC)
    late = replace(host, system=System(now=lambda: now + timedelta(days=2)))
    plan = replace(host.plan, expected_end=now + timedelta(days=1))
    host.back_up(one, plan=plan)
    assert host.back_up(one, plan=plan).kind == "incremental"
    done = late.back_up(one, plan=plan)
    assert (done.kind, done.why) == ("full", "the generation has reached its expected end")


@pytest.mark.parametrize("sealed", [True, False])
def test_a_closed_generation_is_followed_by_another(sealed: bool, host: Host) -> None:
    """Presence is honoured for safety, whoever put it."""
    first = host.back_up(one)
    where = Where(
        repository=host.repository.id, domain=host.plan.domain, generation=first.generation
    )
    said = Closed(by="keeper", at=datetime.now(UTC), reason="old", plan="x")
    data = encode(said, where, host.plan.signer) if sealed else b"anything"
    host.store.put(names.closed(host.plan.domain, first.generation), body(data))
    done = host.back_up(one)
    assert (done.kind, done.why) == ("full", "a forget closed the generation")
    assert bool(done.findings) is not sealed


def test_a_lost_state_costs_one_full(host: Host) -> None:
    host.back_up(one)
    for path in host.plan.state.iterdir():
        if path.is_file():
            path.unlink()
    assert host.back_up(one).kind == "full"
    assert host.back_up(one).kind == "incremental"
    assert len(host.history().snapshots) == 3


@pytest.mark.parametrize("content", [b"", b"garbage" * 999, b"SQLite format 3\0" + b"\0" * 5000])
def test_a_memory_that_is_no_database_costs_one_full(content: bytes, host: Host) -> None:
    host.back_up(one)
    (host.plan.state / "cache.sqlite").write_bytes(content)
    done = host.back_up(one)
    assert done.kind == "full"
    assert done.why
    assert host.back_up(one).kind == "incremental"


@pytest.mark.parametrize("memory", [None, b"", b"\xc1", b"\x80", msgspec.msgpack.encode([1, 2])])
def test_a_memory_that_says_nothing_costs_one_full(memory: bytes | None, host: Host) -> None:
    host.back_up(one)
    with Cache(host.plan.state / "cache.sqlite", fresh=False) as cache:
        cache._run("delete from meta where key = 'memory'")
        if memory is not None:
            cache.set("memory", memory)
        cache.commit()
    assert host.back_up(one).kind == "full"


def test_the_memory_of_another_repository_is_not_used(host: Host, tmp_path: Path) -> None:
    host.back_up(one)
    other = new_host(MemoryStore(System().now), tmp_path / "other")
    plan = replace(other.plan, state=host.plan.state, recipients=host.plan.recipients)
    done = other.back_up(one, plan=plan)
    assert (done.kind, done.why) == ("full", "this machine's memory is of another repository")


def test_a_parent_that_is_gone_from_the_store_is_told(host: Host) -> None:
    first = host.back_up(one)
    host.store.delete(names.outcome(host.plan.domain, first.generation, first.session))
    done = host.back_up(one)
    assert (done.kind, done.why) == ("full", "the last backup of this machine is not in the store")
    assert [f.what for f in done.findings] == ["tampering"]
    again = host.back_up(one)
    assert [f.what for f in again.findings] == ["tampering"], "until a person has looked"
    assert "remove heads.json" in (again.findings[0].hint or "")
    (host.plan.state / "heads.json").unlink()
    assert host.back_up(one).findings == ()


def test_a_store_rolled_back_is_told(host: Host) -> None:
    """Older backups are there, and the newest that this machine made is not."""
    host.back_up(one)
    before = dict(host.store._objects)  # type: ignore[attr-defined]
    host.back_up(one)
    host.store._objects.clear()  # type: ignore[attr-defined]
    host.store._objects.update(before)  # type: ignore[attr-defined]
    done = host.back_up(one)
    assert done.kind == "full"
    assert "this machine has seen" in done.findings[0].message


def test_another_thing_under_the_same_name_is_refused(host: Host) -> None:
    host.back_up(one)
    plan = replace(host.plan, origin=Origin(kind="postgres-physical", system="7012345"))
    with pytest.raises(ConfigError, match="backups are of files, not of postgres-physical 7012345"):
        host.back_up(one, plan=plan)
    assert len(host.history().snapshots) == 1


def test_two_machines_on_one_domain_have_a_generation_each(host: Host, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    plan = replace(host.plan, state=tmp_path / "second")
    generations = {
        host.back_up(one).generation,
        host.back_up(one, plan=plan).generation,
        host.back_up(one).generation,
        host.back_up(one, plan=plan).generation,
    }
    assert len(generations) == 2
    history = host.history()
    assert len(history.snapshots) == 4
    assert history.findings == []


def test_heads_are_kept_and_a_broken_file_is_none(tmp_path: Path) -> None:
    assert known_heads(tmp_path) == ()
    heads = (("a" * 32, "b" * 64),)
    note_heads(tmp_path, heads)
    assert known_heads(tmp_path) == heads
    for content in (b"", b"{", b"\xff", b"[1]"):
        (tmp_path / "heads.json").write_bytes(content)
        assert known_heads(tmp_path) == ()

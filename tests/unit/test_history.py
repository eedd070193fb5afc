"""What the store says happened, and who is believed."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drkit.crypto.sign import SignerKey, new_signer
from drkit.model.entry import Entry
from drkit.model.pins import Pins
from drkit.repository import names
from drkit.repository.history import domains, missing, read_generation, read_history
from drkit.repository.signed import Closed, Expired, Fence, Where, encode
from drkit.source import Save
from drkit.stores.memory import MemoryStore
from drkit.system import System
from tests.fixtures.host import Host, new_host
from tests.fixtures.kinds import body

NOW = datetime.now(UTC)


def one(save: Save) -> None:
    save.whole(Entry(path="x", size=1), b"x")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = new_host(MemoryStore(System().now), tmp_path / "state")
    host.back_up(one)
    host.back_up(one)
    return host


def where(host: Host, session: str | None = None) -> Where:
    snapshot = host.newest()
    return Where(
        repository=host.repository.id,
        domain=snapshot.domain,
        generation=snapshot.generation,
        session=session,
    )


def tampering(host: Host, pins: Pins | None = None) -> list[str]:
    history = host.history(pins)
    assert all(f.hint for f in history.tampered())
    return [f.message for f in history.tampered()]


def test_snapshots_come_oldest_first_with_all_that_was_signed(host: Host) -> None:
    first, second = host.history().snapshots
    assert first.ended <= second.ended
    assert (first.kind, second.kind) == ("full", "incremental")
    assert second.parent == first.session
    assert first.pinned
    assert first.signer == host.plan.signer.public_text
    assert first.recipients == tuple(r.fingerprint for r in host.plan.recipients)
    assert host.history().findings == []


def test_without_pins_all_is_shown_and_nothing_counts_as_pinned(host: Host) -> None:
    history = host.history(Pins.none())
    assert len(history.snapshots) == 2
    assert not any(s.pinned for s in history.snapshots)


def test_with_other_pins_nothing_is_shown_and_all_is_said(host: Host) -> None:
    pins = Pins(writers=frozenset({b"x" * 32}))
    assert host.history(pins).snapshots == []
    told = tampering(host, pins)
    assert len(told) == 3  # the generation, and two outcomes
    assert all(host.plan.signer.public_text in line for line in told)


def test_heads_are_what_no_other_commit_names(host: Host) -> None:
    history = host.history()
    newest = history.snapshots[-1]
    assert history.heads() == ((newest.generation, newest.hash),)
    third = host.back_up(one, "full")
    assert host.history().heads() == ((third.generation, third.hash),)


def test_a_commit_that_is_gone_is_missed_by_the_next_one(host: Host) -> None:
    first, second = host.history().snapshots
    host.store.delete(names.outcome(first.domain, first.generation, first.session))
    (line,) = tampering(host)
    assert second.session in line
    assert "is gone" in line
    assert missing(host.history(), ((first.generation, first.hash),))
    assert missing(host.history(), ((second.generation, second.hash),)) == []


NAMES = [
    "domains/{d}/generations/{g}/packs/x",
    "domains/{d}/generations/{g}/surprise",
    "domains/{d}/generations/{g}/outcome/short",
    "domains/{d}/generations/xyz/open",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_drkit_never_gives_is_a_finding(name: str, host: Host) -> None:
    at = where(host)
    host.store.put(name.format(d=at.domain, g=at.generation), body(b"x"))
    (line,) = tampering(host)
    assert "is no name that drkit gives" in line
    assert len(host.history().snapshots) == 2


def damaged(data: bytes) -> list[bytes]:
    flipped = bytearray(data)
    flipped[200] ^= 1
    return [b"", data[:-1], data[:96], data + b" ", bytes(flipped), b"x" * 5000, b"x" * 70_000]


@pytest.mark.parametrize("case", range(7))
@pytest.mark.parametrize("what", ["outcome", "open"])
def test_a_damaged_object_is_a_finding_and_hides_nothing_else(
    what: str, case: int, host: Host
) -> None:
    first = host.history().snapshots[0]
    name = (
        names.opened(first.domain, first.generation)
        if what == "open"
        else names.outcome(first.domain, first.generation, first.session)
    )
    data = damaged(host.store.read(name, 4096))[case]
    host.store.delete(name)
    host.store.put(name, body(data))
    assert tampering(host)
    assert len(host.history().snapshots) == (2 if what == "open" else 1)


def put_signed(
    host: Host, said: Closed | Expired | Fence, at: Where, key: SignerKey | None = None
) -> None:
    domain, generation = at.domain, at.generation or ""
    name = {
        Closed: names.closed(domain, generation),
        Expired: names.expired(domain, generation),
        Fence: names.outcome(domain, generation, at.session or ""),
    }[type(said)]
    host.store.put(name, body(encode(said, at, key or host.plan.signer)))


EXPIRED = Expired(by="k", at=NOW, reason="old", plan="x")
CLOSED = Closed(by="k", at=NOW, reason="old", plan="x")
FENCE = Fence(reason="old", by="k", at=NOW)


def test_only_a_pinned_maintainer_hides_commits(host: Host) -> None:
    other = new_signer(os.urandom(32))
    put_signed(host, EXPIRED, where(host), other)
    history = host.history()
    assert len(history.snapshots) == 2
    assert [g.swept for g in history.generations.values()] == [True]
    assert other.public_text in tampering(host)[0]
    trusting = replace(host.plan.pins, maintainers=frozenset({other.public}))
    history = host.history(trusting)
    assert history.snapshots == []
    assert len(history.commits) == 2  # they still prove that nothing was taken away
    assert history.findings == []


def test_closed_is_believed_whoever_put_it(host: Host) -> None:
    put_signed(host, CLOSED, where(host), new_signer(os.urandom(32)))
    history = host.history()
    assert [g.closed for g in history.generations.values()] == [True]
    assert len(history.snapshots) == 2
    assert tampering(host)


def test_a_fence_is_no_snapshot(host: Host) -> None:
    put_signed(host, FENCE, where(host, "f" * 32))
    history = host.history()
    (generation,) = history.generations.values()
    assert set(generation.fences) == {"f" * 32}
    assert len(history.snapshots) == 2
    other = new_signer(os.urandom(32))
    put_signed(host, FENCE, where(host, "e" * 32), other)
    assert len(tampering(host)) == 1


def test_sessions_without_outcome_are_open(host: Host) -> None:
    at = where(host)
    session = "a" * 32
    host.store.put(names.begin(at.domain, at.generation or "", session), body(b"x"))
    generation = read_generation(host.repository, at.domain, at.generation or "", host.plan.pins)
    assert set(generation.open_sessions) == {session}
    assert len(generation.commits) == 2
    assert len(generation.packs) == len(host.listed("packs"))
    assert read_generation(host.repository, at.domain, "b" * 32, host.plan.pins).commits == {}


@pytest.mark.parametrize("hours", [-30, -2, 2, 30])
def test_clocks_apart_are_a_warning(hours: int, tmp_path: Path) -> None:
    store = MemoryStore(lambda: datetime.now(UTC) + timedelta(hours=hours))
    host = new_host(store, tmp_path / "state")
    host.back_up(one)
    (finding,) = host.history().findings
    assert (finding.level, finding.what) == ("warn", "clock")
    assert host.history().tampered() == []
    assert len(host.history().snapshots) == 1


SWAPS: dict[str, Callable[[str, str], tuple[str, str]]] = {
    "session": lambda d, g: (d, g),
    "generation": lambda d, _g: (d, "e" * 32),
}


@pytest.mark.parametrize("case", SWAPS)
def test_an_outcome_in_another_place_is_not_believed(case: str, host: Host) -> None:
    first = host.history().snapshots[0]
    data = host.store.read(names.outcome(first.domain, first.generation, first.session), 4096)
    domain, generation = SWAPS[case](first.domain, first.generation)
    session = "f" * 32 if case == "session" else first.session
    host.store.put(names.outcome(domain, generation, session), body(data))
    (line,) = tampering(host)
    assert f"another {case} of itself" in line
    assert len(host.history().snapshots) == 2


def test_an_outcome_in_another_domain_is_not_believed(host: Host) -> None:
    first = host.history().snapshots[0]
    data = host.store.read(names.outcome(first.domain, first.generation, first.session), 4096)
    other = "d" * 32
    host.store.put(names.outcome(other, first.generation, first.session), body(data))
    history = read_history(host.repository, other, host.plan.pins)
    assert history.snapshots == []
    assert "another domain" in history.tampered()[0].message


def test_domains_are_those_with_an_open(host: Host) -> None:
    assert domains(host.repository) == [host.plan.domain]
    host.store.put(f"domains/{'c' * 32}/wal/floor/0000000000000000", body(b"x"))
    assert domains(host.repository) == [host.plan.domain]

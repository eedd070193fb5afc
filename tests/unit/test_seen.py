"""What was read before is not asked again, and never believed against the listing."""

import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from drkit.repository.history import read_commits
from drkit.stores.memory import MemoryStore
from tests.fixtures.faulty_store import FaultyStore
from tests.fixtures.repo import Repo, repo


class Far(FaultyStore):
    """Counts what is asked, as a store over a network."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.lanes = 8

    @property
    def reads(self) -> int:
        return sum(call.verb == "read" for call in self.calls)


@pytest.fixture
def m(tmp_path: Path) -> Repo:
    made = repo(tmp_path)
    for seed in range(10):
        made.back_up({"a": b"%d" % seed})
        made.clock.move(timedelta(hours=1))
    return made


def look(m: Repo, memory: Path | None) -> tuple[list[str], int, list[str]]:
    assert isinstance(m.store, MemoryStore)
    store = Far(m.store)
    history = read_commits(replace(m.repository, store=store, memory=memory), m.domain, m.pins)
    findings = [finding.message for finding in history.findings]
    return [s.session for s in history.snapshots], store.reads, findings


def test_each_is_read_once(m: Repo, tmp_path: Path) -> None:
    memory = tmp_path / "seen.sqlite"
    first = look(m, memory)
    assert len(first[0]) == 10
    assert first[1] >= 11
    assert look(m, memory) == (first[0], 0, [])
    assert look(m, None) == first
    m.back_up({"a": b"new"})
    assert look(m, memory)[1] == 1


def test_another_object_under_the_name_is_read(m: Repo, tmp_path: Path) -> None:
    memory = tmp_path / "seen.sqlite"
    look(m, memory)
    assert isinstance(m.store, MemoryStore)
    name = next(s.name for s in m.store.list("") if "/outcome/" in s.name)
    data, when = m.store._objects[name]
    m.store._objects[name] = (data[:-1] + b"!", when + timedelta(seconds=1))
    sessions, reads, findings = look(m, memory)
    assert (len(sessions), reads) == (9, 1)
    assert any(name in finding for finding in findings)


def test_one_that_is_gone_is_gone(m: Repo, tmp_path: Path) -> None:
    memory = tmp_path / "seen.sqlite"
    look(m, memory)
    name = next(s.name for s in m.store.list("") if "/outcome/" in s.name)
    m.store.delete(name)
    assert len(look(m, memory)[0]) == 9


def test_what_the_disk_has_spoilt_is_read_again(m: Repo, tmp_path: Path) -> None:
    memory = tmp_path / "seen.sqlite"
    sessions, reads, _ = look(m, memory)
    with sqlite3.connect(memory) as base:
        base.execute("UPDATE seen SET data = x'00'")
    base.close()
    assert look(m, memory) == (sessions, reads, [])
    memory.write_bytes(b"no database at all" * 100)
    assert look(m, memory) == (sessions, reads, [])
    assert look(m, memory)[0] == sessions


def test_a_store_at_hand_is_asked(m: Repo, tmp_path: Path) -> None:
    memory = tmp_path / "seen.sqlite"
    near = replace(m.repository, memory=memory)
    assert len(read_commits(near, m.domain, m.pins).snapshots) == 10
    assert not memory.exists()

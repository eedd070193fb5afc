"""The store probe: passes every kind of store, and finds the lies of those that lie."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from drkit.errors import AlreadyExists, StoreError
from drkit.stores.base import Body, Stored
from drkit.stores.memory import MemoryStore
from drkit.stores.probe import probe
from drkit.system import System
from tests.fixtures.kinds import KINDS, NEVER_DELETES, body

SYSTEM = System()


class Overwrites(MemoryStore):
    """Accepts the condition and ignores it, as some S3 servers do."""

    def put(self, name: str, body: Body) -> None:
        if name in self._objects:
            self._objects.pop(name)
        super().put(name, body)


class RefusesAndOverwrites(MemoryStore):
    def put(self, name: str, body: Body) -> None:
        known = self._objects.pop(name, None) is not None
        super().put(name, body)
        if known:
            raise AlreadyExists(name)


class ListsLate(MemoryStore):
    def list(self, prefix: str) -> Iterator[Stored]:
        yield from [*super().list(prefix)][:-1]


class ListsWrongSizes(MemoryStore):
    def list(self, prefix: str) -> Iterator[Stored]:
        for item in super().list(prefix):
            yield Stored(name=item.name, size=item.size + 1, modified=item.modified)


class ListsBackwards(MemoryStore):
    def list(self, prefix: str) -> Iterator[Stored]:
        yield from reversed([*super().list(prefix)])


class IgnoresRanges(MemoryStore):
    def read_into(self, name: str, offset: int, view: memoryview) -> None:
        super().read_into(name, 0, view)


class FillsWithZeros(MemoryStore):
    """Ends early and says nothing."""

    def read_into(self, name: str, offset: int, view: memoryview) -> None:
        data = self.read(name, 1 << 20)[offset : offset + len(view)]
        view[:] = data.ljust(len(view), b"\0")


class NeverMisses(MemoryStore):
    def size(self, name: str) -> int:
        return super().size(name) if name in self._objects else 0


class RefusesPlus(MemoryStore):
    def put(self, name: str, body: Body) -> None:
        if "+" in name:
            raise StoreError(f"put {name}: 400 bad request")
        super().put(name, body)


class KeepsWhatIsDeleted(MemoryStore):
    def delete(self, name: str) -> None:
        self.size(name)


LIARS: list[tuple[Callable[..., MemoryStore], str, str]] = [
    (Overwrites, "create if absent", "fail"),
    (RefusesAndOverwrites, "create if absent", "fail"),
    (ListsLate, "listing", "fail"),
    (ListsWrongSizes, "listing", "fail"),
    (ListsBackwards, "listing", "fail"),
    (IgnoresRanges, "ranges", "fail"),
    (FillsWithZeros, "the end of an object", "fail"),
    (NeverMisses, "missing objects", "fail"),
    (RefusesPlus, "put", "fail"),
    (KeepsWhatIsDeleted, "deleting", "warn"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_an_honest_store_passes_and_is_left_clean(kind: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        store = KINDS[kind](tmp_path, stack)
        store.put("repository.json", body(b"{}"))
        findings = probe(store, SYSTEM.random_bytes) + probe(store, SYSTEM.random_bytes)
        assert [finding for finding in findings if finding.level != "pass"] == []
        left = [found.name for found in store.list("")]
        deleting = [finding for finding in findings if finding.what == "deleting"]
        if kind in NEVER_DELETES:
            assert all("refused" in finding.message for finding in deleting)
        else:
            assert left == ["repository.json"]
            assert [finding.message for finding in deleting] == ["allowed", "allowed"]


@pytest.mark.parametrize(("liar", "what", "level"), LIARS)
def test_a_lie_is_found(liar: Callable[..., MemoryStore], what: str, level: str) -> None:
    findings = probe(liar(SYSTEM.now), SYSTEM.random_bytes)
    caught = [(finding.what, finding.level) for finding in findings if finding.level != "pass"]
    assert (what, level) in caught


def test_a_store_that_is_away_is_one_failure_with_its_own_words(tmp_path: Path) -> None:
    with ExitStack() as stack:
        store = KINDS["local"](tmp_path, stack)
        (tmp_path / "store").rmdir()
        (finding,) = probe(store, SYSTEM.random_bytes)
        assert finding.level == "fail"
        assert "no repository folder there" in finding.message
        assert finding.hint

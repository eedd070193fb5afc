"""The repository itself: made or joined, opened, refused."""

import json
from pathlib import Path

import pytest

from drkit.errors import ConfigError, Damaged
from drkit.repository import names
from drkit.repository.repository import create, domain_id, open_repository, tool
from drkit.stores.memory import MemoryStore
from drkit.system import System
from tests.fixtures.kinds import body, local


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(System().now)


def test_what_stands_at_the_root(store: MemoryStore) -> None:
    made = create(store, System())
    assert [s.name for s in store.list("")] == [
        "FORMAT.md",
        "repository.json",
        "restore.py",
        "store.json",
    ]
    document = json.loads(store.read(names.REPOSITORY, 4096))
    assert document["magic"] == "drkit repository"
    assert document["id"] == made.id
    assert document["draft"] is True
    assert document["features"] == {"required": [], "optional": []}
    assert store.read(names.RESTORE, 1 << 20) == tool("restore.py")
    assert store.read(names.FORMAT, 1 << 20) == tool("FORMAT.md")


def test_who_comes_second_joins(store: MemoryStore) -> None:
    first = create(store, System())
    second = create(store, System())
    assert second == first
    assert open_repository(store) == first


def test_a_store_without_a_repository_is_told(store: MemoryStore, tmp_path: Path) -> None:
    for empty in (store, local(tmp_path / "empty")):
        with pytest.raises(ConfigError, match="holds no drkit repository") as caught:
            open_repository(empty)
        assert "drkit init" in (caught.value.hint or "")


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"magic": 1}', b"{" * 1000])
def test_a_document_that_is_none_is_damage(data: bytes, store: MemoryStore) -> None:
    store.put(names.REPOSITORY, body(data))
    with pytest.raises(Damaged, match="not readable"):
        open_repository(store)


def changed(store: MemoryStore, **fields: object) -> None:
    create(store, System())
    document = json.loads(store.read(names.REPOSITORY, 4096)) | fields
    store.delete(names.REPOSITORY)
    store.put(names.REPOSITORY, body(json.dumps(document).encode()))


@pytest.mark.parametrize(
    ("field", "value"), [("magic", "restic"), ("id", "abc"), ("id", ""), ("id", "z" * 33)]
)
def test_a_document_of_something_else_is_damage(
    field: str, value: object, store: MemoryStore
) -> None:
    changed(store, **{field: value})
    with pytest.raises(Damaged):
        open_repository(store)


def test_an_id_that_is_no_hex_is_damage(store: MemoryStore) -> None:
    changed(store, id="z" * 32)
    with pytest.raises(Damaged):
        open_repository(store)


def test_a_newer_format_or_feature_needs_a_newer_drkit(store: MemoryStore) -> None:
    changed(store, format=2)
    with pytest.raises(ConfigError, match="needs a newer drkit: it uses format 2"):
        open_repository(store)
    other = MemoryStore(System().now)
    changed(other, features={"required": ["wings", "age-pq"], "optional": ["x"]})
    with pytest.raises(ConfigError, match="age-pq, wings") as caught:
        open_repository(other)
    assert "upgrade" in (caught.value.hint or "")


def test_optional_features_and_unknown_keys_are_no_obstacle(store: MemoryStore) -> None:
    changed(store, features={"required": [], "optional": ["x"]}, more="words")
    assert open_repository(store).id


def test_a_lost_store_id_is_empty(store: MemoryStore) -> None:
    create(store, System())
    store.delete(names.STORE)
    assert open_repository(store).store_id == ""
    store.put(names.STORE, body(b"no json"))
    assert open_repository(store).store_id == ""


def test_a_domain_is_found_by_names_alone() -> None:
    one = domain_id("0" * 32, "shop", "files")
    assert one == domain_id("0" * 32, "shop", "files")
    assert len(one) == 32
    others = {
        domain_id("1" * 32, "shop", "files"),
        domain_id("0" * 32, "shop", "physical"),
        domain_id("0" * 32, "shopf", "iles"),
        domain_id("0" * 32, "상점", "files"),
    }
    assert one not in others
    assert len(others) == 4

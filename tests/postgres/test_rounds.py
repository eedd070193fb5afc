"""Backups of a server at work, of every kind that it may do, give back what it held."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from drkit.model.policy import Incremental
from tests.fixtures.captures import Captures, captures
from tests.fixtures.pg_load import Load
from tests.fixtures.pg_rounds import chain, equal
from tests.fixtures.postgres import own, serving

pytestmark = pytest.mark.pg

WAYS: list[tuple[int, Incremental]] = [(15, "stream"), (18, "stream"), (18, "native")]


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0]}-{way[1]}")
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Captures]:
    major, way = request.param
    settings = {"summarize_wal": "on"} if way == "native" else {}
    with serving(own(tmp_path) / "server", major, **settings) as server:
        yield captures(tmp_path, server, incremental=way)


def test_a_full_and_five_increments(shop: Captures, tmp_path: Path) -> None:
    load = Load(shop.server, seed=1, rows=300).prepare()
    for number, held in enumerate(chain(shop, load, 5)):
        equal(shop, held, tmp_path / f"copy {number}")

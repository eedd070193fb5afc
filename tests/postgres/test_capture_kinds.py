"""Servers of every kind as the source."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.fixtures.captures import captures, rows
from tests.fixtures.pg_kinds import (
    BIG_SEGMENTS,
    EUC_KR,
    NO_CHECKSUMS,
    SMALL_SEGMENTS,
    over_tls,
    with_tls,
)
from tests.fixtures.postgres import own, serving

pytestmark = pytest.mark.pg

KINDS = [SMALL_SEGMENTS, BIG_SEGMENTS, NO_CHECKSUMS, EUC_KR]
FILL = "create table orders as select i, repeat('주문', 50) as what from generate_series(1, 5000) i"
CHANGE = "update orders set i = -i where i % 300 = 0"


@pytest.mark.parametrize("major", [15, 18])
@pytest.mark.parametrize("options", KINDS, ids=lambda options: options[0])
def test_initialized_in_another_way(major: int, options: tuple[str, ...], tmp_path: Path) -> None:
    settings = {"summarize_wal": "on"} if major >= 17 else {}
    with serving(tmp_path / "server", major, *options, **settings) as server:
        made = captures(tmp_path, server)
        server.sql(FILL)
        made.back_up()
        server.sql(CHANGE)
        assert made.back_up().kind == "incremental"
        with made.started(tmp_path / "copy") as copy:
            assert rows(copy) == rows(server)


@pytest.mark.soak
@pytest.mark.parametrize("major", [13, 14, 16, 17])
def test_other_versions(major: int, tmp_path: Path) -> None:
    settings = {"summarize_wal": "on"} if major >= 17 else {}
    place = tmp_path / "server/place"
    with serving(tmp_path / "server", major, **settings) as server:
        place.mkdir()
        made = captures(tmp_path, server)
        server.sql(FILL, f"create tablespace slow location '{own(place)}'")
        server.sql("create table past tablespace slow as select * from orders")
        made.back_up()
        server.sql(CHANGE, "delete from past where i % 3 = 0")
        assert made.back_up().kind == "incremental"
        with made.started(tmp_path / "copy") as copy:
            assert rows(copy) == rows(server)


def test_over_tls(tmp_path: Path) -> None:
    """By Debian's server: the embedded one is built without."""
    (tmp_path / "tls").mkdir()
    with with_tls(tmp_path / "tls", 15) as server:
        made = captures(tmp_path, server)
        made.plan = replace(made.plan, dsn=over_tls(server))
        server.sql(FILL)
        done = made.back_up()
        assert done.facts.label.startswith("127.0.0.1:")
        server.sql(CHANGE)
        made.back_up()
        with made.started(tmp_path / "copy") as copy:
            assert rows(copy) == rows(server)

"""Backups of a server at work, of every kind that it may do, give back what it held."""

from dataclasses import replace
from pathlib import Path

import pytest

from drkit.errors import PostgresError
from drkit.model.lsn import parse_lsn
from tests.fixtures.pg_digest import amcheck
from tests.fixtures.pg_ledger import Ledger, balanced
from tests.fixtures.pg_load import SHOP, Load
from tests.fixtures.pg_rounds import RATE, Way, chain, copy_of, equal, places, shop_of, taken, words

pytestmark = pytest.mark.pg

WAYS: list[Way] = [(15, "stream"), (18, "stream"), (18, "native")]
OTHERS: list[Way] = [(13, "stream"), (14, "stream"), (16, "stream"), (17, "stream")]


def is_given_back(way: Way, count: int, rows: int, root: Path) -> None:
    with shop_of(way, root) as shop:
        load = Load(shop.server, seed=count, rows=rows, places=places(way)).prepare()
        for number, held in enumerate(chain(shop, load, count)):
            equal(shop, held, root / f"copy {number}")


@pytest.mark.parametrize("way", [(15, "stream"), (18, "native")], ids=words)
def test_a_full_and_five_increments(way: Way, tmp_path: Path) -> None:
    is_given_back(way, 5, 300, tmp_path)


def test_a_full_and_two_where_there_is_a_choice(tmp_path: Path) -> None:
    is_given_back((18, "stream"), 2, 300, tmp_path)


@pytest.mark.parametrize("way", [(15, "stream"), (18, "native")], ids=words)
def test_a_load_that_never_stops(way: Way, tmp_path: Path) -> None:
    """The copy stands where its backup ended: no commit before is lost, none after is in."""
    with shop_of(way, tmp_path) as shop:
        load = Load(shop.server, seed=7, rows=300, places=places(way)).prepare()
        shop.plan = replace(shop.plan, max_rate=RATE)
        ledger = Ledger(shop.server, SHOP)
        with load.running(), ledger.written():
            ends = [shop.back_up().facts.details["end_lsn"] for _ in range(2)]
        for number, snapshot in enumerate(shop.host.history().snapshots):
            with copy_of(shop, snapshot, tmp_path / f"copy {number}") as copy:
                assert ledger.wrong(copy, parse_lsn(str(ends[number]))) == ""
                balanced(copy, SHOP)
                assert amcheck(copy) == []


def test_a_tablespace_that_the_server_would_leave_out(tmp_path: Path) -> None:
    with shop_of((15, "stream"), tmp_path) as shop:
        shop.server.sql(
            "set allow_in_place_tablespaces = on",
            "create tablespace inside location ''",
        )
        with pytest.raises(PostgresError, match='tablespace "inside" lies in the data folder'):
            shop.back_up()
        assert shop.outcomes() == 0


def test_a_database_whose_drop_was_under_way(tmp_path: Path) -> None:
    """As a backup finds it that ends in the middle of that."""
    with shop_of((18, "stream"), tmp_path) as shop:
        shop.server.sql(
            "create database going",
            "update pg_database set datconnlimit = -2 where datname = 'going'",
        )
        shop.back_up()
        with copy_of(shop, shop.host.newest(), tmp_path / "copy") as copy:
            copy.sql("drop database going")


@pytest.mark.soak
@pytest.mark.parametrize("way", [*WAYS, *OTHERS], ids=words)
def test_larger_ones_on_every_version(way: Way, tmp_path: Path) -> None:
    is_given_back(way, 7, 5000, tmp_path)


BETWEEN = (  # rows of a page each: over the first GiB, below it, and over it again
    "insert into large select i, repeat('x', 8000) from generate_series(100001, 160000) i",
    "update large set n = -n where n % 977 = 0",
    "delete from large where n > 90000; vacuum (truncate on, index_cleanup on) large",
    "insert into large select i, repeat('y', 8000) from generate_series(200001, 260000) i",
)


@pytest.mark.soak
@pytest.mark.parametrize("way", WAYS, ids=words)
def test_a_table_that_crosses_a_gibibyte(way: Way, tmp_path: Path) -> None:
    with shop_of(way, tmp_path, max_wal_size="4GB") as shop:
        shop.plan = replace(shop.plan, max_rate=2 * RATE)
        load = Load(shop.server, seed=3, rows=500, places=places(way)).prepare()
        shop.server.sql(
            "create table large (n int, t text)",
            "alter table large alter t set storage plain",
            "insert into large select i, repeat('x', 8000) from generate_series(1, 100000) i",
            "create index on large (n)",
            database=SHOP,
        )
        chained = [taken(shop, load, dumped=False)]
        for words_ in BETWEEN:
            shop.server.sql(*words_.split("; "), database=SHOP)
            chained.append(taken(shop, load, dumped=False))
        for number, held in enumerate(chained):
            equal(shop, held, tmp_path / f"copy {number}")

"""A standby as the source: it works, and a promotion is never built over."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from drkit.errors import PostgresError
from drkit.events import Advanced, Event
from drkit.system import System
from tests.fixtures.captures import Captures, captures, rows
from tests.fixtures.postgres import Server, own, run, serving

pytestmark = pytest.mark.pg


@contextmanager
def following(primary: Server, folder: Path) -> Iterator[Server]:
    standby = Server(folder=folder, major=primary.major, settings=dict(primary.settings))
    folder.mkdir()
    own(folder)
    run(
        primary.bin / "pg_basebackup", "-D", standby.data, "-R", "-X", "stream", "-c", "fast",
        "-d", primary.dsn,
    )  # fmt: skip
    try:
        yield standby.start(hot_standby="on")
    finally:
        standby.destroy()


@pytest.fixture(scope="module", params=[15, 18])
def primary(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    settings = {"summarize_wal": "on"} if request.param >= 17 else {}
    folder = tmp_path_factory.mktemp("primary") / "server"
    with serving(folder, request.param, **settings) as server:
        server.sql(
            "create table orders as select i, repeat('o', 300) from generate_series(1, 20000) i",
            "checkpoint",
        )
        yield server


@pytest.fixture
def shop(primary: Server, tmp_path: Path) -> Iterator[Captures]:
    with following(primary, tmp_path / "standby") as standby:
        yield captures(tmp_path, standby)


def replayed(primary: Server, shop: Captures) -> None:
    ((lsn,),) = primary.sql("checkpoint", "select pg_switch_wal(); select pg_current_wal_lsn()")
    while shop.server.sql(f"select pg_last_wal_replay_lsn() < '{lsn}'") == [(True,)]:
        pass


def test_a_full_and_an_increment(primary: Server, shop: Captures, tmp_path: Path) -> None:
    done = shop.back_up()
    assert done.facts.details["standby"] == 1
    primary.sql("update orders set i = -i where i % 100 = 0")
    replayed(primary, shop)
    done = shop.back_up()
    assert done.kind == "incremental"
    with shop.started(tmp_path / "copy") as copy:
        assert rows(copy) == rows(primary)


def test_after_a_promotion_the_next_is_a_full(shop: Captures, tmp_path: Path) -> None:
    shop.back_up()
    shop.server.sql("select pg_promote()", "create table since as select 1 as n")
    done = shop.back_up()
    assert (done.kind, done.why) == ("full", "the timeline changed from 1 to 2")
    with shop.host.opened() as reader:
        paths = {e.path for e in reader.entries()}
    assert "pg_wal/00000002.history" in paths
    with shop.started(tmp_path / "copy") as copy:
        assert rows(copy) == rows(shop.server)


def test_a_promotion_meanwhile_fails_it(shop: Captures) -> None:
    promoted: list[Event] = []

    def tell(event: Event) -> None:
        if isinstance(event, Advanced) and not promoted:
            promoted.append(event)
            shop.server.sql("select pg_promote()")

    shop.plan = replace(shop.plan, max_rate=16 << 20)
    with pytest.raises(PostgresError, match=r"promoted|timeline 1"):
        shop.back_up(system=System(tell=tell))
    assert promoted
    assert shop.outcomes() == 0
    assert shop.server.sql("select * from pg_replication_slots") == []

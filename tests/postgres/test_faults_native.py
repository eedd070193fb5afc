"""Increments of the server's own whose ground has changed: a full with its reason, never a wrong
increment."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.captures import Captures, captures, rows
from tests.fixtures.postgres import Server, copy_of, own, serving

pytestmark = pytest.mark.pg

_TABLES = (
    "create table orders as select i, repeat('o', 300) t from generate_series(1, 8000) i",
    "create index on orders (i)",
    "create table filler (x text)",
    "checkpoint",
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    own(tmp_path)
    with serving(tmp_path / "server", 18, summarize_wal="on") as made:
        made.sql(*_TABLES)
        yield made


@pytest.fixture
def shop(server: Server, tmp_path: Path) -> Captures:
    return captures(tmp_path, server)


def full_for(shop: Captures, why: str, copy: Path) -> None:
    """And what it holds is what the server holds."""
    done = shop.back_up()
    assert done.kind == "full"
    assert why in done.why, done.why
    with shop.started(copy) as made:
        assert rows(made) == rows(shop.server)
    assert shop.back_up().kind == "incremental"


def change(server: Server, name: str, first: int, last: int) -> None:
    server.sql(f"update orders set t = '{name}' where i between {first} and {last}", "checkpoint")


@pytest.mark.parametrize("incremental", ["native", pytest.param("stream", marks=pytest.mark.soak)])
def test_a_machine_set_back_to_an_earlier_state(
    shop: Captures, tmp_path: Path, incremental: str
) -> None:
    """Same system, same timeline, and as many bytes of WAL again: pages of a history that was
    undone must not stay. The server's own increments would keep them."""
    server = shop.server
    server.stop()
    copy_of(server.data, tmp_path / "snapshot")
    server.start()
    change(server, "undone", 1, 200)
    shop = captures(tmp_path / incremental, server, incremental=incremental)
    shop.back_up()
    server.stop()
    shutil.rmtree(server.data)
    copy_of(tmp_path / "snapshot", server.data)
    server.start()
    change(server, "new", 5000, 5200)
    server.sql(
        "insert into filler select repeat('x', 100) from generate_series(1, 130000)", "checkpoint"
    )
    done = shop.back_up()
    expected = "full" if incremental == "native" else "incremental"
    assert (done.kind, "set back to an earlier state" in done.why) == (expected, expected == "full")
    with shop.started(tmp_path / "copy") as copy:
        assert rows(copy) == rows(server)
        assert copy.sql("select count(*) from orders where t = 'undone'") == [(0,)]
    assert shop.back_up().kind == "incremental"


@pytest.mark.soak
def test_a_machine_set_back_and_not_come_as_far(shop: Captures, tmp_path: Path) -> None:
    server = shop.server
    server.stop()
    copy_of(server.data, tmp_path / "snapshot")
    server.start()
    server.sql("insert into filler select repeat('x', 100) from generate_series(1, 300000)")
    shop.back_up()
    server.stop()
    shutil.rmtree(server.data)
    copy_of(tmp_path / "snapshot", server.data)
    server.start()
    full_for(shop, "but this backup starts at", tmp_path / "copy")


def test_summaries_that_somebody_removed(shop: Captures, tmp_path: Path) -> None:
    shop.back_up()
    change(shop.server, "changed", 100, 300)
    time.sleep(0.3)  # the server has written it by then
    removed = sorted((shop.server.data / "pg_wal/summaries").glob("*.summary"))
    for path in removed:
        path.unlink()
    assert removed
    change(shop.server, "later", 400, 500)
    full_for(shop, "no WAL summary from", tmp_path / "copy")


@pytest.mark.soak
def test_summaries_that_were_off_for_a_while(shop: Captures, tmp_path: Path) -> None:
    server = shop.server
    shop.back_up()
    server.stop()
    server.start(summarize_wal="off", wal_keep_size="0", min_wal_size="32MB", max_wal_size="32MB")
    change(server, "unseen", 100, 300)
    server.sql(*[f"insert into filler values ('{i}'), (pg_switch_wal()::text)" for i in range(4)])
    server.sql("checkpoint", "checkpoint")
    server.stop()
    server.start(summarize_wal="on")
    change(server, "seen", 400, 500)
    done = shop.back_up()
    with shop.started(tmp_path / "copy") as copy:
        assert rows(copy) == rows(server)
    # WAL that was still there was summarized later
    assert done.kind == "incremental" or "no WAL summary from" in done.why
    assert shop.back_up().kind == "incremental"


def test_summaries_that_are_off(shop: Captures, tmp_path: Path) -> None:
    """A generation of the other method begins."""
    server = shop.server
    shop.back_up()
    server.stop()
    server.start(summarize_wal="off")
    change(server, "unseen", 100, 300)
    full_for(shop, "summarize_wal is off", tmp_path / "copy")
    assert shop.host.newest().facts.details["method"] == "stream"


def test_a_memory_that_somebody_changed(shop: Captures, tmp_path: Path) -> None:
    """In the place of the last backup's list, one of another: bytes of that length."""
    shop.back_up()
    [cache] = (tmp_path / "state").rglob("cache.sqlite")
    data = cache.read_bytes()
    assert b'"Start-LSN": "0/' in data
    cache.write_bytes(data.replace(b'"Start-LSN": "0/', b'"Start-LSN": "1/'))
    change(shop.server, "changed", 100, 300)
    full_for(shop, "is not as the last backup left it", tmp_path / "copy")


@pytest.mark.soak
def test_an_older_memory_put_back(shop: Captures, tmp_path: Path) -> None:
    """What was a whole memory once is none of the newest backup."""
    shop.back_up()
    [cache] = (tmp_path / "state").rglob("cache.sqlite")
    shutil.copytree(cache.parent, tmp_path / "older")
    change(shop.server, "first", 100, 300)
    shop.back_up()
    for path in (tmp_path / "older").iterdir():
        if path.is_file():
            shutil.copy2(path, cache.parent / path.name)
    change(shop.server, "second", 400, 500)
    done = shop.back_up()
    with shop.started(tmp_path / "copy") as copy:
        assert rows(copy) == rows(shop.server)
    assert done.kind in ("full", "incremental")

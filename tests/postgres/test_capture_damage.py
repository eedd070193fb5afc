"""Pages whose checksum is wrong: kept, named by file and block, and never built upon."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from drkit.errors import Damaged
from drkit.events import Event, Warned
from drkit.system import System
from tests.fixtures.captures import Captures, captures
from tests.fixtures.pg_rounds import restored
from tests.fixtures.postgres import Server, own, serving

pytestmark = pytest.mark.pg

PAGE = 8192
BAD = [3, 4, 5, 6, 7, 20, 31, 32]  # more than the five that the server names


@pytest.fixture(scope="module", params=[15, 18])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    settings = {"summarize_wal": "on"} if request.param >= 17 else {}
    folder = tmp_path_factory.mktemp("damage") / "server"
    with serving(folder, request.param, **settings) as server:
        yield server


@pytest.fixture
def shop(running: Server, tmp_path: Path) -> Iterator[Captures]:
    running.sql(
        "create table orders as select i, repeat('o', 500) from generate_series(1, 1000) i",
        "checkpoint",
    )
    yield captures(tmp_path, running)
    running.sql("drop table orders", "checkpoint")


def spoil(made: Captures, blocks: list[int]) -> str:
    ((path,),) = made.server.sql("select pg_relation_filepath('orders')")
    fd = os.open(made.server.data / path, os.O_WRONLY)
    for block in blocks:
        os.pwrite(fd, b"rotten", block * PAGE + 5000)
    os.close(fd)
    return str(path)


def test_a_full_names_every_block(shop: Captures, tmp_path: Path) -> None:
    path = spoil(shop, BAD)
    said: list[Event] = []
    done = shop.back_up(system=System(tell=said.append))
    assert done.facts.damaged
    assert done.facts.notes == (f"{path}: wrong checksums in blocks 3-7, 20, 31-32",)
    assert done.facts.notes[0] in [e.message for e in said if isinstance(e, Warned)]
    assert "end_lsn" not in done.facts.details  # the server does not tell
    with shop.host.opened() as reader:
        (entry,) = (e for e in reader.entries() if e.path == path)
        assert reader.stream(entry).read() == (shop.server.data / path).read_bytes()
    copy = shop.lay_out(tmp_path / "copy")
    copy.start(ignore_checksum_failure="on", zero_damaged_pages="on")
    copy.stop()


def test_the_next_one_is_a_full(shop: Captures) -> None:
    spoil(shop, [1])
    shop.back_up()
    done = shop.back_up()
    assert (done.kind, done.why) == ("full", "the last backup holds damaged pages")


def test_an_increment_names_what_it_was_sent(shop: Captures) -> None:
    assert not shop.back_up().facts.damaged
    if shop.server.major < 17:
        path = spoil(shop, BAD)
    else:  # only changed blocks are sent
        shop.server.sql("update orders set i = i", "checkpoint")
        path = spoil(shop, BAD)
    done = shop.back_up()
    assert (done.kind, done.facts.damaged) == ("incremental", True)
    assert done.facts.notes == (f"{path}: wrong checksums in blocks 3-7, 20, 31-32",)


def test_a_restore_says_which_pages_are_damaged(shop: Captures, tmp_path: Path) -> None:
    """It may be the only one there is: recovered, and refused for the right reason."""
    path = spoil(shop, BAD[:1])
    shop.back_up("full")
    own(tmp_path)
    with pytest.raises(Damaged, match=f"pages of the restored cluster are damaged: .*{path}, bl"):
        restored(shop, shop.host.newest(), tmp_path / "copy")
    assert (tmp_path / "copy/DRKIT-INCOMPLETE").exists()
    assert (tmp_path / "copy/global/pg_control").exists()

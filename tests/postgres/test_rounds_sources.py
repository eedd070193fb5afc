"""Under load from servers of every kind: standbys, over TLS, of another make, Debian's layout."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fixtures.captures import Captures, captures
from tests.fixtures.pg_kinds import (
    BIG_SEGMENTS,
    EUC_KR,
    NO_CHECKSUMS,
    SMALL_SEGMENTS,
    caught_up,
    debian_cluster,
    over_tls,
    standby_of,
    with_tls,
)
from tests.fixtures.pg_load import Load
from tests.fixtures.pg_rounds import Way, chain, equal, shop_of, words
from tests.fixtures.postgres import Server, own, serving

pytestmark = pytest.mark.pg

ROWS = 150


def is_given_back(shop: Captures, root: Path, primary: Server | None = None) -> None:
    """The newest of a full and an increment."""
    load = Load(primary or shop.server, seed=11, rows=ROWS, places="none").prepare()
    held = chain(shop, load, 1)
    equal(shop, held[-1], root / "copy")


@pytest.mark.parametrize(
    ("way", "options"),
    [
        ((15, "stream"), EUC_KR),
        ((15, "stream"), SMALL_SEGMENTS),
        ((18, "native"), BIG_SEGMENTS),
        ((18, "native"), NO_CHECKSUMS),
    ],
    ids=lambda value: value[0] if isinstance(value[0], str) else words(value),
)
def test_of_another_make(way: Way, options: tuple[str, ...], tmp_path: Path) -> None:
    with shop_of(way, tmp_path, *options) as shop:
        is_given_back(shop, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("way", [(15, "stream"), (18, "stream"), (18, "native")], ids=words)
@pytest.mark.parametrize("options", [EUC_KR, SMALL_SEGMENTS, BIG_SEGMENTS, NO_CHECKSUMS])
def test_of_another_make_in_every_way(way: Way, options: tuple[str, ...], tmp_path: Path) -> None:
    with shop_of(way, tmp_path, *options) as shop:
        is_given_back(shop, tmp_path)


def only_by_tls(server: Server) -> Callable[[], None]:
    """Looks at all of drkit's connections while they work."""

    def look() -> None:
        asked = """select bool_and(ssl), count(*) from pg_stat_ssl join pg_stat_activity using (pid)
            where application_name = 'drkit'"""
        ((every, count),) = server.sql(asked)
        assert every
        assert count == 3

    return look


def is_given_back_over_tls(major: int, root: Path) -> None:
    with with_tls(root, major) as server:
        shop = captures(root, server)
        shop.plan = replace(shop.plan, dsn=over_tls(server))
        load = Load(server, seed=12, rows=ROWS, places="none").prepare()
        held = chain(shop, load, 1, only_by_tls(server))
        equal(shop, held[-1], root / "copy")


def test_over_tls(tmp_path: Path) -> None:
    """The wheel with 18 is built without it."""
    is_given_back_over_tls(15, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("major", [13, 14, 16, 17])
def test_over_tls_on_every_version_that_has_it(major: int, tmp_path: Path) -> None:
    is_given_back_over_tls(major, tmp_path)


def test_in_debians_layout(tmp_path: Path) -> None:
    """Its settings and rules lie in /etc; needs root. What is restored starts without them."""
    if os.geteuid() != 0:
        return
    with debian_cluster(own(tmp_path) / "server") as server:
        shop = captures(tmp_path, server)
        is_given_back(shop, tmp_path)


@pytest.mark.parametrize("major", [15, 18])
def test_from_a_standby(major: int, tmp_path: Path) -> None:
    """The load works on the primary; a standby's backup ends where its restartpoint made durable
    what it has replayed."""
    settings = {"summarize_wal": "on"} if major >= 17 else {}
    with serving(own(tmp_path) / "server", major, **settings) as primary:
        load = Load(primary, seed=13, rows=ROWS, places="none").prepare()
        maps = {primary.folder / "spaces/steady": tmp_path / "steady"}
        with standby_of(primary, tmp_path / "standby", maps) as standby:
            shop = captures(tmp_path, standby)

            def settled() -> None:
                primary.sql("checkpoint")
                caught_up(primary, standby)
                standby.sql("checkpoint")

            settled()  # or what replays at a restore would make the tablespace, in its own place
            held = chain(shop, load, 1, settled, spaces=False)
            assert held[-1].snapshot.facts.details["standby"] == 1
            equal(shop, held[-1], tmp_path / "copy")

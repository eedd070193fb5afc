"""Rows that were deleted, vacuumed away and overgrown between two backups stay away."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from drkit.model.policy import Incremental
from drkit.postgres.names import SEGMENT_PAGES
from drkit.postgres.physical import opened
from drkit.postgres.plan import PhysicalPlan
from drkit.stores.memory import MemoryStore
from drkit.system import System
from tests.fixtures.base_backup import ClusterSource, copy_of
from tests.fixtures.host import Host, new_host
from tests.fixtures.kinds import local
from tests.fixtures.postgres import Server, own, run, serving

pytestmark = pytest.mark.pg

KEPT, DELETED, NEW = 200, 19_800, 4_000
SETTINGS = {"summarize_wal": "on", "wal_keep_size": "1GB"}
LATER: dict[int, dict[str, str]] = {15: {}, 18: SETTINGS}
# what the copies are asked: how many rows there are, and how many of them had been deleted
NO_INDEX = ("set enable_indexscan = off", "set enable_bitmapscan = off")
ASKED = "select count(*), count(*) filter (where g between 201 and 999999) from t where g > 0"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    store = MemoryStore(System().now)
    return new_host(store, tmp_path / "state", kind="postgres-physical")


@contextmanager
def started(copy: Server) -> Iterator[Server]:
    copy.start()
    try:
        yield copy
    finally:
        copy.destroy()


def filled(server: Server) -> None:
    rows = f"select g, repeat('s', 400) from generate_series(1, {KEPT + DELETED}) g"
    server.sql(
        "create extension amcheck",
        "create table if not exists t (g int, p text)",
        f"insert into t {rows}",
        "create index on t (g)",
    )


def filled_beyond_a_segment(server: Server) -> None:
    """A row a page and all of them frozen, so that neither vacuum nor new rows go to the first
    segment. Without WAL, which needs no gigabyte here."""
    server.stop()
    server.start(wal_level="minimal", max_wal_senders="0", summarize_wal="off")
    server.sql("create table t (g int, p text)", "alter table t alter p set storage plain")
    text = "x" * 8000
    with server.connect() as connection, connection.transaction():
        connection.execute("truncate t")
        with connection.cursor().copy("copy t from stdin with (freeze)") as copy:
            for number in range(SEGMENT_PAGES + 20):
                copy.write(f"-{number}\t{text}\n")
    server.stop()
    server.start(wal_level="replica", max_wal_senders="10", summarize_wal="on")
    filled(server)


def cut_and_grown(server: Server) -> tuple[int, int, int]:
    """Blocks of the table before, after vacuum, and when the server has extended it in bulk:
    by more than the rows need, so its last pages are zeros that no WAL knows of."""
    size = "select pg_relation_size('t') / 8192"
    new = own(server.folder) / "new.txt"
    ((before,),) = server.sql(size)
    # index_cleanup: a vacuum that finds few dead rows leaves them, and then cuts nothing
    vacuum = (f"delete from t where g > {KEPT}", "vacuum (index_cleanup on) t", size)
    ((cut,),) = server.sql(*vacuum)
    rows = f"select 1000000 + g, repeat('n', 400) from generate_series(1, {NEW}) g"
    copy = (f"copy ({rows}) to '{new}'", f"copy t from '{new}'", size)
    ((grown,),) = server.sql(*copy)
    server.sql("checkpoint")
    assert cut < grown <= before
    return before, cut, grown


def sound(copy: Server) -> bool:
    done = run(
        copy.bin / "pg_amcheck", "-h", copy.folder, "-U", "postgres", "--heapallindexed",
        "postgres", check=False,
    )  # fmt: skip
    return done.returncode == 0


def backed_up(host: Host, server: Server, way: Incremental) -> str:
    """By the real source: full or incremental."""
    plan = PhysicalPlan(dsn=server.dsn, name="test", incremental=way)
    with opened(plan, System()) as source:
        return host.back_up(source).kind


@pytest.mark.parametrize(("major", "way"), [(18, "native"), (18, "stream"), (15, "stream")])
def test_no_deleted_row_comes_back(
    major: int, way: Incremental, host: Host, tmp_path: Path
) -> None:
    with serving(tmp_path / "server", major, **LATER[major]) as server:
        filled(server)
        assert backed_up(host, server, way) == "full"
        cut_and_grown(server)
        assert backed_up(host, server, way) == "incremental"
        assert server.sql(ASKED) == [(KEPT + NEW, 0)]
        with started(copy_of(host, server, tmp_path / "copy")) as copy:
            assert copy.sql(*NO_INDEX, ASKED) == [(KEPT + NEW, 0)]
            assert sound(copy)


def test_without_the_correction_they_do_come_back(host: Host, tmp_path: Path) -> None:
    """So the test above can fail. Once a server's own increments leave them away, this one
    fails, and the correction may go for that server."""
    with serving(tmp_path / "server", 18, **SETTINGS) as server:
        filled(server)
        source = ClusterSource(server.dsn, tmp_path / "sent", corrected=False)
        host.back_up(source)
        cut_and_grown(server)
        assert host.back_up(source).kind == "incremental"
        with started(copy_of(host, server, tmp_path / "copy")) as copy:
            ((_, returned),) = copy.sql(*NO_INDEX, ASKED)
            assert returned > 0
            assert not sound(copy)


@pytest.mark.parametrize("corrected", [True, False])
def test_a_cut_table_s_map_says_nothing_of_what_has_grown_since(
    corrected: bool, host: Host, tmp_path: Path
) -> None:
    """Without checksums no WAL tells of the bits that go with the cut: left in, they call new
    rows visible to all. (PostgreSQL's list, October 2026: stale visibility maps.)"""
    with serving(tmp_path / "server", 18, "--no-data-checksums", **SETTINGS) as server:
        filled(server)
        server.sql(
            "create extension pg_visibility",
            "delete from t where g > 11 * 18",  # full pages are left, so their bits stay as well
            "vacuum (freeze, truncate off) t",
        )
        source = ClusterSource(server.dsn, tmp_path / "sent", corrected=corrected)
        host.back_up(source)
        rows = f"select g, repeat('n', 400) from generate_series(1, {NEW}) g"
        server.sql("vacuum t", f"insert into t {rows}")
        assert host.back_up(source).kind == "incremental"
        with started(copy_of(host, server, tmp_path / "copy")) as copy:
            wrong = copy.sql("select * from pg_check_frozen('t')")
            assert (wrong == []) == corrected


@pytest.mark.soak
@pytest.mark.parametrize("way", ["native", "stream"])
def test_none_comes_back_beyond_the_first_segment(way: Incremental, tmp_path: Path) -> None:
    host = new_host(local(tmp_path / "store"), tmp_path / "state", kind="postgres-physical")
    with serving(tmp_path / "server", 18, **SETTINGS) as server:
        filled_beyond_a_segment(server)
        assert backed_up(host, server, way) == "full"
        assert cut_and_grown(server)[1] > SEGMENT_PAGES
        assert backed_up(host, server, way) == "incremental"
        with started(copy_of(host, server, tmp_path / "copy")) as copy:
            assert copy.sql(*NO_INDEX, ASKED) == [(KEPT + NEW, 0)]
            assert sound(copy)


@pytest.mark.soak
def test_without_the_correction_they_do_come_back_there(tmp_path: Path) -> None:
    host = new_host(local(tmp_path / "store"), tmp_path / "state", kind="postgres-physical")
    with serving(tmp_path / "server", 18, **SETTINGS) as server:
        filled_beyond_a_segment(server)
        source = ClusterSource(server.dsn, tmp_path / "sent", corrected=False)
        host.back_up(source)
        assert cut_and_grown(server)[1] > SEGMENT_PAGES
        assert host.back_up(source).kind == "incremental"
        with started(copy_of(host, server, tmp_path / "copy")) as copy:
            ((_, returned),) = copy.sql(*NO_INDEX, ASKED)
            assert returned > 0
            assert not sound(copy)

"""What the WAL summaries say of relations that were cut, and of gaps in them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from drkit.errors import CantBuild, PostgresError
from drkit.model.lsn import Position, parse_lsn, show_lsn
from drkit.postgres.limits import Limits, read_limits, summaries_cover, unsound
from drkit.postgres.names import SEGMENT_PAGES, Fork, RelationFile, relation_file, relation_segment
from drkit.postgres.wire import Wire, connect
from drkit.system import System
from tests.fixtures.postgres import Server, own, serving

pytestmark = pytest.mark.pg

# Names.


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("base/5/16384", (1663, 5, 16384, Fork.MAIN, 0)),
        ("base/5/16384.1", (1663, 5, 16384, Fork.MAIN, 1)),
        ("base/5/16384_vm", (1663, 5, 16384, Fork.VM, 0)),
        ("base/5/16384_fsm.12", (1663, 5, 16384, Fork.FSM, 12)),
        ("base/5/16384_init", (1663, 5, 16384, Fork.INIT, 0)),
        ("global/1262", (1664, 0, 1262, Fork.MAIN, 0)),
        ("global/1262_fsm", (1664, 0, 1262, Fork.FSM, 0)),
        ("pg_tblspc/16400/PG_18_202506291/5/16999.2", (16400, 5, 16999, Fork.MAIN, 2)),
        ("pg_tblspc/16400/PG_15_202209061/7/4294967295", (16400, 7, 4294967295, Fork.MAIN, 0)),
    ],
)
def test_a_relation_s_file_is_known_by_its_path(path: str, expected: tuple[int, ...]) -> None:
    tablespace, database, number, fork, segment = expected
    file = RelationFile(
        tablespace=tablespace, database=database, number=number, fork=Fork(fork), segment=segment
    )
    assert relation_file(path) == file
    assert relation_segment(path) == segment


@pytest.mark.parametrize(
    "path",
    [
        "base/5/PG_VERSION",
        "base/5/pg_filenode.map",
        "base/5/pg_internal.init",
        "base/5/t3_16384",
        "base/5/INCREMENTAL.16384",
        "base/5/16384.",
        "base/5/16384.0",
        "base/5/016384",
        "base/5/16384_xx",
        "base/5/16384.1_vm",
        "base/5/16384\n",
        "base/5",
        "base/16384",
        "base/pgsql_tmp/16384",
        "global/pg_control",
        "global/5/16384",
        "pg_xact/0000",
        "pg_multixact/offsets/0000",
        "pg_wal/000000010000000000000001",
        "pg_tblspc/16400/16999",
        "pg_tblspc/16400/PG_18_202506291/16999",
        "pg_tblspc/16400/other/5/16999",
        "x/base/5/16384",
        "",
    ],
)
def test_other_files_hold_no_relation(path: str) -> None:
    assert relation_file(path) is None
    assert relation_segment(path) is None


# Numbers.

BEYOND = SEGMENT_PAGES + 12


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("base/5/1000", 12),
        ("base/5/1000.1", 0),
        ("base/5/1000.7", 0),
        ("base/5/2000", None),
        ("base/5/2000.1", 12),
        ("base/5/2000.2", 0),
        ("base/5/3000", None),
        ("base/5/3000.1", 0),
        ("base/5/1000_fsm", None),
        ("base/6/1000", None),
        ("global/1000", None),
        ("pg_tblspc/16400/PG_18_1/5/1000", 3),
        ("base/5/pg_control", None),
        # maps: 32672 blocks of the table to a page, and the last page left is doubtful, too
        ("base/5/1000_vm", 0),
        ("base/5/2000_vm", 4),
        ("base/5/3000_vm", 4),
        ("base/5/4000_vm", 2),
        ("base/5/4000", None),
        ("base/5/5000_vm", 1),
    ],
)
def test_a_limit_is_counted_in_its_segment(path: str, expected: int | None) -> None:
    blocks = {
        (1663, 5, 1000, 0): 12,
        (1663, 5, 2000, 0): BEYOND,
        (1663, 5, 3000, 0): SEGMENT_PAGES,
        (1663, 5, 4000, 2): 2,
        (1663, 5, 5000, 0): 32672,
        (1663, 5, 5000, 2): 2,
        (16400, 5, 1000, 0): 3,
        (1663, 5, 0, 0): 0,  # of a whole database that was copied
    }
    assert Limits(blocks=blocks).of(path) == expected


@pytest.mark.parametrize(
    ("version", "word"),
    [
        (170000, "17.0"),
        (170011, "17.11"),
        (170012, ""),
        (180005, "18.5"),
        (180006, ""),
        (190000, ""),
    ],
)
def test_releases_that_lose_changes_of_maps_are_named(version: int, word: str) -> None:
    assert (word in unsound(version)) if word else unsound(version) == ""


# Gaps: what a server answers, in short.


@dataclass
class Summaries:
    """The summaries from a hundred to a hundred and so on; those of `cut` relations are one."""

    ranges: tuple[tuple[int, int], ...]
    asked: list[str] = field(default_factory=list)

    def query(self, sql: str) -> list[tuple[str | None, ...]]:
        self.asked.append(sql)
        if "pg_wal_summary_contents" in sql:
            return [("1663", "5", "16384", "0", "7")]
        return [(show_lsn(begin), show_lsn(end)) for begin, end in self.ranges]


def at(lsn: int, timeline: int = 1) -> Position:
    return Position(timeline=timeline, lsn=lsn)


@pytest.mark.parametrize(
    "ranges",
    [
        ((100, 300),),
        ((100, 200), (200, 300)),
        ((50, 100), (100, 300)),
        ((90, 150), (100, 160), (160, 300)),
    ],
)
def test_summaries_without_a_gap_are_used(ranges: tuple[tuple[int, int], ...]) -> None:
    sql = Summaries(ranges)
    assert read_limits(sql, at(100), at(300)).of("base/5/16384") == 7
    assert all("tli = 1 and end_lsn > '0/64' and start_lsn < '0/12C'" in q for q in sql.asked)
    # Asked in the other order, one that is removed in between would be missed by nobody.
    assert ["contents" in q for q in sql.asked] == [True, False]


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ((), "no WAL summary from 0/64 to 0/12C on timeline 1"),
        (((101, 300),), "no WAL summary from 0/64 to 0/65 on timeline 1"),
        (((100, 299),), "no WAL summary from 0/12B to 0/12C on timeline 1"),
        (((100, 200), (201, 300)), "no WAL summary from 0/C8 to 0/C9 on timeline 1"),
        (((100, 301),), "goes on past 0/12C on timeline 1"),
        (((50, 300),), "has no checkpoint at 0/64, where the last backup began: it was set back"),
    ],
)
def test_a_gap_is_no_base(ranges: tuple[tuple[int, int], ...], message: str) -> None:
    with pytest.raises(CantBuild, match=message):
        read_limits(Summaries(ranges), at(100), at(300))


def test_another_timeline_or_an_earlier_place_is_no_base() -> None:
    whole = Summaries(((100, 300),))
    with pytest.raises(CantBuild, match="the timeline changed from 1 to 2"):
        read_limits(whole, at(100), at(300, 2))
    with pytest.raises(CantBuild, match="before the last backup"):
        read_limits(whole, at(300), at(100))
    assert whole.asked == []


# A server.


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("limits")
    with serving(folder / "server", 18, summarize_wal="on") as server:
        yield server


@pytest.fixture
def sql(server: Server) -> Iterator[Wire]:
    with connect(server.dsn, System()) as wire:
        yield wire


def checkpoint(server: Server, wait: bool = True) -> Position:
    """Where the next one begins; all before is summarized."""
    server.sql("checkpoint")
    ((timeline, redo),) = server.sql(
        "select timeline_id, redo_lsn::text from pg_control_checkpoint()"
    )
    place = Position(timeline=timeline, lsn=parse_lsn(redo))
    done = f"select summarized_lsn >= '{redo}' from pg_get_wal_summarizer_state()"
    while wait and server.sql(done) != [(True,)]:
        pass
    return place


def filled(server: Server, name: str, more: str = "") -> str:
    """A table whose tail goes with the next vacuum; its path."""
    server.sql(
        f"create table {name} (g int) {more}",
        f"insert into {name} select generate_series(1, 20000)",
        f"vacuum (freeze) {name}",
    )
    ((path,),) = server.sql(f"select pg_relation_filepath('{name}')")
    return str(path)


def cut(server: Server, name: str) -> int:
    statements = (f"delete from {name} where g > 1000", f"vacuum {name}")
    ((size,),) = server.sql(*statements, f"select pg_relation_size('{name}') / 8192")
    return int(size)


def test_a_vacuum_s_cut_is_found_in_every_kind_of_place(server: Server, sql: Wire) -> None:
    space = server.folder / "space"
    space.mkdir()
    server.sql(f"create tablespace other location '{own(space)}'")
    here, there = filled(server, "here"), filled(server, "there", "tablespace other")
    quiet = filled(server, "quiet")
    parent = checkpoint(server)
    sizes = cut(server, "here"), cut(server, "there")
    start = checkpoint(server)
    server.sql("delete from quiet where g > 1000", "vacuum quiet")  # later: WAL replays it
    limits = read_limits(sql, parent, start)
    assert (limits.of(here), limits.of(there)) == sizes
    assert there.startswith("pg_tblspc/")
    assert limits.of(f"{here}_vm") == 0
    assert limits.of(quiet) is None
    assert read_limits(sql, start, checkpoint(server)).of(here) is None


def test_the_lowest_of_several_cuts_counts(server: Server, sql: Wire) -> None:
    path = filled(server, "several")
    parent = checkpoint(server)
    low = cut(server, "several")
    checkpoint(server)
    server.sql("insert into several select generate_series(1000, 30000)")
    server.sql("delete from several where g > 15000", "vacuum several")
    assert read_limits(sql, parent, checkpoint(server)).of(path) == low


def test_a_shared_relation_s_cut_is_found(server: Server, sql: Wire) -> None:
    ((path,),) = server.sql("select pg_relation_filepath('pg_shdescription')")
    server.sql(
        "insert into pg_shdescription select g, 1262, repeat('d', 900)"
        " from generate_series(100000, 100400) g"
    )
    parent = checkpoint(server)
    server.sql("delete from pg_shdescription where objoid > 99999", "vacuum pg_shdescription")
    assert read_limits(sql, parent, checkpoint(server)).of(path) is not None
    assert path.startswith("global/")


def test_a_summary_that_is_gone_is_noticed(server: Server, sql: Wire) -> None:
    parent = checkpoint(server)
    server.sql("create table t1 ()")
    middle = checkpoint(server)
    server.sql("create table t2 ()")
    start = checkpoint(server)
    assert summaries_cover(sql, parent, start.lsn) == ""
    name = f"{1:08X}{middle.lsn:016X}{start.lsn:016X}.summary"
    (server.data / "pg_wal/summaries" / name).unlink()
    said = summaries_cover(sql, parent, start.lsn)
    assert (
        said == f"no WAL summary from {show_lsn(middle.lsn)} to {show_lsn(start.lsn)} on timeline 1"
    )
    with pytest.raises(CantBuild, match="no WAL summary from"):
        read_limits(sql, parent, start)
    assert read_limits(sql, parent, middle).of("base/5/1") is None


def test_without_summaries_there_is_no_base(tmp_path: Path) -> None:
    with serving(tmp_path / "server", 18) as server, connect(server.dsn, System()) as sql:
        parent = checkpoint(server, wait=False)
        server.sql("create table t ()")
        with pytest.raises(CantBuild, match="no WAL summary from"):
            read_limits(sql, parent, checkpoint(server, wait=False))


def test_an_older_server_says_what_it_lacks(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "server", 15) as server,
        connect(server.dsn, System()) as sql,
        pytest.raises(PostgresError, match="pg_available_wal_summaries"),
    ):
        read_limits(sql, at(100), at(300))

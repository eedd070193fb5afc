from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.captures import Captures, captures, rows
from tests.fixtures.postgres import Server, own, run, serving

pytestmark = pytest.mark.pg

WAYS = [(15, "stream"), (18, "stream"), (18, "native")]


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: f"{way[0]}-{way[1]}")
def shop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Captures]:
    """A full and two increments of a cluster with a tablespace and two databases."""
    major, method = request.param
    root = tmp_path_factory.mktemp("shop")
    settings = {"summarize_wal": "on"} if method == "native" else {}
    with serving(root / "server", major, **settings) as server:
        place = root / "server/place"
        place.mkdir()
        yield taken(captures(root, server, incremental=method), own(place))


def fill(server: Server, place: Path) -> None:
    server.sql(
        f"create tablespace slow location '{place}'",
        "create database other",
        "create table orders (id int primary key, what text)",
        "insert into orders select i, repeat('o', 100) from generate_series(1, 30000) i",
        "create table past (id int, what text) tablespace slow",
        "insert into past select i, repeat('p', 200) from generate_series(1, 5000) i",
        "create table gone as select * from past",
        "create unlogged table loose as select 1 as n",
        "create table large as select i, md5(i::text) from generate_series(1, 50000) i",
    )
    server.sql("create table there as select 1 as n", database="other")


def change(server: Server, round_: int) -> None:
    server.sql(
        f"update orders set what = 'round {round_}' where id % 500 = {round_}",
        f"delete from past where id % 7 = {round_}",
        f"create table new_{round_} as select i from generate_series(1, 3000) i",
        "drop table if exists gone",
        "truncate large",
        f"insert into large select i, 'x' from generate_series(1, 1000 * {round_}) i",
        "vacuum full past" if round_ == 1 else "alter table past set tablespace pg_default",
        "checkpoint",
    )


def taken(made: Captures, place: Path) -> Captures:
    fill(made.server, place)
    made.back_up()
    for round_ in (1, 2):
        change(made.server, round_)
        made.back_up()
    return made


def test_what_was_taken(shop: Captures) -> None:
    full, first, second = shop.host.history().snapshots
    method = shop.plan.incremental
    assert [s.kind for s in (full, first, second)] == ["full", "incremental", "incremental"]
    assert [s.facts.details["method"] for s in (full, first, second)] == ["full", method, method]
    assert first.parent == full.session
    facts = second.facts
    assert facts.kind == "postgres-physical"
    assert facts.label == f"{shop.server.folder}:5432"
    assert not facts.damaged
    assert str(facts.details["version"]).split(".")[0] == str(shop.server.major)
    kept = {"timeline", "checksums", "segment_size", "standby", "tablespaces", "databases"}
    assert {name: facts.details[name] for name in kept} == {
        "timeline": 1,
        "checksums": "on",
        "segment_size": 16 << 20,
        "standby": 0,
        "tablespaces": 1,
        "databases": 4,
    }
    assert first.added < full.added / 3


def test_the_facts_count_what_is_there(shop: Captures) -> None:
    for snapshot in shop.host.history().snapshots:
        with shop.host.opened(snapshot) as reader:
            sizes = [e.size for e in reader.entries() if e.type == "file"]
        assert (snapshot.facts.files, snapshot.facts.bytes) == (len(sizes), sum(sizes))


def test_the_newest_starts_and_holds_every_row(shop: Captures, tmp_path: Path) -> None:
    with shop.started(tmp_path / "copy") as copy:
        for database in ("postgres", "other"):
            assert rows(copy, database) == rows(shop.server, database)
        copy.sql("insert into orders values (-1, 'written')", "checkpoint")


@pytest.mark.parametrize("which", [0, 1])
def test_earlier_ones_start_too(shop: Captures, which: int, tmp_path: Path) -> None:
    with shop.started(tmp_path / "copy", shop.host.history().snapshots[which]) as copy:
        counts = copy.sql("select (select count(*) from orders), (select count(*) from large)")
        assert counts == [(30000, [50000, 1000][which])]
        assert copy.sql("select to_regclass('gone')") == [("gone" if which == 0 else None,)]


def test_the_servers_own_tools_find_nothing_wrong(shop: Captures, tmp_path: Path) -> None:
    copy = shop.lay_out(tmp_path / "copy")
    if (copy.data / "backup_manifest").exists():
        run(copy.bin / "pg_verifybackup", "--ignore", "tablespace_map", copy.data)
    else:
        assert shop.plan.incremental == "native"
    copy.start()
    copy.stop()
    run(copy.bin / "pg_checksums", "--check", "-D", copy.data)


def test_the_tree_is_what_a_server_starts_from(shop: Captures) -> None:
    with shop.host.opened() as reader:
        entries = {e.path: e for e in reader.entries()}
        label = next(reader.stream(e).read() for p, e in entries.items() if p == "backup_label")
    assert b"INCREMENTAL" not in label
    assert label.startswith(b"START WAL LOCATION: ")
    assert "tablespace_map" not in entries
    assert {"pg_wal", "pg_wal/archive_status", "pg_tblspc"} <= set(entries)
    (place,) = (e for e in entries.values() if "tablespace" in e.facts)
    assert place.facts["tablespace"] == str(shop.server.folder / "place")
    assert (place.path.startswith("pg_tblspc/"), place.type) == (True, "dir")
    wal = [e for p, e in entries.items() if p.startswith("pg_wal/0")]
    assert {e.size for e in wal} == {16 << 20}
    assert {f"pg_wal/archive_status/{e.path[7:]}.done" for e in wal} <= set(entries)
    assert entries["global/pg_control"].mode == 0o600


def test_nothing_is_left_open_on_the_server(shop: Captures) -> None:
    assert shop.server.sql("select * from pg_replication_slots") == []
    assert shop.server.sql("select * from pg_stat_replication") == []

"""The tests' own tools, tried on PostgreSQL's: its own backup under load is found equal."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from tests.fixtures import pg_kinds
from tests.fixtures.pg_digest import amcheck, differences, digest, dump, page_checksums, sound
from tests.fixtures.pg_load import SHOP, Load
from tests.fixtures.postgres import Server, client, own, run, serving

pytestmark = pytest.mark.pg


@pytest.fixture(params=[15, 18])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with serving(own(tmp_path) / "server", request.param) as made:
        yield made


def test_a_backup_taken_under_load_is_equal(server: Server, tmp_path: Path) -> None:
    """All that changed meanwhile had changed before the backup's end."""
    load = Load(server, seed=1, rows=300, places="none").prepare()
    copy = Server(folder=own(tmp_path) / "copy", major=server.major)
    copy.folder.mkdir()
    own(copy.folder)
    steady = server.folder / "spaces/steady"
    with ThreadPoolExecutor(1) as beside:
        backup = beside.submit(
            run,
            *(client(server, "pg_basebackup"), "-h", server.folder, "-U", "postgres"),
            *("-D", copy.data, "-c", "fast", "--no-sync", "--max-rate=20M"),
            f"--tablespace-mapping={steady}={copy.folder}/steady",
        )
        with load.running():
            load.every()
            load.stop()
            assert not backup.done()
    assert len(load.done) >= 20
    before, text = digest(server), dump(server)
    server.stop()
    copy.start()
    try:
        sound(copy, before, text)
    finally:
        copy.stop()


def test_a_changed_row_is_a_difference(server: Server) -> None:
    Load(server, seed=2, rows=50, places="none").prepare()
    before, text = digest(server), dump(server)
    assert differences(before, digest(server)) == []
    server.sql("update plain set t = t || ' ' where id = 7", database=SHOP)
    assert [line.partition(":")[0] for line in differences(before, digest(server))] == [
        "shop/public.plain"
    ]
    assert dump(server) != text
    server.sql("select setval('lone', 100)", database=SHOP)
    assert len(differences(before, digest(server))) == 2


def test_damage_is_found(server: Server) -> None:
    Load(server, seed=3, rows=500, places="none").prepare()
    assert amcheck(server) == []
    where = "select pg_relation_filepath('plain'), pg_relation_filepath('plain_pkey')"
    ((table, index),) = server.sql(where, database=SHOP)
    server.stop()
    for name in (table, index):
        path = server.data / str(name)
        raw = bytearray(path.read_bytes())
        raw[8192 + 5000] ^= 0xFF
        path.write_bytes(raw)
    done = page_checksums(server)
    assert done.returncode == 1
    assert "Bad checksums:  2" in done.stdout
    server.start(zero_damaged_pages="on")
    assert amcheck(server) != []


def test_a_load_survives_its_server(server: Server) -> None:
    """It knows nothing of what is done to it."""
    load = Load(server, seed=4, rows=50, places="in-place").prepare()
    with load.running():
        server.kill()
    server.start()
    load.once(2)


def test_over_tls(tmp_path: Path) -> None:
    with (
        pg_kinds.with_tls(tmp_path, 15) as server,
        psycopg.connect(pg_kinds.over_tls(server)) as connection,
    ):
        asked = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
        assert connection.execute(asked).fetchone() == (True,)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.to(host="127.0.0.1", sslmode="disable"))


def test_with_passwords(tmp_path: Path) -> None:
    with pg_kinds.with_passwords(own(tmp_path) / "server", 18) as server:
        backup = {"user": "backup", "host": "127.0.0.1"}
        psycopg.connect(server.to(**backup, password=pg_kinds.PASSWORD)).close()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(server.to(**backup, password="another"))


def test_a_standby_follows(server: Server, tmp_path: Path) -> None:
    load = Load(server, seed=5, rows=50, places="none").prepare()
    maps = {server.folder / "spaces/steady": tmp_path / "steady of the standby"}
    with pg_kinds.standby_of(server, tmp_path / "standby", maps) as standby:
        load.once(5)
        pg_kinds.caught_up(server, standby)
        assert differences(digest(server), digest(standby)) == []


@pytest.mark.parametrize(
    ("options", "setting", "value"),
    [
        (pg_kinds.EUC_KR, "server_encoding", "EUC_KR"),
        (pg_kinds.SMALL_SEGMENTS, "wal_segment_size", "1MB"),
        (pg_kinds.BIG_SEGMENTS, "wal_segment_size", "64MB"),
        (pg_kinds.NO_CHECKSUMS, "data_checksums", "off"),
    ],
)
def test_of_another_make(
    tmp_path: Path, options: tuple[str, ...], setting: str, value: str
) -> None:
    with serving(own(tmp_path) / "server", 18, *options) as server:
        assert server.sql(f"show {setting}") == [(value,)]


def test_in_debians_layout(tmp_path: Path) -> None:
    """Needs root; nothing of it stays outside its folder."""
    if os.geteuid() != 0:
        return
    with pg_kinds.debian_cluster(own(tmp_path) / "server") as server:
        assert server.sql("show config_file") == [(f"{server.etc}/postgresql.conf",)]
        assert server.sql("show work_mem") == [("7MB",)]
        assert not (server.data / "postgresql.conf").exists()
    assert not server.etc.exists()

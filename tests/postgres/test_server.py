"""A live server's facts, and the servers and roles that are refused."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from drkit.errors import Exit, PostgresError
from drkit.postgres.server import VERSIONS, Role, Tablespace, ask, differs, look, objections, quoted
from drkit.postgres.wire import connect
from drkit.system import System
from tests.fixtures.postgres import Server, own, run, serving

pytestmark = pytest.mark.pg


@pytest.fixture(scope="module", params=[15, 18])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server"), request.param) as made:
        yield made


@pytest.fixture(scope="module")
def bounded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Where little is allowed: to be changed and started anew."""
    with serving(tmp_path_factory.mktemp("bounded"), 18) as made:
        yield made


def refusal(server: Server, user: str = "postgres") -> PostgresError:
    with pytest.raises(PostgresError) as caught, connect(server.to(user=user), System()) as sql:
        look(sql)
    error = caught.value
    assert error.exit_code == Exit.POSTGRES
    assert not error.message[0].isupper()
    assert "\n" not in error.message
    assert error.hint
    return error


def test_a_primary(server: Server) -> None:
    with connect(server.dsn, System()) as sql:
        facts = look(sql)
    assert facts.major == server.major
    assert facts.where == f"{server.folder}:5432"
    ((system, name, size),) = server.sql(
        "select (select system_identifier::text from pg_control_system()),"
        " current_setting('server_version'), sum(pg_tablespace_size(oid)) from pg_tablespace"
    )
    assert (facts.system_id, facts.version) == (system, name)
    assert facts.size == pytest.approx(int(size), rel=0.05)
    assert (facts.timeline, facts.in_recovery, facts.checksums) == (1, False, True)
    assert (facts.wal_level, facts.block_size) == ("replica", 8192)
    assert (facts.segment_size, facts.relation_size) == (16 << 20, 1 << 30)
    assert facts.summarize_wal == (None if server.major < 17 else False)
    assert (facts.max_walsenders, facts.walsenders) == (10, 0)
    assert (facts.max_slots, facts.slots, facts.slot_keep) == (10, 0, None)
    assert (facts.database, facts.databases, facts.managed) == ("postgres", 3, "")
    assert facts.data_directory == str(server.data)
    assert facts.role == Role(
        name="postgres", superuser=True, replication=True, monitor=True, rules=True, closed=()
    )


def test_a_tablespace_and_names_that_are_hard_to_write(server: Server) -> None:
    place = server.folder / '한 곳 "x"'
    place.mkdir()
    own(place)
    role, database, tablespace = "가 'x' \"y\"", "고객 'a' \"b\"", '자리 "1"'
    server.sql(
        f"create tablespace {quoted(tablespace)} location '{place}'",
        f"create role {quoted(role)} login replication",
        f"create database {quoted(database)}",
        f"revoke connect on database {quoted(database)} from public",
    )
    with connect(server.to(user=role), System()) as sql:
        facts = look(sql)
    ((oid,),) = server.sql("select oid from pg_tablespace where oid > 16383")
    assert facts.tablespaces == (Tablespace(oid=oid, name=tablespace, location=str(place)),)
    assert facts.role == Role(
        name=role,
        superuser=False,
        replication=True,
        monitor=False,
        rules=False,
        closed=(database,),
    )
    assert (facts.size, facts.data_directory) == (None, "")
    server.sql(f"drop tablespace {quoted(tablespace)}", f"drop database {quoted(database)}")


def test_a_role_that_may_not_replicate(server: Server) -> None:
    nobody = 'no "body"'
    server.sql(f"create role {quoted(nobody)} login")
    error = refusal(server, nobody)
    assert error.message == 'role no "body" may not replicate'
    server.sql((error.hint or "").removeprefix("as a superuser: "))
    with connect(server.to(user=nobody), System()) as sql:
        assert look(sql).role.replication


def test_a_standby(server: Server, tmp_path: Path) -> None:
    own(tmp_path)
    standby = Server(folder=tmp_path, major=server.major)
    run(server.bin / "pg_basebackup", "-D", standby.data, "-R", "-c", "fast", "-d", server.dsn)
    with ExitStack() as stack:
        stack.callback(standby.destroy)
        standby.start()
        with connect(standby.dsn, System()) as sql:
            facts = look(sql)
            assert (facts.in_recovery, facts.timeline) == (True, 1)
            standby.sql("select pg_promote()")
            promoted = look(sql)
    assert (promoted.in_recovery, promoted.timeline) == (False, 2)
    assert promoted.lsn >= facts.lsn
    assert promoted.system_id == facts.system_id


@pytest.mark.parametrize(
    ("settings", "message", "mended"),
    [
        (
            {"wal_level": "minimal", "max_wal_senders": "0"},
            "wal_level is minimal",
            {"wal_level": "replica", "max_wal_senders": "10"},
        ),
        ({"max_wal_senders": "0"}, "max_wal_senders is 0", {"max_wal_senders": "10"}),
        ({"max_wal_senders": "1"}, "1 of 1 walsenders are free", {"max_wal_senders": "10"}),
        (
            {"max_replication_slots": "0"},
            "max_replication_slots is 0",
            {"max_replication_slots": "10"},
        ),
    ],
)
def test_settings_that_keep_a_backup_from_being_made(
    bounded: Server, settings: dict[str, str], message: str, mended: dict[str, str]
) -> None:
    bounded.stop()
    bounded.start(**settings)
    error = refusal(bounded)
    assert message in error.message
    assert "ALTER SYSTEM SET" in (error.hint or "")
    bounded.stop()
    bounded.start(**mended)
    with connect(bounded.dsn, System()) as sql:
        assert look(sql).wal_level == "replica"


def test_walsenders_and_slots_that_others_have_taken(bounded: Server) -> None:
    bounded.stop()
    bounded.start(max_wal_senders="3", max_replication_slots="1", max_slot_wal_keep_size="64MB")
    bounded.sql("select pg_create_physical_replication_slot('theirs')")
    with (
        connect(bounded.dsn, System(), replication=True) as one,
        connect(bounded.dsn, System(), replication=True) as two,
        connect(bounded.dsn, System()) as sql,
    ):
        assert [sender.query("IDENTIFY_SYSTEM")[0][1] for sender in (one, two)] == ["1", "1"]
        facts = ask(sql)
    assert (facts.walsenders, facts.slots, facts.slot_keep) == (2, 1, 64 << 20)
    assert [(what, error.message) for what, error in objections(facts)] == [
        ("walsenders", "1 of 3 walsenders are free, a backup takes 2"),
        ("slots", "0 of 1 slots are free, a backup takes 1"),
    ]
    bounded.sql("select pg_drop_replication_slot('theirs')")
    bounded.stop()
    bounded.start(max_wal_senders="10", max_replication_slots="10", max_slot_wal_keep_size="-1")


@pytest.mark.parametrize(
    ("database", "name"),
    [
        ("rdsadmin", "Amazon RDS"),
        ("cloudsqladmin", "Cloud SQL"),
        ("azure_maintenance", "Azure Database for PostgreSQL"),
    ],
)
def test_a_service_is_known_by_its_own_database(server: Server, database: str, name: str) -> None:
    server.sql(f"create database {database}", "drop role if exists tenant")
    server.sql("create role tenant login replication")
    error = refusal(server, "tenant")
    assert error.message == (
        f"this is {name}, which gives nobody physical backups; logical ones come later"
    )
    with connect(server.dsn, System()) as sql:
        assert not look(sql).managed  # nobody is a superuser there
    server.sql(f"drop database {database}")


def test_another_size_of_segments(tmp_path: Path) -> None:
    with (
        serving(tmp_path, 18, "--wal-segsize=1", "--no-data-checksums", summarize_wal="on") as made,
        connect(made.dsn, System()) as sql,
    ):
        facts = look(sql)
    assert (facts.segment_size, facts.checksums, facts.summarize_wal) == (1 << 20, False, True)


def test_a_newer_version_is_taken_for_the_newest_that_is_known() -> None:
    assert differs(130001) is VERSIONS[13]
    assert differs(200001) is VERSIONS[18]
    assert [major for major, known in VERSIONS.items() if known.summaries] == [17, 18]

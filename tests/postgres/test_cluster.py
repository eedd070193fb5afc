"""Servers on copies: apart from the world, ready or told why not, and gone at the end."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from drkit.errors import PostgresError
from drkit.events import Event, Warned
from drkit.postgres.binaries import Binaries, find_binaries
from drkit.postgres.cluster import Running, ServerPlan, started
from drkit.postgres.control import read_control
from drkit.postgres.processes import servers_in
from drkit.system import System
from tests.fixtures.postgres import Server, copy_of, own, serving

pytestmark = pytest.mark.pg
NASTY = """a 'quoted" $(touch /tmp/never) 폴더"""
SYSTEM = System()


OTHERS = [pytest.param(major, marks=pytest.mark.soak) for major in (13, 14, 16, 17)]


@pytest.fixture(scope="module", params=[15, 18, *OTHERS])
def origin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """Stopped; with settings that must not be taken over, at every place that has any."""
    folder = own(tmp_path_factory.mktemp("origin"))
    with serving(folder / "server", request.param, max_connections="37") as server:
        server.sql(
            "create table kept as select 1 as a",
            "create database other",
            "alter database postgres set default_transaction_read_only = on",
            "alter database postgres set zero_damaged_pages = on",
            "alter role postgres set statement_timeout = '1ms'",
            "alter role postgres set role = 'pg_monitor'",
            "create subscription listening connection 'host=127.0.0.1 port=1 dbname=no'"
            " publication p with (connect = false, slot_name = 'other')",
            "alter subscription listening enable",
            *(f"alter system set {name} = '{value}'" for name, value in _LEFT_BEHIND.items()),
        )
        server.stop()
        moved = folder / "kept"
        (server.data).rename(moved)
    return Server(folder=moved, major=request.param)


_LEFT_BEHIND = {
    "archive_mode": "on",
    "archive_command": "touch /tmp/drkit-never-archived",
    "restore_command": "touch /tmp/drkit-never-restored",
    "recovery_target_time": "2001-01-01",
    "recovery_end_command": "touch /tmp/drkit-never-ended",
    "primary_conninfo": "host=127.0.0.1 port=1",
    "synchronous_standby_names": "gone",
    "listen_addresses": "*",
    "ssl": "off",
    "shared_buffers": "4GB",
    "external_pid_file": "/tmp/drkit-never-pid",
    "session_preload_libraries": "auto_explain",
    "idle_in_transaction_session_timeout": "1",
}


@pytest.fixture
def data(origin: Server, tmp_path: Path) -> Path:
    return copy_of(origin.folder, own(tmp_path) / NASTY)


def binaries(origin: Server) -> Binaries:
    return find_binaries(origin.major, SYSTEM, origin.bin)


def plan(origin: Server, data: Path) -> ServerPlan:
    return ServerPlan(data=data, binaries=binaries(origin), timeout=30)


def value(running: Running, sql: str) -> str | None:
    return running.query(sql)[0][0]


def gone(running: Running, data: Path) -> bool:
    return not servers_in(data) and not running.socket_folder.exists()


def test_it_answers_and_is_gone(origin: Server, data: Path) -> None:
    with started(plan(origin, data), SYSTEM) as running:
        assert value(running, "select a from kept") == "1"
        assert running.query("select current_database()", database="other") == [("other",)]
        assert value(running, "create table more as select 2 as b; select b from more") == "2"
        assert running.status() == "ready"
        assert servers_in(data)
        with psycopg.connect(running.dsn) as connection:
            assert connection.execute("select a from kept").fetchone() == (1,)
    assert gone(running, data)
    assert not list(Path("/tmp").glob("drkit-never*"))


def test_nothing_of_the_original_acts(origin: Server, data: Path) -> None:
    with started(plan(origin, data), SYSTEM) as running:
        for name in ("primary_conninfo", "listen_addresses", "restore_command"):
            assert value(running, f"show {name}") == "", name
        assert value(running, "show archive_mode") == "off"
        assert value(running, "show zero_damaged_pages") == "off"
        assert value(running, "show shared_buffers") == "128MB"
        assert value(running, "show max_connections") == "37"
        assert value(running, "select current_user") == "postgres"
        assert value(running, "select subenabled from pg_subscription") == "t"
        launchers = "select count(*) from pg_stat_activity where backend_type like 'logical%'"
        assert value(running, launchers) == "0"
        running.query("create table written ()")
        settings = "select count(*) from pg_file_settings where sourcefile not like '%auto.conf'"
        assert value(running, settings) == "0"


def test_a_recovery_target_counts_alone(origin: Server, data: Path) -> None:
    """The one of auto.conf is neutralised: two of them would stop the start."""
    wanted = {"recovery_target": "immediate", "recovery_target_action": "promote"}
    (data / "recovery.signal").touch()
    lost = wanted | {"restore_command": "false"}
    with refused(replace(plan(origin, data), settings=lost, writable=True)) as error:
        # no backup began here, so none ends
        assert "recovery ended before configured recovery target was reached" in error.message
        assert "choose an earlier one" in str(error.hint)
    (data / "recovery.signal").unlink()
    with started(replace(plan(origin, data), settings=wanted), SYSTEM) as running:
        assert value(running, "show recovery_target") == "immediate"
        assert value(running, "show recovery_target_time") == ""


def test_ready_means_consistent_or_writable(origin: Server, data: Path) -> None:
    (data / "standby.signal").touch()
    with started(plan(origin, data), SYSTEM) as running:
        assert value(running, "select pg_is_in_recovery()") == "t"
        running.query("select pg_promote(false)")
        running.wait(writable=True, timeout=20)
        assert value(running, "create table now (); select pg_is_in_recovery()") == "f"


def test_a_callers_setting_never_ends_the_isolation(origin: Server, data: Path) -> None:
    wild = {"listen_addresses": "*", "archive_mode": "on", "work_mem": "7MB"}
    with started(replace(plan(origin, data), settings=wild), SYSTEM) as running:
        assert value(running, "show listen_addresses") == ""
        assert value(running, "show archive_mode") == "off"
        assert value(running, "show work_mem") == "7MB"


def test_the_copy_stays_shut_down_when_it_is_kept(origin: Server, data: Path) -> None:
    with started(replace(plan(origin, data), kept=True), SYSTEM) as running:
        assert value(running, "show fsync") == "on"
        assert read_control(data).state == "in production"
    assert read_control(data).state == "shut down"
    with started(plan(origin, data), SYSTEM) as running:
        assert value(running, "show fsync") == "off"


def test_libraries_are_kept_or_reported(origin: Server, data: Path) -> None:
    told: list[Event] = []
    wanted = ("pg_stat_statements", "nowhere_to_be_found", "$libdir/pg_cron")
    system = System(tell=told.append)
    with started(replace(plan(origin, data), libraries=wanted), system) as running:
        assert value(running, "show shared_preload_libraries") == '"pg_stat_statements"'
        assert set(running.left_out) == {"nowhere_to_be_found", "$libdir/pg_cron"}
    said = [event.message for event in told if isinstance(event, Warned)]
    assert "the copy's server runs without the library $libdir/pg_cron: it runs jobs" in said


@contextmanager
def refused(plan: ServerPlan) -> Iterator[PostgresError]:
    """By a server that says so before it is ready, and of which nothing stays."""
    with pytest.raises(PostgresError) as raised, started(plan, SYSTEM):
        raise AssertionError("it started")
    assert not servers_in(plan.data)
    yield raised.value


@pytest.mark.parametrize(
    ("settings", "said", "hint"),
    [
        ({"shared_buffers": "900TB"}, "shared_buffers|shared memory", None),
        ({"max_connections": "none"}, "max_connections", None),
        ({"nothing_known": "1"}, "nothing_known", "not known to this server"),
    ],
)
def test_it_says_why_it_does_not_start(
    origin: Server, data: Path, settings: dict[str, str], said: str, hint: str | None
) -> None:
    with refused(replace(plan(origin, data), settings=settings)) as error:
        assert any(word in error.message for word in said.split("|")), error.message
        assert error.message.startswith("the server on ")
        assert hint is None or hint in str(error.hint)


def test_a_foreign_owner_and_a_foreign_version(origin: Server, data: Path) -> None:
    (data / "PG_VERSION").write_text("12\n")
    with refused(plan(origin, data)) as error:
        assert "incompatible" in error.message
        assert "12" in error.message
        assert "same major version" in str(error.hint)


def test_a_damaged_control_file(origin: Server, data: Path) -> None:
    path = data / "global/pg_control"
    raw = bytearray(path.read_bytes())
    raw[40] ^= 1
    path.write_bytes(raw)
    with (
        pytest.raises(Exception, match=r"pg_control is damaged: its checksum is wrong"),
        started(plan(origin, data), SYSTEM),
    ):
        raise AssertionError


def test_one_that_never_gets_ready_is_ended(origin: Server, data: Path) -> None:
    (data / "standby.signal").touch()
    (data / "backup_label").write_text(_label(data))
    here = replace(plan(origin, data), timeout=1, settings={"restore_command": "sleep 60"})
    with refused(here) as error:
        assert "was not ready after 1 s" in error.message


def _label(data: Path) -> str:
    """Of a backup whose WAL is nowhere."""
    return (
        "START WAL LOCATION: 0/F0000028 (file 0000000100000000000000F0)\n"
        "CHECKPOINT LOCATION: 0/F0000060\nBACKUP METHOD: streamed\nBACKUP FROM: primary\n"
        "START TIME: 2026-01-01 00:00:00 GMT\nLABEL: x\nSTART TIMELINE: 1\n"
    )


def test_missing_wal_is_named(origin: Server, data: Path) -> None:
    (data / "recovery.signal").touch()
    (data / "backup_label").write_text(_label(data))
    with refused(replace(plan(origin, data), settings={"restore_command": "false"})) as error:
        assert "checkpoint record" in error.message
        assert "WAL that the backup needs" in str(error.hint)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_it_dies_or_hangs_while_it_is_used(
    origin: Server, data: Path, number: signal.Signals
) -> None:
    with started(plan(origin, data), SYSTEM) as running:
        assert value(running, "select 1") == "1"
        os.kill(running.pid, number)
        if number == signal.SIGSTOP:
            running.stop("fast", patience=0.5)
        else:
            running._process.wait()  # type: ignore[attr-defined]
            with pytest.raises(PostgresError, match=r"ended while it was asked"):
                running.query("select 1")
    assert gone(running, data)


def test_an_error_in_the_middle_ends_it(origin: Server, data: Path) -> None:
    with pytest.raises(KeyboardInterrupt), started(plan(origin, data), SYSTEM) as running:
        raise KeyboardInterrupt
    assert gone(running, data)


def test_segments_of_another_size(tmp_path: Path) -> None:
    for size in ("1", "64"):
        folder = own(tmp_path) / size
        server = Server(folder=folder, major=15).make(f"--wal-segsize={size}")
        wanted = find_binaries(15, SYSTEM)
        with started(ServerPlan(data=server.data, binaries=wanted), SYSTEM) as running:
            assert value(running, "show wal_segment_size") == f"{size}MB"


def test_nothing_listens_on_the_network(origin: Server, data: Path) -> None:
    with started(plan(origin, data), SYSTEM) as running, socket.socket() as probe:
        assert running.socket_folder.stat().st_mode & 0o077 == 0
        assert value(running, "select count(*) from pg_hba_file_rules where type <> 'local'") == "0"
        probe.settimeout(1)
        assert probe.connect_ex(("127.0.0.1", 5432)) != 0

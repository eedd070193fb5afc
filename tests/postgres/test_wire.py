import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from drkit.errors import ConfigError, DrkitError, PostgresError
from drkit.postgres.wire import Notice, connect, to_database
from drkit.system import System
from tests.fixtures.pg_kinds import free_port
from tests.fixtures.postgres import Server, serving

pytestmark = pytest.mark.pg

SYSTEM = System()
SECRET = "pass word's"


@pytest.fixture(scope="module", params=[15, 18])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Over TCP it asks for passwords."""
    port = str(free_port())
    folder = tmp_path_factory.mktemp("wire") / "server"
    later = {"idle_session_timeout": "2000"} | (
        {"transaction_timeout": "2000"} if request.param >= 17 else {}
    )
    with serving(
        folder,
        request.param,
        listen_addresses="127.0.0.1",
        port=port,
        statement_timeout="3000",
        **later,
    ) as made:
        hba = made.data / "pg_hba.conf"
        hba.write_text(
            "local all all trust\nlocal replication all trust\n"
            "host all all 127.0.0.1/32 scram-sha-256\n"
            "host replication backup 127.0.0.1/32 scram-sha-256\n"
        )
        quoted = SECRET.replace("'", "''")
        made.settings["port"] = port
        with connect(dsn(made), SYSTEM) as sql:
            for role in ("backup replication", "plain", "door"):
                sql.query(f"create role {role} login password '{quoted}'")
            sql.query("select pg_reload_conf()")
        yield made


def dsn(server: Server, **more: str) -> str:
    return server.to(**{"port": server.settings["port"], **more})


def tcp(server: Server, **more: str) -> str:
    return dsn(server, host="127.0.0.1", **{"user": "backup", "password": SECRET, **more})


def refusal(text: str, *, replication: bool = False) -> DrkitError:
    with pytest.raises(PostgresError) as caught:
        connect(text, SYSTEM, replication=replication).close()
    error = caught.value
    assert "\n" not in error.message
    assert not error.message.endswith(".")
    assert error.hint
    assert SECRET not in f"{error.message}{error.hint}"
    return error


def test_questions_and_answers(server: Server) -> None:
    with connect(dsn(server), SYSTEM) as sql:
        assert sql.query("select 1, null, 'é'; select 2, true") == [("2", "t")]
        assert sql.query("create temp table t (i int)") == []
        assert sql.query(f"select {sql.literal(SECRET)}") == [(SECRET,)]
        assert sql.query("select pg_backend_pid()") == [(str(sql.pid),)]
        assert sql.version // 10000 == server.major
        assert sql.query("show application_name") == [("drkit",)]


def test_after_an_error_it_goes_on(server: Server) -> None:
    with connect(dsn(server), SYSTEM) as sql:
        with pytest.raises(PostgresError, match=r"says: division by zero$") as caught:
            sql.query("select 1; select 1 / 0; select 2")
        assert caught.value.sqlstate == "22012"
        assert sql.query("select 3") == [("3",)]


def test_a_copy_is_no_question(server: Server) -> None:
    with connect(dsn(server), SYSTEM) as sql, pytest.raises(ValueError, match="COPY_OUT"):
        sql.query("copy (select 1) to stdout")


def test_the_servers_timeouts_are_off(server: Server) -> None:
    names = ["statement_timeout", "lock_timeout", "idle_session_timeout", "wal_sender_timeout"]
    if server.major >= 17:
        names.append("transaction_timeout")
    for replication in (False, True):
        with connect(dsn(server), SYSTEM, replication=replication) as wire:
            assert [wire.query(f"SHOW {name}") for name in names] == [[("0",)]] * len(names)


def test_replication_is_spoken(server: Server) -> None:
    with connect(tcp(server), SYSTEM, replication=True) as wire:
        ((system, timeline, *_),) = wire.query("IDENTIFY_SYSTEM")
        assert (bool(system), timeline) == (True, "1")
        with pytest.raises(PostgresError):
            wire.query("select 1")
        assert wire.where == f"127.0.0.1:{server.settings['port']}"


def test_what_the_server_says_beside(server: Server) -> None:
    heard: list[Notice] = []
    with connect(dsn(server), SYSTEM) as sql:
        sql.heard = heard.append
        sql.query("do $$ begin raise warning 'mind the gap'; end $$")
    assert [(n.severity, n.sqlstate, n.text) for n in heard] == [
        ("WARNING", "01000", "mind the gap")
    ]


def test_another_database_of_the_same_server(server: Server) -> None:
    with connect(to_database(dsn(server), "template1"), SYSTEM) as sql:
        assert sql.query("select current_database()") == [("template1",)]


def test_refusals(server: Server) -> None:
    said = refusal(tcp(server, password="wrong"))
    assert "password authentication failed" in said.message
    assert ".pgpass" in str(said.hint)
    assert "does not exist" in refusal(dsn(server, dbname="nowhere")).message
    assert "does not exist" in refusal(dsn(server, user="nobody_here")).message
    assert "SSL" in refusal(tcp(server, sslmode="require")).message
    said = refusal(tcp(server, user="plain"), replication=True)
    assert "pg_hba.conf" in str(said.hint)
    said = refusal(dsn(server, user="plain"), replication=True)
    assert "REPLICATION" in str(said.hint)


def test_nobody_there() -> None:
    port = free_port()
    said = refusal(f"host=127.0.0.1 port={port} user=postgres")
    assert said.message == f"no connection to 127.0.0.1:{port}: connection refused"
    assert "is the server running" in str(said.hint)
    assert "no such file" in refusal("host=/nonexistent user=postgres").message


def test_one_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        begun = time.monotonic()
        said = refusal(f"host=127.0.0.1 port={port} user=postgres connect_timeout=1")
    assert time.monotonic() - begun < 5
    assert "longer than 1 seconds" in said.message


def test_a_dsn_that_is_none_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        connect("host=localhost password=secret word", SYSTEM)
    assert "word" not in caught.value.message


def test_a_lost_connection_says_why(server: Server) -> None:
    with connect(dsn(server), SYSTEM) as sql:
        timer = threading.Timer(0.3, server_ends, (server, sql.pid))
        timer.start()
        with pytest.raises(PostgresError) as caught:
            sql.query("select pg_sleep(30)")
        timer.join()
        assert caught.value.sqlstate == "57P01"
        with pytest.raises(PostgresError, match="was lost"):
            sql.query("select 1")


def server_ends(server: Server, pid: int) -> None:
    with connect(dsn(server), SYSTEM) as other:
        other.query(f"select pg_terminate_backend({pid})")


def test_an_interrupt_works_at_once(server: Server) -> None:
    with connect(dsn(server), SYSTEM) as sql:
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            sql.query("select pg_sleep(30)")
        assert time.monotonic() - begun < 5
        timer.join()

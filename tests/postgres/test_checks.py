"""Each check passes on a healthy copy and fails on its broken twin."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from drkit.check import Restored, Row
from drkit.model.finding import Finding
from drkit.model.snapshot import Facts
from drkit.postgres import checks
from drkit.postgres.facts import record
from drkit.postgres.rows import rows
from drkit.postgres.wire import connect
from drkit.system import System
from tests.fixtures.postgres import Server, copy_of, own, serving

pytestmark = pytest.mark.pg
PAGE = 8192
LEVELS = {question.id: question.level for question in checks.QUESTIONS}


@dataclass
class Asking:
    """A test's server as a check sees one."""

    server: Server
    lines: list[str] | None = None

    def query(self, sql: str, database: str | None = None) -> list[Row]:
        with connect(self.server.to(database or "postgres"), System()) as wire:
            return wire.query(sql)

    def log_lines(self) -> list[str]:
        if self.lines is not None:
            return self.lines
        return self.server.log.read_text(errors="replace").splitlines()


@dataclass(frozen=True, kw_only=True)
class Origin:
    data: Path  # stopped
    major: int
    recorded: dict[str, Any]
    end_lsn: str


def recorded_of(server: Server) -> dict[str, Any]:
    system = System()
    with connect(server.dsn, system) as wire:
        return record(wire, lambda name: connect(server.to(name), system))


@pytest.fixture(scope="module", params=[15, 18])
def origin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Origin:
    folder = own(tmp_path_factory.mktemp("origin"))
    with serving(folder / "server", request.param) as server:
        server.sql(
            "create table orders as select n, repeat('x', 200) as t from generate_series(1, 999) n",
            'create table "a ""b"" c" (n int)',
            "create view seen as select * from orders",
            "create schema more",
            *(f"create table more.t{n} as select 1 as n" for n in range(8)),
            "create database other",
        )
        server.sql("create table far as select generate_series(1, 70)", database="other")
        server.sql("checkpoint")
        made = recorded_of(server)
        ((lsn,),) = server.sql("select pg_current_wal_lsn()::text")
        server.stop()
        server.data.rename(folder / "data")
    return Origin(data=folder / "data", major=request.param, recorded=made, end_lsn=str(lsn))


@pytest.fixture(scope="module")
def healthy(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """For checks that only read."""
    with running_copy(origin, tmp_path_factory.mktemp("healthy")) as server:
        yield server


@pytest.fixture
def running(origin: Origin, tmp_path: Path) -> Iterator[Server]:
    """A copy of its own, to be broken at will."""
    with running_copy(origin, tmp_path) as server:
        yield server


@contextmanager
def running_copy(origin: Origin, home: Path) -> Iterator[Server]:
    folder = home / "copy"
    folder.mkdir()
    server = Server(folder=own(folder), major=origin.major)
    copy_of(origin.data, server.data)
    try:
        yield server.start()
    finally:
        server.destroy()


def restored(origin: Origin, server: Server, lines: list[str] | None = None) -> Restored:
    version = {15: 150000, 18: 180000}[origin.major]
    facts = Facts(
        kind="postgres-physical",
        label="test",
        details={"end_lsn": origin.end_lsn, "version_num": version},
    )
    return Restored(
        folder=server.data, facts=facts, recorded=origin.recorded, server=Asking(server, lines)
    )


def relation(server: Server, table: str, database: str = "postgres") -> Path:
    ((path,),) = server.sql(f"select pg_relation_filepath('{table}')", database=database)
    return server.data / str(path)


def stopped(server: Server, change: Callable[[], None]) -> None:
    server.stop()
    change()
    server.start()


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


def test_a_healthy_copy_passes_all(origin: Origin, healthy: Server) -> None:
    asked = restored(origin, healthy)
    answers = {q.id: q.check(asked) for q in checks.QUESTIONS}
    found = {id: (a.level, a.ran) for id, a in answers.items()}
    assert found == dict.fromkeys(LEVELS, ("pass", True)), answers
    figures = answers["rows"].figures
    assert figures["rows"] == 999 + 8 + 70
    assert figures["tables"] == 11
    assert figures["others"] > 100, "catalogues are read, too"
    assert figures["bytes_read"] == figures["bytes"] > 200 * 999
    assert "postgres: public.orders: 999 rows" in answers["rows"].names
    assert "other: public.far: 70 rows" in answers["rows"].names
    assert 'postgres: public."a ""b"" c": 0 rows' in answers["rows"].names
    assert not [a for a in answers.values() if "orders" in a.message], "names are no evidence"
    assert recorded_of(healthy)["objects"] == origin.recorded["objects"], "nothing is left behind"


# --- L1


def test_an_end_that_was_not_reached(origin: Origin, healthy: Server) -> None:
    far = replace(restored(origin, healthy).facts, details={"end_lsn": "FF/0"})
    answer = checks.recovered(replace(restored(origin, healthy), facts=far))
    assert answer.level == "fail"
    assert "the backup at FF/0" in answer.message
    unknown = replace(far, details={})
    answer = checks.recovered(replace(restored(origin, healthy), facts=unknown))
    assert answer.level == "fail"
    assert "not known" in answer.message


def test_a_server_that_still_recovers_takes_no_write(origin: Origin, running: Server) -> None:
    stopped(running, (running.data / "standby.signal").touch)
    asked = restored(origin, running)
    assert checks.recovered(asked).message == "the server is still in recovery"
    assert checks.recovered(asked).level == "fail"
    answer = checks.writable(asked)
    assert (answer.level, answer.message) == ("fail", "a write was refused (SQLSTATE 25006)")


@pytest.mark.parametrize(
    "line",
    [
        "2026-01-01 00:00:00 UTC [1] PANIC:  could not locate a valid checkpoint record",
        "2026-01-01 00:00:00 UTC [1] FATAL:  recovery ended before target was reached",
        "2026-01-01 00:00:00 UTC [1] WARNING:  page verification failed, calculated checksum 1",
        "2026-01-01 00:00:00 UTC [1] LOG:  server process (PID 7) was terminated by signal 11",
    ],
)
def test_a_log_that_tells_of_harm(origin: Origin, healthy: Server, line: str) -> None:
    good = Asking(healthy).log_lines()
    answer = checks.clean_log(restored(origin, healthy, [*good, line]))
    assert answer.level == "fail"
    assert answer.names == (line,)
    assert answer.figures["bad"] == 1


def test_a_log_that_says_nothing_proves_nothing(origin: Origin, healthy: Server) -> None:
    assert checks.clean_log(restored(origin, healthy, [])).level == "fail"


# --- L2


def test_a_database_that_is_gone(origin: Origin, running: Server) -> None:
    running.sql("drop database other")
    answer = checks.databases(restored(origin, running))
    assert (answer.level, answer.names) == ("fail", ("other",))
    assert answer.message == "1 of 4 databases are missing"
    assert "other" not in answer.message


def test_another_encoding(origin: Origin, running: Server) -> None:
    running.sql(
        "drop database other",
        "create database other template template0 encoding 'SQL_ASCII' locale 'C'",
    )
    answer = checks.databases(restored(origin, running))
    assert answer.level == "fail"
    assert "1 have another encoding" in answer.message


def test_tables_that_are_gone(origin: Origin, running: Server) -> None:
    running.sql("drop table more.t0")
    answer = checks.shape(restored(origin, running))
    assert answer.level == "warn", "one may have been dropped while the backup ran"
    assert "10 tables, 11 recorded" in answer.message
    running.sql("drop schema more cascade")
    answer = checks.shape(restored(origin, running))
    assert answer.level == "fail"
    assert "3 tables of 11" in answer.message
    assert (answer.figures["tables_found"], answer.figures["tables_recorded"]) == (3, 11)


@pytest.mark.parametrize("check", [checks.databases, checks.shape])
def test_nothing_recorded_is_no_pass(
    origin: Origin, healthy: Server, check: Callable[[Restored], Any]
) -> None:
    answer = check(replace(restored(origin, healthy), recorded={}))
    assert (answer.level, answer.ran) == ("fail", False)


def test_remarks_are_a_warning() -> None:
    question = checks.remarks([Finding(level="warn", what="x", message="lib is not here")])
    answer = question.check(Restored(folder=Path(), facts=Facts(kind="x", label="x")))
    assert (answer.level, answer.names, question.required) == ("warn", ("lib is not here",), False)


# --- L3


def test_a_flipped_page(origin: Origin, running: Server) -> None:
    path = relation(running, "orders")
    stopped(running, lambda: flip(path, 3 * PAGE + 4000))
    answer = rows(restored(origin, running))
    assert answer.level == "fail"
    assert answer.figures["unreadable"] == 1
    assert "SQLSTATE" not in answer.message
    assert "XX001" in answer.message
    assert answer.names[0].startswith("postgres: public.orders: ")
    log = checks.clean_log(restored(origin, running))
    assert log.level == "fail", "the server's log tells of it, too"


def test_a_file_that_is_missing(origin: Origin, running: Server) -> None:
    path = relation(running, "far", "other")
    stopped(running, path.unlink)
    answer = rows(restored(origin, running))
    assert answer.level == "fail"
    assert "58P01" in answer.message or "XX" in answer.message
    assert answer.names[0].startswith("other: public.far: ")


def test_time_that_runs_out(origin: Origin, running: Server) -> None:
    answer = rows(replace(restored(origin, running), left=lambda: 0.0))
    assert (answer.level, answer.ran) == ("fail", False)
    assert answer.message.startswith("time ran out: 0 of ")
    big = "create table big as select repeat('y', 900) from generate_series(1, 40000)"
    running.sql(big)
    left = iter([9.0, *[0.001] * 99])
    answer = rows(replace(restored(origin, running), left=lambda: next(left)))
    assert answer.ran is False
    assert 0 < answer.figures["counted"] < answer.figures["tables"] + answer.figures["others"]
    assert answer.figures["bytes_read"] < answer.figures["bytes"]


def test_a_server_that_dies(origin: Origin, running: Server) -> None:
    running.kill()
    asked = restored(origin, running)
    for question in checks.QUESTIONS:
        if not question.id.startswith("log"):
            assert question.check(asked).level == "fail", question.id

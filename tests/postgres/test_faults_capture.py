"""A capture stopped anywhere: by kill -9, by the network, by settings, by a server that ends it.

Nothing counts that isn't whole, nothing is left on the server, the next one is right.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from drkit.errors import PostgresError
from drkit.model.snapshot import BackupKind
from tests.fixtures.captures import Captures, captures, rows
from tests.fixtures.pg_kinds import free_port, on_the_network
from tests.fixtures.pg_wire_proxy import Way, way_to
from tests.fixtures.postgres import Server, own, serving

pytestmark = pytest.mark.pg

_LEFT = """
select (select count(*) from pg_replication_slots)
    + (select count(*) from pg_stat_activity where application_name = 'drkit')
    + (select count(*) from pg_stat_progress_basebackup)"""
_FEW, _MANY = 2, 60
_PATIENT = 6.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    shop: Captures
    server: Server
    way: Way

    def change(self, number: int) -> None:
        self.server.sql(f"update orders set i = -i where i % 97 = {number % 97}", "checkpoint")

    def size(self, kind: BackupKind) -> int:
        """Bytes that the server sends for one."""
        self.way.again("none", 0)
        self.shop.back_up(kind)
        return self.way.passed

    def right(self, copy: Path) -> None:
        with self.shop.started(copy) as made:
            assert rows(made) == rows(self.server)


@pytest.fixture(scope="module", params=[15, 18])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = own(tmp_path_factory.mktemp("faults"))
    more = {"summarize_wal": "on"} if request.param >= 17 else {}
    with serving(
        folder / "server", request.param, **on_the_network(free_port()), **more
    ) as running:
        running.sql(
            "create table orders as select i, repeat('o', 300) t from generate_series(1, 8000) i",
            "create index on orders (i)",
            "checkpoint",
        )
        yield running


@pytest.fixture
def scene(server: Server, tmp_path: Path) -> Iterator[Scene]:
    own(tmp_path)
    with scene_of(server, tmp_path) as made:
        yield made


@contextmanager
def scene_of(server: Server, root: Path) -> Iterator[Scene]:
    with way_to(int(server.settings["port"])) as way:
        shop = captures(root, server)
        dsn = server.to(host="127.0.0.1", port=str(way.port), connect_timeout="2")
        shop.plan = replace(
            shop.plan, dsn=dsn, silence=1.0, wal_wait=1.5, answer=1.0, checkpoint_wait=3.0
        )
        yield Scene(shop=shop, server=server, way=way)


def moments(total: int, count: int) -> list[int]:
    """Close together where things change: while it begins, and while it ends."""
    dice = random.Random(total)
    begin = [int(10 ** dice.uniform(0, 4.6)) for _ in range(count)]
    middle = [dice.randrange(40_000, total) for _ in range(count)]
    end = [total - int(10 ** dice.uniform(0, 3.5)) for _ in range(count // 2)]
    return sorted({*begin, *middle, *end})


def nothing_is_left(server: Server, outcome: str = "") -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(psycopg.OperationalError):
            if server.sql(_LEFT) == [(0,)]:
                return
        time.sleep(0.05)
    raise AssertionError(f"sessions or slots are left on the server {outcome}")


def killed(scene: Scene, kind: BackupKind, at: int, late: float) -> int:
    """drkit in a process of its own, ended `late` seconds after that byte came; its exit code."""
    child = 0

    def kill() -> None:
        time.sleep(late)
        os.kill(child, signal.SIGKILL)

    scene.way.again("none", at, kill)
    child = os.fork()
    if not child:
        code = 9
        try:
            scene.shop.back_up(kind)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    scene.way.again("none", 0)
    return os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize("kind", ["full", "incremental"])
@pytest.mark.parametrize("count", [_FEW, pytest.param(_MANY, marks=pytest.mark.soak)])
def test_drkit_killed_at_a_byte(scene: Scene, kind: BackupKind, count: int, tmp_path: Path) -> None:
    shop = scene.shop
    shop.back_up("full")
    scene.change(1)
    total = scene.size(kind)
    dice = random.Random(count)
    for number, at in enumerate(moments(total, count)):
        scene.change(2 + number)
        before = shop.outcomes()
        code = killed(scene, kind, at, dice.choice([0, 0.001, 0.05, 0.3]))
        nothing_is_left(scene.server, f"after byte {at} of {total}")
        new = shop.outcomes() - before
        assert code in (0, -signal.SIGKILL), (at, total, code)
        assert new in (0, 1)
        assert new or code, (at, total)  # what said that it was done is there
        if new:
            scene.right(tmp_path / str(number))
    done = shop.back_up()
    assert done.kind == "incremental"
    scene.right(tmp_path / "copy")


def told(scene: Scene, fault: str, kind: BackupKind, at: int) -> PostgresError | None:
    scene.way.again(fault, at)  # type: ignore[arg-type]
    before = scene.shop.outcomes()
    begun = time.monotonic()
    try:
        scene.shop.back_up(kind)
    except PostgresError as error:
        assert scene.shop.outcomes() == before
        return error
    finally:
        assert time.monotonic() - begun < _PATIENT + 2 * 3, (fault, at)  # three databases
        scene.way.again("none", 0)
        time.sleep(0.12)
    assert scene.shop.outcomes() == before + 1
    return None


@pytest.mark.parametrize("kind", ["full", "incremental"])
@pytest.mark.parametrize("count", [1, pytest.param(_MANY, marks=pytest.mark.soak)])
@pytest.mark.parametrize("fault", ["cut", "stall"])
def test_the_network_fails_at_a_byte(
    scene: Scene, fault: str, kind: BackupKind, count: int, tmp_path: Path
) -> None:
    shop = scene.shop
    shop.back_up("full")
    scene.change(1)
    total = scene.size(kind)
    said = []
    for number, at in enumerate(moments(total, count)):
        scene.change(2 + number)
        error = told(scene, fault, kind, at)
        nothing_is_left(scene.server, f"after byte {at} of {total}")
        if error is not None:
            said.append(error)
    assert said
    for error in said:
        assert error.exit_code == 4
        assert error.hint, error
        assert "\n" not in error.message
        assert "This probably means" not in error.message
    assert shop.back_up().kind == "incremental"
    scene.right(tmp_path / "copy")


def test_a_network_that_drips(scene: Scene) -> None:
    """A question has to be answered by its time, however lively the line is."""
    for at in (5, 800, 4000):
        error = told(scene, "drip", "full", at)
        assert error is not None
        assert error.exit_code == 4
        assert "longer than 2 seconds" in error.message or "sent nothing for" in error.message
    nothing_is_left(scene.server)
    scene.shop.back_up()


_HOSTILE = (
    "statement_timeout = '1ms'",
    "lock_timeout = '1ms'",
    "idle_in_transaction_session_timeout = '1ms'",
    "default_transaction_read_only = on",
    "search_path = nowhere, pg_temp",
    "datestyle = 'German'",
    "bytea_output = escape",
    "intervalstyle = sql_standard",
    "client_min_messages = debug1",
    "standard_conforming_strings = off",
    "wal_sender_timeout = '1s'",
    "extra_float_digits = 0",
    "role = pg_monitor",
)
# The first one counts from the connection on, so also before drkit has said a word.
_HOSTILE_SINCE = {14: "idle_session_timeout = '300ms'", 17: "transaction_timeout = '1ms'"}


def test_settings_of_the_role(scene: Scene, tmp_path: Path) -> None:
    server, shop = scene.server, scene.shop
    server.sql("create role hostile login replication", "grant pg_monitor to hostile")
    more = [setting for since, setting in _HOSTILE_SINCE.items() if server.major >= since]
    server.sql(*[f"alter role hostile set {setting}" for setting in (*_HOSTILE, *more)])
    shop.plan = replace(shop.plan, dsn=server.to(user="hostile"))
    shop.back_up()
    scene.change(3)
    assert shop.back_up().kind == "incremental"
    scene.right(tmp_path / "copy")


def terminate(server: Server) -> None:
    server.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'victim'")


def cancel(server: Server) -> None:
    server.sql("select pg_cancel_backend(pid) from pg_stat_activity where usename = 'victim'")


def crash(server: Server) -> None:
    rows = server.sql("select pid from pg_stat_activity where usename = 'victim'")
    for (pid,) in rows:
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def stopped(shop: Captures) -> PostgresError | None:
    try:
        shop.back_up("full")
    except PostgresError as error:
        return error
    return None


@pytest.mark.parametrize("count", [1, pytest.param(30, marks=pytest.mark.soak)])
@pytest.mark.parametrize("act", [terminate, cancel, crash], ids=lambda act: act.__name__)
def test_sessions_ended_at_a_byte(
    scene: Scene, act: Callable[[Server], None], count: int, tmp_path: Path
) -> None:
    server, shop, way = scene.server, scene.shop, scene.way
    if not server.sql("select 1 from pg_roles where rolname = 'victim'"):
        server.sql("create role victim login replication", "grant pg_monitor to victim")
    where = {"host": "127.0.0.1", "port": str(way.port), "user": "victim"}
    shop.plan = replace(shop.plan, dsn=server.to(**where), silence=20, answer=20, wal_wait=20)
    shop.back_up()
    total = scene.size("full")
    ended = 0
    for at in moments(total, count):
        before = shop.outcomes()
        way.again("none", at, lambda: act(server))
        error = stopped(shop)
        assert shop.outcomes() == before + (error is None)
        assert error is None or error.hint, error
        ended += error is not None
        way.again("none", 0)
        nothing_is_left(server)
    assert ended
    scene.change(5)
    shop.back_up()
    scene.right(tmp_path / "copy")

"""Whatever stops a capture leaves no outcome, says what happened, and the next one works."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from drkit.errors import ConfigError, PostgresError
from drkit.events import Advanced, Event
from drkit.system import System
from tests.fixtures.captures import Captures, captures, rows
from tests.fixtures.postgres import Server, run, serving

pytestmark = pytest.mark.pg


@pytest.fixture(scope="module", params=[15, 18])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("faults") / "server", request.param) as server:
        server.sql(
            "create table orders as select i, repeat('o', 300) from generate_series(1, 30000) i",
            "checkpoint",
        )
        yield server


@pytest.fixture
def shop(running: Server, tmp_path: Path) -> Captures:
    return captures(tmp_path, running, max_rate=30 << 20)


def when_under_way(act: Callable[[], object]) -> System:
    """Something happens when the first megabytes have come."""
    done: list[Event] = []

    def tell(event: Event) -> None:
        if isinstance(event, Advanced) and not done:
            done.append(event)
            act()

    return System(tell=tell)


def walsender(server: Server, what: str) -> int:
    """`what`: backup or streaming."""
    ((pid,),) = server.sql(f"select pid from pg_stat_replication where state = '{what}'")
    return int(pid)


def kill_server(server: Server) -> None:
    server.kill()


def end_backup(server: Server) -> None:
    server.sql(f"select pg_terminate_backend({walsender(server, 'backup')})")


def cancel_backup(server: Server) -> None:
    server.sql(f"select pg_cancel_backend({walsender(server, 'backup')})")


def end_wal(server: Server) -> None:
    server.sql(f"select pg_terminate_backend({walsender(server, 'streaming')})")


def crash_backup(server: Server) -> None:
    os.kill(walsender(server, "backup"), signal.SIGKILL)


def stop_fast(server: Server) -> None:
    run(server.bin / "pg_ctl", "stop", "-W", "-D", server.data, "-m", "fast")


def nobody_is_left(server: Server) -> None:
    """A server that crashed a moment ago may still be recovering."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(psycopg.OperationalError):
            if server.sql("select count(*) from pg_stat_replication") == [(0,)]:
                return
        time.sleep(0.05)
    raise AssertionError("walsenders are left")


STOPS = [kill_server, end_backup, cancel_backup, end_wal, crash_backup, stop_fast]


@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: stop.__name__)
def test_what_is_cut_counts_for_nothing(
    shop: Captures, stop: Callable[[Server], None], tmp_path: Path
) -> None:
    with pytest.raises(PostgresError) as caught:
        shop.back_up(system=when_under_way(lambda: stop(shop.server)))
    assert caught.value.hint
    assert "\n" not in caught.value.message
    assert shop.outcomes() == 0
    if stop in (kill_server, stop_fast):
        shop.server.stop()
        shop.server.start()
    shop.plan = replace(shop.plan, max_rate=None)
    nobody_is_left(shop.server)
    shop.back_up()
    if stop == kill_server:
        with shop.started(tmp_path / "copy") as copy:
            assert rows(copy) == rows(shop.server)


def test_a_cut_increment_leaves_the_generation_as_it_was(shop: Captures, tmp_path: Path) -> None:
    shop.plan = replace(shop.plan, max_rate=None)
    shop.back_up()
    shop.server.sql("update orders set i = -i where i % 50 = 0", "checkpoint")
    shop.plan = replace(shop.plan, max_rate=20 << 20)
    with pytest.raises(PostgresError):
        shop.back_up(system=when_under_way(lambda: end_backup(shop.server)))
    shop.plan = replace(shop.plan, max_rate=None)
    done = shop.back_up()
    assert shop.outcomes() == 2
    with shop.started(tmp_path / "copy") as copy:
        assert rows(copy) == rows(shop.server)
    assert done.facts.details["method"] in ("full", "stream")


def test_a_server_that_falls_silent_is_given_up(shop: Captures) -> None:
    stopped: list[int] = []

    def stop() -> None:
        stopped.append(walsender(shop.server, "backup"))
        os.kill(stopped[0], signal.SIGSTOP)

    shop.plan = replace(shop.plan, silence=1.0)
    try:
        with pytest.raises(PostgresError, match="sent nothing for 1 seconds"):
            shop.back_up(system=when_under_way(stop))
    finally:
        os.kill(stopped[0], signal.SIGCONT)
    assert shop.outcomes() == 0


def test_wal_that_does_not_come_is_waited_for_and_then_given_up(shop: Captures) -> None:
    stopped: list[int] = []

    def stop() -> None:
        stopped.append(walsender(shop.server, "streaming"))
        os.kill(stopped[0], signal.SIGSTOP)

    shop.plan = replace(shop.plan, wal_wait=1.0)
    try:
        with pytest.raises(PostgresError, match=r"WAL of the backup has come up to .* 1 seconds"):
            shop.back_up(system=when_under_way(stop))
    finally:
        os.kill(stopped[0], signal.SIGCONT)
    assert shop.outcomes() == 0


def test_an_interrupt_works_at_once(shop: Captures) -> None:
    def interrupt() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.3)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    shop.plan = replace(shop.plan, max_rate=1 << 20)
    before = signal.signal(signal.SIGALRM, stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            shop.back_up(system=when_under_way(interrupt))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert shop.outcomes() == 0


def test_no_free_walsender(shop: Captures) -> None:
    shop.server.stop()
    shop.server.start(max_wal_senders="1", max_replication_slots="1")
    try:
        with pytest.raises(PostgresError, match="of 1 walsenders are free, a backup takes 2"):
            shop.back_up()
    finally:
        shop.server.stop()
        shop.server.start(max_wal_senders="10", max_replication_slots="10")


def test_native_where_the_server_cannot(shop: Captures) -> None:
    shop.plan = replace(shop.plan, incremental="native")
    with pytest.raises(ConfigError, match="the policy says incremental: native, but"):
        shop.back_up()
    assert shop.outcomes() == 0

"""A tablespace made while a backup ran lies in the original's folder: replay stays out of it."""

from pathlib import Path

import pytest

from drkit.errors import PostgresError
from drkit.events import Event, Warned
from drkit.postgres.binaries import Binaries, find_binaries
from drkit.postgres.cluster import ServerPlan, started
from drkit.system import System
from tests.fixtures.postgres import Server, copy_of, own, serving

pytestmark = pytest.mark.pg
RECOVERY = {
    "recovery_target": "immediate",
    "recovery_target_action": "promote",
    "restore_command": "false",
}


def copied(server: Server, to: Path, place: Path) -> Path:
    """By hand, as the low-level interface has it; in the middle a tablespace is made."""
    with server.connect() as connection:
        connection.execute("select pg_backup_start('x', true)")
        copy_of(server.data, to)
        place.mkdir()
        own(place)
        server.sql(
            f"create tablespace later location '{place}'",
            "create table victim tablespace later as select generate_series(1, 1000) i",
        )
        row = connection.execute("select labelfile from pg_backup_stop(false)").fetchone()
    assert row is not None
    for name in ("postmaster.pid", "postmaster.opts"):
        (to / name).unlink()
    for path in (server.data / "pg_wal").glob("0*"):
        (to / "pg_wal" / path.name).write_bytes(path.read_bytes())
        own(to / "pg_wal" / path.name)
    (to / "backup_label").write_text(row[0])
    (to / "recovery.signal").touch()
    own(to / "backup_label")
    own(to / "recovery.signal")
    return to


@pytest.mark.parametrize("major", [15, 18])
def test_the_originals_tablespace_is_never_written_to(tmp_path: Path, major: int) -> None:
    """Without the check this copy starts, and what it truncates is gone from the original."""
    place = own(tmp_path) / "later 자리"
    with serving(tmp_path / "server", major) as server:
        data = copied(server, tmp_path / "copy", place)
        binaries = find_binaries(major, System())
        plan = ServerPlan(data=data, binaries=binaries, settings=RECOVERY, writable=True)
        with (
            pytest.raises(PostgresError, match=f"a tablespace was made in {place} while") as raised,
            started(plan, System()),
        ):
            raise AssertionError
        assert "on another machine" in str(raised.value.hint)
        assert server.sql("select count(*) from victim") == [(1000,)]
        server.stop()
        place.rename(tmp_path / "gone")
        with (
            pytest.raises(PostgresError, match="does not exist") as raised,
            started(plan, System()),
        ):
            raise AssertionError
        assert f"a tablespace was made in {place}" in str(raised.value.hint)


def test_what_cannot_be_looked_at_is_told(tmp_path: Path) -> None:
    told: list[Event] = []
    found = find_binaries(15, System())
    bare = own(tmp_path) / "bin"
    bare.mkdir()
    (bare / "postgres").symlink_to(found.folder / "postgres")
    with serving(tmp_path / "server", 15) as server:
        data = copied(server, tmp_path / "copy", tmp_path / "later")
        lacking = Binaries(folder=bare, major=15, version=found.version)
        plan = ServerPlan(data=data, binaries=lacking, timeout=5)
        (data / "PG_VERSION").write_text("12\n")
        with pytest.raises(PostgresError), started(plan, System(tell=told.append)):
            raise AssertionError
    assert [event.hint for event in told if isinstance(event, Warned)] == [
        "install the server's package completely"
    ]

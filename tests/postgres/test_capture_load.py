"""While clients write: every backup is consistent in itself."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fixtures.captures import captures
from tests.fixtures.postgres import Server, serving

pytestmark = pytest.mark.pg

_TABLES = """
create extension amcheck;
create table accounts (id int primary key, balance int not null, filler text);
create table history (id serial primary key, account int, delta int);
insert into accounts select i, 0, repeat('x', 80) from generate_series(1, 20000) i;
"""
_WORK = r"""
\set id random(1, 20000)
\set delta random(-500, 500)
begin;
update accounts set balance = balance + :delta where id = :id;
insert into history (account, delta) values (:id, :delta);
commit;
"""
_WRONG = """
select a.id from accounts a
left join (select account, sum(delta) as delta from history group by 1) h on h.account = a.id
where a.balance <> coalesce(h.delta, 0)"""
_INDEXES = """
select count(bt_index_check(indexrelid, true)) from pg_index
where indrelid in ('accounts'::regclass, 'history'::regclass)"""


@contextmanager
def busy(server: Server, script: Path) -> Iterator[None]:
    """Clients that write all the time, and one that cuts and fills a table again."""
    script.write_text(_WORK)
    clients = subprocess.Popen(
        [
            "/usr/lib/postgresql/15/bin/pgbench", "-n", "-c", "2", "-T", "60",
            "-f", script, "-h", server.folder, "-U", "postgres", "postgres",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        assert clients.poll() is None, "the clients gave up"
        clients.kill()
        clients.wait()


@pytest.mark.parametrize(("major", "method"), [(15, "stream"), (18, "stream"), (18, "native")])
def test_every_backup_is_consistent(major: int, method: str, tmp_path: Path) -> None:
    settings = {"summarize_wal": "on"} if method == "native" else {}
    with serving(tmp_path / "server", major, **settings) as server:
        server.sql(_TABLES)
        made = captures(tmp_path, server, incremental=method)
        with busy(server, tmp_path / "work.sql"):
            made.back_up()
            server.sql("vacuum accounts")
            made.back_up()
            server.sql("create table fresh as select i from generate_series(1, 5000) i")
            made.back_up()
        for number, snapshot in enumerate(made.host.history().snapshots):
            with made.started(tmp_path / f"copy{number}", snapshot) as copy:
                assert copy.sql("select count(*) from accounts") == [(20000,)]
                assert copy.sql("select count(*) > 0 from history") == [(True,)]
                assert copy.sql(_WRONG) == []
                assert copy.sql(_INDEXES) == [(2,)]

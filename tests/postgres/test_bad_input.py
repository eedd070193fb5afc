"""What can be wrong before a backup begins, as a person meets it: what is, what to do, exit code,
and nothing half done left behind."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tests.fixtures.command import Ran, Site
from tests.fixtures.pg_kinds import PASSWORD, free_port, with_passwords
from tests.fixtures.postgres import Server, own, serving

pytestmark = pytest.mark.pg

_NAMES = [
    "  ;\"double\" 'single' \\ 줄\n바꿈 𐍈🐘 ",
    pytest.param("postgres; drop", marks=pytest.mark.soak),
    pytest.param("Ünï\tcode", marks=pytest.mark.soak),
    pytest.param("replication", marks=pytest.mark.soak),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = own(tmp_path_factory.mktemp("input"))
    with with_passwords(folder / "server", 15) as made:
        made.sql("create table orders as select generate_series(1, 100) i")
        yield made


@pytest.fixture(scope="module")
def known(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """With one backup; its policy's address is to be changed."""
    site = Site(home=own(tmp_path_factory.mktemp("site")))
    set_up(site, server.dsn)
    site.ok("backup", "shop")
    return site


def set_up(site: Site, dsn: str) -> None:
    where = ("--postgres", dsn, "--store", site.store, "--identities-to", "keys")
    site.ok("init", "shop", "--non-interactive", *where)


def at(site: Site, dsn: str, **variables: str) -> Ran:
    """A backup from there; the policy is as it was afterwards."""
    text = site.policy.read_text()
    lines = [
        f"    dsn: {quoted(dsn)}" if line.startswith("    dsn:") else line
        for line in text.splitlines()
    ]
    store = sorted(path for path in site.store.rglob("*") if path.is_file())
    site.policy.write_text("\n".join(lines) + "\n")
    try:
        ran = replace(site, variables=variables)("backup", "shop", "--incremental")
    finally:
        site.policy.write_text(text)
    if ran.code:
        left = [path for path in site.store.rglob("*") if path.is_file() and path not in store]
        assert not [path for path in left if "commit" in path.name], left
        assert PASSWORD not in ran.err + ran.out
    return ran


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def refused(ran: Ran, code: int, said: str, hint: str) -> None:
    """In one line, with the next step."""
    assert ran.code == code, ran
    [error] = [line for line in ran.err.splitlines() if line.startswith("drkit: error: ")]
    assert said in error, ran.err
    [advice] = [line for line in ran.err.splitlines() if line.startswith("drkit: hint: ")]
    assert hint in advice, ran.err


def over(server: Server, **words: str) -> str:
    return server.to(host="127.0.0.1", **words)


def test_nobody_answers(known: Site) -> None:
    nobody = f"host=127.0.0.1 port={free_port()} user=backup dbname=postgres"
    refused(at(known, nobody), 4, "connection refused", "is the server running")
    away = "host=no-such-host.invalid user=backup dbname=postgres"
    refused(at(known, away), 4, "no connection to no-such-host.invalid", "typing error")


def test_somebody_else_answers(known: Site) -> None:
    """A port where no PostgreSQL listens."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        dsn = f"host=127.0.0.1 port={port} user=a dbname=b connect_timeout=1"
        refused(at(known, dsn), 4, "it took longer than 1 seconds", "is the host up")


def test_passwords(known: Site, server: Server) -> None:
    ran = at(known, over(server, user="backup"), PGPASSWORD="wrong")
    refused(ran, 4, "password authentication failed", "~/.pgpass")
    refused(at(known, over(server, user="backup")), 4, "no password supplied", "~/.pgpass")
    right = at(known, over(server, user="backup"), PGPASSWORD=PASSWORD)
    assert right.code == 0, right
    passfile = known.home / "passes"
    escaped = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
    passfile.write_text(f"127.0.0.1:*:*:backup:{escaped}\n")
    passfile.chmod(0o600)
    found = at(known, over(server, user="backup"), PGPASSFILE=str(passfile))
    assert found.code == 0, found
    passfile.chmod(0o644)  # libpq then leaves it alone
    ran = at(known, over(server, user="backup"), PGPASSFILE=str(passfile))
    refused(ran, 4, "no password supplied", "~/.pgpass")


def test_a_password_in_the_policy(known: Site, server: Server) -> None:
    """Whatever the answer, it is not repeated."""
    ran = at(known, over(server, user="backup", password=PASSWORD))
    assert ran.code == 3, ran
    assert "password" in ran.err


def test_roles(known: Site, server: Server) -> None:
    server.sql("create role plain login", "create role closed nologin replication")
    refused(at(known, server.to(user="plain")), 4, "may not replicate", 'ALTER ROLE "plain"')
    refused(at(known, server.to(user="closed")), 4, "not permitted to log in", "LOGIN")
    refused(at(known, server.to(user="nobody")), 4, '"nobody" does not exist', "name another user")
    gone = server.to(database="gone")
    refused(at(known, gone), 4, 'database "gone" does not exist', "dbname=postgres")


def test_no_way_in(known: Site, server: Server) -> None:
    hba = server.data / "pg_hba.conf"
    text = hba.read_text()
    try:
        hba.write_text("local all all trust\n")
        server.sql("select pg_reload_conf()")
        ran = at(known, server.dsn)
        refused(ran, 4, "no pg_hba.conf entry for replication", "host replication ROLE ADDRESS")
    finally:
        hba.write_text(text)
        server.sql("select pg_reload_conf()")


@pytest.mark.parametrize(
    ("settings", "code", "said", "hint"),
    [
        ({"wal_level": "minimal", "max_wal_senders": "0"}, 4, "wal_level", "wal_level"),
        ({"max_wal_senders": "1"}, 4, "walsenders are free", "max_wal_senders"),
        ({"max_replication_slots": "0"}, 4, "slot", "max_replication_slots"),
    ],
    ids=["wal_level", "walsenders", "slots"],
)
def test_settings(
    known: Site, server: Server, settings: dict[str, str], code: int, said: str, hint: str
) -> None:
    before = dict(server.settings)
    server.stop()
    try:
        server.start(**settings)
        refused(at(known, server.dsn), code, said, hint)
    finally:
        server.stop()
        server.settings = before
        server.start()


def test_another_cluster_at_the_same_address(known: Site, tmp_path: Path) -> None:
    """Made anew by initdb, say."""
    own(tmp_path)
    with serving(tmp_path / "server", 15) as other:
        refused(at(known, other.dsn), 3, "this policy's backups are of postgres-physical", "id:")


@pytest.mark.parametrize("name", _NAMES, ids=repr)
def test_names_that_nobody_expects(tmp_path: Path, name: str) -> None:
    """Of the database that drkit connects to, of its role, and of what is recorded."""
    site = Site(home=own(tmp_path))
    made = psycopg.sql.Identifier(name)
    with serving(tmp_path / "server", 15) as server:
        with server.connect() as connection:
            connection.execute(psycopg.sql.SQL("create database {}").format(made))
            role = psycopg.sql.SQL("create role {} login replication in role pg_monitor")
            connection.execute(role.format(made))
        set_up(site, server.to(database=name, user=name))
        site.ok("backup", "shop")
    ran = site.ok("restore", "shop", "--verify", "--identity", site.identity)
    assert "all 4 databases are there" in ran.out, ran.out


_CLOSED = "update pg_database set datallowconn = false where datname = 'template1'"


@pytest.mark.parametrize("odd", ["drop database postgres", _CLOSED], ids=["postgres", "template1"])
def test_a_cluster_without_a_row(tmp_path: Path, odd: str) -> None:
    """And without one of the databases that everybody has."""
    own(tmp_path)
    with serving(tmp_path / "server", 18) as server:
        here = "template1" if "drop" in odd else "postgres"
        server.sql(odd, database=here)
        site = Site(home=tmp_path / "site")
        site.home.mkdir()
        own(site.home)
        set_up(site, server.to(database=here))
        site.ok("backup", "shop")
        ran = site.ok("restore", "shop", "--verify", "--identity", site.identity)
        assert "PASS" in ran.out, ran

"""Odd names and odd ways in: passwords through a passfile, addresses through a service file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from tests.fixtures.captures import captures
from tests.fixtures.command import Site
from tests.fixtures.pg_digest import differences, digest
from tests.fixtures.pg_kinds import PASSWORD, with_passwords
from tests.fixtures.pg_load import NAMES
from tests.fixtures.pg_rounds import copy_of
from tests.fixtures.postgres import Server, own, serving

pytestmark = pytest.mark.pg


def named(server: Server, place: Path) -> None:
    """A database, a schema, a role, a tablespace and a table of each name."""
    for number, name in enumerate(NAMES):
        folder = place / name.replace("'", "’")  # which a tablespace's place may not hold
        folder.mkdir()
        own(folder)
        one, text = sql.Identifier(name), sql.Literal(str(folder))
        with server.connect() as connection:
            connection.execute(sql.SQL("create role {}").format(sql.Identifier(f"role {name}")))
            connection.execute(sql.SQL("create tablespace {} location {}").format(one, text))
            connection.execute(sql.SQL("create database {} tablespace {}").format(one, one))
        with server.connect(name) as connection:
            connection.execute(sql.SQL("create schema {}").format(one))
            rows = "create table {}.{} as select i, {} as {} from generate_series(1, {}) i"
            values = (one, one, sql.Literal(name), one, sql.Literal(10 + number))
            connection.execute(sql.SQL(rows).format(*values))


@pytest.mark.parametrize("major", [15, 18])
def test_names(major: int, tmp_path: Path) -> None:
    with serving(own(tmp_path) / "server", major) as server:
        place = tmp_path / "자리 🐘"
        place.mkdir()
        named(server, own(place))
        made = captures(tmp_path, server)
        made.back_up()
        server.sql("create table more as select 1 as n", database=NAMES[0])
        assert made.back_up().kind == "incremental"
        before = digest(server)
        assert len(before) > 3 * len(NAMES)
        with copy_of(made, made.host.newest(), tmp_path / "copy") as copy:
            assert differences(before, digest(copy)) == []
            spaces = "select spcname, pg_tablespace_location(oid) from pg_tablespace order by oid"
            found = {str(name): str(location) for name, location in copy.sql(spaces)}
            for name in NAMES:
                assert Path(found[name]).is_relative_to(copy.data)


@pytest.fixture(params=[15, 18])
def guarded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with with_passwords(own(tmp_path) / "server", request.param) as server:
        server.sql("create table orders as select generate_series(1, 500) i")
        yield server


def passfile(site: Site, server: Server, password: str) -> Path:
    path = site.home / "a 'pass' file"
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    path.write_text(f"127.0.0.1:{server.settings['port']}:*:backup:{escaped}\n")
    path.chmod(0o600)
    return path


def backed_up_and_restored(site: Site, dsn: str, into: Path) -> None:
    where = ("--store", site.store, "--identities-to", "keys", "--non-interactive")
    said = [site.ok("init", "shop", "--postgres", dsn, *where)]
    said += [site.ok("backup", "shop"), site.ok("backup", "shop", "--incremental")]
    said += [site.ok("restore", "shop", "-i", site.identity, "--into", into)]
    for ran in said:
        assert PASSWORD not in ran.out + ran.err
    assert PASSWORD.encode() not in b"".join(
        path.read_bytes() for path in site.home.rglob("*.yaml")
    )


def test_a_password_from_a_passfile(guarded: Server, tmp_path: Path) -> None:
    site = Site(home=own(tmp_path))
    site.variables["PGPASSFILE"] = str(passfile(site, guarded, PASSWORD))
    backed_up_and_restored(site, address(guarded), tmp_path / "copy")
    passfile(site, guarded, "another: one")
    ran = site("backup", "shop", "--full")
    assert ran.code == 4, ran
    assert "password authentication failed" in ran.err
    assert "another" not in ran.out + ran.err


def test_an_address_from_a_service_file(guarded: Server, tmp_path: Path) -> None:
    site = Site(home=own(tmp_path))
    words = {
        "host": "127.0.0.1",
        "port": guarded.settings["port"],
        "user": "backup",
        "dbname": "postgres",
        "passfile": str(passfile(site, guarded, PASSWORD)),
    }
    file = site.home / "services"
    file.write_text("[shop]\n" + "".join(f"{name}={text}\n" for name, text in words.items()))
    site.variables["PGSERVICEFILE"] = str(file)
    backed_up_and_restored(site, "service=shop", tmp_path / "copy")
    file.write_text("[another]\nhost=127.0.0.1\n")
    ran = site("backup", "shop", "--full")
    assert ran.code == 4, ran
    assert 'definition of service "shop" not found' in ran.err


def address(server: Server) -> str:
    return f"host=127.0.0.1 port={server.settings['port']} user=backup dbname=postgres"

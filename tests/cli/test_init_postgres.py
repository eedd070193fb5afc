"""drkit init for a PostgreSQL server: what it asks, writes, prints and refuses."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from drkit.config import load_policy
from drkit.model.schedule import parse_rule
from tests.fixtures.command import Site
from tests.fixtures.postgres import Server, serving
from tests.fixtures.terminal import talk

pytestmark = pytest.mark.pg


@pytest.fixture(scope="module", params=[15, 18])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Where its user may go: pytest's own folders are closed to others."""
    folder = Path(f"/var/tmp/drkit-test-init-{os.getpid()}-{request.param}")
    with serving(folder, request.param) as made:
        made.sql("create role plain login", 'create role "가 \'a\' ""b" login')
        yield made


def words(site: Site, dsn: str) -> tuple[str | Path, ...]:
    where = ("--store", site.store, "--identities-to", "keys", "--non-interactive")
    return ("init", "shop", "--postgres", dsn, *where)


def test_a_policy_that_is_ready(bare: Site, server: Server) -> None:
    ran = bare.ok(*words(bare, server.dsn))
    assert f"{server.folder}:5432, PostgreSQL {server.major}." in ran.out
    assert "3 databases" in ran.out
    policy = load_policy(bare.policy)
    assert policy.source.postgres is not None
    assert policy.source.postgres.dsn == server.dsn
    assert policy.source.files is None
    assert policy.schedule.full == parse_rule("daily 02:00")
    assert policy.schedule.incremental == parse_rule("hourly")
    assert policy.retention.keep == timedelta(days=30)
    assert policy.objectives.rpo == timedelta(hours=24)
    assert policy.objectives.rto == timedelta(hours=4)
    assert "backup -q" in ran.out
    assert ran.out.rstrip().endswith("Next: drkit backup shop")


def test_statements_that_are_enough(bare: Site, server: Server) -> None:
    document = bare.ok(*words(bare, server.to(user="plain")), "--json").document["server"]
    assert (
        document["system"]
        == server.sql("select system_identifier::text from pg_control_system()")[0][0]
    )
    statements = document["statements"]
    assert statements[:2] == ['ALTER ROLE "plain" REPLICATION;', 'GRANT pg_monitor TO "plain";']
    server.sql(*statements)
    again = bare.ok(*words(bare, server.to(user="plain")))
    assert "lacks rights" not in again.out
    assert "GRANT" not in again.out
    checks = {
        check["what"]: check["level"]
        for policy in bare("doctor", "--json").document["policies"]
        for check in policy["checks"]
    }
    assert (checks["role"], checks["grants"], checks["replication"]) == ("pass",) * 3
    server.sql(
        "drop owned by plain", "alter role plain noreplication", "revoke pg_monitor from plain"
    )


def test_a_superuser_is_shown_a_role_of_its_own(bare: Site, server: Server) -> None:
    ran = bare.ok(*words(bare, server.dsn))
    assert "postgres is a superuser, where a role of its own is enough" in ran.out
    assert 'CREATE ROLE "drkit" LOGIN REPLICATION;' in ran.out


def test_names_with_quotes_and_korean(bare: Site, server: Server) -> None:
    dsn = server.to(user="가 'a' \"b")
    ran = bare.ok(*words(bare, dsn))
    postgres = load_policy(bare.policy).source.postgres
    assert postgres is not None
    assert postgres.dsn == dsn
    assert "가" in bare.policy.read_text()
    assert 'ALTER ROLE "가 \'a\' ""b" REPLICATION;' in ran.out


def test_twice_changes_nothing_and_needs_no_server(bare: Site, server: Server) -> None:
    bare.ok(*words(bare, server.dsn))
    kept = bare.policy.read_bytes()
    ran = bare.ok(*words(bare, f"host={bare.home} dbname=postgres"))
    assert "exists and is left as it is" in ran.out
    assert "no connection to" in ran.err
    assert bare.policy.read_bytes() == kept


def test_what_a_superuser_would_be_warned_of(bare: Site, server: Server) -> None:
    ran = bare.ok(*words(bare, server.dsn))
    assert ("summarize_wal is off" in ran.err) == (server.major >= 17)
    assert "fsync is off" in ran.err


def test_on_a_terminal_it_asks_which(bare: Site, server: Server) -> None:
    said = talk(
        bare,
        ["init", "shop"],
        ["folder, postgres) [folder]:", "postgres\n"],
        ["[service=shop]:", f"{server.dsn}\n"],
        ["another disk):", f"{bare.store}\n"],
        ["[y/N]:", "y\n"],
    )
    assert "PostgreSQL" in said
    assert load_policy(bare.policy).source.postgres is not None


@pytest.mark.parametrize(
    ("dsn", "more", "code", "said"),
    [
        ("postgresql://drkit:geheim@db/shop", (), 2, "a password stands in dsn"),
        ("host=db password=geheim", (), 2, "a password stands in dsn"),
        ("shop", (), 2, 'missing "=" after "shop"'),
        ("", (), 2, "says nothing"),
        ("host=/nowhere dbname=x", (), 4, "no connection to /nowhere"),
        ("service=nowhere", (), 4, "nowhere"),
        ("host=/nowhere dbname=x", ("--files", "data"), 2, "one policy protects one thing"),
    ],
)
def test_what_is_refused_before_anything_is_made(
    bare: Site, dsn: str, more: tuple[str, ...], code: int, said: str
) -> None:
    ran = bare(*words(bare, dsn), *more)
    assert ran.code == code, ran
    assert said in ran.err
    assert "geheim" not in ran.out + ran.err
    assert sorted(path.name for path in bare.home.iterdir()) == ["data"]


def test_one_of_both_must_be_named(bare: Site) -> None:
    ran = bare("init", "shop", "--store", bare.store, "--identities-to", "keys")
    assert ran.code == 2
    assert "--files DIR or --postgres DSN" in ran.err

"""doctor on a PostgreSQL server: what it finds, how it is mended, and that it never hangs."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from drkit.config import Environment
from drkit.errors import Exit
from drkit.model.policy import Incremental, Policy, Postgres, Repository, Source
from drkit.operations.doctor_plan import Checked, DoctorPlan, Place
from drkit.operations.doctor_postgres import examine_server, meet
from drkit.postgres.advice import check
from drkit.postgres.server import ServerFacts, Tablespace, quoted
from drkit.stores import open_store
from drkit.system import System
from tests.fixtures.policy_text import MINIMAL, parse
from tests.fixtures.postgres import Server, serving

pytestmark = pytest.mark.pg


@pytest.fixture(scope="module", params=[15, 18])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("doctor")
    with serving(folder, request.param, fsync="on") as made:
        made.sql("create role plain login", "create role lonely login password 'right'")
        yield made


def plan(tmp_path: Path, dsn: str, incremental: Incremental = "auto") -> DoctorPlan:
    policy = replace(
        parse(MINIMAL),
        source=Source(postgres=Postgres(dsn=dsn, incremental=incremental)),
        repository=Repository(store=str(tmp_path / "store")),
    )
    return plan_of(tmp_path, policy)


def plan_of(tmp_path: Path, policy: Policy) -> DoctorPlan:
    url = policy.repository.store
    home = Place(url=url, open=lambda: open_store(url))
    env = Environment(home=tmp_path)
    return DoctorPlan(policy=policy, state=tmp_path / "state", env=env, home=home)


def found(asked: DoctorPlan) -> dict[str, Checked]:
    checked = examine_server(asked, System())
    for one in checked:
        assert "\n" not in one.finding.message + (one.finding.hint or "")
        assert one.finding.level == "pass" or one.finding.hint, one
    return {one.finding.what: one for one in checked}


def levels(checked: dict[str, Checked], level: str) -> set[str]:
    return {what for what, one in checked.items() if one.finding.level == level}


@contextmanager
def rules(server: Server, text: str) -> Iterator[None]:
    """Another pg_hba.conf for a while. A superuser at the socket may always."""
    hba = server.data / "pg_hba.conf"
    before = hba.read_text()
    hba.write_text("local postgres postgres trust\n" + text)
    server.sql("select pg_reload_conf()")
    time.sleep(0.1)
    yield
    hba.write_text(before)
    server.sql("select pg_reload_conf()")
    time.sleep(0.1)


def test_a_superuser_is_more_than_is_needed(server: Server, tmp_path: Path) -> None:
    checked = found(plan(tmp_path, server.dsn))
    assert levels(checked, "fail") == set()
    newer = {"summarize_wal"} if server.major >= 17 else set()
    assert levels(checked, "warn") == {"role"} | newer
    assert f"PostgreSQL {server.major}." in checked["server"].finding.message
    assert checked["client"].finding.message.startswith("libpq ")
    assert checked["binaries"].finding.message.startswith(f"{server.major}.")
    assert checked["replication"].finding.level == "pass"
    assert checked["scratch"].finding.level == "pass"


def test_the_printed_statements_make_a_role_that_is_enough(server: Server, tmp_path: Path) -> None:
    name = "백업 'a' \"b\""
    server.sql(f"create role {quoted(name)} login")
    asked = plan(tmp_path, server.to(user=name))
    checked = found(asked)
    assert levels(checked, "fail") == {"role"}
    assert checked["role"].code == Exit.POSTGRES
    assert "replication" not in checked  # it would only fail for the same reason
    for what in ("role", "grants"):
        _, _, statements = (checked[what].finding.hint or "").partition(": ")
        server.sql(statements)
    mended = found(asked)
    assert levels(mended, "fail") == set()
    assert levels(mended, "warn") <= {"summarize_wal"}
    server.sql(f"drop owned by {quoted(name)}", f"drop role {quoted(name)}")


def test_a_role_without_rights_is_told_all_of_them(server: Server, tmp_path: Path) -> None:
    server.sql("create database shut", "revoke connect on database shut from public")
    checked = found(plan(tmp_path, server.to(user="plain")))
    assert checked["role"].finding.message == "role plain may not replicate"
    hint = checked["grants"].finding.hint or ""
    assert hint.startswith("as a superuser in database postgres: GRANT pg_monitor")
    assert 'GRANT CONNECT ON DATABASE "shut" TO "plain";' in hint
    assert "the size of the cluster is not known" in checked["scratch"].finding.message
    server.sql("drop database shut")


def test_what_asks_for_incrementals(server: Server, tmp_path: Path) -> None:
    native = found(plan(tmp_path, server.dsn, "native"))["summarize_wal"]
    assert native.finding.level == "fail"
    assert "summarize_wal" not in found(plan(tmp_path, server.dsn, "stream"))
    if server.major >= 17:
        server.sql("alter system set summarize_wal = on", "select pg_reload_conf()")
        time.sleep(0.2)
        assert found(plan(tmp_path, server.dsn, "native"))["summarize_wal"].finding.level == "pass"
        server.sql("alter system reset summarize_wal", "select pg_reload_conf()")


def test_a_wrong_password_and_none(server: Server, tmp_path: Path) -> None:
    with rules(server, "local all all scram-sha-256\n"):
        dsn = server.to(user="lonely")
        checked = found(plan(tmp_path, dsn))
        assert levels(checked, "fail") == {"server"}
        assert "no password supplied" in checked["server"].finding.message
        assert ".pgpass" in (checked["server"].finding.hint or "")
        passfile = tmp_path / "a file"
        passfile.write_text("*:*:*:*:wrong-one\n")
        passfile.chmod(0o600)
        checked = found(plan(tmp_path, server.to(user="lonely", passfile=str(passfile))))
        said = checked["server"].finding
        assert "password authentication failed" in said.message
        assert "wrong-one" not in said.message + (said.hint or "")
        passfile.write_text("*:*:*:*:right\n")
        checked = found(plan(tmp_path, server.to(user="lonely", passfile=str(passfile))))
        assert levels(checked, "fail") == {"role"}


def test_a_password_file_that_libpq_ignores(server: Server, tmp_path: Path) -> None:
    passfile = tmp_path / ".pgpass"
    passfile.write_text("*:*:*:*:x\n")
    passfile.chmod(0o640)
    said = found(plan(tmp_path, server.dsn))["password"].finding
    assert said.message == f"others may read {passfile}: libpq ignores it"
    assert said.hint == f"chmod 600 {passfile}"
    passfile.chmod(0o600)
    assert "password" not in found(plan(tmp_path, server.dsn))


def test_rules_that_leave_replication_out(server: Server, tmp_path: Path) -> None:
    with rules(server, "local all all trust\n"):
        checked = found(plan(tmp_path, server.dsn))
        assert levels(checked, "fail") == {"replication"}
        assert checked["replication"].code == Exit.POSTGRES
        assert "pg_hba.conf" in (checked["replication"].finding.hint or "")


def test_places_inside_the_servers_own_folder(server: Server, tmp_path: Path) -> None:
    asked = plan(tmp_path, server.dsn)
    policy = replace(asked.policy, repository=Repository(store=str(server.data / "store")))
    inside = replace(plan_of(tmp_path, policy), state=server.data / "state")
    said = [o.finding for o in examine_server(inside, System()) if o.finding.what == "places"]
    assert [one.level for one in said] == ["fail", "fail"]
    assert "the state folder" in said[0].message
    assert "the store" in said[1].message


def test_binaries_that_are_not_there_are_a_warning(server: Server, tmp_path: Path) -> None:
    asked = plan(tmp_path, server.dsn)
    postgres = Postgres(dsn=server.dsn, binaries=tmp_path)
    policy = replace(asked.policy, source=Source(postgres=postgres))
    said = found(plan_of(tmp_path, policy))["binaries"].finding
    assert said.level == "warn"
    assert "restores may run on another machine" in (said.hint or "")


def odd(facts: ServerFacts) -> dict[str, str]:
    return {one.what: one.message for one in check(facts) if one.level == "warn"}


def test_versions_and_places_that_are_doubtful(server: Server) -> None:
    facts = replace(meet(server.dsn, System()), summarize_wal=True)
    assert "newer than what this drkit knows" in odd(replace(facts, version_num=200001))["server"]
    assert "in its increments" in odd(replace(facts, version_num=170000))["summarize_wal"]
    inside = Tablespace(oid=16384, name="in", location=f"{facts.data_directory}/in")
    said = odd(replace(facts, tablespaces=(inside,)))["tablespaces"]
    assert said.endswith("lies in the data folder, where the server wants none")


def test_a_server_without_checksums(tmp_path: Path) -> None:
    with serving(tmp_path, 18, "--no-data-checksums", max_slot_wal_keep_size="64MB") as made:
        checked = found(plan(tmp_path, made.dsn))
    assert levels(checked, "fail") == set()
    assert {"checksums", "fsync", "slot size"} <= levels(checked, "warn")


def test_a_server_that_can_not_be_backed_up(tmp_path: Path) -> None:
    settings = {"wal_level": "minimal", "max_wal_senders": "0", "max_replication_slots": "0"}
    with serving(tmp_path, 15, **settings) as made:
        checked = found(plan(tmp_path, made.dsn))
    assert levels(checked, "fail") == {"wal_level", "walsenders", "slots"}
    assert "replication" not in checked


def test_a_service_of_a_provider(tmp_path: Path) -> None:
    with serving(tmp_path, 15) as made:
        made.sql("create database rdsadmin", "create role tenant login")
        checked = found(plan(tmp_path, made.to(user="tenant")))
    assert levels(checked, "fail") == {"managed"}
    assert "Amazon RDS" in checked["managed"].finding.message
    assert "grants" not in checked


def test_a_server_that_is_down(tmp_path: Path) -> None:
    checked = found(plan(tmp_path, f"host={tmp_path} dbname=postgres"))
    assert levels(checked, "fail") == {"server"}
    assert checked["server"].code == Exit.POSTGRES


def test_one_that_never_answers_is_not_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        begun = time.monotonic()
        dsn = f"host=127.0.0.1 port={port} dbname=x connect_timeout=2"
        checked = found(plan(tmp_path, dsn))
    assert time.monotonic() - begun < 6
    assert levels(checked, "fail") == {"server"}
    assert "took longer than 2 seconds" in checked["server"].finding.message

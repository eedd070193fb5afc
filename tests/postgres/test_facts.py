"""What is recorded of a cluster with each backup, and what a role may not know."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from drkit.postgres import facts
from drkit.postgres.advice import grants
from drkit.postgres.server import ask, quoted
from drkit.postgres.wire import Wire, connect
from drkit.system import System
from tests.fixtures.postgres import Server, own, serving

pytestmark = pytest.mark.pg

SHOP = "가게 'a' \"b\""
HBA = """\
local all all trust
host "data base",shop +readers 10.0.0.0/8 radius radiusservers="127.0.0.1" radiussecrets="geheim"
local all 사람 peer map="a map"
host all all .example.net reject
host all all 10.0.0.0/8 radius radiusservers="not a server" radiussecrets="geheim"
nonsense all all trust
"""
IDENT = """\
team system\\ user drkit
"a map" "Kim, 철수" shop
"""


@pytest.fixture(scope="module", params=[15, 18])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("facts"), request.param) as made:
        place = made.folder / "place"
        place.mkdir()
        own(place)
        made.sql(
            f"create tablespace place location '{place}'",
            f"create database {quoted(SHOP)} tablespace place",
            "create database old encoding 'EUC_KR' locale 'C' template template0",
            "create role plain login",
            "create role backup login replication",
            "alter system set primary_conninfo = 'host=old password=geheim user=x'",
            "alter system set work_mem = '8MB'",
            "select pg_reload_conf()",
        )
        made.sql(
            'create extension "btree_gist"',
            "create table t (id int primary key, name text)",
            "create view v as select 1",
            "create sequence s",
            "create materialized view m as select 1",
            database=SHOP,
        )
        yield made


def record(server: Server, user: str = "postgres") -> dict[str, Any]:
    def enter(database: str) -> Wire:
        return connect(server.to(database, user), System())

    with enter("postgres") as sql:
        made = facts.record(sql, enter)
    assert json.loads(json.dumps(made)) == made
    return made


def test_everything_that_a_restore_wants_to_know(server: Server) -> None:
    made = record(server)
    assert made["missing"] == {}
    assert made["version"].split()[0].split(".")[0] == str(server.major)
    assert made["version_num"] // 10000 == server.major
    assert "linux" in made["build"]
    assert made["recovery"] == {
        "max_connections": 100,
        "max_worker_processes": 8,
        "max_wal_senders": 10,
        "max_prepared_transactions": 0,
        "max_locks_per_transaction": 64,
    }
    assert made["files"]["data_directory"] == str(server.data)
    assert made["files"]["hba_file"] == str(server.data / "pg_hba.conf")
    assert set(made["preload"]) >= {"shared_preload_libraries"}
    (place,) = made["tablespaces"]
    assert (place["name"], place["location"]) == ("place", str(server.folder / "place"))
    assert place["size"] > 1 << 20
    assert made["roles"] == 3
    databases = {one["name"]: one for one in made["databases"]}
    assert set(databases) == {"postgres", "template0", "template1", SHOP, "old"}
    assert databases["old"]["encoding"] == "EUC_KR"
    assert databases[SHOP]["size"] > 1 << 20
    assert not databases["template0"]["allow"]
    assert set(made["extensions"]) == set(databases) - {"template0"}
    assert set(made["extensions"][SHOP]) == {"plpgsql", "btree_gist"}


def test_settings_that_differ_and_no_password(server: Server) -> None:
    made = record(server)
    settings = made["settings"]
    assert settings["work_mem"] == {"value": "8MB", "source": "configuration file"}
    assert settings["fsync"] == {"value": "off", "source": "command line"}
    assert "application_name" not in settings  # of drkit's own connection
    assert "statement_timeout" not in settings
    assert "password=***" in settings["primary_conninfo"]["value"]
    assert "geheim" not in json.dumps(made)


def test_objects_are_counted_as_a_check_of_the_copy_counts_them(server: Server) -> None:
    kinds = {"tables": "rp", "indexes": "iI", "views": "v", "sequences": "S", "matviews": "m"}
    wanted = dict.fromkeys(kinds, 0)
    for database in ("postgres", "template1", SHOP, "old"):
        for kind, letters in kinds.items():
            ((count,),) = server.sql(
                f"select count(*) from pg_class where '{letters}' ~ relkind::text",
                database=database,
            )
            wanted[kind] += count
    objects = record(server)["objects"]
    assert {kind: objects[kind] for kind in kinds} == wanted
    assert objects["matviews"] >= 1


def test_rules_as_their_files_want_them(server: Server) -> None:
    hba, ident = server.data / "pg_hba.conf", server.data / "pg_ident.conf"
    before = hba.read_text(), ident.read_text()
    hba.write_text(HBA)
    ident.write_text(IDENT.replace("system\\ user", '"system user"'))
    made = record(server)
    hba.write_text(before[0])
    ident.write_text(before[1])
    assert made["hba"][0] == "local all all trust"
    assert made["hba"][1].startswith('host "data base",shop +readers 10.0.0.0 255.0.0.0 radius ')
    assert "radiussecrets=***" in made["hba"][1]
    assert "geheim" not in json.dumps(made)
    assert made["hba"][2:] == [
        'local all 사람 peer "map=a map"',
        "host all all .example.net reject",
        "# line 5 is wrong: the server does not say why",
        '# line 6 is wrong: invalid connection type "nonsense"',
    ]
    assert made["ident"] == ['team "system user" drkit', '"a map" "Kim, 철수" shop']


def test_too_many_rules_are_counted(server: Server) -> None:
    hba = server.data / "pg_hba.conf"
    before = hba.read_text()
    hba.write_text(before + "local all all trust\n" * (facts.MOST + 5))
    made = record(server)
    hba.write_text(before)
    assert len(made["hba"]) == facts.MOST
    own_rules = sum(not line.startswith("#") and bool(line) for line in before.splitlines())
    total = facts.MOST + 5 + own_rules
    assert made["missing"]["hba"].startswith(f"{own_rules + 5} of {total}")


def test_what_an_ordinary_login_may_not_read_is_named_with_the_grant(server: Server) -> None:
    made = record(server, "plain")
    monitor = 'GRANT pg_monitor TO "plain";'
    assert made["missing"] == {
        "settings": f"those that not everybody may read: {monitor}",
        "files": monitor,
        "preload": monitor,
        "tablespaces": monitor,
        "hba": 'GRANT SELECT ON pg_hba_file_rules TO "plain"; '
        'GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO "plain";',
        "ident": 'GRANT SELECT ON pg_ident_file_mappings TO "plain"; '
        'GRANT EXECUTE ON FUNCTION pg_ident_file_mappings() TO "plain";',
    }
    assert [one["size"] for one in made["tablespaces"]] == [None]
    assert made["settings"]["work_mem"]["value"] == "8MB"
    assert set(made["extensions"]) == {"postgres", "template1", SHOP, "old"}


def test_a_closed_database_is_named_with_the_grant(server: Server) -> None:
    server.sql(f"revoke connect on database {quoted(SHOP)} from public")
    made = record(server, "plain")
    grant = f'GRANT CONNECT ON DATABASE {quoted(SHOP)} TO "plain";'
    assert grant in made["missing"]["extensions"]
    assert "objects" in made["missing"]
    assert "objects" not in made
    assert "of 1 databases" in made["missing"]["database sizes"]
    server.sql(f"grant connect on database {quoted(SHOP)} to public")


def test_the_printed_grants_are_enough(server: Server) -> None:
    with connect(server.to(user="backup"), System()) as sql:
        statements = grants(ask(sql))
    assert statements
    server.sql(*statements)
    assert record(server, "backup")["missing"] == {}
    with connect(server.to(user="backup"), System()) as sql:
        assert grants(ask(sql)) == []
    assert record(server, "backup") == record(server)


def test_a_name_that_is_no_text_is_recorded_somehow(server: Server) -> None:
    server.sql("create database plain_bytes encoding 'SQL_ASCII' locale 'C' template template0")
    with server.connect("plain_bytes") as connection:
        connection.execute("set client_encoding = 'SQL_ASCII'")
        connection.pgconn.exec_(b'create database "caf\xe9"')
        made = record(server)
        connection.pgconn.exec_(b'drop database "caf\xe9"')
    assert any(one["name"].startswith("caf") for one in made["databases"])
    assert "databases could not be entered, the first caf" in made["missing"]["extensions"]
    server.sql("drop database plain_bytes")


def test_a_database_that_is_full_is_said(server: Server) -> None:
    server.sql("create database full_one connection limit 0")
    made = record(server, "plain")
    assert "1 databases could not be entered, the first full_one: " in made["missing"]["extensions"]
    server.sql("drop database full_one")

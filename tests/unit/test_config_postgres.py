"""What a policy may say of a PostgreSQL server, and of where a restore is tried."""

from pathlib import Path

import pytest

from drkit.model.policy import Postgres, Scratch
from tests.fixtures.policy_text import MINIMAL, parse, refusal

FILES = "  files:\n    root: /srv/files\n"
DSN = "  postgres:\n    dsn: service=shop\n"


def text(source: str) -> str:
    assert FILES in MINIMAL
    return MINIMAL.replace(FILES, source)


def postgres(source: str) -> Postgres:
    found = parse(text(source)).source.postgres
    assert found is not None
    return found


def test_a_dsn_is_enough() -> None:
    policy = parse(text(DSN))
    assert policy.source.postgres == Postgres(dsn="service=shop")
    assert policy.source.files is None
    assert policy.source.part == "physical"
    assert policy.verify.scratch == Scratch()


def test_every_key_arrives_as_its_type() -> None:
    more = (
        "    method: physical\n    wal: none\n    incremental: native\n    max_rate: 1 MiB/s\n"
        "    binaries: /usr/lib/postgresql/15/bin\n"
    )
    assert postgres(DSN + more) == Postgres(
        dsn="service=shop",
        incremental="native",
        max_rate=1 << 20,
        binaries=Path("/usr/lib/postgresql/15/bin"),
    )


def test_where_a_restore_is_tried() -> None:
    scratch = (
        "verify: {scratch: {folder: /srv/scratch, memory: 1 GiB, user: postgres, "
        "identity: /etc/drkit/drill.key}}\n"
    )
    assert parse(text(DSN) + scratch).verify.scratch == Scratch(
        folder=Path("/srv/scratch"),
        memory=1 << 30,
        user="postgres",
        identity=Path("/etc/drkit/drill.key"),
    )


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://drkit@db.example.net:5433/postgres?sslmode=verify-full",
        "host=/var/run/postgresql dbname=postgres",
        "host=a,b port=1,2 target_session_attrs=read-write",
        "host='가게 \\'x' dbname='고객 \\\\ \"y\"'",
        "passfile=/etc/drkit/pgpass host=db",
    ],
)
def test_a_dsn_is_what_libpq_reads(dsn: str) -> None:
    quoted = dsn.replace("'", "''")
    assert postgres(f"  postgres:\n    dsn: '{quoted}'\n").dsn == dsn


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://drkit:geheim@db/shop",
        "postgresql://db/shop?user=drkit&password=geheim",
        "host=db password=geheim",
        "host=db password='a geheim",
        "host=db password=a geheim",
        "host=db password=a geheim=x",
        "postgresql://drkit:geheim@db/shop?foo=1",
        "host=db sslpassword=geheim",
        "host=db oauth_client_secret=geheim",
    ],
)
def test_a_password_is_refused_and_never_repeated(dsn: str) -> None:
    quoted = dsn.replace("'", "''")
    said = refusal(text(f"  postgres:\n    dsn: '{quoted}'\n")).message
    assert said.startswith("p.yaml:5: source.postgres.dsn: ")
    assert "geheim" not in said


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("  postgres: {}\n", "p.yaml:4: source.postgres.dsn: missing"),
        ("  postgres:\n    dsn: shop\n", 'p.yaml:5: source.postgres.dsn: missing "=" after "shop"'),
        ("  postgres:\n    dsn: ' '\n", "p.yaml:5: source.postgres.dsn: says nothing"),
        (
            "  postgres:\n    dsn: host=db replication=true\n",
            "p.yaml:5: source.postgres.dsn: replication= in dsn",
        ),
        (FILES + DSN, "p.yaml:6: source.postgres: files stands here too"),
        (
            DSN + "    method: logical\n",
            "p.yaml:6: source.postgres.method: 'logical' is not in this version of drkit yet",
        ),
        (
            DSN + "    wal: stream\n",
            "p.yaml:6: source.postgres.wal: 'stream' is not in this version of drkit yet",
        ),
        (
            DSN + "    incremental: nativ\n",
            "p.yaml:6: source.postgres.incremental: 'nativ' is not one of auto, native, stream",
        ),
        (DSN + "    max_rate: 1 kB/s\n", "p.yaml:6: source.postgres.max_rate: '1 kB/s' is not wi"),
        (DSN + "    max_rate: 2 GiB/s\n", "p.yaml:6: source.postgres.max_rate: '2 GiB/s' is not"),
        (DSN + "    max_rate: fast\n", "p.yaml:6: source.postgres.max_rate: 'fast' is not a rate"),
        (DSN + "    binaries: bin\n", "p.yaml:6: source.postgres.binaries: 'bin' is not an absol"),
        (
            DSN + "    databases: {exclude: [x]}\n",
            "p.yaml:6: source.postgres.databases: not in this version of drkit yet",
        ),
        (DSN + "    pasword: x\n", "p.yaml:6: source.postgres: unknown key 'pasword'"),
    ],
)
def test_mistakes_of_a_source(source: str, message: str) -> None:
    found = refusal(text(source)).message.split("\n")
    assert any(line.startswith(message) for line in found), found


@pytest.mark.parametrize(
    ("scratch", "message"),
    [
        ("memory: 1 MiB", "verify.scratch.memory: '1 MiB' is not within 16 MiB and 1 TiB"),
        ("memory: 1", "verify.scratch.memory: '1' has no unit"),
        ("folder: tmp", "verify.scratch.folder: 'tmp' is not an absolute path"),
        ("user: 'a b'", "verify.scratch.user: 'a b' is not a user's name"),
        ("user: ../x", "verify.scratch.user: '../x' is not a user's name"),
        ("identity: AGE-KEY", "verify.scratch.identity: 'AGE-KEY' is not an absolute path"),
    ],
)
def test_mistakes_of_scratch(scratch: str, message: str) -> None:
    found = refusal(f"{MINIMAL}verify: {{scratch: {{{scratch}}}}}\n").message
    assert found.startswith(f"p.yaml:12: {message}")

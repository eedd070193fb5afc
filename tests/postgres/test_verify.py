"""A cluster's backup tried as `drkit restore --verify` tries it, healthy and broken."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from drkit.errors import Exit
from drkit.events import Warned
from drkit.model.policy import Objectives
from drkit.operations.verify import Verified, verify
from drkit.postgres.checks import QUESTIONS
from drkit.postgres.facts import record
from drkit.postgres.processes import servers_in
from drkit.postgres.wire import connect
from drkit.system import System
from tests.fixtures.base_copy import Copied, committed, copied
from tests.fixtures.drills import Scene, failed
from tests.fixtures.forgets import objects_of
from tests.fixtures.postgres import Server, binaries, own, serving
from tests.fixtures.repo import repo

pytestmark = pytest.mark.pg


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Copied:
    return taken(own(tmp_path_factory.mktemp("source")), 18)


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Copied:
    return taken(own(tmp_path_factory.mktemp("older")), 15)


def taken(folder: Path, major: int, *options: str, broken: bool = False) -> Copied:
    with serving(folder / "server", major, *options) as server:
        server.sql(
            "create table orders as select n, repeat('x', 200) as t from generate_series(1, 999) n",
            "create database elsewhere",
        )
        if broken:
            _break(server)
        return copied(server, folder / "copy", recorded_of(server))


def _break(server: Server) -> None:
    """The head of a page; without checksums nobody sees it who doesn't read the table."""
    ((path,),) = server.sql("select pg_relation_filepath('orders')")
    server.stop()
    data = bytearray((server.data / str(path)).read_bytes())
    data[2 * 8192 : 2 * 8192 + 24] = b"\xff" * 24
    (server.data / str(path)).write_bytes(data)
    server.start()


def recorded_of(server: Server) -> dict[str, object]:
    system = System()
    with connect(server.dsn, system) as wire:
        return record(wire, lambda name: connect(server.to(name), system))


def scene_of(home: Path, source: Copied) -> Scene:
    made = repo(home, local=False)
    snapshot = committed(made, source)
    programs = binaries(int(source.version.partition(".")[0]))
    return Scene(r=made, snapshot=snapshot, scratch=home / "scratch", binaries=programs)


@pytest.fixture
def s(source: Copied, tmp_path: Path) -> Iterator[Scene]:
    yield from tried(scene_of(own(tmp_path), source))


@pytest.fixture(params=["source", "older"])
def any_version(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    yield from tried(scene_of(own(tmp_path), request.getfixturevalue(request.param)))


def tried(made: Scene) -> Iterator[Scene]:
    yield made
    assert made.left() == []
    assert servers_in(made.scratch) == []


# --- it passes


def test_a_healthy_backup_is_proven_and_measured(any_version: Scene) -> None:
    s = any_version
    plan = replace(s.plan(), objectives=Objectives(rto=timedelta(hours=4), rpo=timedelta(days=1)))
    result = verify(plan, s.system)
    drill = result.drill
    assert (drill.verdict, drill.exit, drill.reasons) == ("PASS", 0, ()), result.error
    assert result.error is None
    assert drill.level == 3
    assert {p.id: p.how for p in drill.phases} == {
        **dict.fromkeys(("P0", "P1", "P9"), "absent"),
        **dict.fromkeys(("P2", "P3", "P4", "P5", "P6", "P7"), "measured"),
        "P8": "not applicable",
    }
    took, known = drill.times, {p.id: p for p in drill.phases}
    assert took.open_ms == sum(known[id].ms for id in ("P3", "P4", "P5", "P6"))
    assert took.data_ms == took.open_ms + known["P7"].ms
    assert took.service_ms == took.data_ms + known["P2"].ms
    assert min(known[id].ms for id in ("P4", "P5", "P6")) > 0
    assert known["P4"].bytes["written"] > known["P4"].bytes["fetched"] > 100_000
    assert {c.id: c.result for c in drill.checks if c.required} == dict.fromkeys(
        ("history", "complete", *(question.id for question in QUESTIONS)), "pass"
    )
    major = str(s.snapshot.facts.details["version"]).partition(".")[0]
    assert drill.versions["server"].startswith(major)
    assert drill.versions["binaries"].startswith(major)
    assert drill.cleanup == {"folder_gone": True}
    assert drill.loss is not None
    assert drill.loss.at_most_ms >= drill.loss.at_least_ms
    its_record_is_a_proof_and_names_nothing(s, result)


def its_record_is_a_proof_and_names_nothing(s: Scene, result: Verified) -> None:
    assert result.record is not None
    assert s.proofs().proven.keys() == {s.snapshot.generation}
    assert s.proofs().findings == ()
    (drill,) = s.drills()
    assert drill == result.drill
    stored = objects_of(s.r)[result.record][0]
    for name in (b"orders", b"elsewhere", os.fsencode(s.r.root)):
        assert name not in stored


# --- it fails: the copy is bad


def test_a_server_that_will_not_open(source: Copied, tmp_path: Path) -> None:
    """Its WAL is there by name, and holds nothing."""
    segments = {p for p in (source.data / "pg_wal").iterdir() if len(p.name) == 24}
    empty = {f"pg_wal/{p.name}": bytes(p.stat().st_size) for p in segments}
    s = scene_of(own(tmp_path), replace(source, changed=empty))
    result = verify(s.plan(), s.system)
    failed(result, Exit.MISSED, "FAIL")
    assert result.drill.failure is not None
    assert (result.drill.failure.phase, result.drill.failure.cause) == ("P5", "server")
    assert s.proofs().damaged.keys() == {s.snapshot.generation}
    assert s.left() == []


def test_a_table_that_cannot_be_read(tmp_path: Path) -> None:
    """Without checksums only whoever reads it sees it."""
    s = scene_of(tmp_path, taken(own(tmp_path), 18, "--no-data-checksums", broken=True))
    result = verify(s.plan(), s.system)
    error = failed(result, Exit.MISSED, "FAIL")
    assert "check rows" in error.message
    assert result.drill.level == 2
    assert s.proofs().damaged.keys() == {s.snapshot.generation}
    names = next(a.names for q, a in result.answers if q.id == "rows")
    assert "public.orders" in names[0]


def test_a_database_that_the_backup_lacks(source: Copied, tmp_path: Path) -> None:
    more = {"name": "gone", "oid": 99999, "encoding": "UTF8", "open": True}
    noted = [*source.recorded["databases"], more]
    s = scene_of(own(tmp_path), replace(source, recorded=source.recorded | {"databases": noted}))
    result = verify(s.plan(), s.system)
    assert (
        "check databases: 1 of 5 databases are missing"
        in failed(result, Exit.MISSED, "FAIL").message
    )
    assert result.drill.level == 1


# --- it could not run


def test_no_binaries(s: Scene) -> None:
    result = verify(replace(s.plan(), binaries=s.r.root), s.system)
    failed(result, Exit.CONFIGURATION, "NOT_RUN")
    assert s.drills()[0].exit == 3
    assert s.proofs().damaged == {}


# --- stopped


def once(then: Callable[[], None], folder: Path) -> Callable[[float], None]:
    """The first time that drkit waits for a server in there."""
    done: list[bool] = []

    def sleep(seconds: float) -> None:
        if not done and servers_in(folder):
            done.append(True)
            then()
        System().sleep(seconds)

    return sleep


def interrupt() -> None:
    raise KeyboardInterrupt


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_ctrl_c_leaves_a_record_and_nothing_else(s: Scene) -> None:
    system = replace(s.system, sleep=once(interrupt, s.scratch))
    with pytest.raises(KeyboardInterrupt):
        verify(s.plan(), system)
    (drill,) = s.drills()
    assert (drill.verdict, drill.exit, drill.reasons) == (
        "NOT_RUN", 130, ("P5 replay: it was interrupted",)
    )  # fmt: skip


def test_kill_9_is_cleaned_by_the_next(s: Scene) -> None:
    """Killed while its server runs: the next run ends that, and says so."""
    child = os.fork()
    if not child:
        verify(s.plan(), replace(System(), sleep=once(die, s.scratch)))
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert servers_in(s.scratch) != []
    assert s.left() != []
    result = verify(s.plan(), s.system)
    assert result.drill.verdict == "PASS"
    told = [event.message for event in s.heard if isinstance(event, Warned)]
    assert any("left behind by a killed run" in line for line in told), told

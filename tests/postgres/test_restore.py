"""A restored cluster: recovered, proven, stopped, and apart from the original until re-armed."""

from pathlib import Path

import pytest

from drkit.errors import UsageError
from drkit.operations.restore import restore
from drkit.operations.restore_postgres import Ready
from drkit.postgres import leftovers
from drkit.postgres.control import read_control
from drkit.system import System
from tests.fixtures.base_copy import ROWS, Sample, changed, copied, kept, sample
from tests.fixtures.postgres import binaries, own, serving
from tests.fixtures.ready import Copy, plan_of, started_as_told

pytestmark = pytest.mark.pg


@pytest.fixture(scope="module", params=[15, 18])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    root = tmp_path_factory.mktemp(f"shop{request.param}")
    return sample(root, request.param, recorded={"recovery": {"max_connections": 120}})


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return sample(tmp_path_factory.mktemp("one"), 15)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return own(tmp_path)


def restored(shop: Sample, into: Path, **more: object) -> Ready:
    ready = restore(plan_of(shop, into, **more), System())
    assert ready is not None
    return ready


def holds_the_rows(copy: Copy) -> None:
    assert copy.ask("select count(*) from orders") == str(ROWS)
    assert copy.ask("select count(*) from quick") == "500"
    assert copy.ask("select pg_is_in_recovery()") == "f"


def is_quiet(copy: Copy) -> None:
    for name, value in leftovers.QUIET.items():
        assert copy.ask(f"show {name}") == value, name


def test_a_folder_that_is_ready(shop: Sample, place: Path) -> None:
    data = place / "data"
    ready = restored(shop, data)
    assert not (data / leftovers.MARKER).exists()
    assert not (data / "recovery.signal").exists()
    assert not (data / "postmaster.pid").exists()
    assert read_control(data).state == "shut down"
    assert ready.opened is not None
    assert (ready.opened.timeline, ready.opened.pages) == (2, True)
    assert ready.reached == shop.snapshot.facts.details["end_lsn"]
    assert ready.findings == ()
    with started_as_told(ready.start, data, shop.major, place / "socket") as copy:
        holds_the_rows(copy)
        is_quiet(copy)
        copy.ask("insert into orders values (0, 'new')")
        assert "drkit_restored" not in copy.ask("select string_agg(relname, ' ') from pg_class")


def test_armed_again(shop: Sample, place: Path) -> None:
    data = place / "data"
    ready = restored(shop, data)
    before = (shop.source.data / "postgresql.auto.conf").read_text()
    with (
        started_as_told(ready.start, data, shop.major, place / "socket"),
        pytest.raises(UsageError, match="its server runs"),
    ):
        leftovers.rearm(data)
    leftovers.rearm(data)
    assert (data / "postgresql.auto.conf").read_text() == before
    assert (data / "postgresql.auto.conf").stat().st_uid == data.stat().st_uid
    with started_as_told(ready.start, data, shop.major, place / "again") as copy:
        assert copy.ask("show archive_mode") == "on"
    with pytest.raises(UsageError, match="holds no lines of drkit"):
        leftovers.rearm(data)


def test_prepared_only(shop: Sample, place: Path) -> None:
    """Nothing is started; when a person does, it recovers, opens and is as quiet."""
    data = place / "data"
    ready = restored(shop, data, prepare_only=True)
    assert ready.opened is None
    assert (data / "recovery.signal").exists()
    assert (data / "backup_label").exists()
    command = ready.start.replace(" pg_ctl ", f" {binaries(shop.major)}/pg_ctl ")
    command = f"{binaries(shop.major)}/{command}" if command.startswith("pg_ctl ") else command
    with started_as_told(command, data, shop.major, place / "socket") as copy:
        holds_the_rows(copy)
        assert copy.ask("show archive_mode") == "off"
    leftovers.rearm(data)
    assert "recovery_target" not in (data / "postgresql.auto.conf").read_text()


def test_settings_that_lay_elsewhere(shop: Sample, place: Path) -> None:
    """As Debian keeps them: what is left behind starts nevertheless."""
    bare = changed(shop, place, without=("postgresql.conf", "pg_hba.conf", "pg_ident.conf"))
    ready = restored(bare, place / "data")
    assert not ready.configured
    with started_as_told(ready.start, place / "data", shop.major, place / "socket") as copy:
        holds_the_rows(copy)
        assert copy.ask("show max_connections") == "120"


def test_a_configuration_that_names_the_originals_folders(one: Sample, place: Path) -> None:
    text = (one.source.data / "postgresql.conf").read_text()
    text += "data_directory = '/srv/the/original'\nhba_file = '/etc/nowhere/pg_hba.conf'\n"
    odd = changed(one, place, changed={"postgresql.conf": text.encode()})
    ready = restored(odd, place / "data")
    assert [finding.what for finding in ready.findings] == ["data_directory"]
    with started_as_told(ready.start, place / "data", 15, place / "socket") as copy:
        holds_the_rows(copy)
        assert copy.ask("show data_directory") == str(place / "data")


def test_a_library_that_is_not_here(one: Sample, place: Path) -> None:
    text = (one.source.data / "postgresql.conf").read_text()
    text += "shared_preload_libraries = 'nosuch, auto_explain'\n"
    odd = changed(one, place, changed={"postgresql.conf": text.encode()})
    ready = restored(odd, place / "data")
    [finding] = ready.findings
    assert (finding.what, "not installed here: nosuch:" in finding.message) == ("libraries", True)


def test_extensions_and_collations_that_are_not_here(tmp_path: Path) -> None:
    place = own(tmp_path)
    with serving(place / "original", 15) as server:
        server.sql(
            "create database films",
            "update pg_extension set extname = 'nosuch'",
        )
        server.sql(
            "update pg_collation set collversion = '1.2' where collname = 'und-x-icu'",
            database="films",
        )
        source = copied(server, place / "copy")
    made, snapshot = kept(place / "repository", source)
    shop = Sample(root=place, major=15, source=source, fast=place, made=made, snapshot=snapshot)
    found = {finding.what: finding.message for finding in restored(shop, place / "data").findings}
    assert (
        "database postgres uses extensions that are not installed here: nosuch"
        in (found["extensions"])
    )
    assert "in database films" in found["collations"]

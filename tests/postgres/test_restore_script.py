"""restore.py and the steps of FORMAT.md, without drkit, make a server that runs."""

import os
import re
from pathlib import Path

import pytest

from tests.fixtures.base_copy import ROWS, Sample, sample
from tests.fixtures.postgres import Server, own, run
from tests.format.restoring import SCRIPT, run_script

pytestmark = pytest.mark.pg
STEPS = re.compile(r"```sh\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module", params=[15, 18])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return sample(tmp_path_factory.mktemp(f"shop{request.param}"), request.param)


def steps() -> str:
    """As they stand in the section on PostgreSQL."""
    text = (SCRIPT.parent / "FORMAT.md").read_text()
    found = STEPS.findall(text.partition("# PostgreSQL")[2])
    (text,) = found
    return str(text)


def test_the_steps_as_they_are_written(shop: Sample, tmp_path: Path) -> None:
    own(tmp_path)
    (tmp_path / "key").write_text(f"{shop.made.identities[0].text}\n")
    signer = ("--signer", shop.made.writer.public_text)
    ran = run_script(
        shop.store, "--identity", tmp_path / "key", *signer, "--into", tmp_path / "data"
    )
    assert ran.returncode == 0, ran
    server = Server(folder=own(_made(tmp_path / "server")), major=shop.major)
    words = {
        "DATA": tmp_path / "data",
        "TABLESPACES": tmp_path / "spaces",
        "BIN": server.bin,
        "SOCKET": server.folder,
    }
    if os.geteuid() == 0:
        for path in ((tmp_path / "data"), *(tmp_path / "data").rglob("*")):
            own(path)
    done = run("/bin/sh", "-eu", "-c", steps(), env={k: str(v) for k, v in words.items()})
    try:
        link = tmp_path / "data/pg_tblspc" / shop.oid
        assert os.readlink(link) == str(tmp_path / "spaces" / shop.oid), done
        for table, rows in (("orders", ROWS), ("quick", 500)):
            assert _ask(server, f"select count(*) from {table}") == str(rows)
        assert _ask(server, "select pg_is_in_recovery()") == "f"
        assert _ask(server, "show archive_mode") == "off"
    finally:
        run(server.bin / "pg_ctl", "stop", "-w", "-D", tmp_path / "data", check=False)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _ask(server: Server, sql: str) -> str:
    words = ["-h", str(server.folder), "-U", "postgres", "-d", "postgres", "-XAtc", sql]
    done = run(server.bin / "psql", *words)
    return done.stdout.strip()

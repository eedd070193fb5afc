"""The server's programs, of exactly one major version, or the list of what there is."""

import os
from pathlib import Path

import pytest

from drkit.errors import ConfigError
from drkit.postgres.binaries import Binaries, find_binaries
from drkit.system import System
from tests.fixtures.postgres import binaries, own

pytestmark = pytest.mark.pg
SYSTEM = System()


@pytest.mark.parametrize("major", [15, 18])
def test_what_is_here_is_found(major: int) -> None:
    found = find_binaries(major, SYSTEM)
    assert found.folder.resolve() == binaries(major).resolve()
    assert found.version.startswith(f"{major}.")
    assert Path(found.program("pg_waldump")).is_file()
    assert found.libraries is not None
    assert (found.libraries / "pg_stat_statements.so").exists()


def test_none_of_that_version(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        find_binaries(12, SYSTEM)
    said = raised.value.message
    assert said.startswith("no server programs of PostgreSQL 12 on this machine (found: ")
    assert f" in {binaries(15)}" in said
    assert f" in {binaries(18)}" in said
    assert "apt-get install postgresql-12" in str(raised.value.hint)
    assert "embedded" not in str(raised.value.hint)


def made(folder: Path, script: str, mode: int = 0o755) -> Path:
    folder.mkdir(parents=True)
    own(folder)
    program = folder / "postgres"
    program.write_text(script)
    program.chmod(mode)
    return folder


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("#!/bin/sh\necho 'postgres (PostgreSQL) 16beta1 (Debian)'", "is: 16beta1 in "),
        ("#!/bin/sh\necho 'libicu missing' >&2; exit 127", "its version: libicu missing"),
        ("#!/bin/sh\necho 'postgres (EnterpriseDB) 15.4'", "that doesn't say its version"),
        ("#!/nowhere/at/all\n", "can't be run"),
    ],
)
def test_the_wanted_folder_is_the_only_one(tmp_path: Path, script: str, said: str) -> None:
    wanted = made(tmp_path / "폴더 with 'quotes'" / "bin", script)
    with pytest.raises(ConfigError) as raised:
        find_binaries(15, SYSTEM, wanted)
    assert raised.value.message.startswith("binaries: it takes a server of PostgreSQL 15")
    assert said in raised.value.message


def test_a_wanted_folder_without_a_server(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"no postgres in {tmp_path}"):
        find_binaries(15, SYSTEM, tmp_path)


def test_a_wanted_folder_that_fits(tmp_path: Path) -> None:
    script = "#!/bin/sh\necho 'postgres (PostgreSQL) 16.4'"
    found = find_binaries(16, SYSTEM, made(tmp_path / "16/bin", script))
    assert found == Binaries(folder=tmp_path / "16/bin", major=16, version="16.4")
    assert found.libraries is None
    with pytest.raises(ConfigError, match=r"pg_amcheck of PostgreSQL 16 is missing in "):
        found.program("pg_amcheck")


def test_programs_that_the_user_who_runs_them_cannot_reach(tmp_path: Path) -> None:
    """A wheel in root's own folder, for example."""
    folder = made(tmp_path / "closed/bin", "#!/bin/sh\necho 'postgres (PostgreSQL) 16.4'")
    (tmp_path / "closed").chmod(0o700)
    os.chown(tmp_path / "closed", os.geteuid(), os.getegid())
    if os.geteuid() == 0:
        with pytest.raises(ConfigError, match=r"can't be run by \w+: permission denied"):
            find_binaries(16, SYSTEM, folder)
    else:
        assert find_binaries(16, SYSTEM, folder).version == "16.4"

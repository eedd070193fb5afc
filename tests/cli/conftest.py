"""Sites to run commands at; the read-only ones are made once a file."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.command import NOBODY, Site, site


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """With a full and an incremental; for tests that only read."""
    made = site(tmp_path_factory.mktemp("done"))
    (made.data / "later.txt").write_text("later\n")
    made.ok("backup", "--incremental")
    return made


@pytest.fixture
def shop(tmp_path: Path) -> Site:
    """With one full backup; to change at will."""
    return site(tmp_path)


@pytest.fixture
def fresh(tmp_path: Path) -> Site:
    """Set up, nothing backed up."""
    return site(tmp_path, backup=False)


@pytest.fixture
def bare(tmp_path: Path) -> Site:
    """A folder, and nothing of drkit."""
    made = Site(home=tmp_path)
    made.data.mkdir()
    (made.data / "file").write_text("content\n")
    return made


@pytest.fixture
def plain_home() -> Iterator[Path]:
    """Where a user without rights may go: pytest's own folders are closed to others."""
    home = Path("/var/tmp") / f"drkit-test-{os.getpid()}"
    home.mkdir(mode=0o755)
    if os.geteuid() == 0:
        os.chown(home, NOBODY, NOBODY)
    yield home
    shutil.rmtree(home)

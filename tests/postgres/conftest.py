"""Folders that stay open for the user who runs servers.

pytest closes its own to others whenever a run begins, also for servers of a run under way.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tmp_path_factory(request: pytest.FixtureRequest) -> Iterator[pytest.TempPathFactory]:
    folder = Path(tempfile.mkdtemp(prefix="drkit-test-", dir="/var/tmp"))
    folder.chmod(0o711)
    trace = request.config.trace.get("tmpdir")
    yield pytest.TempPathFactory(folder / "t", 3, "failed", trace, _ispytest=True)
    shutil.rmtree(folder, ignore_errors=True)

"""Worlds in memory where there is room: hundreds of them, each made durable again and again."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SHARED = Path("/dev/shm")
ENOUGH = 1 << 30


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    if not os.access(SHARED, os.W_OK) or shutil.disk_usage(SHARED).free < ENOUGH:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="drkit-", dir=SHARED) as folder:
        yield Path(folder)

"""Restores a repository's newest backup with drkit, and with nothing but `restore.py`."""

import subprocess
import sys
from pathlib import Path

import drkit.repository
from drkit.crypto.recipients import Identity, open_envelope
from drkit.files import FilesPlan, FilesSource
from drkit.model.pins import Pins
from drkit.model.snapshot import Snapshot
from drkit.repository.history import History, domains, read_history
from drkit.repository.reader import SnapshotReader
from drkit.repository.repository import Repository, open_repository
from drkit.source import Target
from drkit.stores.base import Store
from drkit.system import System

SCRIPT = Path(drkit.repository.__file__).parent / "exit" / "restore.py"


def history_of(store: Store, pins: Pins) -> tuple[Repository, History]:
    repository = open_repository(store)
    (domain,) = domains(repository)
    return repository, read_history(repository, domain, pins)


def restore(
    repository: Repository, snapshot: Snapshot, identities: list[Identity], into: Path
) -> None:
    into.mkdir()
    system = System()
    with SnapshotReader(
        store=repository.store,
        repository=repository.raw_id,
        snapshot=snapshot,
        unwrap=lambda data, found: open_envelope(data, identities, sealed_to=found.recipients),
        system=system,
    ) as reader:
        source = FilesSource(FilesPlan(root=Path("source")), system)
        source.restore(snapshot, reader, Target(into=into))


def run_script(store: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Without drkit on its path, and without the environment."""
    words = [sys.executable, "-I", "-X", "utf8", SCRIPT, store, *arguments]
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, timeout=60
    )

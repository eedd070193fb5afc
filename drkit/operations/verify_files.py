"""A file tree tried: written into a scratch folder as a restore writes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drkit.check import Restored
from drkit.files import FilesPlan, FilesSource
from drkit.files.checks import NOT_CHECKED, questions
from drkit.operations.trial import Stage, Tried, Way
from drkit.postgres.scratch import ScratchPlan, check_room, marked, prepare, sweep
from drkit.source import Target
from drkit.system import System


@contextmanager
def files_room(plan: ScratchPlan, system: System) -> Iterator[Path]:
    """Nobody else needs to enter it."""
    prepare(plan.folder, None, system)
    sweep(plan.folder, system)
    check_room(plan)
    with marked(plan.folder, None, system) as folder:
        yield folder


@contextmanager
def files_trial(stage: Stage) -> Iterator[Tried]:
    into = stage.folder / "tree"
    with stage.watch.at("P4"):
        into.mkdir(mode=0o700)
        source = FilesSource(FilesPlan(root=into), stage.system)
        source.restore(stage.snapshot, stage.reader, Target(into=into))
        stage.watch.count("P4", written=stage.snapshot.facts.bytes)
    yield Tried(
        restored=Restored(folder=into, facts=stage.snapshot.facts),
        questions=questions(stage.reader.entries),
        not_checked=NOT_CHECKED,
    )


FILES = Way(room=files_room, trial=files_trial, apart=("P5", "P6"))

"""What trying a snapshot needs, whatever it is a snapshot of."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from drkit.check import Question, Restored
from drkit.model.drill import PhaseId
from drkit.model.policy import Scratch
from drkit.model.snapshot import Snapshot
from drkit.operations.stopwatch import Stopwatch
from drkit.postgres.scratch import ScratchPlan
from drkit.repository.reader import SnapshotReader
from drkit.system import System


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    folder: Path  # a scratch folder, empty
    snapshot: Snapshot
    reader: SnapshotReader
    recorded: Mapping[str, object]
    scratch: Scratch
    binaries: Path | None
    watch: Stopwatch
    system: System


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """The copy as it stands ready, and what is to be asked of it."""

    restored: Restored
    questions: Sequence[Question]
    not_checked: tuple[str, ...]
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How one kind of snapshot is tried."""

    room: Callable[[ScratchPlan, System], AbstractContextManager[Path]]
    # P4 to P6 pass on the way in; on the way out nothing is left running.
    trial: Callable[[Stage], AbstractContextManager[Tried]]
    apart: tuple[PhaseId, ...] = ()  # phases that it doesn't have

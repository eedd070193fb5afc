"""What a capture of a cluster is asked to do."""

from dataclasses import dataclass

from drkit.model.policy import Incremental


@dataclass(frozen=True, slots=True, kw_only=True)
class PhysicalPlan:
    dsn: str
    name: str  # the policy's, for messages and the backup's label
    incremental: Incremental = "auto"
    max_rate: int | None = None  # bytes a second
    wal_wait: float = 600.0  # seconds until the WAL of a backup must have come
    silence: float = 60.0  # seconds without a byte after which a stream counts as broken
    answer: float = 600.0  # seconds for the answer to a question
    checkpoint_wait: float = 1800.0  # seconds for the checkpoint with which a backup begins
    task: str = "backup"

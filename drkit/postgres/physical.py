"""A whole cluster as a source."""

from collections.abc import Iterator
from contextlib import contextmanager

from drkit.errors import PostgresError
from drkit.model.snapshot import Facts, Snapshot
from drkit.postgres.plan import PhysicalPlan
from drkit.source import Reader, Save, Target
from drkit.system import System


class PhysicalSource:
    kind = "postgres-physical"

    def __init__(self, plan: PhysicalPlan, system: System, system_id: str) -> None:
        self._plan = plan
        self._system = system
        self.system_id = system_id

    def unfit(self, state: bytes) -> str:
        raise NotImplementedError

    def capture(self, save: Save) -> Facts:
        raise NotImplementedError

    def restore(self, snapshot: Snapshot, reader: Reader, into: Target) -> None:
        raise NotImplementedError


@contextmanager
def opened(plan: PhysicalPlan, system: System) -> Iterator[PhysicalSource]:
    if plan.dsn:
        raise PostgresError("not yet")
    yield PhysicalSource(plan, system, "")

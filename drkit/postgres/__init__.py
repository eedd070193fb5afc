"""PostgreSQL: captured by its own replication protocol, restored, opened and asked."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from drkit.postgres.plan import PhysicalPlan as PhysicalPlan
from drkit.system import System

if TYPE_CHECKING:
    from drkit.postgres.physical import PhysicalSource


def physical_source(plan: PhysicalPlan, system: System) -> "AbstractContextManager[PhysicalSource]":
    """The server was asked who it is; libpq is loaded with the first of them."""
    from drkit.postgres.physical import opened

    return opened(plan, system)

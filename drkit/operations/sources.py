"""What a policy protects, as a source that a session can read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drkit.files import FilesPlan, FilesSource
from drkit.model.policy import Policy
from drkit.postgres import PhysicalPlan, physical_source
from drkit.repository.signed import Origin
from drkit.source import Source
from drkit.system import System


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    source: Source
    origin: Origin
    unfit: Callable[[bytes], str]  # why nothing can be built on what it remembers; '' if it can


@contextmanager
def opened_source(
    policy: Policy, apart: tuple[Path, ...], task: str, system: System
) -> Iterator[Opened]:
    """`apart`: folders of drkit's own, which no backup holds."""
    if policy.source.postgres is not None:
        with physical_source(physical_plan(policy, task), system) as source:
            origin = Origin(kind=source.kind, system=source.system_id)
            yield Opened(source=source, origin=origin, unfit=source.unfit)
    else:
        files = FilesSource(files_plan(policy, apart, task), system)
        origin = Origin(kind=files.kind, system=None)
        yield Opened(source=files, origin=origin, unfit=lambda _state: "")


def physical_plan(policy: Policy, task: str) -> PhysicalPlan:
    postgres = policy.source.postgres
    assert postgres is not None
    return PhysicalPlan(
        dsn=postgres.dsn,
        name=policy.name,
        incremental=postgres.incremental,
        max_rate=postgres.max_rate,
        task=task,
    )


def files_plan(policy: Policy, apart: tuple[Path, ...], task: str) -> FilesPlan:
    files = policy.source.files
    assert files is not None
    return FilesPlan(
        root=files.root,
        include=files.include,
        exclude=files.exclude,
        one_file_system=files.one_file_system,
        unreadable=files.unreadable,
        xattrs=files.xattrs,
        apart=apart,
        task=task,
    )

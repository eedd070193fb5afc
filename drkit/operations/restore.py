"""A snapshot back on disk: into a folder of its own, after saying how old it is."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from drkit.crypto.recipients import Identity
from drkit.errors import Damaged, DrkitError, Tampering, UsageError
from drkit.files import FilesPlan, FilesSource
from drkit.files.selection import selected
from drkit.model import schedule
from drkit.model.entry import text
from drkit.model.policy import Policy
from drkit.model.snapshot import Snapshot
from drkit.model.units import roughly
from drkit.operations import state
from drkit.operations.reading import Seen, opened, policy_of
from drkit.operations.restore_postgres import (
    ClusterPlan,
    ClusterPreview,
    Ready,
    preview_cluster,
    restore_cluster,
)
from drkit.postgres.leftovers import MARKER
from drkit.postgres.shape import KIND, refuse_paths
from drkit.repository.manifest import Head
from drkit.source import Target
from drkit.system import System

_OTHERS = "an older snapshot or a copy may be whole: drkit list shows them, drkit scrub what is hit"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePlan:
    seen: Seen
    snapshot: Snapshot
    identities: tuple[Identity, ...]
    into: Path
    paths: tuple[str, ...] = ()  # as a person typed them
    as_root: bool = False
    tablespaces: Mapping[str, Path] = field(default_factory=dict)  # of a cluster: original → where
    prepare_only: bool = False  # of a cluster: never started here

    @property
    def text_paths(self) -> tuple[str, ...]:
        return tuple(text(path) for path in self.paths)

    @property
    def cluster(self) -> ClusterPlan | None:
        """None: it is a snapshot of files."""
        if self.snapshot.facts.kind != KIND:
            return None
        return ClusterPlan(
            seen=self.seen,
            snapshot=self.snapshot,
            identities=self.identities,
            into=self.into.absolute(),  # servers stand in other folders
            tablespaces=self.tablespaces,
            prepare_only=self.prepare_only,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    head: Head
    entries: int
    bytes: int
    free: int
    cluster: ClusterPreview | None = None


def check_target(into: Path) -> None:
    """Never merged into anything: what comes out must be the snapshot and nothing else."""
    with state.disk("look at", into):
        if into.is_symlink() and not into.exists():
            raise UsageError(f"{into} is a link to nothing")
        if not into.exists():
            return
        if not into.is_dir():
            raise UsageError(f"{into} is no folder")
        with os.scandir(into) as found:
            if next(found, None) is None:
                return
    if (into / "PG_VERSION").exists():
        runs = ", and its server runs" if (into / "postmaster.pid").exists() else ""
        raise UsageError(
            f"{into} is the data folder of a cluster{runs}: nothing is restored over it",
            hint=f"restore into a new folder, like {into}-restored",
        )
    raise UsageError(
        f"{into} is not empty: a restore is never mixed with what is there",
        hint=f"restore into a new folder, like {into}-restored, and move it when it is right",
    )


def check_apart(into: Path, stores: tuple[Path, ...]) -> None:
    """A store is no place for what was sealed to be kept out of it."""
    with state.disk("look at", into):
        target = into.resolve()
        inside = next((s for s in stores if target.is_relative_to(s.resolve())), None)
    if inside is not None:
        raise UsageError(
            f"{into} lies in the store {inside}: files in clear don't belong there",
            hint="restore into a folder outside of it",
        )


def doubts(plan: RestorePlan, policy: Policy | None, now: datetime) -> list[DrkitError]:
    """Why a person should say yes first: signs of tampering, or a newest that is too old."""
    found: list[DrkitError] = [Tampering(f.message, hint=f.hint) for f in plan.seen.tampered]
    newest = plan.seen.snapshots[-1]
    allowed = _allowed(policy)
    if allowed is not None and now - newest.ended > allowed:
        found.append(
            UsageError(
                f"the newest snapshot is {roughly(now - newest.ended)} old, "
                "more than its schedule allows: newer ones may be missing",
                hint="see if backups failed, or if the store was set back; then add --yes",
            )
        )
    return found


def _allowed(policy: Policy | None) -> timedelta | None:
    if policy is None:
        return None
    rules = [r for r in (policy.schedule.full, policy.schedule.incremental) if r is not None]
    if not rules:
        return None
    return min(schedule.longest_interval(rule) for rule in rules) + timedelta(hours=1)


def check_kind(plan: RestorePlan) -> None:
    """What is asked must fit what was backed up."""
    if plan.cluster is not None:
        refuse_paths(plan.paths)
        if plan.as_root:
            raise UsageError(
                "--as-root is for files: a cluster's folder belongs to who runs its server",
                hint="leave it away",
            )
    elif plan.tablespaces or plan.prepare_only:
        word = "--tablespace" if plan.tablespaces else "--prepare-only"
        raise UsageError(f"{word} is for PostgreSQL: this snapshot holds files")


def preview(plan: RestorePlan, system: System) -> Preview:
    check_kind(plan)
    cluster = None if plan.cluster is None else preview_cluster(plan.cluster, system)
    with opened(plan.seen.domain, plan.snapshot, plan.identities, system) as reader:
        head = reader.lines().head
        entries = size = 0
        for entry in selected(reader, plan.text_paths, plan.snapshot.facts.label):
            entries += 1
            size += entry.size
    return Preview(head=head, entries=entries, bytes=size, free=_free(plan.into), cluster=cluster)


def _free(into: Path) -> int:
    folder = next(path for path in (into.absolute(), *into.absolute().parents) if path.is_dir())
    with state.disk("look at", folder):
        found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def policy_then(plan: RestorePlan, system: System) -> Policy | None:
    """As the newest snapshot holds it, where no policy file is at hand."""
    newest = plan.seen.snapshots[-1]
    with opened(plan.seen.domain, newest, plan.identities, system) as reader:
        return policy_of(reader.lines().head)


def restore(plan: RestorePlan, system: System) -> Ready | None:
    """What a cluster became; of files there is nothing more to say."""
    check_kind(plan)
    check_target(plan.into)
    made = not plan.into.exists()
    try:
        if plan.cluster is not None:
            return restore_cluster(plan.cluster, system)
        _restore_files(plan, system)
        return None
    except BaseException as error:
        error.add_note(left_in(plan.into, made=made))
        if isinstance(error, Damaged) and error.hint is None:
            error.hint = _OTHERS
        raise


def _restore_files(plan: RestorePlan, system: System) -> None:
    source = FilesSource(FilesPlan(root=plan.into), system)
    target = Target(into=plan.into, paths=plan.text_paths, as_root=plan.as_root)
    with opened(plan.seen.domain, plan.snapshot, plan.identities, system) as reader:
        with state.disk("make", plan.into):
            plan.into.mkdir(mode=0o700, parents=True, exist_ok=True)
        source.restore(plan.snapshot, reader, target)


def left_in(into: Path, *, made: bool) -> str:
    """After a failure: what a person will find there."""
    try:
        with os.scandir(into) as found:
            empty = next(found, None) is None
        if empty and made:
            into.rmdir()
    except FileNotFoundError:
        empty = True
    except OSError as error:
        return f"{into}: what it holds now can't be seen: {error.strerror}"
    if empty:
        return f"nothing was written to {into}"
    if (into / MARKER).exists():
        return f"{into} is not complete, or not proven: its {MARKER} says so to everybody"
    return f"{into} holds a part of the snapshot and is not complete"

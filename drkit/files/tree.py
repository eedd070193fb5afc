"""A file tree as a source: capture of one root, restore of all of it or of chosen paths."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from drkit.errors import SourceError
from drkit.files.content import Contents
from drkit.files.patterns import compiled
from drkit.files.selection import selected
from drkit.files.stat import Describer, made_up_devices, said, settled_before
from drkit.files.tally import Tally
from drkit.files.walk import Limits, Tools, Walk
from drkit.model.entry import Entry, shown, text
from drkit.model.snapshot import Facts, Snapshot
from drkit.source import Reader, Save, Target
from drkit.system import System


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesPlan:
    root: Path
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    one_file_system: bool = False
    unreadable: Literal["fail", "warn"] = "fail"
    xattrs: bool = True
    apart: tuple[Path, ...] = ()  # the repository, drkit's state: never part of a backup
    task: str = "files: backup"  # what progress is told under


class _State(msgspec.Struct, frozen=True):
    """What the source keeps for next time."""

    entries: int = 0


class FilesSource:
    kind = "files"

    def __init__(self, plan: FilesPlan, system: System) -> None:
        self._plan = plan
        self._system = system

    def capture(self, save: Save) -> Facts:
        plan = self._plan
        tally = Tally(self._system, plan.task)
        with _opened(plan) as root:
            st = os.fstat(root)
            limits = _limits(plan)
            if (st.st_dev, st.st_ino) in limits.apart:
                raise SourceError(f"{_name(plan)} is drkit's own folder")
            walk = self._walk(save, limits, tally)
            try:
                walk.start(root)
            except OSError as refused:
                raise _no_root(plan, refused) from refused
            tally.begin()
            walk.run()
            _still_there(plan, st)
        _compare(_name(plan), _before(save), tally)
        save.state = msgspec.json.encode(_State(entries=tally.entries))
        tally.end()
        return self._facts(tally, st)

    def _walk(self, save: Save, limits: Limits, tally: Tally) -> Walk:
        settled = settled_before(self._system.now().timestamp())
        describe = Describer(tally, xattrs=self._plan.xattrs)
        contents = Contents(save, describe, tally, settled)
        sleep = self._system.sleep
        tools = Tools(describe=describe, contents=contents, settled=settled, sleep=sleep)
        return Walk(save, limits, tally, tools)

    def _facts(self, tally: Tally, root: os.stat_result) -> Facts:
        top: dict[str, str | int] = {"root_uid": root.st_uid, "root_gid": root.st_gid}
        top |= {"root_mode": f"{root.st_mode & 0o7777:04o}", "root_mtime": str(root.st_mtime_ns)}
        return Facts(
            kind=self.kind,
            label=text(os.fspath(self._plan.root)),
            files=tally.files,
            bytes=tally.bytes,
            damaged=tally.harm > 0 and self._plan.unreadable == "fail",
            notes=tally.notes(),
            details=tally.details() | top,
        )

    def restore(self, snapshot: Snapshot, reader: Reader, into: Target) -> None:
        entries = selected(reader, into.paths, snapshot.facts.label)
        reader.tree(entries, into.into, as_root=into.as_root, top=_top(snapshot.facts))


def _top(facts: Facts) -> Entry | None:
    """The root has no line of its own: a path is never empty."""
    mode, mtime = facts.details.get("root_mode"), facts.details.get("root_mtime")
    uid, gid = facts.details.get("root_uid"), facts.details.get("root_gid")
    if not (isinstance(mode, str) and mode.isdigit() and isinstance(mtime, str)):
        return None
    if not (isinstance(uid, int) and isinstance(gid, int)):
        return None
    return Entry(path="", type="dir", mode=int(mode, 8), uid=uid, gid=gid, mtime=int(mtime))


@contextmanager
def _opened(plan: FilesPlan) -> Iterator[int]:
    try:
        fd = os.open(plan.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as refused:
        raise _no_root(plan, refused) from refused
    try:
        yield fd
    finally:
        os.close(fd)


def _still_there(plan: FilesPlan, before: os.stat_result) -> None:
    """A root that went away in mid-walk looks like a tree whose files were all deleted."""
    try:
        now = os.stat(plan.root)
    except OSError as refused:
        raise _no_root(plan, refused) from refused
    if (now.st_dev, now.st_ino) != (before.st_dev, before.st_ino):
        raise SourceError(
            f"{_name(plan)} was replaced while it was read", hint="run the backup again"
        )


def _no_root(plan: FilesPlan, refused: OSError) -> SourceError:
    hints = {
        errno.ENOENT: "is its disk mounted? the root stands in the policy under source: files",
        errno.ENOTDIR: "the root of a file source is a folder",
        errno.EACCES: "run the backup as a user that may read it",
    }
    hint = hints.get(refused.errno or 0, "look at the disk below it")
    return SourceError(f"{_name(plan)} can't be read: {said(refused)}", hint=hint)


def _name(plan: FilesPlan) -> str:
    return shown(text(os.fspath(plan.root)))


def _limits(plan: FilesPlan) -> Limits:
    return Limits(
        include=compiled(plan.include) if plan.include else None,
        exclude=compiled(plan.exclude) if plan.exclude else None,
        one_file_system=plan.one_file_system,
        made_up=made_up_devices(),
        apart=frozenset(_identities(plan.apart)),
    )


def _identities(folders: tuple[Path, ...]) -> Iterator[tuple[int, int]]:
    """By device and inode: a bind mount or a link to the repository is the repository."""
    for folder in folders:
        try:
            st = folder.stat()
        except OSError:
            continue  # what isn't there is not in the tree either
        yield st.st_dev, st.st_ino


def _before(save: Save) -> int:
    try:
        return msgspec.json.decode(save.state, type=_State).entries if save.state else 0
    except msgspec.DecodeError:
        return 0


def _compare(root: str, before: int, tally: Tally) -> None:
    if before and not tally.entries:
        tally.warn(
            f"{root} holds nothing now, the last backup held {before} names",
            hint="is its disk mounted? the earlier backups are untouched",
        )

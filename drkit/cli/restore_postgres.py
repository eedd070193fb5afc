"""What drkit restore takes and says about clusters."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drkit.cli.output import Output
from drkit.cli.wiring import World
from drkit.errors import UsageError

if TYPE_CHECKING:
    from drkit.operations.restore_postgres import ClusterPreview, Ready


@dataclass(frozen=True, slots=True, kw_only=True)
class ForClusters:
    """Options that only a cluster's snapshot takes."""

    tablespaces: dict[str, Path]
    prepare_only: bool
    rearm: Path | None

    @property
    def given(self) -> bool:
        return bool(self.tablespaces) or self.prepare_only


def for_clusters(function: Callable[..., int]) -> Callable[..., int]:
    """The options, turned into one argument `clusters`."""

    @functools.wraps(function)
    def command(
        *args: object,
        tablespace: tuple[str, ...],
        prepare_only: bool,
        rearm: Path | None,
        **options: object,
    ) -> int:
        found = tablespaces(tablespace)
        clusters = ForClusters(tablespaces=found, prepare_only=prepare_only, rearm=rearm)
        return function(*args, clusters=clusters, **options)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS = (
    click.option(
        "--tablespace",
        "tablespace",
        multiple=True,
        metavar="OLD=NEW",
        help="PostgreSQL: where one goes; OLD is its path or number. Else DIR/tablespaces.",
    ),
    click.option("--prepare-only", is_flag=True, help="PostgreSQL: don't start it."),
    click.option(
        "--rearm",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="PostgreSQL: let a restored folder archive and follow again.",
    ),
)


def tablespaces(words: Sequence[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for word in words:
        old, equals, new = word.rpartition("=")
        if not (old and equals and new):
            raise UsageError(
                f"--tablespace {word} is not OLD=NEW", hint="--tablespace /srv/fast=/srv/restored"
            )
        if old in found:
            raise UsageError(f"--tablespace {old} stands there twice")
        found[old] = Path(new)
    return found


def rearm(world: World, folder: Path) -> None:
    from drkit.postgres import leftovers

    leftovers.rearm(folder)
    out = world.out
    out.line(f"{folder}: drkit's lines are out of postgresql.auto.conf")
    out.line("started now, it archives, follows and subscribes as its settings say")
    out.line("give it an archive of its own before: another timeline must not meet the original's")
    out.document({"rearmed": folder})


def say_preview(out: Output, preview: "ClusterPreview") -> None:
    from drkit.model.units import roughly, size_in_words

    out.line(f"PostgreSQL {preview.version}")
    for tablespace in preview.tablespaces:
        size = size_in_words(tablespace.bytes)
        out.line(f"tablespace {tablespace.oid}, was {tablespace.original}, {size}")
        out.line(f"    into {tablespace.place}")
    for disk in preview.disks:
        free, needed = size_in_words(disk.free), size_in_words(disk.needed)
        out.line(f"{disk.path}: {needed} needed, {free} free")
        if disk.needed > disk.free:
            out.warn(f"that is more than {disk.path} has room for")
    if preview.binaries is not None:
        out.line(f"started with {preview.binaries.version} in {preview.binaries.folder}")
    took = roughly(timedelta(seconds=max(round(preview.seconds), 1)))
    basis = "as fast as the last one here" if preview.measured else "assuming 100 MiB/s"
    out.line(f"it would take about {took}, {basis}")
    if preview.missing is not None:
        out.warn(preview.missing.message, preview.missing.hint)


def preview_document(preview: "ClusterPreview") -> dict[str, object]:
    binaries = preview.binaries
    return {
        "version": preview.version,
        "tablespaces": [
            {"oid": t.oid, "original": t.original, "place": t.place, "bytes": t.bytes}
            for t in preview.tablespaces
        ],
        "disks": [
            {"path": d.path, "needed_bytes": d.needed, "free_bytes": d.free} for d in preview.disks
        ],
        "binaries": None if binaries is None else binaries.folder,
        "expected_seconds": round(preview.seconds, 1),
        "expected_from": "measured" if preview.measured else "assumed",
    }


def say_ready(out: Output, ready: "Ready", into: Path) -> None:
    for tablespace in ready.tablespaces:
        out.line(f"tablespace {tablespace.original} is in {tablespace.place}")
    if ready.opened is None:
        out.line("it was not started: when you do, it recovers to the end of its backup, and opens")
    else:
        pages = ", page checksums are right" if ready.opened.pages else ""
        out.line(
            f"it was started, recovered to {ready.reached}, took a write and was stopped{pages}"
        )
    out.line(f"start it with: {ready.start}")
    where = "postgresql.conf came with it" if ready.configured else "its postgresql.conf is drkit's"
    out.line(f"{where}; the original's settings are in {into}/drkit-recorded.conf")
    out.line("it is on a new timeline: the next backup must be a full")
    out.line(
        "until you say otherwise it neither archives nor follows nor subscribes: "
        f"drkit restore --rearm {into}"
    )
    for finding in ready.findings:
        out.warn(finding.message, finding.hint)


def ready_document(ready: "Ready") -> dict[str, object]:
    opened = ready.opened
    return {
        "version": ready.version,
        "start": ready.start,
        "tablespaces": {t.original: t.place for t in ready.tablespaces},
        "files_compared": ready.checked,
        "opened": opened is not None,
        "seconds_until_open": None if opened is None else round(opened.seconds, 3),
        "timeline": None if opened is None else opened.timeline,
        "reached": ready.reached,
        "pages_checked": opened is not None and opened.pages,
        "warnings": list(ready.findings),
    }

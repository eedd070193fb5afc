"""drkit restore."""

import os
import shlex
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drkit.cli.documents import name_of, snapshot_document
from drkit.cli.output import Output, agreed, count, iso
from drkit.cli.reading import Asked, looked_at, reading
from drkit.cli.restore_postgres import (
    ForClusters,
    for_clusters,
    preview_document,
    ready_document,
    rearm,
    say_preview,
    say_ready,
)
from drkit.cli.verify import Choice, run
from drkit.cli.wiring import World, own_folders, wired
from drkit.errors import DrkitError, Exit, KeyMissing, Tampering, UsageError

if TYPE_CHECKING:
    from drkit.model.policy import Policy
    from drkit.model.snapshot import Snapshot
    from drkit.operations.reading import Seen
    from drkit.operations.restore import Preview, RestorePlan
    from drkit.operations.restore_postgres import Ready

_EPILOG = """\b
Examples:
  drkit restore shop --into /srv/restored -i operations.txt
  drkit restore shop --into out -i operations.txt orders/2025 photo.raw
  drkit restore shop --into out -i operations.txt --at '2 hours ago'
  drkit restore shop --into out -i operations.txt --dry-run
  drkit restore --repository /mnt/backup --into out -i operations.txt
  drkit restore shop --into /srv/pg -i operations.txt --tablespace /srv/fast=/srv/fast-restored
  drkit restore --rearm /srv/pg
  drkit restore shop --verify -i operations.txt     try it, measure it, leave evidence

DIR must be new or empty. The private key is not on the backed-up machine: it was printed or
written by drkit init. Owners and setuid bits come back with --as-root.

A PostgreSQL cluster is started there apart from the world, recovered, checked and stopped; what
you find is ready to be started, and leaves the original and its archive alone until --rearm.
"""


@click.command("restore", epilog=_EPILOG)
@click.argument("name", metavar="[POLICY]", required=False)
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option(
    "--into",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A folder that is new or empty.",
)
@click.option("--at", "at", metavar="TIME", help="The newest that was complete by then.")
@click.option("--snapshot", "snapshot", metavar="ID", help="This one; drkit list shows them.")
@click.option("--as-root", is_flag=True, help="Owners, setuid bits and all attributes, too.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")
@click.option("--verify", is_flag=True, help="Try it in a scratch folder, and measure it.")
@for_clusters
@reading
@wired
def command(
    world: World,
    name: str | None,
    paths: tuple[str, ...],
    into: Path | None,
    at: str | None,
    snapshot: str | None,
    as_root: bool,
    dry_run: bool,
    verify: bool,
    asked: Asked,
    clusters: ForClusters,
) -> int:
    """Write a snapshot into a new folder.

    With PATHs only these: as they stood on the disk, or relative to what was protected.
    """
    from drkit.operations import restore
    from drkit.operations.reading import find_domain

    if clusters.rearm is not None:
        if name is not None or into is not None or verify:
            raise UsageError("--rearm DIR stands alone")
        rearm(world, clusters.rearm)
        return Exit.FINE
    if verify:
        refused = into is not None or bool(paths) or as_root or dry_run or clusters.given
        return run(world, name, asked, Choice(at=at, snapshot=snapshot, refused=refused))
    if into is None:
        raise UsageError("into which folder? --into DIR", hint="or --verify: only try it")
    restore.check_target(into)
    if as_root and os.geteuid() != 0:
        raise UsageError("--as-root gives files away to their owners: only root may do that")
    names = () if name is None else (name,)
    found = looked_at(world, names, asked)
    seen = find_domain(found.seen, None)
    for place in (into, *clusters.tablespaces.values()):
        restore.check_apart(place, own_folders((seen.domain.repository.store.url,)))
    plan = restore.RestorePlan(
        seen=seen,
        snapshot=_chosen(world, seen, at, snapshot),
        identities=found.identities,
        into=into,
        paths=paths,
        as_root=as_root,
        tablespaces=clusters.tablespaces,
        prepare_only=clusters.prepare_only,
    )
    restore.check_kind(plan)
    if not found.identities:
        raise _no_identity(plan.snapshot)
    return _carried_out(world, plan, dry_run=dry_run)


def _carried_out(world: World, plan: "RestorePlan", *, dry_run: bool) -> int:
    from drkit.operations import restore

    begun = world.system.monotonic()
    doubts = _doubts(world, plan)
    if dry_run:
        preview = restore.preview(plan, world.system)
        _say_preview(world.out, plan, preview)
        world.out.document(_document(plan, doubts) | {"dry_run": True} | _preview_document(preview))
        return Exit.FINE
    if doubts:
        agreed(world.out, "Restore it nevertheless?", yes=world.yes, doubts=doubts)
    ready = restore.restore(plan, world.system)
    seconds = world.system.monotonic() - begun
    _say_done(world.out, plan, seconds, ready)
    document = _document(plan, doubts) | {"dry_run": False, "seconds": round(seconds, 3)}
    cluster = {} if ready is None else {"cluster": ready_document(ready)}
    world.out.document(document | cluster)
    return Exit.FINE


def _chosen(world: World, seen: "Seen", at: str | None, snapshot: str | None) -> "Snapshot":
    from drkit.operations import reading as choose

    if at is not None and snapshot is not None:
        raise UsageError("--at and --snapshot exclude each other")
    snapshots = choose.believed(seen)
    if at is None:
        return choose.pick(snapshots, "latest" if snapshot is None else snapshot)
    now = world.system.now()
    zone = now.astimezone().tzinfo
    assert zone is not None
    moment = choose.moment(at, now, zone)
    world.out.line(f"at {iso(moment)}")
    return choose.pick_at(snapshots, moment)


def _no_identity(snapshot: "Snapshot") -> KeyMissing:
    names = ", ".join(f"{name}…" for name in snapshot.recipients) or "unknown recipients"
    return KeyMissing(
        f"no identity was given; this snapshot opens with the private key of {names}",
        hint="--identity FILE (the file, or the paper form typed into one), or DRKIT_IDENTITY_FILE",
    )


def _doubts(world: World, plan: "RestorePlan") -> list[DrkitError]:
    """Said before anything is written, whoever is there to read it."""
    from drkit.operations import restore

    out = world.out
    policy: Policy | None = plan.seen.domain.policy
    newest, chosen = plan.seen.snapshots[-1], plan.snapshot
    out.line(f"{name_of(plan.seen)}: snapshot {chosen.session[:8]} of {iso(chosen.ended)}")
    if newest is not chosen:
        out.line(f"the newest there is: {newest.session[:8]} of {iso(newest.ended)}")
    for finding in plan.seen.findings:
        if finding.level == "warn":
            out.warn(finding.message, finding.hint)
    doubts = [_answerable(one, plan) for one in restore.doubts(plan, policy, world.system.now())]
    for doubt in doubts if world.yes or out.interactive else doubts[1:]:
        out.warn(doubt.message)
    return doubts


def _answerable(doubt: DrkitError, plan: "RestorePlan") -> DrkitError:
    """A tampered store may be the only one left: there must be a way on."""
    if not isinstance(doubt, Tampering):
        return doubt
    hint = "look at the findings first; --yes restores it nevertheless"
    domain = plan.seen.domain
    copies = () if domain.policy is None else domain.policy.repository.copies
    by_policy = domain.state is not None  # else its address was given, which may be a copy's
    if copies and by_policy and not domain.repository.copy:
        hint += f"; or restore from a copy: --store {shlex.quote(copies[0])}"
    return Tampering(doubt.message, hint=hint)


def _say_preview(out: Output, plan: "RestorePlan", preview: "Preview") -> None:
    from drkit.model.units import size_in_words

    out.line(f"would write {preview.entries:,} entries, {size_in_words(preview.bytes)}")
    out.line(f"into {plan.into}, which has {size_in_words(preview.free)} free")
    if preview.cluster is not None:
        say_preview(out, preview.cluster)
    elif preview.bytes > preview.free:
        out.warn("that is more than there is room for (holes and doubles not counted)")


def _preview_document(preview: "Preview") -> dict[str, object]:
    found: dict[str, object] = {
        "entries": preview.entries,
        "bytes": preview.bytes,
        "free_bytes": preview.free,
    }
    cluster = preview.cluster
    return found if cluster is None else found | {"cluster": preview_document(cluster)}


def _say_done(out: Output, plan: "RestorePlan", seconds: float, ready: "Ready | None") -> None:
    from drkit.model.units import roughly, size_in_words

    took = roughly(timedelta(seconds=round(seconds))) if seconds >= 1 else "under 1 s"
    facts = plan.snapshot.facts
    what = (
        count(len(plan.paths), "chosen paths")
        if plan.paths
        else f"{count(facts.files, 'files')}, {size_in_words(facts.bytes)}"
    )
    out.line(f"restored into {plan.into}: {what}, in {took}")
    if ready is not None:
        say_ready(out, ready, plan.into)
    if facts.damaged:
        out.warn("this backup was not complete when it was taken: drkit show names what is missing")


def _document(plan: "RestorePlan", doubts: list[DrkitError]) -> dict[str, object]:
    return {
        "name": plan.seen.domain.name,
        "into": plan.into,
        "paths": plan.paths,
        "snapshot": snapshot_document(plan.snapshot),
        "doubts": [doubt.message for doubt in doubts],
        "findings": list(plan.seen.findings),
    }

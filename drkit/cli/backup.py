"""drkit backup."""

from typing import TYPE_CHECKING

import click

from drkit.cli.copy import copied_document, say_copied
from drkit.cli.output import Output, count
from drkit.cli.several import Outcome, each, first_of
from drkit.cli.wiring import World, copies_of, own_folders, repository_of, wired
from drkit.errors import UsageError

if TYPE_CHECKING:
    from drkit.model.policy import Policy
    from drkit.model.snapshot import BackupKind
    from drkit.operations.backup import Backup

_EPILOG = """\b
Examples:
  drkit backup                  what is due, of every policy: cron's command
  drkit backup --quiet          the same, silent when all is well
  drkit backup shop --full      a full now, whatever the schedule says

Goes on with the next policy after a failure; the exit code is the first failed one's, by name.
"""


@click.command("backup", epilog=_EPILOG)
@click.argument("policy_names", metavar="[POLICY]...", nargs=-1)
@click.option("--full", is_flag=True, help="A full backup, now.")
@click.option("--incremental", is_flag=True, help="An incremental, now; a full where none can be.")
@wired
def command(world: World, policy_names: tuple[str, ...], full: bool, incremental: bool) -> int:
    """Take the backups that are due.

    Without POLICY: of all policies in the folder.
    """
    if full and incremental:
        raise UsageError("--full and --incremental exclude each other")
    kind: BackupKind | None = "full" if full else "incremental" if incremental else None
    return each(world, policy_names, "backups", lambda policy: _run(world, policy, kind))


def _run(world: World, policy: "Policy", kind: "BackupKind | None") -> Outcome:
    from drkit.operations.backup import BackupPlan, run

    repository = repository_of(world, policy)
    plan = BackupPlan(
        policy=policy,
        repository=repository,
        state=world.state(policy),
        kind=kind,
        apart=own_folders((policy.repository.store, *policy.repository.copies)),
        copies=copies_of(world, policy),
    )
    taken = run(plan, world.system)
    _say(world.out, policy.name, taken)
    return _document(taken), first_of(world, policy.name, taken.errors)


def _say(out: Output, name: str, taken: "Backup") -> None:
    for finding in taken.warnings:
        out.warn(f"{name}: {finding.message}", finding.hint)
    if taken.done is None:
        out.line(f"{name}: {taken.reason}")
    else:
        out.line(f"{name}: {summary(taken)}")
        out.detail(f"{name}: {taken.reason}; snapshot {taken.done.session}")
        for note in taken.done.facts.notes:
            out.detail(f"{name}: {note}")
    for copied in taken.copies:
        say_copied(out, name, copied)


def summary(taken: "Backup") -> str:
    """incremental backup committed: 1,204 files, 3.2 GiB, 12 MiB added in 4 s"""
    from datetime import timedelta

    from drkit.model.units import roughly, size_in_words

    done = taken.done
    assert done is not None
    spent = roughly(timedelta(seconds=round(taken.seconds) if taken.seconds >= 1 else 1))
    took = f"in {spent}" if taken.seconds >= 1 else "in under 1 s"
    return (
        f"{done.kind} backup committed: {count(done.facts.files, 'files')}, "
        f"{size_in_words(done.facts.bytes)}, {size_in_words(done.added)} added {took}"
    )


def _document(taken: "Backup") -> dict[str, object]:
    done = taken.done
    common = {
        "reason": taken.reason,
        "warnings": list(taken.warnings),
        "copies": [copied_document(copied) for copied in taken.copies],
    }
    if done is None:
        return {**common, "committed": False}
    return {
        **common,
        "committed": True,
        "kind": done.kind,
        "why_full": done.why or None,
        "generation": done.generation,
        "snapshot": done.session,
        "hash": done.hash,
        "files": done.facts.files,
        "bytes": done.facts.bytes,
        "added_bytes": done.added,
        "seconds": round(taken.seconds, 3),
        "notes": done.facts.notes,
        "findings": list(done.findings),
    }

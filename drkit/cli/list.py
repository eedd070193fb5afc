"""drkit list."""

import click

from drkit.cli.documents import domain_document, exit_of, name_of, say_findings, snapshot_table
from drkit.cli.output import count
from drkit.cli.reading import Asked, looked_at, reading
from drkit.cli.wiring import World, wired

_EPILOG = """\b
Examples:
  drkit list
  drkit list shop --json
  drkit list --repository /mnt/backup --identity operations.txt

With a policy no identity is needed. Without one the names of what is protected stand sealed in
the backups: give an identity to see them.
"""


@click.command("list", epilog=_EPILOG)
@click.argument("names", metavar="[POLICY]...", nargs=-1)
@reading
@wired
def command(
    world: World,
    names: tuple[str, ...],
    asked: Asked,
) -> int:
    """Show the snapshots there are.

    Oldest first.
    """
    found = looked_at(world, names, asked).seen
    out = world.out
    for number, seen in enumerate(found):
        say_findings(out, seen)
        if number:
            out.always("")
        out.always(f"{name_of(seen)}: {seen.domain.repository.store.url}")
        if seen.snapshots:
            snapshot_table(out, seen.snapshots)
        pending = sum(len(g.open_sessions) for g in seen.history.generations.values())
        if pending:
            out.always(f"{count(pending, 'runs')} without an outcome: under way, or broken off")
        if not seen.snapshots:
            out.always("no snapshot yet")
    if not found:
        out.always("this repository holds no backup yet")
    out.document({"domains": [domain_document(seen) for seen in found]})
    return exit_of(finding for seen in found for finding in seen.findings)

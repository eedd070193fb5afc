"""drkit report."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from drkit.cli.documents import SHORT, exit_of
from drkit.cli.output import Output, iso, table
from drkit.cli.reading import Asked, identities, pins_of, readable, reading
from drkit.cli.wiring import World, policies, store_of, wired

if TYPE_CHECKING:
    from datetime import datetime

    from drkit.operations.reading import Domain
    from drkit.operations.report import Row, Story

_EPILOG = """\b
Examples:
  drkit report                          of every policy, newest first
  drkit report shop --json
  drkit report --repository /mnt/backup --signer ed25519:…

Reads the records that drkit restore --verify has left in the stores; no identity is needed, only
without a policy the names of what is protected are sealed.
"""


@click.command("report", epilog=_EPILOG)
@click.argument("names", metavar="[POLICY]...", nargs=-1)
@reading
@wired
def command(world: World, names: tuple[str, ...], asked: Asked) -> int:
    """Show which restores were tried, how long they took, and what failed.

    Newest first.
    """
    from drkit.operations.report import story

    stories = [story(domain) for domain in _domains(world, names, asked)]
    now = world.system.now()
    for one in stories:
        for finding in one.findings:
            world.out.warn(f"{one.name}: {finding.message}", finding.hint)
        world.out.always(headline(one, now))
    rows = sorted(
        ((row, one.name) for one in stories for row in one.rows),
        key=lambda found: found[0].at,
        reverse=True,
    )
    _say_table(world.out, rows)
    world.out.document({"stories": [_document(one, now) for one in stories]})
    return exit_of(finding for one in stories for finding in one.findings)


def _domains(world: World, names: Sequence[str], asked: Asked) -> "list[Domain]":
    from drkit.operations.listing import of_repository
    from drkit.operations.reading import domain_of, find_domain
    from drkit.repository.repository import open_repository

    if asked.repository is None:
        return [
            domain_of(readable(world, policy, asked.store), policy, world.state(policy))
            for policy in policies(world, names)
        ]
    keys = identities(world, asked.identity_files)
    opened = open_repository(store_of(world, asked.repository))
    seen = of_repository(opened, pins_of(asked.signers), keys, world.system)
    found = [find_domain(seen, name) for name in names] if names else seen
    return [one.domain for one in found]


def headline(of: "Story", now: "datetime") -> str:
    """What an owner wants to know first; from what is believed alone."""
    rows = of.believed
    if not rows:
        return f"{of.name}: no restore was ever tried: drkit restore {of.name} --verify"
    good = next((row for row in rows if row.said == "PASS" and row.drill is not None), None)
    last = rows[0]
    if good is None:
        return f"{of.name}: never proven; the last try, {_ago(last, now)}, ended in {last.said}"
    said = f"{of.name}: proven {_ago(good, now)}: {_promise(good)}"
    if last is not good:
        said += f"; but the last try, {_ago(last, now)}, ended in {last.said}"
    return said


def _ago(row: "Row", now: "datetime") -> str:
    from drkit.model.units import roughly

    return f"{roughly(now - row.at)} ago"


def _promise(row: "Row") -> str:
    """back in 4 s (objective 4 h; level 3, class C), losing up to 2 h (objective 24 h)"""
    drill = row.drill
    assert drill is not None
    back, lost = drill.times.service_ms, drill.loss
    said = f"back in {_long(back)} ({_aim(drill.aims.rto_ms)}; level {drill.level}, "
    said += f"class {drill.rank})"
    if lost is not None:
        said += f", losing at most {_long(lost.at_most_ms)} then ({_aim(drill.aims.rpo_ms)})"
    return said


def _aim(ms: int | None) -> str:
    return "no objective" if ms is None else f"objective {_long(ms)}"


def _long(ms: int | None) -> str:
    from datetime import timedelta

    from drkit.model.units import roughly

    if ms is None:
        return "-"
    return f"{ms} ms" if ms < 1000 else roughly(timedelta(milliseconds=ms))


def _say_table(out: Output, rows: "Iterable[tuple[Row, str]]") -> None:
    cells = [_cells(row, name) for row, name in rows]
    if not cells:
        return
    out.always("")
    head = ("policy", "when", "snapshot", "verdict", "RTA", "RTO", "level", "what failed")
    for line in table(head, cells, right="RTA RTO level"):
        out.always(line)


def _cells(row: "Row", name: str) -> tuple[str, ...]:
    drill = row.drill
    verdict = row.said if row.pinned else f"{row.said} (unpinned)"
    if drill is None:
        return (name, iso(row.at), "?", verdict, "?", "?", "?", "can't be read by this version")
    taken = drill.snapshot
    return (
        name,
        iso(row.at),
        "-" if taken is None else taken.session[:SHORT],
        verdict,
        _long(drill.times.service_ms),
        _long(drill.aims.rto_ms),
        str(drill.level),
        "; ".join(drill.reasons),
    )


def _document(of: "Story", now: "datetime") -> dict[str, object]:
    return {
        "name": of.name,
        "domain": of.domain.id,
        "store": of.domain.repository.store.url,
        "headline": headline(of, now),
        "drills": list(of.rows),
        "findings": list(of.findings),
    }

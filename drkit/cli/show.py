"""drkit show."""

import stat
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from drkit.cli.documents import exit_of, name_of, say_findings, snapshot_document
from drkit.cli.output import Output, count, iso
from drkit.cli.reading import Asked, Reading, looked_at, reading
from drkit.cli.wiring import World, wired
from drkit.errors import KeyMissing, UsageError

if TYPE_CHECKING:
    from drkit.model.entry import Entry
    from drkit.model.snapshot import Snapshot
    from drkit.operations.reading import Seen
    from drkit.repository.manifest import Head

_EPILOG = """\b
Examples:
  drkit show latest
  drkit show 3f9a --files
  drkit show 3f9a --files orders/2025
  drkit show latest --of shop --policy > shop.yaml
  drkit show latest --repository /mnt/backup -i operations.txt

SNAPSHOT is latest, oldest, or the first characters of an id that drkit list shows.
"""


@click.command("show", epilog=_EPILOG)
@click.argument("snapshot", metavar="SNAPSHOT")
@click.argument("path", required=False)
@click.option("--of", "of", metavar="NAME", help="Of this policy, where there are several.")
@click.option("--policy", "policy", is_flag=True, help="The policy as it was, and nothing else.")
@click.option("--files", "files", is_flag=True, help="What it holds, or what it holds below PATH.")
@reading
@wired
def command(
    world: World,
    snapshot: str,
    path: str | None,
    of: str | None,
    policy: bool,
    files: bool,
    asked: Asked,
) -> int:
    """Show one snapshot: its facts, policy and files.

    The facts are signed and stand in clear; the policy and the names of files need an identity.
    """
    from drkit.operations import show

    if policy and (files or path):
        raise UsageError("--policy prints the policy and nothing else")
    found = looked_at(world, () if of is None else (of,), asked)
    if not found.seen:
        raise UsageError("this repository holds no backup yet")
    seen, chosen = show.find(found.seen, snapshot)
    say_findings(world.out, seen)
    if files or path:
        _files(world, seen, chosen, found, path)
    elif policy:
        _policy(world, seen, chosen, found)
    else:
        _facts(world, seen, chosen, found)
    return exit_of(seen.findings)


def _policy(world: World, seen: "Seen", chosen: "Snapshot", found: Reading) -> None:
    from drkit.operations.reading import head_of

    head = head_of(seen, chosen, found.identities, world.system)
    world.out.raw(head.policy)
    world.out.document({"snapshot": chosen.session, "policy": head.policy})


def _facts(world: World, seen: "Seen", chosen: "Snapshot", found: Reading) -> None:
    from drkit.operations.reading import head_of

    head: Head | None = None
    if found.identities:
        head = head_of(seen, chosen, found.identities, world.system)
    notes = () if head is None else head.notes
    _say_facts(world.out, seen, chosen)
    for note in notes:
        world.out.always(f"note        {note}")
    if head is None:
        world.out.note(
            "with --identity it also shows its files (--files) and its policy (--policy)"
        )
    details = chosen.facts.details
    document = snapshot_document(chosen) | {"details": details, "name": seen.domain.name}
    world.out.document(document | {"notes": None if head is None else list(notes)})


def _say_facts(out: Output, seen: "Seen", chosen: "Snapshot") -> None:
    from drkit.model.units import size_in_words

    facts = chosen.facts
    parent = f", on {chosen.parent[:8]}" if chosen.parent else ""
    rows = {
        "snapshot": chosen.session,
        "of": f"{name_of(seen)}: {facts.label}",
        "kind": f"{chosen.kind}{parent}, generation {chosen.generation[:8]}",
        "begun": iso(chosen.begun),
        "ended": f"{iso(chosen.ended)} (by its store {iso(chosen.stored)})",
        "holds": f"{count(facts.files, 'files')}, {size_in_words(facts.bytes)}",
        "added": size_in_words(chosen.added),
        "complete": "no: the source was damaged or partly unreadable" if facts.damaged else "yes",
        "signer": f"{chosen.signer} ({'pinned' if chosen.pinned else 'not pinned'})",
        "opens with": ", ".join(f"{name}…" for name in chosen.recipients) or "unknown",
    }
    for name, value in rows.items():
        out.always(f"{name:<11} {value}")


def _files(
    world: World, seen: "Seen", chosen: "Snapshot", found: Reading, path: str | None
) -> None:
    from drkit.operations import show

    if not found.identities:
        raise _sealed(chosen)
    entries = show.files(seen, chosen, found.identities, path, world.system)
    if world.out.json:
        documents = [_entry_document(entry) for entry in entries]
        world.out.document({"snapshot": chosen.session, "files": documents})
        return
    for line in _lines(entries):
        world.out.always(line)


def _sealed(chosen: "Snapshot") -> KeyMissing:
    names = ", ".join(f"{name}…" for name in chosen.recipients) or "unknown recipients"
    return KeyMissing(
        f"names of files are sealed, and no identity was given; it opens with {names}",
        hint="--identity FILE, or DRKIT_IDENTITY_FILE",
    )


def _lines(entries: "Iterable[Entry]") -> "Iterator[str]":
    for e in entries:
        kind = {"dir": stat.S_IFDIR, "link": stat.S_IFLNK, "fifo": stat.S_IFIFO}.get(
            e.type, stat.S_IFREG
        )
        owner = f"{e.user or e.uid}:{e.group or e.gid}"
        time = iso(datetime.fromtimestamp(e.mtime // 10**9, UTC)) if _in_calendar(e.mtime) else "?"
        target = f" -> {e.target}" if e.target else ""
        yield f"{stat.filemode(kind | e.mode)} {owner:<17} {e.size:>13,} {time} {e.path}{target}"


def _in_calendar(nanoseconds: int) -> bool:
    return -(10**10) < nanoseconds // 10**9 < 2 * 10**11


def _entry_document(entry: "Entry") -> dict[str, object]:
    return {
        "path": entry.path,
        "type": entry.type,
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "user": entry.user,
        "group": entry.group,
        "mtime_ns": entry.mtime,
        "size": entry.size,
        "target": entry.target or None,
    }

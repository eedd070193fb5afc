"""Snapshots and findings, as documents and as lines."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from drkit.cli.output import Output, iso, table
from drkit.errors import Exit

if TYPE_CHECKING:
    from drkit.model.finding import Finding
    from drkit.model.snapshot import Snapshot
    from drkit.operations.reading import Seen

NOT_COPIED = "not copied"  # a copy may lack for good what home let go: no news for cron
SHORT = 8  # characters of an id, in tables


def snapshot_document(snapshot: "Snapshot") -> dict[str, object]:
    facts = snapshot.facts
    return {
        "snapshot": snapshot.session,
        "generation": snapshot.generation,
        "kind": snapshot.kind,
        "parent": snapshot.parent,
        "begun": snapshot.begun,
        "ended": snapshot.ended,
        "stored": snapshot.stored,
        "source": facts.kind,
        "label": facts.label,
        "files": facts.files,
        "bytes": facts.bytes,
        "added_bytes": snapshot.added,
        "complete": not facts.damaged,
        "signer": snapshot.signer,
        "pinned": snapshot.pinned,
        "recipients": snapshot.recipients,
        "hash": snapshot.hash,
    }


def domain_document(seen: "Seen") -> dict[str, object]:
    return {
        "name": seen.domain.name,
        "domain": seen.domain.id,
        "store": seen.domain.repository.store.url,
        "repository": seen.domain.repository.id,
        "snapshots": [snapshot_document(snapshot) for snapshot in seen.snapshots],
        "findings": list(seen.findings),
    }


def snapshot_table(out: Output, snapshots: "Iterable[Snapshot]") -> None:
    from drkit.model.units import size_in_words

    lines = table(
        ("snapshot", "ended", "kind", "files", "size", "added", ""),
        [
            (
                s.session[:SHORT],
                iso(s.ended),
                s.kind,
                f"{s.facts.files:,}",
                size_in_words(s.facts.bytes),
                size_in_words(s.added),
                "incomplete" if s.facts.damaged else "",
            )
            for s in snapshots
        ],
        right="files size added",
    )
    for line in lines:
        out.always(line)


def name_of(seen: "Seen") -> str:
    return seen.domain.name or seen.domain.id


def say_findings(out: Output, seen: "Seen") -> None:
    for finding in seen.findings:
        if not (out.quiet and finding.what == NOT_COPIED):
            out.warn(f"{name_of(seen)}: {finding.message}", finding.hint)


def exit_of(found: "Iterable[Finding]") -> int:
    """Tampering and clocks apart are a person's to look at; that nobody is pinned is only said."""
    return Exit.DAMAGED if any(f.what in ("tampering", "clock") for f in found) else Exit.FINE

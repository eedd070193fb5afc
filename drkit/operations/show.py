"""One snapshot: its facts, the policy as it was, its files."""

from collections.abc import Iterator, Sequence

from drkit.crypto.recipients import Identity
from drkit.errors import UsageError
from drkit.files.selection import selected
from drkit.model.entry import Entry, text
from drkit.model.snapshot import Snapshot
from drkit.operations.reading import Seen, believed, opened, pick
from drkit.system import System


def find(seen: Sequence[Seen], word: str) -> tuple[Seen, Snapshot]:
    """Among all that were looked at, when the word fits in one of them."""
    if len(seen) == 1:
        return seen[0], pick(believed(seen[0]), word)
    if word in ("latest", "oldest"):
        names = ", ".join(one.domain.name or one.domain.id[:8] for one in seen)
        raise UsageError(f"{word} of which? there is {names}", hint="say which one: --of NAME")
    both = [(one, snapshot) for one in seen for snapshot in one.snapshots]
    snapshot = pick(sorted((s for _, s in both), key=lambda s: s.ended), word)
    return next((one, s) for one, s in both if s is snapshot)


def files(
    seen: Seen,
    snapshot: Snapshot,
    identities: Sequence[Identity],
    path: str | None,
    system: System,
) -> Iterator[Entry]:
    with opened(seen.domain, snapshot, identities, system) as reader:
        paths = () if path is None else (text(path),)
        yield from selected(reader, paths, snapshot.facts.label)

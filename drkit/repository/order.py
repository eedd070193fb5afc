"""In which order commits came about, whatever clocks said."""

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush

from drkit.model.snapshot import Snapshot


def in_order(commits: Iterable[Snapshot]) -> Iterator[Snapshot]:
    """By time, but after all that it had seen: a clock that was ahead once hides nothing newer."""
    known = {s.hash: s for s in commits}
    after: dict[str, list[str]] = {hash: [] for hash in known}
    waits: dict[str, int] = {}
    for s in known.values():
        seen = {hash for _, hash in s.heads} & known.keys()
        waits[s.hash] = len(seen)
        for hash in seen:
            after[hash].append(s.hash)
    ready = [(s.ended, s.session, s.hash) for s in known.values() if not waits[s.hash]]
    heapify(ready)
    while ready:
        first = known[heappop(ready)[2]]
        yield first
        for hash in after[first.hash]:
            waits[hash] -= 1
            if not waits[hash]:
                heappush(ready, (known[hash].ended, known[hash].session, hash))

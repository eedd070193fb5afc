"""What a store has lost, put back from the policy's other stores."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from drkit.errors import Damaged, DrkitError
from drkit.model.finding import worst
from drkit.operations.copy import CopyJob, CopyTo, until
from drkit.repository.copies.repairer import RepairDone, Repairing, repair
from drkit.repository.repository import Repository, open_repository
from drkit.stores import plain_url
from drkit.system import System


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """What came of one source for one store."""

    store: str
    source: str
    done: RepairDone | None = None
    error: DrkitError | None = None


def mend(
    job: CopyJob, sources: Sequence[CopyTo], system: System, *, url: str, dry_run: bool
) -> tuple[Mended, ...]:
    """`job.source` is the store to mend, at `url`; the others give what they can, until all is
    there.
    """
    results: list[Mended] = []
    for source in sources:
        if results and (last := results[-1].done) is not None and not last.lost:
            break
        results.append(_from(job, source, system, to=url, dry_run=dry_run))
    return tuple(results)


def _from(job: CopyJob, source: CopyTo, system: System, *, to: str, dry_run: bool) -> Mended:
    url = plain_url(source.url)
    here = job.source
    try:
        there = open_repository(source.open())
        ask = replace(
            _asked(job, there, system, dry_run=dry_run),
            copying=shlex.join(["drkit", "copy", job.name, "--from", source.url, "--to", to]),
        )
        done = repair(ask, system)
    except DrkitError as error:
        return Mended(store=here.store.url, source=url, error=error)
    return Mended(store=here.store.url, source=url, done=done)


def _asked(job: CopyJob, source: Repository, system: System, *, dry_run: bool) -> Repairing:
    return Repairing(
        source=source,
        destination=job.source,
        domain=job.domain,
        pins=job.pins,
        spool=job.spool,
        dry_run=dry_run,
        task=f"{job.name}: repair {job.source.store.url}",
        until=until(job.rules, system),
    )


def verdict(mended: Sequence[Mended]) -> DrkitError | None:
    """Of the last source that answered: what it could not give is lost."""
    answered = [one.done for one in mended if one.done is not None]
    if not answered:
        return mended[0].error if mended else None
    bad = worst(answered[-1].findings)
    return None if bad is None else Damaged(bad.message, hint=bad.hint)

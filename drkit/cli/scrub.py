"""drkit scrub."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import click

from drkit.cli.documents import NOT_COPIED
from drkit.cli.output import Output, count, iso, printable
from drkit.cli.reading import Asked, identities, looked_at, reading
from drkit.cli.several import Outcome, each, each_store
from drkit.cli.wiring import World, wired
from drkit.errors import DrkitError, Exit, KeyMissing, UsageError

if TYPE_CHECKING:
    from datetime import timedelta

    from drkit.crypto.recipients import Identity
    from drkit.model.policy import Policy
    from drkit.operations.reading import Domain, Seen
    from drkit.operations.scrub import Witness
    from drkit.repository.repository import Repository
    from drkit.repository.scrub import Scrub, ScrubResult

_MOST = 20  # faults and hits printed; --json has all
_EPILOG = """\b
Examples:
  drkit scrub                                 hashes of all that is stored, without a key
  drkit scrub shop --level 0                  only whether everything is there
  drkit scrub shop --level 2 -i safe.txt      open every record
  drkit scrub --duration '2 h' --quiet        cron's command; the next one goes on from there

Never writes to the backups. Damage is exit 8, and names the snapshots and files that are hit.
"""


@click.command("scrub", epilog=_EPILOG)
@click.argument("names", metavar="[POLICY]...", nargs=-1)
@click.option(
    "--level",
    type=click.Choice(["0", "1", "2"]),
    default="1",
    show_default=True,
    help="0 is it there, 1 its bytes, 2 what is in it (needs an identity).",
)
@click.option("--size", "size", metavar="SIZE", help="Read at most so much: 20 GiB.")
@click.option("--duration", "duration", metavar="TIME", help="Read at most so long: '2 h'.")
@reading
@wired
def command(
    world: World,
    names: tuple[str, ...],
    level: str,
    size: str | None,
    duration: str | None,
    asked: Asked,
) -> int:
    """Read the repository and look for damage.

    Copies, too: each store on its own.
    """
    keys = identities(world, asked.identity_files)
    if level == "2" and not keys:
        raise KeyMissing("level 2 opens records, and no identity was given", hint="--identity FILE")
    limits = _limits(size, duration)
    how = _How(level=cast("Literal[0, 1, 2]", int(level)), keys=keys, limits=limits)
    if asked.repository is not None:
        return _of_repository(world, looked_at(world, names, asked, keys).seen, how)

    def of_policy(policy: "Policy") -> Outcome:
        return each_store(
            world, policy, asked.store, lambda repository: _at(world, policy, repository, how)
        )

    return each(world, names, "scrubs", of_policy)


Limits = tuple[int | None, "timedelta | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    level: Literal[0, 1, 2]
    keys: "tuple[Identity, ...]"
    limits: Limits


def _limits(size: str | None, duration: str | None) -> Limits:
    from drkit.model import units

    try:
        return (
            None if size is None else units.size(size),
            None if duration is None else units.duration(duration),
        )
    except ValueError as error:
        raise UsageError(str(error)) from None


def _at(world: World, policy: "Policy", repository: "Repository", how: _How) -> Outcome:
    from drkit.operations import scrub, state
    from drkit.operations.reading import domain_of

    folder = world.state(policy)
    domain = domain_of(repository, policy, folder)
    assert domain.state is not None
    state.prepare_below(folder, domain.state)
    key = state.find_signer(folder)
    witness = (
        None
        if key is None
        else scrub.Witness(
            signer=key,
            state=folder,
            subject=f"{policy.name}/{policy.source.part}",
            rules=policy.retention,
        )
    )
    mended_by = policy.name if policy.repository.copies else ""
    return _scrub(world, domain, _ask(domain, how), witness, mended_by)


def _of_repository(world: World, found: "list[Seen]", how: _How) -> int:
    documents, codes = [], []
    for seen in found:
        document, error = _scrub(world, seen.domain, _ask(seen.domain, how), None)
        documents.append({"name": seen.domain.name, "domain": seen.domain.id, **document})
        if error is not None:
            world.out.error(error)
            codes.append(int(error.exit_code))
    world.out.document({"scrubs": documents})
    return codes[0] if codes else Exit.FINE


def _ask(domain: "Domain", how: _How) -> "Scrub":
    from drkit.operations.reading import unwrapper
    from drkit.repository.scrub import Scrub

    return Scrub(
        domain=domain.id,
        level=how.level,
        pins=domain.pins,
        unwrap=unwrapper(how.keys) if how.keys else None,
        state=domain.state,
        bytes=how.limits[0],
        duration=how.limits[1],
        task=f"{_title(domain)}: scrub",
    )


def _scrub(
    world: World,
    domain: "Domain",
    ask: "Scrub",
    witness: "Witness | None",
    mended_by: str = "",
) -> Outcome:
    """What was found is said and documented before it is an error."""
    from drkit.operations import scrub

    document: dict[str, object] = {}

    def report(result: "ScrubResult") -> None:
        document.update(result=result, complete=result.complete)
        _say(world.out, _title(domain), result)

    try:
        scrub.scrub(domain.repository, ask, world.system, report, witness, mended_by)
    except DrkitError as error:
        if not document:
            raise
        return document, error
    return document, None


def _title(domain: "Domain") -> str:
    name = domain.name or domain.id[:8]
    return f"{name} in {domain.repository.store.url}" if domain.repository.copy else name


def _say(out: Output, name: str, result: "ScrubResult") -> None:
    from drkit.model.units import size_in_words

    out.line(
        f"{name}: {count(result.snapshots, 'snapshots')}, {count(result.objects, 'objects')} read "
        f"({size_in_words(result.bytes)}) at level {result.level}, "
        f"{count(len(result.faults), 'faults')}"
    )
    if result.left:
        out.line(
            f"{name}: {result.left:,} left of the round begun {iso(result.since)}; "
            "the next run goes on"
        )
    for fault in result.faults[:_MOST]:
        out.warn(f"{name}: {fault.message}")
    for hit in result.hits[:_MOST]:
        paths = ", ".join(printable(path) for path in hit.paths)
        which = f"{hit.files:,} files: {paths}" if hit.files is not None else "files unknown"
        out.warn(
            f"{name}: snapshot {hit.session[:8]} {'is' if hit.sure else 'may be'} hit: {which}"
        )
    for finding in result.findings:
        if finding.level == "warn" and not (out.quiet and finding.what == NOT_COPIED):
            out.warn(f"{name}: {finding.message}", finding.hint)

"""drkit scrub."""

from typing import TYPE_CHECKING, Literal, cast

import click

from drkit.cli.output import Output, count, iso, printable
from drkit.cli.several import Outcome, each
from drkit.cli.wiring import World, identities, looked_at, reading, repository_of, wired
from drkit.errors import DrkitError, Exit, KeyMissing, UsageError

if TYPE_CHECKING:
    from datetime import timedelta

    from drkit.crypto.recipients import Identity
    from drkit.model.policy import Policy
    from drkit.operations.reading import Domain
    from drkit.operations.scrub import Witness
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
    repository: str | None,
    identity_files: tuple[str, ...],
    signers: tuple[str, ...],
) -> int:
    """Read the repository and look for damage."""
    keys = identities(world, identity_files)
    if level == "2" and not keys:
        raise KeyMissing("level 2 opens records, and no identity was given", hint="--identity FILE")
    limits = _limits(size, duration)
    depth = cast("Literal[0, 1, 2]", int(level))
    if repository is None:
        return each(
            world,
            names,
            "scrubs",
            lambda policy: _of_policy(world, policy, depth, keys, limits),
        )
    return _of_repository(world, names, repository, identity_files, signers, depth, limits)


Limits = tuple[int | None, "timedelta | None"]


def _limits(size: str | None, duration: str | None) -> Limits:
    from drkit.model import units

    try:
        return (
            None if size is None else units.size(size),
            None if duration is None else units.duration(duration),
        )
    except ValueError as error:
        raise UsageError(str(error)) from None


def _of_policy(
    world: World,
    policy: "Policy",
    level: Literal[0, 1, 2],
    keys: "tuple[Identity, ...]",
    limits: Limits,
) -> Outcome:
    from drkit.operations import scrub, state
    from drkit.operations.reading import domain_of

    folder = world.state(policy)
    domain = domain_of(repository_of(policy, world.system), policy, folder)
    state.prepare_domain(folder, domain.id)
    key = state.find_signer(folder)
    witness = (
        None
        if key is None
        else scrub.Witness(signer=key, state=folder, subject=f"{policy.name}/files")
    )
    return _scrub(world, domain, _ask(domain, level, keys, limits), witness)


def _of_repository(
    world: World,
    names: tuple[str, ...],
    repository: str,
    identity_files: tuple[str, ...],
    signers: tuple[str, ...],
    level: Literal[0, 1, 2],
    limits: Limits,
) -> int:
    found = looked_at(world, names, repository, identity_files, signers)
    documents, codes = [], []
    for seen in found.seen:
        document, error = _scrub(
            world, seen.domain, _ask(seen.domain, level, found.identities, limits), None
        )
        documents.append({"name": seen.domain.name, "domain": seen.domain.id, **document})
        if error is not None:
            world.out.error(error)
            codes.append(int(error.exit_code))
    world.out.document({"scrubs": documents})
    return codes[0] if codes else Exit.FINE


def _ask(
    domain: "Domain", level: Literal[0, 1, 2], keys: "tuple[Identity, ...]", limits: Limits
) -> "Scrub":
    from drkit.operations.reading import unwrapper
    from drkit.repository.scrub import Scrub

    return Scrub(
        domain=domain.id,
        level=level,
        pins=domain.pins,
        unwrap=unwrapper(keys) if keys else None,
        state=domain.state,
        bytes=limits[0],
        duration=limits[1],
        task=f"{domain.name or domain.id[:8]}: scrub",
    )


def _scrub(world: World, domain: "Domain", ask: "Scrub", witness: "Witness | None") -> Outcome:
    """What was found is said and documented before it is an error."""
    from drkit.operations import scrub

    document: dict[str, object] = {}

    def report(result: "ScrubResult") -> None:
        document.update(result=result, complete=result.complete)
        _say(world.out, domain.name or domain.id[:8], result)

    try:
        scrub.scrub(domain.repository, ask, world.system, report, witness)
    except DrkitError as error:
        if not document:
            raise
        return document, error
    return document, None


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
        if finding.level == "warn":
            out.warn(f"{name}: {finding.message}", finding.hint)

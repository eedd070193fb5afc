"""drkit copy."""

from typing import TYPE_CHECKING

import click

from drkit.cli.output import Output, count
from drkit.cli.reading import pins_of
from drkit.cli.several import Outcome, each, first_of
from drkit.cli.wiring import World, copies_of, copy_to, repository_of, store_of, wired
from drkit.errors import Exit, UsageError

if TYPE_CHECKING:
    from drkit.model.policy import Policy
    from drkit.operations.copy import Copied, CopyJob

_EPILOG = """\b
Examples:
  drkit copy                                  from home to every copy, of every policy
  drkit copy shop --to s3://elsewhere/shop    to a store that is not in the policy
  drkit copy shop --from gs://shop-dr/host1 --to /srv/backup/drkit
  drkit copy --repository gs://shop-dr/host1 --to /mnt/new

Needs no key that opens a backup. What is there already is not sent again; run it as often as you
like. Two stores that went separate ways are joined by copying both ways.
"""


@click.command("copy", epilog=_EPILOG)
@click.argument("names", metavar="[POLICY]...", nargs=-1)
@click.option(
    "--to", "to", metavar="URL", help="Into this store: else all `copies:` of the policy."
)
@click.option("--from", "source", metavar="URL", help="From this store: else the policy's home.")
@click.option("--repository", metavar="URL", help="All of this one, without any policy file.")
@click.option(
    "--signer",
    "signers",
    multiple=True,
    metavar="ed25519:…",
    help="With --repository: whose backups to copy, from the key sheet.",
)
@wired
def command(
    world: World,
    names: tuple[str, ...],
    to: str | None,
    source: str | None,
    repository: str | None,
    signers: tuple[str, ...],
) -> int:
    """Copy what is committed to second stores."""
    if repository is None:
        if signers:
            raise UsageError("--signer goes with --repository: a policy pins its own signers")
        return each(world, names, "copies", lambda policy: _of_policy(world, policy, source, to))
    if names or source is not None:
        raise UsageError("--repository copies all that is there: no POLICY and no --from with it")
    if to is None:
        raise UsageError("where to? give --to URL")
    return _of_repository(world, repository, to, signers)


def _of_policy(world: World, policy: "Policy", source: str | None, to: str | None) -> Outcome:
    from drkit.operations import copy, state

    from_ = repository_of(world, policy, source)
    targets = copies_of(world, policy) if to is None else (copy_to(world, to, policy, anew=True),)
    if not targets:
        raise UsageError(
            f"{policy.name} has no copies: in {policy.origin}",
            hint="add `copies:` under `repository:`, or give --to URL",
        )
    job = copy.job_of(policy, from_, world.state(policy))
    with state.locked(state.prepare_domain(world.state(policy), job.domain), policy.name):
        copied = copy.copy_all(job, targets, world.system)
    return _told(world, job, copied)


def _told(world: World, job: "CopyJob", copied: "tuple[Copied, ...]") -> Outcome:
    for one in copied:
        say_copied(world.out, job.name, one)
    errors = tuple(one.error for one in copied if one.error is not None)
    return {"stores": [copied_document(one) for one in copied]}, first_of(world, job.name, errors)


def _of_repository(world: World, url: str, to: str, signers: tuple[str, ...]) -> int:
    from drkit.operations import copy
    from drkit.repository.repository import open_repository

    source = open_repository(store_of(world, url))
    jobs = copy.jobs_of(source, pins_of(signers))
    documents: list[dict[str, object]] = []
    codes = []
    for job in jobs:
        document, error = _told(world, job, copy.copy_all(job, [copy_to(world, to)], world.system))
        documents.append({"domain": job.domain, **document})
        if error is not None:
            world.out.error(error)
            codes.append(int(error.exit_code))
    if not jobs:
        world.out.always("this repository holds no backup yet")
    world.out.document({"copies": documents})
    return codes[0] if codes else Exit.FINE


def say_copied(out: Output, name: str, copied: "Copied") -> None:
    """Nothing of what is an error: that is said by whoever returns it."""
    from drkit.model.units import size_in_words
    from drkit.stores import plain_url

    where = plain_url(copied.url)
    done = copied.done
    if done is None:
        return
    if done.copied:
        sent = f"{count(len(done.copied), 'snapshots')}, {size_in_words(done.bytes)}"
        out.line(f"{name}: copied to {where}: {sent}")
    elif done.complete:
        out.line(f"{name}: the copy in {where} is up to date")
    for finding in done.findings:
        if finding.level == "warn":
            out.warn(f"{name}: {finding.message}", finding.hint)
    for left in done.left:
        say = out.detail if left in done.never else out.line
        say(f"{name}: snapshot {left[1][:8]} is not copied to {where}: {left[2]}")


def copied_document(copied: "Copied") -> dict[str, object]:
    from drkit.stores import plain_url

    done, error = copied.done, copied.error
    return {
        "store": plain_url(copied.url),
        "complete": copied.complete,
        "copied": [] if done is None else [session for _, session in done.copied],
        "objects": 0 if done is None else done.objects,
        "bytes": 0 if done is None else done.bytes,
        "left": []
        if done is None
        else [{"generation": g, "snapshot": s, "why": why} for g, s, why in done.left],
        "findings": [] if done is None else list(done.findings),
        "error": None
        if error is None
        else {"message": error.message, "hint": error.hint, "exit_code": int(error.exit_code)},
    }

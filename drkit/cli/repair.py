"""drkit repair."""

from typing import TYPE_CHECKING

import click

from drkit.cli.output import Output, count
from drkit.cli.several import Outcome, each, each_store
from drkit.cli.wiring import World, copy_to, wired
from drkit.errors import UsageError

if TYPE_CHECKING:
    from drkit.model.policy import Policy
    from drkit.operations.repair import Mended
    from drkit.repository.repository import Repository

_MOST = 20  # names printed; --json has all
_EPILOG = """\b
Examples:
  drkit repair shop --dry-run                  what is missing, and where it still is
  drkit repair shop                            put it back, in every store of the policy
  drkit repair shop --store /srv/backup/drkit --from gs://shop-dr/host1

Only what is missing is put: nothing is overwritten. What drkit scrub finds wrong in its
place must be taken away there by hand first. Backups that were never copied are for drkit copy.
"""


@click.command("repair", epilog=_EPILOG)
@click.argument("names", metavar="[POLICY]...", nargs=-1)
@click.option("--store", "store", metavar="URL", help="Mend only this one.")
@click.option(
    "--from", "source", metavar="URL", help="Take it from this one: else from the others."
)
@click.option("--dry-run", is_flag=True, help="Say what is missing, and put nothing.")
@wired
def command(
    world: World, names: tuple[str, ...], store: str | None, source: str | None, dry_run: bool
) -> int:
    """Put back what is missing from another store."""

    def of_policy(policy: "Policy") -> Outcome:
        return each_store(
            world,
            policy,
            store,
            lambda repository: _mend(
                world, policy, repository, source, alone=store is not None, dry_run=dry_run
            ),
        )

    return each(world, names, "repairs", of_policy)


def _mend(
    world: World,
    policy: "Policy",
    repository: "Repository",
    source: str | None,
    *,
    alone: bool,
    dry_run: bool,
) -> Outcome:
    from drkit.operations import copy, repair
    from drkit.stores import plain_url

    kept = policy.repository
    urls = (kept.store, *kept.copies)
    own = next((u for u in urls if plain_url(u) == repository.store.url), repository.store.url)
    given = urls if source is None else (source,)
    others = [
        copy_to(world, url, policy) for url in given if plain_url(url) != repository.store.url
    ]
    if not others:
        raise UsageError(
            f"{policy.name} has one store alone: there is nothing to repair it from",
            hint="drkit scrub says what is hit; a second store stands under `copies:`",
        )
    job = copy.job_of(policy, repository, world.state(policy))
    mended = repair.mend(job, others, world.system, url=own, dry_run=dry_run)
    error = repair.verdict(mended)
    own_turn = () if alone else tuple(plain_url(url) for url in (kept.store, *kept.copies))
    for one in mended:
        if one.error is not None and one.error is not error and one.source not in own_turn:
            world.out.warn(f"{policy.name}: {one.source}: {one.error.message}", one.error.hint)
        _say(world.out, policy.name, one)
    return {"from": [_document(one) for one in mended]}, error


def _say(out: Output, name: str, mended: "Mended") -> None:
    from drkit.model.units import size_in_words

    done = mended.done
    if done is None:
        return
    word = "would be put back" if done.dry_run else "put back"
    what = f"{count(len(done.mended), 'objects')} {word} from {mended.source}"
    if done.mended:
        out.line(f"{name}: {mended.store}: {what}, {size_in_words(done.bytes)}")
        for object_ in done.mended[:_MOST]:
            out.detail(f"{name}: {object_}")
    elif not done.lost:
        out.line(f"{name}: {mended.store}: nothing is missing")
    for finding in done.findings:
        if finding.level == "warn":
            out.warn(f"{name}: {finding.message}", finding.hint)


def _document(mended: "Mended") -> dict[str, object]:
    error = mended.error
    return {
        "source": mended.source,
        "result": mended.done,
        "error": None if error is None else {"message": error.message, "hint": error.hint},
    }

"""drkit forget."""

from typing import TYPE_CHECKING

import click

from drkit.cli.output import Output, count, iso, table
from drkit.cli.several import Outcome, each, each_store
from drkit.cli.wiring import World, wired

if TYPE_CHECKING:
    from drkit.model.policy import Policy
    from drkit.repository.expiry import Fate, ForgetPlan
    from drkit.repository.forgetter import ForgetDone
    from drkit.repository.repository import Repository

_EPILOG = """\b
Examples:
  drkit forget                       what would go, and why the rest stays
  drkit forget shop --apply          delete it
  drkit forget --apply --quiet       cron's command

Whole generations go: a full backup with the incrementals on it. What is let go is deleted one
patience (24 h) later, so that a restore under way can end.
"""


@click.command("forget", epilog=_EPILOG)
@click.argument("names", metavar="[POLICY]...", nargs=-1)
@click.option("--apply", "apply", is_flag=True, help="Do it; without, only the plan is shown.")
@click.option("--store", metavar="URL", help="Only in this one of the policy's stores.")
@wired
def command(world: World, names: tuple[str, ...], apply: bool, store: str | None) -> int:
    """Show what the retention lets go; delete it with --apply."""

    def of_policy(policy: "Policy") -> Outcome:
        return each_store(
            world, policy, store, lambda repository: _at(world, policy, repository, apply=apply)
        )

    return each(world, names, "forgets", of_policy)


def _at(world: World, policy: "Policy", repository: "Repository", *, apply: bool) -> Outcome:
    from drkit.model.schedule import pace
    from drkit.operations import forget, state
    from drkit.repository.expiry import Forgetting
    from drkit.repository.repository import domain_id

    title = policy.name if not repository.copy else f"{policy.name} in {repository.store.url}"
    ask = Forgetting(
        domain=domain_id(repository.id, policy.domain_name, policy.source.part),
        rules=policy.retention,
        pins=policy.encryption.signers,
        task=f"{title}: forget",
        pace=pace(policy.schedule),
    )
    plan = forget.plan_forget(repository, ask, world.system)
    _say_plan(world.out, title, plan)
    if not apply:
        return {"plan": plan, "applied": None}, forget.trouble(plan.findings)
    folder = world.state(policy)
    state.check(state.prepare(folder))
    signer = state.signer(folder)
    done = forget.apply_forget(repository, plan, ask, signer, world.system)
    say_done(world.out, title, done)
    return {"plan": plan, "applied": done}, forget.trouble((*plan.findings, *done.findings))


def _say_plan(out: Output, name: str, plan: "ForgetPlan") -> None:
    for finding in plan.findings:
        if finding.level == "warn":
            out.warn(f"{name}: {finding.message}", finding.hint)
    if not plan.fates:
        out.line(f"{name}: no backup yet")
        return
    going = sum(fate.bytes for fate in plan.fates if not fate.keep)
    from drkit.model.units import size_in_words

    out.line(
        f"{name}: {count(len(plan.expire), 'generations')} may go ({size_in_words(going)}), "
        f"{len(plan.keep)} kept"
    )
    head = ("generation", "", "newest", "backups", "size", "why")
    for line in table(head, [_row(fate) for fate in plan.fates], right="backups size"):
        out.line(line)
    for remains in plan.remains:
        out.line(
            f"{remains.generation[:8]}: expired, {count(remains.objects, 'objects')} left "
            f"({size_in_words(remains.bytes)}), to be deleted from {iso(remains.due)}"
        )


def _row(fate: "Fate") -> tuple[str, ...]:
    from drkit.model.units import size_in_words

    return (
        fate.generation[:8],
        "keep" if fate.keep else "go",
        iso(fate.newest)[:16] if fate.newest else "-",
        f"{fate.backups}",
        size_in_words(fate.bytes),
        "; ".join(fate.reasons),
    )


def say_done(out: Output, name: str, done: "ForgetDone") -> None:
    from drkit.model.units import size_in_words
    from drkit.operations.forget import locked_away

    for generation, why in done.spared:
        out.line(f"{name}: {generation[:8]} was spared: {why}")
    for generation, until in done.waiting:
        out.line(f"{name}: {generation[:8]} is let go, and will be deleted from {iso(until)}")
    for kept in locked_away(done):
        whose = "WAL" if kept.generation is None else f"generation {kept.generation[:8]}"
        be = "is" if kept.objects == 1 else "are"
        out.line(
            f"{name}: {count(kept.objects, 'objects')} of {whose} {be} locked until {kept.until}; "
            "the next forget tries again"
        )
    if done.fenced:
        out.line(f"{name}: {count(len(done.fenced), 'broken-off runs')} ended for good")
    out.line(f"{name}: {count(done.deleted, 'objects')} deleted, {size_in_words(done.freed)} freed")

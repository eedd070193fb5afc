"""drkit doctor."""

from functools import partial
from typing import TYPE_CHECKING

import click

from drkit.cli.output import Output, hung, printable
from drkit.cli.wiring import World, impatient, policies, store_in, wired
from drkit.errors import ConfigError, DrkitError, Exit

if TYPE_CHECKING:
    from drkit.model.policy import Policy
    from drkit.operations.doctor_plan import Checked

_EPILOG = """\b
Examples:
  drkit doctor
  drkit doctor shop --quiet      only what is wrong
  drkit doctor --only credentials

Exits 0 when nothing fails, else with the code of the first failure's kind. A warning is no failure.
"""
_INDENT = 22
_COLORS = {"pass": "green", "warn": "yellow", "fail": "red"}


@click.command("doctor", epilog=_EPILOG)
@click.argument("names", metavar="[POLICY]...", nargs=-1)
@click.option(
    "--only",
    type=click.Choice(["credentials"]),
    help="Only whether the stores can be used: offline, then with one listing.",
)
@wired
def command(world: World, names: tuple[str, ...], only: str | None) -> int:
    """Check now what could fail at night."""
    found, broken = _policies(world, names)
    documents: list[dict[str, object]] = [
        {"policy": None, "checks": [_broken(error)]} for error in broken
    ]
    codes = [int(error.exit_code) for error in broken]
    for error in broken:
        world.out.error(error)
    for number, policy in enumerate(found):
        checks = _examined(world, policy, only)
        if number:
            world.out.line()
        world.out.line(f"{policy.name}:")
        for check in checks:
            _say(world.out, check)
        codes += [int(c.code) for c in checks if c.finding.level == "fail"]
        documents.append({"policy": policy.name, "checks": [_document(c) for c in checks]})
    levels = [check.get("level") for d in documents for check in _checks(d)]
    world.out.line()
    world.out.line(", ".join(f"{levels.count(level)} {level}" for level in _COLORS))
    world.out.document({"policies": documents})
    return codes[0] if codes else Exit.FINE


def _checks(document: dict[str, object]) -> list[dict[str, object]]:
    checks = document["checks"]
    assert isinstance(checks, list)
    return checks


def _policies(
    world: World, names: tuple[str, ...]
) -> "tuple[tuple[Policy, ...], tuple[ConfigError, ...]]":
    from drkit.config import read_folder

    folder = read_folder(world.folders, world.env.timezone)
    if names or not (folder.policies or folder.broken):
        return tuple(policies(world, names)), ()
    return folder.policies, folder.broken


def _examined(world: World, policy: "Policy", only: str | None) -> "list[Checked]":
    from drkit.operations import credentials, doctor
    from drkit.operations.doctor_plan import DoctorPlan, Place

    kept = policy.repository
    home, *copies = (
        Place(url=url, open=partial(store_in, world, policy, url, impatient()))
        for url in (kept.store, *kept.copies)
    )
    plan = DoctorPlan(
        policy=policy,
        state=world.state(policy),
        env=world.env,
        home=home,
        copies=tuple(copies),
    )
    if only == "credentials":
        return credentials.examine_all(plan, world.system)
    return doctor.examine(plan, world.system)


def _say(out: Output, check: "Checked") -> None:
    finding = check.finding
    if out.quiet and finding.level == "pass":
        return
    word = out.styled(finding.level, _COLORS[finding.level])
    first, *rest = hung(_INDENT, printable(finding.message))
    out.raw(f"  {word}  {printable(finding.what):<13} {first}")
    if finding.hint and finding.level != "pass":
        first, *more = hung(_INDENT + 5, f"fix: {printable(finding.hint)}")
        rest += [" " * _INDENT + first, *more]
    for line in rest:
        out.raw(line)


def _document(check: "Checked") -> dict[str, object]:
    finding = check.finding
    code = int(check.code) if finding.level == "fail" else None
    return {
        "level": finding.level,
        "what": finding.what,
        "message": printable(finding.message),
        "hint": finding.hint,
        "exit_code": code,
    }


def _broken(error: DrkitError) -> dict[str, object]:
    return {
        "level": "fail",
        "what": "policy",
        "message": error.message,
        "hint": error.hint,
        "exit_code": int(error.exit_code),
    }

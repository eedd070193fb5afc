"""drkit key new, show, rotate, test."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from drkit.cli.output import Output, printable, table
from drkit.cli.reading import Asked, identities, looked_at, reading
from drkit.cli.wiring import World, one_policy, repository_of, wired
from drkit.errors import Exit, KeyMissing, UsageError

if TYPE_CHECKING:
    from drkit.operations.key import KeySheet, Rotated, Tested

_EPILOG = """\b
Examples:
  drkit key new --to safe.txt             a new identity, its public half to the terminal
  drkit key show shop                     the key sheet: nothing secret is on it
  drkit key test shop -i operations.txt   does this key still open the newest backup?
  drkit key rotate shop --signer          a new signing key for this machine
"""


@click.group("key", epilog=_EPILOG)
def command() -> None:
    """Identities, recipients and signers.

    An identity is a private key that opens backups; its public half, a recipient, stands in the
    policy. A signer is a machine's own key: it says who made a backup.
    """


@command.command("new", epilog="\b\nExample:\n  drkit key new --to safe.txt\n")
@click.option(
    "--to",
    "to",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write it there (0600, never over a file) instead of printing it.",
)
@wired
def new(world: World, to: Path | None) -> int:
    """Make an identity: a private key and its public half.

    To use it, add the public half to encryption: recipients: of a policy. The next backup is then
    a full; older ones stay readable by the old identities.
    """
    from drkit.crypto.recipients import new_identity
    from drkit.operations import key

    if to is None and (world.out.json or world.out.quiet):
        raise UsageError(
            "the private key would go where nobody looks", hint="name a file: --to FILE"
        )
    if to is None:
        made = new_identity()
        world.out.raw(key.identity_text(made, "kept nowhere on this machine"))
    else:
        made = key.write_identity(to, to.stem)
        world.out.line(f"written to {to}")
        world.out.line(f"public key: {made.recipient.text}")
    world.out.document({"public": made.recipient.text, "path": to})
    return Exit.FINE


@command.command("show", epilog="\b\nExample:\n  drkit key show shop\n")
@click.argument("policy_name", metavar="[POLICY]", required=False)
@wired
def show(world: World, policy_name: str | None) -> int:
    """Print the key sheet: recipients, signers, the hash of restore.py. No secrets.

    Keep it beside the private keys, where a restore begins.
    """
    from drkit.operations import key

    policy = one_policy(world, policy_name)
    sheet = key.key_sheet(policy, repository_of(world, policy), world.state(policy))
    _say_sheet(world.out, sheet)
    world.out.document(sheet)
    return Exit.FINE


def _say_sheet(out: Output, sheet: "KeySheet") -> None:
    out.always(f"Key sheet of {sheet.policy}")
    out.always("")
    out.always(f"store       {sheet.store}")
    out.always(f"repository  {sheet.repository}")
    out.always(f"domain      {sheet.domain}")
    for text in sheet.recipients:
        out.always(f"recipient   {text}")
    if not sheet.signers:
        out.always("signers     none pinned: whoever can write to the store could make backups")
    for role, text, own in sheet.signers:
        out.always(f"{role:<11} {text}")
        if own:
            out.always(f"{'':<11} (this machine's)")
    out.always(f"restore.py  sha256 {sheet.restore_sha256}")
    if sheet.stored_sha256 != sheet.restore_sha256:
        held = sheet.stored_sha256 or "none"
        out.warn(
            f"the repository's restore.py is another one: {held}",
            "take restore.py from a release of drkit, not from the store",
        )


@command.command(
    "test", epilog="\b\nExample:\n  drkit key test shop -i operations.txt -i safe.txt\n"
)
@click.argument("policy_name", metavar="[POLICY]", required=False)
@reading
@wired
def test(
    world: World,
    policy_name: str | None,
    asked: Asked,
) -> int:
    """Open the newest snapshot with each identity, and say which recipients passed."""
    from drkit.operations import key
    from drkit.operations.reading import find_domain, pick

    keys = identities(world, asked.identity_files)
    if not keys:
        raise KeyMissing("no identity was given", hint="--identity FILE, once for each to test")
    names = () if policy_name is None else (policy_name,)
    seen = find_domain(looked_at(world, names, asked, keys).seen, None)
    snapshot = pick(seen.snapshots, "latest")
    tested = key.try_identities(seen, snapshot, keys, world.system)
    passed = {one.fingerprint for one in tested if one.opens}
    untested = [name for name in snapshot.recipients if name not in passed]
    _say_tests(world.out, tested, untested)
    world.out.document(
        {"snapshot": snapshot.session, "tested": tested, "recipients_not_tested": untested}
    )
    return Exit.FINE if all(one.opens for one in tested) else Exit.KEY


def _say_tests(out: Output, tested: "list[Tested]", untested: list[str]) -> None:
    rows = [(f"{t.fingerprint}…", "pass" if t.opens else "fail", t.message) for t in tested]
    rows += [(f"{name}…", "-", "a recipient, not tested here") for name in untested]
    for line in table(("identity", "", ""), rows):
        out.line(line)


@command.command("rotate", epilog="\b\nExample:\n  drkit key rotate shop --signer\n")
@click.argument("policy_name", metavar="[POLICY]", required=False)
@click.option("--signer", "signer", is_flag=True, help="This machine's signing key.")
@wired
def rotate(world: World, policy_name: str | None, signer: bool) -> int:
    """Make a new signing key for this machine; the old one is kept beside it.

    To rotate a recipient, edit the policy: the next backup is then a full.
    """
    from drkit.operations import key

    if not signer:
        raise UsageError(
            "say what to rotate: --signer",
            hint="for an identity: drkit key new, then change recipients: in the policy",
        )
    policy = one_policy(world, policy_name)
    made = key.rotate_signer(world.state(policy), world.system)
    _say_rotated(world.out, policy.origin, made)
    world.out.document(
        {"policy": policy.origin, "old": made.old, "new": made.new, "old_kept_at": made.kept}
    )
    return Exit.FINE


def _say_rotated(out: Output, origin: str, made: "Rotated") -> None:
    out.line(f"new signer  {made.new}")
    if made.old is not None:
        out.line(f"old signer  {made.old}")
        out.line(f"            kept as {printable(str(made.kept))}")
    out.line()
    out.line(f"Now, in {origin} and every other policy of this machine:")
    out.line("  under encryption: signers: add the new one to writers, maintainers and verifiers;")
    out.line("  keep the old one under writers, else its backups are no longer believed,")
    out.line("  and under maintainers and verifiers, unless it may have been stolen.")
    out.line("The next backup is then a full. Until it is pinned, drkit backup refuses to run.")

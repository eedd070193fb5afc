"""drkit init."""

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drkit.cli.output import Output
from drkit.cli.wiring import World, folder_for_policies, impatient, own_folders, store_of, wired
from drkit.errors import Exit, PostgresError, UsageError

if TYPE_CHECKING:
    from drkit.crypto.recipients import Identity, Recipient
    from drkit.model.policy import Policy
    from drkit.model.retention import LockMode
    from drkit.operations.init import Ground, InitPlan, KeyFile
    from drkit.operations.init_postgres import Introduced

_EPILOG = """\b
Examples:
  drkit init                    asks for a name, a folder or a server, and a store
  drkit init shop --postgres service=shop --store /mnt/backup
  drkit init shop --files /srv/shop --store /mnt/backup
  drkit init shop --files /srv/shop --store /mnt/backup --copy gs://shop-dr/drkit
  drkit init shop --files /srv/shop --store /mnt/backup \\
      --non-interactive --recipient age1… --recipient age1…

Can be run twice: what exists is joined or left as it is, and said. Nothing is overwritten.
"""


@click.command("init", epilog=_EPILOG)
@click.argument("name", required=False)
@click.option(
    "--files", type=click.Path(path_type=Path), metavar="DIR", help="The folder to protect."
)
@click.option(
    "--postgres", metavar="DSN", help="Or the PostgreSQL server, as psql reads it; no password."
)
@click.option("--store", metavar="URL", help="Where backups go: a folder, s3://… or gs://….")
@click.option("--copy", "copies", multiple=True, metavar="URL", help="A second store, too.")
@click.option(
    "--lock",
    type=click.Choice(["governance", "compliance"]),
    help="Object lock, in s3:// and gs:// stores: nobody deletes a backup before its time.",
)
@click.option(
    "-r", "--recipient", "recipients", multiple=True, metavar="age1…", help="Made elsewhere; twice."
)
@click.option(
    "--identities-to",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write operations.txt and safe.txt there, instead of printing them.",
)
@click.option("--single-recipient", is_flag=True, help="Be content with one; its loss loses all.")
@click.option("--non-interactive", is_flag=True, help="Ask nothing.")
@wired
def command(
    world: World,
    name: str | None,
    files: Path | None,
    postgres: str | None,
    store: str | None,
    copies: tuple[str, ...],
    lock: "LockMode | None",
    recipients: tuple[str, ...],
    identities_to: Path | None,
    single_recipient: bool,
    non_interactive: bool,
) -> int:
    """Protect a folder or a server: keys, a policy, a repository.

    Makes two identities (private keys): one for operations, one for the safe. This machine keeps
    neither: it only needs their public halves.
    """
    from drkit.crypto.recipients import parse_recipient
    from drkit.operations import init

    asks = world.out.interactive and not (non_interactive or world.yes or world.out.json)
    given = tuple(parse_recipient(text) for text in recipients)
    where = "store (a folder, best on another disk)"
    name = _answer(name, "name of the policy", "NAME", "shop", asks=asks)
    root, dsn = _protected(files, postgres, asks=asks)
    plan = init.InitPlan(
        name=name,
        root=root,
        dsn=dsn,
        store=_url(_answer(store, where, "--store", None, asks=asks)),
        policies=folder_for_policies(world),
        state=world.state(),
        recipients=given,
        single_recipient=single_recipient,
        copies=tuple(_url(copy) for copy in copies),
        lock=lock,
        yes=world.yes,
    )
    if not (given or identities_to or asks) and init.existing(plan) is None:
        raise UsageError(
            "nobody is here to write down identities",
            hint="give --recipient twice, or --identities-to DIR",
        )
    return _run(world, plan, identities_to)


def _protected(
    files: Path | None, postgres: str | None, *, asks: bool
) -> tuple[Path | None, str | None]:
    """One of them."""
    if files is not None and postgres is not None:
        raise UsageError("--files and --postgres: one policy protects one thing", hint="init twice")
    if files is None and postgres is None:
        if not asks:
            raise UsageError(
                "what to protect is missing: --files DIR or --postgres DSN",
                hint="drkit init -h has examples",
            )
        kinds = click.Choice(["folder", "postgres"])
        kind = click.prompt("a folder or a PostgreSQL server?", "folder", type=kinds, err=True)
        if kind == "postgres":
            example = "service=shop"
            question = "server, as psql reads it, without a password"
            return None, _answer(None, question, "--postgres", example, asks=asks)
    if postgres is not None:
        return None, postgres
    answer = _answer(files, "folder to protect", "--files", None, asks=asks)
    return Path(os.path.abspath(answer)), None


def _run(world: World, plan: "InitPlan", identities_to: Path | None) -> int:
    from drkit.operations import init

    opened, *second = (
        store_of(world, url, patience=impatient()) for url in (plan.store, *plan.copies)
    )
    init.check(plan, own_folders((plan.store, *plan.copies)))
    there = init.existing(plan)
    server = None if plan.dsn is None else _met(world, plan.dsn, there)
    ground = init.prepare(plan, opened, second, world.system)
    _say_ground(world.out, plan, ground)
    made: list[KeyFile] = []
    if there is None:
        made = _policy(world, plan, ground, identities_to)
    else:
        world.out.line(f"policy      {plan.policy_path} exists and is left as it is")
        _check_pinned(world.out, plan, ground, there)
    _say_rest(world, ground, made)
    if server is not None:
        _say_statements(world.out, server)
    _say_next(world, plan)
    document = _document(world, plan, ground, made, policy_made=there is None)
    world.out.document(document | ({} if server is None else {"server": server.document()}))
    return Exit.FINE


def _met(world: World, dsn: str, there: "Policy | None") -> "Introduced | None":
    """A machine that only joins may be far from the server."""
    from drkit.operations.init_postgres import introduced

    try:
        found = introduced(dsn, world.system)
    except PostgresError as error:
        if there is None:
            raise
        world.out.warn(error.message, error.hint)
        return None
    world.out.line(f"server      {found.described}")
    for finding in found.findings:
        world.out.warn(finding.message, finding.hint)
    return found


def _answer(
    value: Path | str | None, question: str, flag: str, example: str | None, *, asks: bool
) -> str:
    if value is not None:
        return os.fspath(value)
    if not asks:
        raise UsageError(f"{flag} is missing: the {question}", hint="drkit init -h has examples")
    return str(click.prompt(question, default=example, err=True))


def _url(text: str) -> str:
    """A folder as the policy wants it: whole."""
    return text if "://" in text else os.path.abspath(text)


def _check_pinned(out: Output, plan: "InitPlan", ground: "Ground", there: "Policy") -> None:
    if ground.signer.public not in there.encryption.signers.writers:
        out.warn(
            f"the policy doesn't pin this machine's key {ground.signer.public_text}",
            f"add it under encryption: signers: writers: in {plan.policy_path}",
        )


def _say_ground(out: Output, plan: "InitPlan", ground: "Ground") -> None:
    word = "joined" if ground.joined else "made"
    out.line(f"repository  {plan.store}: {word}, id {ground.repository}")
    for copy in plan.copies:
        out.line(f"copy        {copy}")
    out.line(f"            probed: {sum(f.level == 'pass' for f in ground.probed)} checks passed")
    for finding in ground.probed:
        if finding.level == "warn":
            out.warn(f"{finding.what}: {finding.message}", finding.hint)
    where = plan.state / "signer.key"
    word = "made" if ground.signer_made else "exists, and is used"
    out.line(f"signer      {where}: {word}")


def _policy(
    world: World, plan: "InitPlan", ground: "Ground", identities_to: Path | None
) -> "list[KeyFile]":
    """Keys first: a policy whose keys nobody has would lose every backup."""
    from drkit.operations import init

    made: list[KeyFile] = []
    if plan.recipients:
        recipients = plan.recipients
    elif identities_to is not None:
        made = init.identity_files(identities_to, 1 if plan.single_recipient else 2)
        recipients = tuple(file.identity.recipient for file in made)
        _say_files(world.out, made)
    else:
        recipients = _printed(world.out, 1 if plan.single_recipient else 2)
    init.write_policy(plan, recipients, ground.signer.public_text)
    world.out.line(f"policy      {plan.policy_path}: written")
    return made


def _say_files(out: Output, files: "list[KeyFile]") -> None:
    for file in files:
        word = "made" if file.made else "exists, and is used"
        out.line(f"identity    {file.path}: {word}")
        out.line(f"            {file.identity.recipient.text}")


def _printed(out: Output, number: int) -> "tuple[Recipient, ...]":
    """Once: nothing keeps them after this."""
    from drkit.crypto.recipients import new_identity
    from drkit.operations.init import IDENTITIES

    made = [new_identity() for _ in range(number)]
    for name, identity in zip(IDENTITIES, made, strict=False):
        _print_identity(out, name, identity)
    out.always("")
    out.always("Each of them alone opens every backup; without one of them nobody can.")
    out.always("Keep `operations` where restores are run, `safe` on paper in another building.")
    out.always("They are shown this once, and kept nowhere on this machine.")
    if not out.confirm("Have you kept both?" if number > 1 else "Have you kept it?"):
        raise click.Abort
    return tuple(identity.recipient for identity in made)


def _print_identity(out: Output, name: str, identity: "Identity") -> None:
    from drkit.crypto.recipients import paper_form

    out.always("")
    out.always(f"identity    {name}   (public: {identity.recipient.fingerprint}…)")
    out.always("")
    out.always(f"  {identity.text}")
    out.always("")
    out.always("  on paper:")
    for line in paper_form(identity).splitlines():
        out.always(f"    {line}")


def _say_rest(world: World, ground: "Ground", made: "list[KeyFile]") -> None:
    out = world.out
    out.line()
    out.line("For the key sheet, beside the private keys:")
    out.line("  signer")
    out.line(f"    {ground.signer.public_text}")
    out.line("  restore.py, sha256")
    out.line(f"    {ground.restore_sha256}")
    if made:
        out.line()
        out.line(f"{made[0].path.parent} holds private keys: as long as they are on this machine,")
        out.line(
            "whoever takes it over can read every backup. Move them elsewhere, one into a safe."
        )
    if any(f.what == "deleting" and f.message == "allowed" for f in ground.probed):
        out.line()
        out.line("This machine may delete in the store: whoever takes it over can delete backups.")


def _say_statements(out: Output, server: "Introduced") -> None:
    if server.statements:
        out.line()
        out.line(f"{server.purpose}. In psql, as a superuser, in database {server.facts.database}:")
        for statement in server.statements:
            out.line(f"  {statement}")


def _say_next(world: World, plan: "InitPlan") -> None:
    out = world.out
    out.line()
    out.line("For cron (crontab -e):")
    for line in cron_lines(world):
        out.line(f"  {line}")
    out.line()
    out.line(f"Next: drkit backup {plan.name}")


def cron_lines(world: World) -> list[str]:
    program = shlex.quote(os.path.abspath(sys.argv[0]))
    folder = os.path.abspath(folder_for_policies(world))
    where = "" if folder == "/etc/drkit/policies" else f" --policy-dir {shlex.quote(folder)}"
    state = [] if world.env.state is None else [f"DRKIT_STATE={world.env.state}"]
    return [
        *state,
        f"*/10 * * * * {program} backup -q{where}",
        f"0 5 * * 0 {program} scrub -q{where}",
        f"0 6 * * * {program} forget --apply -q{where}",
    ]


def _document(
    world: World,
    plan: "InitPlan",
    ground: "Ground",
    made: "list[KeyFile]",
    *,
    policy_made: bool,
) -> dict[str, object]:
    return {
        "policy": {"name": plan.name, "path": plan.policy_path, "made": policy_made},
        "repository": {
            "store": plan.store,
            "copies": plan.copies,
            "id": ground.repository,
            "joined": ground.joined,
        },
        "signer": {"public": ground.signer.public_text, "made": ground.signer_made},
        "identities": [
            {"name": f.name, "path": f.path, "public": f.identity.recipient.text, "made": f.made}
            for f in made
        ],
        "probe": list(ground.probed),
        "restore_py_sha256": ground.restore_sha256,
        "cron": cron_lines(world),
    }

"""From options to what operations need: the world, wrapped stores, policies, identities."""

import functools
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec
from urllib.parse import unquote_to_bytes

import click

from drkit.cli.output import Output
from drkit.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from drkit.cli.progress import Quiet
    from drkit.config import Environment
    from drkit.crypto.recipients import Identity
    from drkit.model.pins import Pins
    from drkit.model.policy import Policy
    from drkit.operations.reading import Seen
    from drkit.repository.repository import Repository
    from drkit.stores.base import Store
    from drkit.system import System

P = ParamSpec("P")
Command = Callable[..., int]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What every command is given."""

    system: "System"
    env: "Environment"
    out: Output
    folders: tuple[Path, ...]  # where policies are looked for
    yes: bool

    def state(self, policy: "Policy | None" = None) -> Path:
        from drkit.config import state_folder

        return state_folder(self.env, policy, os.geteuid())


def wired(function: Callable[Concatenate[World, P], int | None]) -> Command:
    """The options that every command takes, turned into its world."""

    @functools.wraps(function)
    def command(
        policy_dir: Path | None,
        as_json: bool,
        quiet: bool,
        verbose: bool,
        log_format: str,
        no_color: bool,
        yes: bool,
        *args: P.args,
        **options: P.kwargs,
    ) -> int:
        from drkit.config import FOLDERS, environment
        from drkit.system import System

        env = environment()
        out = Output(
            json=as_json,
            quiet=quiet,
            verbose=verbose,
            log_json=log_format == "json",
            color=not (no_color or env.no_color),
        )
        with _listener(out, System().monotonic) as heard:
            world = World(
                system=System(tell=heard),
                env=env,
                out=out,
                folders=FOLDERS if policy_dir is None else (policy_dir,),
                yes=yes,
            )
            return int(function(world, *args, **options) or 0)

    for option in reversed(_EVERYWHERE):
        command = option(command)
    return command


def _listener(out: Output, clock: Callable[[], float]) -> "Quiet":
    from drkit.cli.progress import Lines, Quiet

    if out.log_json and not out.quiet:
        return Lines(out, clock)
    if out.quiet or out.log_json or out.json or not sys.stderr.isatty():
        return Quiet(out)
    from drkit.cli.bars import Bars

    return Bars(out)


_EVERYWHERE = (
    click.option(
        "--policy-dir",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Where policies are: else ./policies, then /etc/drkit/policies.",
    ),
    click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout."),
    click.option("-q", "--quiet", is_flag=True, help="Nothing when all is well."),
    click.option("-v", "--verbose", is_flag=True, help="More about what is done."),
    click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        help="Messages and progress on stderr as JSON lines.",
    ),
    click.option("--no-color", is_flag=True, help="No colors; NO_COLOR does the same."),
    click.option("-y", "--yes", is_flag=True, help="Don't ask."),
)

_READING = (
    click.option(
        "--repository",
        metavar="URL",
        help="Read this one, without any policy file.",
    ),
    click.option(
        "-i",
        "--identity",
        "identity_files",
        multiple=True,
        metavar="FILE",
        help="A private key, or its paper form; - is stdin. Else DRKIT_IDENTITY_FILE.",
    ),
    click.option(
        "--signer",
        "signers",
        multiple=True,
        metavar="ed25519:…",
        help="With --repository: whose backups to believe, from the key sheet.",
    ),
)


def reading(command: Command) -> Command:
    """The options of commands that read a repository."""
    for option in reversed(_READING):
        command = option(command)
    return command


def store_of(url: str, system: "System", bandwidth: int | None = None) -> "Store":
    from drkit.stores import open_store
    from drkit.stores.retry import Retrying
    from drkit.stores.throttle import Throttled

    store = open_store(url, system)
    limited = store if bandwidth is None else Throttled(store, bandwidth, system)
    return Retrying(limited, system)


def repository_of(policy: "Policy", system: "System") -> "Repository":
    from drkit.repository.repository import open_repository

    kept = policy.repository
    return open_repository(store_of(kept.store, system, kept.bandwidth))


def own_folders(store: "Store") -> tuple[Path, ...]:
    """A store that is a folder of this machine must not be backed up into itself."""
    if not store.url.startswith("file://"):
        return ()
    return (Path(os.fsdecode(unquote_to_bytes(store.url.removeprefix("file://")))),)


def policies(world: World, names: Sequence[str]) -> "list[Policy]":
    """Those named, or all; any mistake in them is an error."""
    from drkit.config import find_policy, load_folder

    if not names:
        return load_folder(world.folders, world.env.timezone)
    found = {p.name: p for p in (find_policy(n, world.folders, world.env.timezone) for n in names)}
    return [found[name] for name in sorted(found)]


def one_policy(world: World, name: str | None) -> "Policy":
    found = policies(world, () if name is None else (name,))
    if len(found) > 1:
        listed = ", ".join(policy.name for policy in found)
        raise UsageError(f"which policy? there is {listed}", hint="name it behind the command")
    return found[0]


def identities(world: World, files: Sequence[str]) -> "tuple[Identity, ...]":
    """Without any, opening says which would do."""
    from drkit.operations.key import read_identity_file

    given = list(files)
    if not given and world.env.identity_file is not None:
        given = [world.env.identity_file]
    found: list[Identity] = []
    for name in given:
        if name == "-":
            found += _typed()
        else:
            ask = (lambda name=name: _passphrase(name)) if world.out.interactive else None
            found += read_identity_file(Path(name), ask)
    return tuple(found)


def _typed() -> "list[Identity]":
    from drkit.crypto.recipients import LIMIT, read_identities

    if sys.stdin.isatty():
        click.echo("type the identity or its paper form, then Ctrl-D:", err=True)
    return read_identities(sys.stdin.buffer.read(LIMIT + 1))


def _passphrase(name: str) -> str:
    return str(click.prompt(f"passphrase of {name}", hide_input=True, err=True))


def pins_of(signers: Sequence[str]) -> "Pins":
    """By hand, one key stands in all roles."""
    from drkit.crypto.sign import parse_signer
    from drkit.model.pins import Pins

    keys = frozenset(parse_signer(text) for text in signers)
    return Pins(writers=keys, maintainers=keys, verifiers=keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Where a reading command looks: the policies' domains, or a repository by its address."""

    seen: "list[Seen]"
    identities: "tuple[Identity, ...]"


def looked_at(
    world: World,
    names: Sequence[str],
    repository: str | None,
    identity_files: Sequence[str],
    signers: Sequence[str],
) -> Reading:
    from drkit.operations import listing
    from drkit.operations.reading import domain_of, find_domain
    from drkit.repository.repository import open_repository

    keys = identities(world, identity_files)
    if repository is None:
        if signers:
            raise UsageError(
                "--signer goes with --repository", hint="a policy pins its own signers"
            )
        domains = [
            domain_of(repository_of(policy, world.system), policy, world.state(policy))
            for policy in policies(world, names)
        ]
        return Reading(seen=listing.of_policies(domains), identities=keys)
    opened = open_repository(store_of(repository, world.system))
    seen = listing.of_repository(opened, pins_of(signers), keys, world.system)
    if names:
        seen = [find_domain(seen, name) for name in names]
    return Reading(seen=seen, identities=keys)


def folder_for_policies(world: World) -> Path:
    """Where init writes: the first that is looked in."""
    if not world.folders:
        raise ConfigError("no folder for policies")
    return world.folders[0]

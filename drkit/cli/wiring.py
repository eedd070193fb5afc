"""From options to what operations need: the world, wrapped stores, policies, identities."""

import functools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec

import click

from drkit.cli.output import Output
from drkit.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from drkit.cli.progress import Quiet
    from drkit.config import Environment
    from drkit.model.policy import Policy
    from drkit.model.policy import Repository as Kept
    from drkit.operations.copy import CopyTo
    from drkit.repository.repository import Repository
    from drkit.stores.base import Store
    from drkit.stores.retry import Patience
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


def store_of(
    world: World, url: str, kept: "Kept | None" = None, patience: "Patience | None" = None
) -> "Store":
    """`kept`: as a policy wants its stores used."""
    from drkit.stores import open_store
    from drkit.stores.base import Settings
    from drkit.stores.retry import Retrying
    from drkit.stores.throttle import Throttled

    settings = Settings(
        connections=None if kept is None else kept.connections,
        google_credentials=world.env.google_credentials,
    )
    store = open_store(url, world.system, settings)
    if kept is not None and kept.bandwidth is not None:
        store = Throttled(store, kept.bandwidth, world.system)
    return Retrying(store, world.system, patience)


def impatient() -> "Patience":
    """Somebody waits: for an answer about a store, or for another one that would do as well."""
    from drkit.stores.retry import Patience

    return Patience(deadline=30.0)


def store_in(
    world: World, policy: "Policy", url: str, patience: "Patience | None" = None
) -> "Store":
    """One of the policy's stores."""
    return store_of(world, url, policy.repository, patience)


def repository_of(
    world: World, policy: "Policy", url: str | None = None, patience: "Patience | None" = None
) -> "Repository":
    """The policy's home store, or another one of its stores."""
    from drkit.repository.repository import open_repository
    from drkit.stores import plain_url

    home = policy.repository.store
    opened = open_repository(store_in(world, policy, url or home, patience))
    return replace(opened, copy=plain_url(url or home) != plain_url(home))


def own_folders(urls: Iterable[str]) -> tuple[Path, ...]:
    """A store that is a folder of this machine must not be backed up into itself."""
    from drkit.stores import folder_of

    return tuple(folder for url in urls if (folder := folder_of(url)) is not None)


def copies_of(world: World, policy: "Policy") -> "tuple[CopyTo, ...]":
    return tuple(copy_to(world, url, policy) for url in policy.repository.copies)


def copy_to(
    world: World, url: str, policy: "Policy | None" = None, *, anew: bool = False
) -> "CopyTo":
    from drkit.operations.copy import CopyTo

    kept = None if policy is None else policy.repository
    return CopyTo(url=url, open=lambda: store_of(world, url, kept), anew=anew)


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


def folder_for_policies(world: World) -> Path:
    """Where init writes: the first that is looked in."""
    if not world.folders:
        raise ConfigError("no folder for policies")
    return world.folders[0]

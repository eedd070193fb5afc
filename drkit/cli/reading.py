"""What commands that read a repository share: their options, identities, and where they look."""

import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drkit.cli.wiring import Command, World, impatient, policies, repository_of, store_of
from drkit.errors import UsageError

if TYPE_CHECKING:
    from drkit.crypto.recipients import Identity
    from drkit.model.pins import Pins
    from drkit.model.policy import Policy
    from drkit.operations.reading import Seen
    from drkit.repository.repository import Repository


_READING = (
    click.option(
        "--repository",
        metavar="URL",
        help="Read this one, without any policy file.",
    ),
    click.option(
        "--store",
        metavar="URL",
        help="Read this one of the policy's stores: else the first that answers.",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which repository to read, with which keys, believing whom."""

    repository: str | None
    store: str | None
    identity_files: tuple[str, ...]
    signers: tuple[str, ...]

    def check(self) -> None:
        if self.repository is None and self.signers:
            raise UsageError(
                "--signer goes with --repository", hint="a policy pins its own signers"
            )
        if self.repository is not None and self.store is not None:
            raise UsageError(
                "--store is one of a policy's stores: with --repository there is no policy",
                hint="give that one's address to --repository",
            )


def reading(command: Command) -> Command:
    """The options of commands that read a repository, as one."""

    @functools.wraps(command)
    def asking(
        repository: str | None,
        store: str | None,
        identity_files: tuple[str, ...],
        signers: tuple[str, ...],
        **options: object,
    ) -> int:
        asked = Asked(
            repository=repository, store=store, identity_files=identity_files, signers=signers
        )
        asked.check()
        return command(asked=asked, **options)

    decorated: Command = asking
    for option in reversed(_READING):
        decorated = option(decorated)
    return decorated


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


def readable(world: World, policy: "Policy", url: str | None) -> "Repository":
    """The home store, or the first copy that can be read instead; that is said."""
    from drkit.errors import DrkitError

    kept = policy.repository
    if url is not None or not kept.copies:
        return repository_of(world, policy, url)
    try:
        return repository_of(world, policy, patience=impatient())
    except DrkitError as error:
        first = error
    for copy in kept.copies:
        try:
            found = repository_of(world, policy, copy, impatient())
        except DrkitError as error:
            world.out.warn(f"{policy.name}: {error.message}", error.hint)
            continue
        world.out.warn(
            f"{policy.name}: {first.message}", f"{found.store.url} is read instead, a copy of it"
        )
        return found
    raise first


def looked_at(
    world: World,
    names: Sequence[str],
    asked: Asked,
    keys: "tuple[Identity, ...] | None" = None,
) -> Reading:
    """`keys`: where they were read already, as stdin gives them once."""
    from drkit.operations import listing
    from drkit.operations.reading import domain_of, find_domain
    from drkit.repository.repository import open_repository

    keys = identities(world, asked.identity_files) if keys is None else keys
    if asked.repository is None:
        domains = [
            domain_of(readable(world, policy, asked.store), policy, world.state(policy))
            for policy in policies(world, names)
        ]
        return Reading(seen=listing.of_policies(domains), identities=keys)
    opened = open_repository(store_of(world, asked.repository))
    seen = listing.of_repository(opened, pins_of(asked.signers), keys, world.system)
    if names:
        seen = [find_domain(seen, name) for name in names]
    return Reading(seen=seen, identities=keys)

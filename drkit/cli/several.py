"""One thing done with several policies: a failure stops none of the others."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from drkit.cli.machine import refused
from drkit.cli.wiring import World, policies, repository_of
from drkit.errors import DrkitError, Exit

if TYPE_CHECKING:
    from drkit.model.policy import Policy
    from drkit.repository.repository import Repository

Outcome = tuple[dict[str, object], DrkitError | None]  # what to document, and what is wrong


def each(
    world: World, names: tuple[str, ...], title: str, act: "Callable[[Policy], Outcome]"
) -> int:
    """Every failure is printed; the exit is the first failed policy's, in the order of names."""
    found, broken = _found(world, names)
    documents = [_failed(world, None, error) for error in broken]
    codes = [error.exit_code for error in broken]
    for policy in found:
        try:
            document, error = act(policy)
        except Exception as raised:
            document, error = {}, raised if isinstance(raised, DrkitError) else refused(raised)
            if error is None:
                raise
        if error is not None:
            document |= _failed(world, policy.name, error)
            codes.append(error.exit_code)
        documents.append({"policy": policy.name, **document})
    world.out.document({title: documents})
    return int(codes[0]) if codes else Exit.FINE


def each_store(
    world: World, policy: "Policy", only: str | None, act: "Callable[[Repository], Outcome]"
) -> Outcome:
    """The home store and the copies, or `only` one: a store that is away stops none of the others.

    The first error is the caller's to raise; the others are said here.
    """
    from drkit.stores import plain_url

    kept = policy.repository
    urls = (only,) if only is not None else (kept.store, *kept.copies)
    first: DrkitError | None = None
    told: set[str] = set()  # one store's trouble may be met on the way to another
    documents: list[dict[str, object]] = []
    for url in urls:
        document: dict[str, object] = {}
        try:
            document, error = act(repository_of(world, policy, url))
        except DrkitError as raised:
            error = raised
        if error is not None and first is None:
            first = error
        elif error is not None and error.message in told:
            document |= _documented(policy.name, error)
        elif error is not None:
            document |= _failed(world, policy.name, error)
        if error is not None:
            told.add(error.message)
        documents.append({"store": plain_url(url), **document})
    return documents[0] | ({"copies": documents[1:]} if documents[1:] else {}), first


def first_of(world: World, name: str, errors: Sequence[DrkitError]) -> DrkitError | None:
    """The one to raise; the others are said here."""
    for error in errors[1:]:
        world.out.tell("error", f"{name}: {error.message}", error.hint, code=int(error.exit_code))
    return errors[0] if errors else None


def _found(
    world: World, names: tuple[str, ...]
) -> "tuple[tuple[Policy, ...], tuple[DrkitError, ...]]":
    """A broken policy file must not keep the others from their backup."""
    from drkit.config import read_folder

    if names:
        return tuple(policies(world, names)), ()
    folder = read_folder(world.folders, world.env.timezone)
    if not folder.policies and not folder.broken:
        return tuple(policies(world, ())), ()
    return folder.policies, folder.broken


def _failed(world: World, name: str | None, error: DrkitError) -> dict[str, object]:
    message = error.message
    if name is not None and not message.startswith(f"{name}: "):
        message = "\n".join(f"{name}: {line}" for line in message.split("\n"))
    world.out.tell("error", message, error.hint, code=int(error.exit_code))
    for note in getattr(error, "__notes__", ()):
        world.out.tell("note", note)
    return _documented(name, error)


def _documented(name: str | None, error: DrkitError) -> dict[str, object]:
    said = {"message": error.message, "hint": error.hint, "exit_code": int(error.exit_code)}
    return {"policy": name, "error": said}

"""One thing done with several policies: a failure stops none of the others."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from drkit.cli.machine import refused
from drkit.cli.wiring import World, policies
from drkit.errors import DrkitError, Exit

if TYPE_CHECKING:
    from drkit.model.policy import Policy

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
    said = {"message": error.message, "hint": error.hint, "exit_code": int(error.exit_code)}
    return {"policy": name, "error": said}

"""The same tools as for files, told to use a server."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from benchmarks.history import AGAIN, OBJECTS
from benchmarks.server import KEYS, REGION
from benchmarks.tools import TOOLS as LOCAL
from benchmarks.tools import Phase, Place, Tool

PHASES: tuple[Phase, ...] = ("full", "changed", "restore", "one file", "list", OBJECTS, AGAIN)
Env = Callable[[Place], Mapping[str, str]]


def _address(place: Place) -> str:
    return f"http://127.0.0.1:{place.turn}"


def _drkit_init(place: Place) -> Sequence[str]:
    """The same words, with another store."""
    url = f"s3:/{place.store}?endpoint={_address(place)}&region={REGION}"
    words = LOCAL["drkit"].init(place)
    return tuple(url if word == place.store.as_uri() else word for word in words)


def _listed(command: Callable[[Place, Phase], Sequence[str]]) -> Callable[..., Sequence[str]]:
    return lambda place, phase: command(place, "list" if phase in (OBJECTS, AGAIN) else phase)


def _drkit_env(place: Place) -> Mapping[str, str]:
    return {**LOCAL["drkit"].env(place), **KEYS}


def _restic_env(place: Place) -> Mapping[str, str]:
    where = f"s3:{_address(place)}{place.store}"
    return {**LOCAL["restic"].env(place), **KEYS, "RESTIC_REPOSITORY": where}


def _over_network(name: str, env: Env, init: Callable[[Place], Sequence[str]]) -> Tool:
    tool = LOCAL[name]
    return replace(tool, init=init, env=env, command=_listed(tool.command))


TOOLS = {
    "drkit": _over_network("drkit", _drkit_env, _drkit_init),
    "restic": _over_network("restic", _restic_env, LOCAL["restic"].init),
}

"""Outcomes that this machine has read before, decoded while the store is still listing."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from drkit.errors import Damaged
from drkit.repository import names
from drkit.repository.outline import Outline, outline
from drkit.repository.repository import Repository
from drkit.repository.seen import all_remembered
from drkit.repository.signed import Commit, Fence, Where, decode_outcome
from drkit.repository.transfer import askers, gathered, is_far

Outcome = tuple[Commit | Fence, bytes]  # with the key that signed it


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """By name; with the bytes that were decoded, as only those stand for what came of them."""

    known: dict[str, tuple[bytes, Outcome]] = field(default_factory=dict)

    def outcome(self, name: str, data: bytes, where: Where) -> Outcome:
        then, said = self.known.get(name, (b"", None))
        return decode_outcome(data, where) if said is None or then != data else said


NOTHING = Ahead()


def outlined(repository: Repository, domain: str) -> tuple[Outline, Ahead]:
    """A processor that waits for listings has time for what will very likely be in them."""
    store = repository.store
    seen = all_remembered(repository.memory if is_far(store.lanes) else None)
    found: list[Outline] = []
    ahead: list[Ahead] = []
    acts: list[Callable[[], object]] = [
        lambda: found.append(outline(store, domain, list(seen))),
        lambda: ahead.append(_decoded(repository.id, seen)),
    ]
    gathered(acts, lambda act: act(), askers(store.lanes))
    return found[0], ahead[0]


def _decoded(repository: str, remembered: Mapping[str, bytes]) -> Ahead:
    """What is damaged is left to be told where it is read."""
    ahead = Ahead()
    for name, data in remembered.items():
        said = names.parse(name)
        if said is None or said.kind != "outcome" or said.domain is None:
            continue
        where = Where(
            repository=repository,
            domain=said.domain,
            generation=said.generation,
            session=said.session,
        )
        with suppress(Damaged):
            ahead.known[name] = (data, decode_outcome(data, where))
    return ahead

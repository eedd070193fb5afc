"""Evidence brought to another store: chain by chain, each in its order, nothing changed."""

from collections.abc import Mapping
from dataclasses import dataclass

from drkit.crypto.sign import parse_signer
from drkit.errors import AlreadyExists, Damaged
from drkit.events import Advanced, Finished, Started
from drkit.model.evidence import Link
from drkit.repository import names
from drkit.repository.copies.carry import Unfit, readable
from drkit.repository.copies.plan import LIMIT, CopyDone, CopyPlan, check_pair, tampering
from drkit.repository.evidence import decode
from drkit.repository.repository import body
from drkit.stores.base import Store
from drkit.stores.locked import locked
from drkit.system import System

_Chains = dict[str, dict[int, int]]  # signer in hex → number → size


def copy_evidence(plan: CopyPlan, system: System) -> CopyDone:
    """Of the whole repository, not of the plan's domain alone: a chain has no domains."""
    check_pair(plan.source, plan.destination)
    run = _Evidence(plan, system)
    run.copy()
    return CopyDone(
        copied=(),
        there=run.there,
        objects=len(run.sizes),
        bytes=sum(run.sizes),
        left=(),
        findings=tuple(tampering(message) for message in dict.fromkeys(run.odd)),
    )


def _listed(store: Store) -> _Chains:
    chains: _Chains = {}
    for stored in store.list(names.EVIDENCE):
        name = names.parse(stored.name)
        if name is not None and name.signer is not None and name.number is not None:
            chains.setdefault(name.signer, {})[name.number] = stored.size
    return chains


@dataclass(slots=True)
class _Chain:
    numbers: list[int]  # that the destination lacks, in their order
    next: int = 0
    stopped: bool = False  # a record of it can't be copied: none behind it is


class _Evidence:
    def __init__(self, plan: CopyPlan, system: System) -> None:
        self._plan = plan
        self._system = system
        self._here = plan.source.store
        self._there = locked(plan.destination.store, plan.until(None))
        self._links: dict[str, tuple[bytes, Link]] = {}
        self._busy: set[str] = set()
        self.there = 0
        self.sizes: list[int] = []
        self.odd: list[str] = []

    def copy(self) -> None:
        here, there = _listed(self._here), _listed(self._there)
        self._chains = {signer: self._chain(signer, here, there) for signer in sorted(here)}
        task = f"{self._plan.task}: evidence"
        total = sum(len(chain.numbers) for chain in self._chains.values())
        self._system.tell(Started(task=task, total_items=total))
        for signer, chain in self._chains.items():
            self._advance(signer, max(chain.numbers, default=0))
        self._system.tell(Finished(task=task))

    def _chain(self, signer: str, here: _Chains, there: _Chains) -> _Chain:
        held: Mapping[int, int] = there.get(signer, {})
        shared = [number for number in sorted(here[signer]) if number in held]
        self.there += len(shared)
        stopped = not self._pinned(signer)
        for number in shared:
            if held[number] != here[signer][number]:
                self._forked(signer, number)
                stopped = True
        if shared and not stopped:  # each names the hash of the one before: the last tells of all
            name = names.evidence(signer, shared[-1])
            if self._here.read(name, LIMIT) != self._there.read(name, LIMIT):
                self._forked(signer, shared[-1])
                stopped = True
        numbers = [number for number in sorted(here[signer]) if number not in held]
        return _Chain(numbers=numbers, stopped=stopped)

    def _pinned(self, signer: str) -> bool:
        verifiers = self._plan.pins.verifiers
        if not verifiers or parse_signer(f"ed25519:{signer}") in verifiers:
            return True
        self.odd.append(f"evidence of {signer[:16]}…: its signer isn't pinned as a verifier")
        return False

    def _forked(self, signer: str, number: int) -> None:
        name = names.evidence(signer, number)
        self.odd.append(f"{name} is another record at the copy than here: the chain is forked")

    def _advance(self, signer: str, last: int) -> None:
        """What a record has seen of other chains goes before it."""
        chain = self._chains.get(signer)
        if chain is None or signer in self._busy:
            return
        self._busy.add(signer)
        while not chain.stopped and chain.next < len(chain.numbers):
            number = chain.numbers[chain.next]
            if number > last:
                break
            chain.stopped = not self._record(names.evidence(signer, number))
            chain.next += 1
        self._busy.discard(signer)

    def _record(self, name: str) -> bool:
        try:
            with readable(name, self._here):
                data = self._here.read(name, LIMIT)
            link = decode(data, name)
        except Unfit as error:
            self.odd.append(error.message)
            return False
        except Damaged as error:
            self.odd.append(f"{name}: {error.message}")
            return False
        for head in link.record.heads:
            self._advance(parse_signer(head.signer).hex(), head.seq)
        return self._put(name, data)

    def _put(self, name: str, data: bytes) -> bool:
        try:
            self._there.put(name, body(data))
        except AlreadyExists:
            if self._there.read(name, LIMIT) == data:
                return True
            self.odd.append(f"{name} is another record at the copy than here: the chain is forked")
            return False
        self.sizes.append(len(data))
        task = f"{self._plan.task}: evidence"
        self._system.tell(Advanced(task=task, bytes=len(data), items=1))
        return True

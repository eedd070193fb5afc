"""Every reachable state of a composition, breadth first, so that traces are shortest."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.protocol.machine import Composition, Proc, State, Stores
from tests.protocol.properties import overwritten, properties


@dataclass(frozen=True, slots=True, kw_only=True)
class Explored:
    states: int
    steps: int
    violation: str | None
    trace: tuple[str, ...]  # what led to the violation
    happened: frozenset[str]  # every step's label, with the process's kind before it


class TooMany(Exception):
    """More states than allowed."""


Came = dict[State, tuple[State, str] | None]


def explore(composition: Composition, *, most: int = 500_000, symmetry: bool = True) -> Explored:
    first: State = (composition.scene.first(), composition.begin)
    came: Came = {first: None}
    level, happened, steps = [first], set[str](), 0
    judge = _Judge(composition)
    wrong = judge.state(first)
    alike = composition.alike if symmetry else None
    while level and not wrong:
        following: list[State] = []
        for state in level:
            for label, then in _steps(composition, state):
                steps += 1
                happened.add(label)
                new = _ordered(then, alike)
                if new in came:
                    continue
                came[new] = (state, label)
                following.append(new)
                wrong = judge.step(state, new) or judge.state(new)
                if wrong:
                    return _explored(came, steps, wrong, new, happened)
        if len(came) > most:
            raise TooMany(f"{composition.name}: over {most} states")
        level = following
    if not wrong:
        wrong = _never(composition, happened)
    return _explored(came, steps, wrong, first, happened)


def _never(composition: Composition, happened: set[str]) -> str | None:
    """A model in which a thing can't happen proves nothing about it."""
    missing = [label for label in composition.must_happen if label not in happened]
    return f"never happens: {missing[0]}" if missing else None


def _explored(
    came: Came, steps: int, wrong: str | None, last: State, happened: set[str]
) -> Explored:
    trace = tuple(_trace(came, last)) if wrong else ()
    return Explored(
        states=len(came),
        steps=steps,
        violation=wrong,
        trace=trace[::-1],
        happened=frozenset(happened),
    )


def _steps(composition: Composition, state: State) -> Iterator[tuple[str, State]]:
    stores, procs = state
    for number, machine in enumerate(composition.machines):
        name = composition.names[number]
        for label, new_stores, proc in machine(stores, procs[number], procs):
            then = (*procs[:number], proc, *procs[number + 1 :])
            yield f"{name}: {label}", (new_stores, then)


def _ordered(state: State, alike: tuple[int, int] | None) -> State:
    """Interchangeable processes in one order: of two mirrored states one is enough."""
    if alike is None:
        return state
    one, other = alike
    procs = state[1]
    if procs[one] <= procs[other]:
        return state
    swapped: list[Proc] = list(procs)
    swapped[one], swapped[other] = procs[other], procs[one]
    return state[0], tuple(swapped)


def _trace(came: Came, state: State) -> Iterator[str]:
    while (before := came[state]) is not None:
        state, label = before
        yield label


class _Judge:
    """Asks the properties; those over stores alone once for each content of the stores."""

    def __init__(self, composition: Composition) -> None:
        self.scene = composition.scene
        self.of_stores, self.of_processes = properties(composition)
        self.known: dict[Stores, str | None] = {}

    def step(self, old: State, new: State) -> str | None:
        return overwritten(self.scene, old[0], new[0]) if old[0] != new[0] else None

    def state(self, state: State) -> str | None:
        stores = state[0]
        if stores not in self.known:
            self.known[stores] = self.of_stores(state)
        return self.known[stores] or self.of_processes(state)

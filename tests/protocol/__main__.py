"""Explores the protocol's bigger compositions; `--mutant NAME` tells how that one fails."""

import resource
import sys
import time
from collections.abc import Callable
from functools import partial

from tests.protocol.compositions import BIGGER, SCENES, composed
from tests.protocol.explore import Explored, explore
from tests.protocol.machine import Composition
from tests.protocol.mutants import MUTANTS

MOST = 8_000_000


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--mutant"]:
        return mutant(" ".join(arguments[1:]))
    say("| composition | states | steps | seconds | peak memory | verdict |")
    say("|---|--:|--:|--:|--:|---|")
    makes: dict[str, Callable[[], Composition]] = {n: partial(composed, n) for n in SCENES}
    verdicts = [measured(name, make) for name, make in (makes | BIGGER).items()]
    fell = [failed(m.name, m.scene, m.breaks) for m in MUTANTS]
    say(f"\n{sum(fell)} of {len(fell)} mutants fail")
    return 0 if all(verdicts) and all(fell) else 1


def measured(name: str, make: Callable[[], Composition]) -> bool:
    begun = time.perf_counter()
    explored = explore(make(), most=MOST)
    took = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    verdict = explored.violation or "holds"
    counts = f"{explored.states:,} | {explored.steps:,} | {took:.1f} | {peak} MiB"
    say(f"| {name} | {counts} | {verdict} |")
    tell(explored)
    return explored.violation is None


def failed(name: str, scene: str, breaks: str) -> bool:
    explored = explore(composed(scene, name), most=MOST, symmetry=False)
    return (explored.violation or "").startswith(breaks)


def mutant(name: str) -> int:
    found = [m for m in MUTANTS if m.name == name]
    if not found:
        sys.stderr.write("mutants: " + ", ".join(m.name for m in MUTANTS) + "\n")
        return 2
    explored = explore(composed(found[0].scene, name), most=MOST, symmetry=False)
    say(str(explored.violation))
    tell(explored)
    return 0


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def tell(explored: Explored) -> None:
    for number, label in enumerate(explored.trace, 1):
        say(f"{number:4} {label}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

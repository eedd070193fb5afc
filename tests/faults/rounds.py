"""Rounds of backups with faults at random: kills at any moment, lost answers, damaged memories."""

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from drkit.errors import StoreError
from drkit.stores.base import Store, Stored
from drkit.stores.retry import Retrying
from drkit.system import System
from tests.fixtures import trees
from tests.fixtures.faulty_store import Call, Fault, FaultyStore, die, taken, unanswered
from tests.fixtures.ledger import Ended, Ledger, change, child, soon, world

ROUNDS, BACKUPS = 60, 8
HASTY = System(now=soon, sleep=lambda _: None)


def main() -> int:
    seed = int(os.environ.get("DRKIT_SEED") or random.SystemRandom().randrange(1 << 32))
    tell(f"seed {seed}, {ROUNDS} rounds of {BACKUPS} backups")
    counts: Counter[str] = Counter()
    begun = time.perf_counter()
    for number in range(ROUNDS):
        one = f"{seed}.{number}"
        with tempfile.TemporaryDirectory(prefix="drkit-faults-") as folder:
            try:
                counts += rounds(Path(folder), random.Random(one))
            except AssertionError as error:
                tell(f"FAILED in round {one}:\n{error}")
                return 1
    words = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    tell(f"{words}; {time.perf_counter() - begun:.0f} s")
    return 0


def tell(line: str) -> None:
    sys.stdout.write(f"faults: {line}\n")
    sys.stdout.flush()


def rounds(root: Path, dice: random.Random) -> Counter[str]:
    ledger = Ledger(world=world(root / "world", lambda tree: tree_of(tree, dice)))
    counts: Counter[str] = Counter()
    for _ in range(BACKUPS):
        change(ledger.world.tree, dice.randrange(10_000))
        fault = dice.choice(FAULTS)
        found = fault(ledger, dice)
        counts[f"{fault.__name__.replace('_', ' ')}: {word(found)}"] += 1
        if dice.random() < 0.15:
            damage_memory(ledger, dice)
        if dice.random() < 0.1:
            ledger.world.forget()
    ledger.settle()
    return counts


def tree_of(tree: Path, dice: random.Random) -> None:
    for i in range(dice.choice((5, 200, 3000))):
        trees.write(tree / f"{i % 13}/file {i}", trees.noise(dice.randrange(3000), i))
    for i in range(dice.randrange(4)):
        trees.write(tree / f"large {i}", trees.noise(dice.randrange(1 << 20, 20 << 20), i))


def word(found: Ended) -> str:
    return "killed" if found.killed else found.error or found.kind


def killed_at_a_moment(ledger: Ledger, dice: random.Random) -> Ended:
    """Wherever it is then, in SQLite's commit as well."""
    tree = ledger.copy()
    writer = child(ledger.world.back_up)
    time.sleep(dice.random() ** 2 * 0.4)
    os.kill(writer.pid, signal.SIGKILL)
    found = writer.wait()
    ledger.note([found], tree)
    return found


def killed_at_a_call(ledger: Ledger, dice: random.Random) -> Ended:
    n = dice.randrange(1, 40)
    return apart(ledger, faulty(ledger, lambda call: die(call) if call.number == n else None, dice))


def flaky(ledger: Ledger, dice: random.Random) -> Ended:
    chance = dice.choice((0.05, 0.3))
    hook = sometimes(unanswered, chance, random.Random(dice.random()))
    return apart(ledger, faulty(ledger, hook, dice))


def flaky_with_retries(ledger: Ledger, dice: random.Random) -> Ended:
    hook = sometimes(unanswered, 0.3, random.Random(dice.random()))
    found = apart(ledger, Retrying(faulty(ledger, hook, dice), HASTY))
    assert found.session, found
    return found


def names_taken(ledger: Ledger, dice: random.Random) -> Ended:
    hook = sometimes(on_puts(taken), 0.2, random.Random(dice.random()))
    return apart(ledger, faulty(ledger, hook, dice))


def cut_listings(ledger: Ledger, dice: random.Random) -> Ended:
    odds = random.Random(dice.random())

    def listed(_call: Call, found: list[Stored]) -> Iterator[Stored]:
        for item in found:
            if odds.random() < 0.02:
                raise StoreError("the listing broke off", transient=True)
            yield item

    return apart(ledger, FaultyStore(ledger.world.store, Fault(listed=listed)))


def none_at_all(ledger: Ledger, _dice: random.Random) -> Ended:
    found = ledger.run(ledger.world.back_up)
    assert found.session, found
    return found


FAULTS: list[Callable[[Ledger, random.Random], Ended]] = [
    killed_at_a_moment,
    killed_at_a_moment,
    killed_at_a_call,
    flaky,
    flaky_with_retries,
    names_taken,
    cut_listings,
    none_at_all,
]


def apart(ledger: Ledger, store: Store) -> Ended:
    return ledger.run(lambda: ledger.world.back_up(store), apart=True)


def faulty(ledger: Ledger, hook: Callable[[Call], None], dice: random.Random) -> FaultyStore:
    fault = Fault(before=hook) if dice.random() < 0.5 else Fault(after=hook)
    return FaultyStore(ledger.world.store, fault)


def sometimes(
    hook: Callable[[Call], None], chance: float, odds: random.Random
) -> Callable[[Call], None]:
    return lambda call: hook(call) if odds.random() < chance else None


def on_puts(hook: Callable[[Call], None]) -> Callable[[Call], None]:
    return lambda call: hook(call) if call.verb == "put" else None


def damage_memory(ledger: Ledger, dice: random.Random) -> None:
    path = ledger.world.plan.state / "cache.sqlite"
    if not path.exists() or not path.stat().st_size:
        return
    if dice.random() < 0.2:
        shutil.rmtree(ledger.world.plan.state)
        ledger.world.plan.state.mkdir()
        return
    with path.open("r+b") as file:
        for _ in range(dice.randrange(1, 5)):
            file.seek(dice.randrange(path.stat().st_size))
            file.write(dice.randbytes(dice.randrange(1, 40)))


if __name__ == "__main__":
    sys.exit(main())

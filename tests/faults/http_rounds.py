"""Rounds of backups on cloud servers behind a proxy that does anything at random to any request."""

import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.faults.rounds import damage_memory, word
from tests.fixtures import http_acts as acts
from tests.fixtures.aws_environment import AWS_ENVIRONMENT
from tests.fixtures.clouds import CLOUDS
from tests.fixtures.ledger import Ended, change
from tests.fixtures.proxy import Act, Plan, Proxy, Seen
from tests.fixtures.scenes import Scene, Work, back_up, first, forget

ROUNDS, RUNS = 20, 12  # on each server
SIDES = ("before", "after")


def main() -> int:
    os.environ.update(AWS_ENVIRONMENT)
    seed = int(os.environ.get("DRKIT_SEED") or random.SystemRandom().randrange(1 << 32))
    names = sys.argv[1:] or [name for name in CLOUDS if name != "moto"]  # it would fill the memory
    tell(f"seed {seed}, {ROUNDS} rounds of {RUNS} runs on each of {', '.join(names)}")
    for name in names:
        counts: Counter[str] = Counter()
        begun = time.perf_counter()
        for number in range(ROUNDS):
            one = f"{seed}.{name}.{number}"
            try:
                counts += played(name, random.Random(one))
            except AssertionError as error:
                tell(f"FAILED in round {one}:\n{error}")
                return 1
        words = ", ".join(f"{count} {what}" for what, count in counts.most_common())
        tell(f"{name}: {words}; {time.perf_counter() - begun:.0f} s")
    return 0


def tell(line: str) -> None:
    sys.stdout.write(f"clouds: {line}\n")
    sys.stdout.flush()


def played(name: str, dice: random.Random) -> Counter[str]:
    counts: Counter[str] = Counter()
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="drkit-clouds-") as folder:
        scene = Scene(CLOUDS[name](stack), Path(folder), first)
        for _ in range(RUNS):
            change(scene.world.tree, dice.randrange(10_000))
            run = dice.choice(RUNS_OF)
            work = forget if dice.random() < 0.15 else back_up
            found = run(scene, work, dice)
            counts[
                f"{run.__name__} {work.__name__}: {word(found) or 'done'}".replace("_", " ")
            ] += 1
            assert scene.ledger.wrong == [], "\n".join(scene.ledger.wrong)
            if dice.random() < 0.15:
                damage_memory(scene.ledger, dice)
        scene.ledger.settle(keep=True)
        for stored in list(scene.cloud.direct.list("")):
            scene.cloud.direct.delete(stored.name)
    return counts


def killed(scene: Scene, work: Work, dice: random.Random) -> Ended:
    return scene.killed(dice.randrange(1, 40), dice.choice(SIDES), work).ended


def flaky(scene: Scene, work: Work, dice: random.Random) -> Ended:
    """Every fault that heals; more than the retries bear, now and then."""
    return scene.with_proxy(at_random(HEALING, dice.choice((0.05, 0.3, 0.6)), dice), work).ended


def hostile(scene: Scene, work: Work, dice: random.Random) -> Ended:
    return scene.with_proxy(at_random(HEALING + HARSH, dice.choice((0.02, 0.1)), dice), work).ended


def well(scene: Scene, work: Work, dice: random.Random) -> Ended:
    found = scene.run(lambda _seen: None, work).ended
    assert not found.error, found
    return found


RUNS_OF = [killed, killed, flaky, flaky, hostile, well]
Made = Callable[[Proxy, random.Random], Act]
HEALING: list[Made] = [
    lambda _proxy, _dice: acts.slow_down(),
    lambda _proxy, _dice: acts.too_many(),
    lambda _proxy, dice: acts.reset_request(dice.choice((0, 1, 200, 50_000))),
    lambda _proxy, dice: acts.reset_answer(dice.choice((0, 1, 200, 50_000))),
    lambda _proxy, dice: acts.short_answer(dice.choice((0, 1, 200, 50_000))),
    lambda _proxy, _dice: acts.lost(),
    lambda _proxy, dice: acts.stall(dice.random() * 0.02),
]
HARSH: list[Made] = [
    lambda _proxy, _dice: acts.denied(),
    lambda _proxy, _dice: acts.no_space(),
    lambda _proxy, _dice: acts.skew(0.0),
    lambda _proxy, _dice: acts.web_page(),
    lambda _proxy, _dice: acts.empty(),
    lambda _proxy, dice: acts.wrong_length(dice.choice((1, 100))),
    lambda _proxy, _dice: acts.flipped(),
    lambda proxy, dice: acts.stale(proxy, dice.choice((1, 3, 8))),
]


def at_random(made: list[Made], chance: float, dice: random.Random) -> Callable[[Proxy], Plan]:
    odds = random.Random(dice.random())

    def plan(proxy: Proxy) -> Plan:
        def act(seen: Seen) -> Act | None:
            if odds.random() >= chance:
                return None
            return odds.choice(made)(proxy, odds)

        return act

    return plan


if __name__ == "__main__":
    sys.exit(main())

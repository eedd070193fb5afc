import pytest

from tests.protocol.compositions import LATE, SCENES, composed, late
from tests.protocol.explore import Explored, TooMany, explore
from tests.protocol.machine import may_go
from tests.protocol.mutants import MUTANTS, Mutant


def told(explored: Explored) -> str:
    return "\n  ".join((explored.violation or "no violation", *explored.trace))


@pytest.mark.parametrize("scene", SCENES)
def test_the_protocol_holds_in_every_state(scene: str) -> None:
    explored = explore(composed(scene), most=500_000)
    assert explored.violation is None, told(explored)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_every_mutant_fails(mutant: Mutant) -> None:
    explored = explore(composed(mutant.scene, mutant.name), symmetry=False)
    assert (explored.violation or "").startswith(mutant.breaks), told(explored)


def test_no_mutant_is_spelt_in_vain() -> None:
    """Each needs its own flag: without it the same scene is the one that holds."""
    names = [mutant.name for mutant in MUTANTS]
    assert len(names) == len(set(names))
    assert {mutant.scene for mutant in MUTANTS} <= set(SCENES)


def test_the_known_limit_damage_found_after_the_second_look() -> None:
    """The best any forgetter can do: a decision is never younger than its look."""
    explored = explore(late(LATE))
    assert explored.violation == "S3: the newest sound commit is expired at home"
    assert explored.trace[-2:] == ("scrub: damage evidence", "forgetter 1: expired A")


def test_what_expired_too_late_is_not_swept_by_a_new_plan() -> None:
    (store,) = LATE.first()
    expired = store | LATE.bits["closed/A"] | LATE.bits["expired/A"]
    assert may_go(LATE, expired, "A")
    assert not may_go(LATE, expired | LATE.bits["damage/b"], "A")


def test_a_shortest_trace_is_told() -> None:
    explored = explore(composed("expiry", "outcome before packs"))
    assert explored.trace == (
        "writer w1: begin",
        "writer w1: look",
        "writer w1: manifest",
        "writer w1: outcome",
    )


def test_interchangeable_forgetters_change_the_count_and_not_the_verdict() -> None:
    halved, whole = explore(composed("rewound")), explore(composed("rewound"), symmetry=False)
    assert halved.violation is None
    assert whole.violation is None
    assert halved.states < whole.states


def test_too_many_states_are_an_error_and_no_pass() -> None:
    with pytest.raises(TooMany):
        explore(composed("expiry"), most=1000)


def test_what_never_happens_is_a_failure() -> None:
    explored = explore(composed("rewound", "one floor for all timelines"))
    assert explored.violation == "never happens: writer w1: outcome"

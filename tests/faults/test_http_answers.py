"""Each way in which a cloud's server or the network fails, at every request of a backup."""

from collections.abc import Callable
from itertools import product

import pytest

from drkit.stores.base import Settings
from tests.fixtures import cloud_scenes
from tests.fixtures import http_acts as acts
from tests.fixtures.cloud_scenes import Part, SceneOf, some
from tests.fixtures.proxy import Act, Plan, Proxy, Seen
from tests.fixtures.scenes import Prepare, Round, Scene, at, first, from_, third

part, scene_of = cloud_scenes.part, cloud_scenes.scene_of
IMPATIENT = Settings(first_byte=0.1, whole=0.2)


@pytest.fixture(params=[third, first])
def prepare(request: pytest.FixtureRequest) -> Prepare:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def scene(prepare: Prepare, scene_of: SceneOf) -> Scene:
    return scene_of(prepare)


@pytest.fixture
def thinned(prepare: Prepare) -> int:
    """Most requests of a full are those of an incremental."""
    return 7 if prepare is first else 1


@pytest.fixture
def halved(prepare: Prepare) -> int:
    return 7 if prepare is first else 2


def settled(scene: Scene, round_: Round, here: str) -> None:
    """What it said is so, and the next backup is sound; after a success, that one is enough."""
    assert not round_.ended.bug, f"{here}: {round_.ended.bug}"
    if round_.ended.session:
        assert round_.committed(), here
    else:
        assert round_.ended.message, here
    if round_.ended.session:
        scene.right(round_.ended.session)
    else:
        scene.ledger.settle(keep=True)
    scene.rewind()


HEALED: dict[str, Act] = {
    "slow down": acts.slow_down(),
    "too many requests": acts.too_many(),
    "internal error": acts.status(500, "InternalError", "we met an internal error"),
    "connection reset": acts.reset_request(),
    "reset in its body": acts.reset_request(150),
    "answer reset": acts.reset_answer(),
    "answer reset in its body": acts.reset_answer(30),
    "answer ends early": acts.short_answer(30),
    "answer lost": acts.lost(),
}
WRONG: dict[str, Act] = {
    "too short": acts.wrong_length(),
    "empty": acts.empty(),
    "a bit flipped": acts.flipped(),
    "a web page": acts.web_page(),
    "once no permission": acts.denied(),
}
# Of any, one must be in the message or its hint. Google's clock speaks at the token's server.
REFUSED: dict[str, tuple[Act, tuple[str, ...]]] = {
    "permission taken away": (acts.denied(), ("access",)),
    "clock wrong": (acts.skew(0.0), ("clock", "current time")),
    "no space": (acts.no_space(), ("507", "full")),
}
DOWN: dict[str, Act] = {"busy": acts.slow_down(), "gone": acts.reset_request()}
SLOW: dict[str, Act] = {"silence": acts.stall(0.2), "a slow drip": acts.drip(100.0)}


def test_with_retries_nothing_is_felt(scene: Scene, part: Part, thinned: int) -> None:
    for (name, act), seen in some(part, product(HEALED.items(), scene.requests()), thinned):
        found = scene.run(at(seen.number, act))
        assert found.ended.session, f"{name}, {seen}: {found.ended}"
        settled(scene, found, f"{name}, {seen}")


def test_a_wrong_answer(scene: Scene, part: Part, halved: int) -> None:
    """Found out, or healed: never believed."""
    for (name, act), seen in some(part, product(WRONG.items(), scene.requests()), halved):
        found = scene.run(at(seen.number, act))
        here = f"{name}, {seen}: {found.ended}"
        assert found.ended.session or found.ended.code in (5, 8), here
        settled(scene, found, here)


def test_a_refusal_that_stays(scene: Scene, part: Part, halved: int) -> None:
    for (name, (act, words)), seen in some(
        part, product(REFUSED.items(), scene.requests()), halved
    ):
        found = scene.run(from_(seen.number, act))
        here = f"{name}, {seen}: {found.ended}"
        assert (found.ended.code, found.ended.session) == (5, ""), here
        said = f"{found.ended.message} {found.ended.hint}".lower()
        assert any(word in said for word in words), here
        settled(scene, found, here)


def test_a_server_that_goes_down_for_good(scene: Scene, part: Part, halved: int) -> None:
    for (name, act), seen in some(part, product(DOWN.items(), scene.requests()), halved):
        found = scene.run(from_(seen.number, act))
        here = f"{name}, {seen}: {found.ended}"
        assert (found.ended.code, found.ended.session) == (5, ""), here
        assert "outcome unknown" in found.ended.message or not scene.new(), here
        settled(scene, found, here)


def stale_at(number: int, newest: int) -> Callable[[Proxy], Plan]:
    return lambda proxy: at(number, acts.stale(proxy, newest))


def test_a_listing_that_lags(scene: Scene, part: Part, thinned: int) -> None:
    listings = [seen for seen in scene.requests() if seen.verb == "list"]
    for newest, seen in some(part, product((1, 3, 8), listings), thinned):
        found = scene.with_proxy(stale_at(seen.number, newest))
        here = f"{newest} missing, {seen}: {found.ended}"
        assert found.ended.session or found.ended.code in (5, 8), here
        if found.ended.session and len(scene.ledger.copies) > 1:
            assert found.ended.kind == "incremental" or found.ended.findings, here
        settled(scene, found, here)


def outcome(seen: Seen) -> bool:
    return seen.verb == "put" and "/outcome/" in seen.name


def test_the_outcome_s_answer_gets_lost(scene: Scene) -> None:
    """Once: it is there, and its own. And then the server is gone: nobody can know."""
    met: list[int] = []

    def once(seen: Seen) -> Act | None:
        if outcome(seen) and not met:
            met.append(seen.number)
            return acts.lost()
        return None

    def gone(seen: Seen) -> Act | None:
        return once(seen) or (acts.reset_request() if met else None)

    found = scene.run(once)
    assert found.ended.session
    settled(scene, found, "once")
    met.clear()
    found = scene.run(gone)
    assert (found.ended.code, "outcome unknown" in found.ended.message) == (5, True)
    assert scene.new() == 1
    settled(scene, found, "gone")


def test_waiting_ends(scene_of: SceneOf, part: Part) -> None:
    scene = scene_of(third)
    for (name, act), seen in some(part, product(SLOW.items(), scene.requests()), 2):
        found = scene.run(at(seen.number, act), settings=IMPATIENT)
        assert found.ended.session, f"{name}, {seen}: {found.ended}"
        settled(scene, found, f"{name}, {seen}")

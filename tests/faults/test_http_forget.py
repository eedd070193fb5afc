"""Each way in which a cloud's server or the network fails, at every request of a forget."""

from itertools import product

from tests.fixtures import cloud_scenes
from tests.fixtures import http_acts as acts
from tests.fixtures.cloud_scenes import Part, SceneOf, some
from tests.fixtures.proxy import Act
from tests.fixtures.scenes import at, forget, from_, kinds, much_to_forget

part, scene_of = cloud_scenes.part, cloud_scenes.scene_of
HEALED: dict[str, Act] = {
    "slow down": acts.slow_down(),
    "connection reset": acts.reset_request(),
    "answer ends early": acts.short_answer(30),
    "answer lost": acts.lost(),
}
OTHER: dict[str, Act] = {
    "permission taken away": acts.denied(),
    "a web page": acts.web_page(),
    "empty": acts.empty(),
    "too short": acts.wrong_length(),
}


def test_with_retries_nothing_is_felt(scene_of: SceneOf, part: Part) -> None:
    scene = scene_of(much_to_forget)
    requests = kinds(scene.requests(forget))
    for (name, act), seen in some(part, product(HEALED.items(), requests), 7):
        found = scene.run(at(seen.number, act), forget)
        assert not found.ended.code, f"{name}, {seen}: {found.ended}"
        scene.ledger.look()
        assert len(scene.world.history().snapshots) == 1, f"{name}, {seen}"
        assert scene.ledger.wrong == [], f"{name}, {seen}"
        scene.rewind()


def test_what_is_not_healed_ends_in_words(scene_of: SceneOf, part: Part) -> None:
    """And the next one brings it to its end."""
    scene = scene_of(much_to_forget)
    requests = kinds(scene.requests(forget))
    for number, ((name, act), seen) in enumerate(some(part, product(OTHER.items(), requests), 7)):
        plan = (at, from_)[number % 2]
        found = scene.run(plan(seen.number, act), forget)
        assert not found.ended.bug, f"{name}, {seen}: {found.ended.bug}"
        assert found.ended.code in (0, 5, 8), f"{name}, {seen}: {found.ended}"
        scene.world.forget()
        assert len(scene.world.history().snapshots) == 1, f"{name}, {seen}"
        scene.ledger.look()
        assert scene.ledger.wrong == [], f"{name}, {seen}"
        scene.rewind()

"""Each way in which a cloud's server or the network fails, at every request of a restore."""

import shutil
from itertools import product
from pathlib import Path

from drkit.errors import Damaged, StoreError
from drkit.stores.base import Settings, Store
from tests.fixtures import cloud_scenes, trees
from tests.fixtures import http_acts as acts
from tests.fixtures.cloud_scenes import Part, SceneOf, some
from tests.fixtures.ledger import World
from tests.fixtures.proxy import Act
from tests.fixtures.scenes import Round, Scene, Work, at, from_, third

part, scene_of = cloud_scenes.part, cloud_scenes.scene_of
IMPATIENT = Settings(first_byte=0.1, whole=0.2)
HEALED: dict[str, Act] = {
    "slow down": acts.slow_down(),
    "connection reset": acts.reset_request(),
    "answer reset": acts.reset_answer(),
    "answer reset in its body": acts.reset_answer(200),
    "answer ends early": acts.short_answer(200),
    "answer lost": acts.lost(),
}
WRONG: dict[str, Act] = {
    "too short": acts.wrong_length(),
    "empty": acts.empty(),
    "a bit flipped": acts.flipped(),
    "a web page": acts.web_page(),
}
FOR_GOOD: dict[str, Act] = {
    "permission taken away": acts.denied(),
    "busy": acts.slow_down(),
    "gone": acts.reset_request(),
    "always reset in its body": acts.reset_answer(100),
    "always too short": acts.wrong_length(),
    "always a bit flipped": acts.flipped(),
}
SLOW: dict[str, Act] = {"silence": acts.stall(0.2), "a slow drip": acts.drip(100.0)}


def restoring(into: Path) -> Work:
    """The newest that is listed, looked for through the same store."""

    def work(made: World, store: Store) -> None:
        shutil.rmtree(into, ignore_errors=True)
        history = made.history(store)
        if history.tampered():
            raise Damaged(history.tampered()[0].message)
        if not history.snapshots:
            raise StoreError("no backup is listed")
        chosen(into).write_text(history.snapshots[-1].session)
        made.restore(history.snapshots[-1], into, store)

    return work


def chosen(into: Path) -> Path:
    """A listing that lies may show an older one as the newest."""
    return into.with_name("chosen")


def right(scene: Scene, into: Path, *, newest: bool = True) -> bool:
    session = chosen(into).read_text()
    if newest and session != scene.world.history().snapshots[-1].session:
        return False
    return trees.compare(scene.ledger.copies[session], into) == []


def right_or_in_words(scene: Scene, found: Round, into: Path, here: str) -> None:
    assert not found.ended.bug, f"{here}: {found.ended.bug}"
    if found.ended.code:
        assert found.ended.code in (5, 8), f"{here}: {found.ended}"
        assert found.ended.message, f"{here}: {found.ended}"
    else:
        assert right(scene, into, newest=False), here


def test_with_retries_nothing_is_felt(scene_of: SceneOf, part: Part, tmp_path: Path) -> None:
    scene, into = scene_of(third), tmp_path / "into"
    requests = scene.requests(restoring(into))
    for (name, act), seen in some(part, product(HEALED.items(), requests)):
        found = scene.run(at(seen.number, act), restoring(into))
        assert not found.ended.code, f"{name}, {seen}: {found.ended}"
        assert right(scene, into), f"{name}, {seen}"


def test_waiting_ends(scene_of: SceneOf, part: Part, tmp_path: Path) -> None:
    scene, into = scene_of(third), tmp_path / "into"
    requests = scene.requests(restoring(into))
    for (name, act), seen in some(part, product(SLOW.items(), requests)):
        found = scene.run(at(seen.number, act), restoring(into), settings=IMPATIENT)
        assert not found.ended.code, f"{name}, {seen}: {found.ended}"
        assert right(scene, into), f"{name}, {seen}"


def test_a_wrong_answer(scene_of: SceneOf, part: Part, tmp_path: Path) -> None:
    scene, into = scene_of(third), tmp_path / "into"
    requests = scene.requests(restoring(into))
    for (name, act), seen in some(part, product(WRONG.items(), requests)):
        found = scene.run(at(seen.number, act), restoring(into))
        right_or_in_words(scene, found, into, f"{name}, {seen}")


def test_a_fault_that_stays(scene_of: SceneOf, part: Part, tmp_path: Path) -> None:
    scene, into = scene_of(third), tmp_path / "into"
    requests = scene.requests(restoring(into))
    for (name, act), seen in some(part, product(FOR_GOOD.items(), requests)):
        found = scene.run(from_(seen.number, act), restoring(into))
        assert found.ended.code, f"{name}, {seen}: {found.ended}"
        right_or_in_words(scene, found, into, f"{name}, {seen}")

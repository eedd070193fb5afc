"""A run killed at every HTTP request: before it reaches the server, and after its effect."""

from itertools import product

import pytest

from tests.fixtures import cloud_scenes
from tests.fixtures.cloud_scenes import Part, SceneOf, some
from tests.fixtures.scenes import (
    Prepare,
    another_full,
    first,
    forget,
    kinds,
    much_to_forget,
    third,
)

part, scene_of = cloud_scenes.part, cloud_scenes.scene_of
SIDES = ("before", "after")


@pytest.mark.parametrize("prepare", [first, third, another_full])
def test_a_backup_killed_at_every_request(scene_of: SceneOf, part: Part, prepare: Prepare) -> None:
    scene = scene_of(prepare)
    for seen, when in some(part, product(scene.requests(), SIDES), 1 if prepare is third else 3):
        found = scene.killed(seen.number, when)
        here = f"{seen}, killed {when}: {found.ended}"
        assert found.ended.killed, here
        assert scene.new() == found.committed(), here
        scene.ledger.look()
        scene.world.forget()
        settled = scene.ledger.settle(keep=True)
        assert settled.kind == ("incremental" if prepare is third else "full"), here
        scene.rewind()


def test_a_forget_killed_at_every_request(scene_of: SceneOf, part: Part) -> None:
    scene = scene_of(much_to_forget)
    requests = scene.requests(forget)
    assert {"put", "delete", "list"} <= {seen.verb for seen in requests}
    for seen, when in some(part, product(kinds(requests), SIDES), 4):
        found = scene.killed(seen.number, when, forget)
        assert found.ended.killed, f"{seen}, killed {when}: {found.ended}"
        scene.world.forget()
        assert len(scene.world.history().snapshots) == 1
        assert scene.ledger.settle(keep=True).kind == "incremental"
        scene.rewind()

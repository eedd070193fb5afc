"""A lock protects a generation as a whole: when it changes, a new one begins."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from drkit.model.retention import LockMode, Rules
from drkit.repository.base import Done
from drkit.repository.session import back_up
from tests.fixtures.repo import ContentSource, Repo, repo

DAY = timedelta(days=1)


@pytest.fixture
def r(tmp_path: Path) -> Repo:
    return repo(tmp_path)


def taken(r: Repo, lock: LockMode | None, keep: int = 30) -> Done:
    plan = replace(
        r.plan(None, r.writer, r.state()),
        rules=Rules(keep=keep * DAY, lock=lock),
        expected_end=r.clock.now() + 7 * DAY,
    )
    r.clock.move(timedelta(hours=1))
    return back_up(r.repository, plan, ContentSource({"a": b"%d" % keep}), r.system)


def test_a_changed_lock_begins_a_new_generation(r: Repo) -> None:
    kinds = [taken(r, lock).kind for lock in (None, None, "governance", "governance")]
    assert kinds == ["full", "incremental", "full", "incremental"]
    assert "the lock changed" in taken(r, "compliance").why
    assert "the lock changed" in taken(r, "compliance", keep=60).why
    assert taken(r, "compliance", keep=60).kind == "incremental"


def test_without_a_lock_nothing_has_to_begin_anew(r: Repo) -> None:
    taken(r, "governance")
    assert [taken(r, None, keep=keep).kind for keep in (30, 10, 90)] == ["incremental"] * 3

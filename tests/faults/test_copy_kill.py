"""A copy killed, cut off or met by others at every call to either store: the next one completes."""

from dataclasses import replace
from pathlib import Path

import pytest

from drkit.errors import StoreError
from drkit.repository import names
from drkit.repository.copies.copier import copy_domain
from tests.fixtures.copies import (
    clone,
    copied,
    joined,
    plan,
    same,
    sessions,
    sides,
    sound,
    through,
    two_generations,
)
from tests.fixtures.faulty_store import Call, Fault, FaultyStore, Hook, number, on, unanswered
from tests.fixtures.forgets import Kill, kill
from tests.fixtures.repo import Repo

Ends = type[BaseException]


@pytest.fixture
def r(tmp_path: Path) -> Repo:
    return two_generations(tmp_path)


@pytest.mark.parametrize(
    ("when", "hook", "ends"),
    [("before", kill, Kill), ("after", kill, Kill), ("after", unanswered, StoreError)],
)
def test_ended_at_every_call(r: Repo, when: str, hook: Hook, ends: Ends) -> None:
    bare = joined(r)
    ended = 0
    for side, n in list(sides(r, bare)):
        there = clone(r, bare)
        at = on(number(n), hook)
        fault = Fault(before=at) if when == "before" else Fault(after=at)
        try:
            done = copied(r, there, through=through(r, there, side, fault))
            assert len(done.copied) == 4  # threads: it may have been another's call
        except ends:
            ended += 1
        sound(r, there)  # what is seen already is whole
        before = len(sessions(r, there))
        done = copied(r, there)
        assert (len(done.copied), done.there, done.left) == (4 - before, before, ())
        assert done.findings == ()
        same(r, there)
    assert ended > 50


def test_of_what_was_sent_nothing_is_sent_again(r: Repo) -> None:
    there = joined(r)
    sent: list[str] = []

    def landed(call: Call) -> None:
        if call.verb == "put" and big(call):
            sent.append(call.name)
            raise Kill

    for _ in range(60):
        made = plan(r, there)
        store = FaultyStore(there, Fault(after=landed))
        try:
            copy_domain(replace(made, destination=replace(made.destination, store=store)), r.system)
            break
        except Kill:
            continue
    assert len(sent) > 10
    assert len(sent) == len(set(sent))
    same(r, there)


def big(call: Call) -> bool:
    return call.kind in {"pack", "manifest", "packlist"}


def test_a_source_that_is_down_ends_the_run_and_harms_nothing(r: Repo) -> None:
    there = joined(r)
    down = FaultyStore(r.store, Fault(before=unanswered))
    with pytest.raises(StoreError):
        copied(r, there, through=(down, there))
    assert not list(there.list(names.DOMAINS))

"""A history without packs: it says what the whole one says, and asks for much less."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from drkit.model.finding import Finding
from drkit.repository import names
from drkit.repository.history import (
    Generation,
    History,
    domains,
    list_generation,
    read_commits,
    read_history,
)
from drkit.repository.repository import domain_id
from drkit.stores.base import Store, Stored
from tests.fixtures.faulty_store import Call, Fault, FaultyStore
from tests.fixtures.kinds import body
from tests.fixtures.repo import HOUR, Repo, repo

FIRST, LAST = "0" * 32, "f" * 32  # generations that stand before and behind all others
MANY = 1200  # more than a page
LEFT_OUT = ("/packs/", "/manifest/", "/packlist/")


class Far(FaultyStore):
    """As a store over a network; some of what it lists is odd."""

    def __init__(self, store: Store, *, odd: bool = False) -> None:
        super().__init__(store, Fault(listed=_odd if odd else lambda _, found: found))
        self.lanes = 8

    def asked(self) -> list[str]:
        return [call.name for call in self.calls if call.verb == "list"]


def _odd(_call: Call, found: list[Stored]) -> Iterable[Stored]:
    """Every third object: by its name, so that each listing says the same of it."""
    return [
        replace(s, odd="has 2 versions") if sum(map(ord, s.name)) % 3 == 0 else s for s in found
    ]


@pytest.fixture
def r(tmp_path: Path) -> Repo:
    made = repo(tmp_path)
    for seed in range(3):
        made.full(seed)
        made.clock.move(HOUR)
        made.back_up({"a": b"%d" % seed})
        made.clock.move(HOUR)
    return made


def root(r: Repo) -> str:
    return names.generations(r.domain)


def put(r: Repo, *wanted: str) -> None:
    for name in wanted:
        r.store.put(root(r) + name, body(b"x" * (len(name) % 7)))


def sessions(folder: str, count: int = MANY) -> list[str]:
    return [f"{folder}/{number:032x}" for number in range(count)]


def packs(generation: str, count: int = MANY) -> list[str]:
    return [f"{generation}/packs/{'a' * 32}-{number:06d}" for number in range(count)]


def newest(r: Repo) -> str:
    return r.history().snapshots[-1].generation


def in_each(r: Repo) -> list[str]:
    return [name for g in r.history().generations for name in packs(g, 500)]


def in_many(_: Repo) -> list[str]:
    return [name for n in range(300) for name in packs(f"{n:032x}", 4)]


# Where the first page ends, and what goes on behind it.
LARGE: dict[str, Callable[[Repo], list[str]]] = {
    "in the begins of the first": lambda _: sessions(f"{FIRST}/begin"),
    "in its outcomes": lambda _: sessions(f"{FIRST}/outcome"),
    "in its manifests": lambda _: sessions(f"{FIRST}/manifest") + sessions(f"{FIRST}/begin", 3),
    "in its packs": lambda _: packs(FIRST),
    "in a foreign folder of it": lambda _: [f"{FIRST}/another/{n:04d}" for n in range(MANY)],
    "in a foreign folder before it": lambda _: [f"-/{n:04d}" for n in range(MANY)],
    "in objects of nobody": lambda _: [f"-{n:04d}" for n in range(MANY)],
    "in a real one": in_each,
    "in the last": lambda r: packs(newest(r)) + sessions(f"{LAST}/begin"),
    "behind many": lambda r: [*in_many(r), *packs(newest(r))],
}


def foreign(r: Repo) -> list[str]:
    g = newest(r)
    return [
        "object",
        "xyz/open",
        f"{g}/surprise",
        f"{g}/another/thing",
        f"{g}/begin/short",
        f"{g}/outcome/short",
        f"{g}/outcome/{'e' * 32}",
        f"{g}/begin/{'d' * 32}",
        f"{g}/closed",
        f"{LAST}/expired",
        f"{LAST}/nothing-else",
        *(f"{g}{folder}short" for folder in LEFT_OUT),
    ]


def said(g: Generation) -> tuple[object, ...]:
    return (
        (g.id, g.open, g.opened, g.closed, g.expired, g.swept, g.marks),
        (g.begins, g.outcomes, g.commits, g.fences, g.open_sessions),
    )


def told(history: History) -> list[Finding]:
    return [f for f in history.findings if not any(part in f.message for part in LEFT_OUT)]


def check_agreement(light: History, whole: History) -> None:
    assert told(light) == told(whole)
    assert set(light.findings) <= set(whole.findings)
    assert light.snapshots == whole.snapshots
    assert light.heads() == whole.heads()
    assert sorted(light.generations) == sorted(whole.generations)
    for id, g in whole.generations.items():
        assert said(light.generations[id]) == said(g)


@pytest.mark.parametrize("far", [False, True], ids=["near", "far"])
@pytest.mark.parametrize("odd", [False, True], ids=["", "odd"])
@pytest.mark.parametrize("case", LARGE)
def test_without_packs_the_same_is_said(case: str, odd: bool, far: bool, r: Repo) -> None:
    put(r, *{*LARGE[case](r), *foreign(r)})
    store = Far(r.store, odd=odd)
    store.lanes = 8 if far else 2
    seen = replace(r.repository, store=store)
    whole = read_history(seen, r.domain, r.pins)
    assert len(whole.findings) > 9
    assert len(whole.snapshots) == 6
    light = read_commits(seen, r.domain, r.pins)
    check_agreement(light, whole)


def test_of_a_small_domain_all_is_said_after_one_question(r: Repo) -> None:
    put(r, *foreign(r))
    store = Far(r.store)
    light = read_commits(replace(r.repository, store=store), r.domain, r.pins)
    assert store.asked() == [root(r)]
    assert light.findings == r.history().findings


def test_nobody_takes_what_was_not_listed_for_nothing(r: Repo) -> None:
    """Also not where a single page has told it by the way."""
    (g, *_) = read_commits(r.repository, r.domain, r.pins).generations.values()
    for part in ("packs", "manifests", "packlists"):
        with pytest.raises(AssertionError, match="not listed"):
            getattr(g, part)
    assert list_generation(r.store, r.domain, g.id).packs
    assert r.history().generations[g.id].packs


def test_packs_are_never_listed_behind_the_first_page(r: Repo) -> None:
    put(r, *in_each(r))
    store = Far(r.store)
    generations = read_commits(replace(r.repository, store=store), r.domain, r.pins).generations
    asked = store.asked()
    assert asked[0] == root(r)
    assert not any(part in name for name in asked for part in LEFT_OUT)
    assert len(asked) <= 2 + 3 * len(generations)


def test_many_small_generations_come_page_by_page(r: Repo) -> None:
    put(r, *in_many(r))
    store = Far(r.store)
    seen = replace(r.repository, store=store)
    check_agreement(read_commits(seen, r.domain, r.pins), r.history())
    assert store.asked() == [root(r)]
    put(r, *packs(LAST))
    store.calls.clear()
    check_agreement(read_commits(seen, r.domain, r.pins), r.history())
    assert len(store.asked()) < 9


def test_where_the_first_page_ended_it_goes_on(r: Repo) -> None:
    put(r, *sessions(f"{FIRST}/begin"))
    store = Far(r.store)
    light = read_commits(replace(r.repository, store=store), r.domain, r.pins)
    assert len(light.generations[FIRST].begins) == MANY
    assert f"{root(r)}{FIRST}/begin/" not in store.asked()
    assert f"{root(r)}{FIRST}/outcome/" in store.asked()


def test_a_large_domain_that_was_seen_before_is_asked_for_at_once(r: Repo, tmp_path: Path) -> None:
    """So many outcomes that nothing but a first page is saved: nothing else may change."""
    put(r, *sessions(f"{FIRST}/outcome", 600), *sessions(f"{FIRST}/begin", 600))
    store = Far(r.store)
    seen = replace(r.repository, store=store, memory=tmp_path / "seen.sqlite")
    first = read_commits(seen, r.domain, r.pins)
    r.back_up({"a": b"since"})
    for name in sessions(f"{FIRST}/outcome", 50):
        r.store.delete(root(r) + name)
    store.calls.clear()
    again = read_commits(seen, r.domain, r.pins)
    assert len([call for call in store.calls if call.verb == "read"]) == 1
    assert len(store.asked()) == 1 + 3 * 4
    assert store.asked().count(root(r)) == 1  # its folders, not all that is below
    assert len(again.findings) == len(first.findings) - 50
    check_agreement(again, r.history())


def test_domains_of_a_large_repository(r: Repo) -> None:
    other, empty = (domain_id(r.repository.id, word, "files") for word in ("other", "empty"))
    assert domains(r.repository) == [r.domain]
    r.store.put(names.outcome(other, LAST, LAST), body(b"x"))
    r.store.put(names.begin(empty, LAST, LAST), body(b"x"))
    r.store.put(f"domains/{'c' * 32}/wal/floor/0000000000000000", body(b"x"))
    small = domains(r.repository)
    put(r, *packs(FIRST))
    for lanes in (2, 8):
        store = Far(r.store)
        store.lanes = lanes
        assert domains(replace(r.repository, store=store)) == small == sorted([r.domain, other])
        assert not any(part in name for name in store.asked() for part in LEFT_OUT)

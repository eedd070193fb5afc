from datetime import timedelta
from pathlib import Path

import pytest

from drkit.errors import Busy
from drkit.repository import names
from drkit.repository.expiry import ForgetPlan
from drkit.repository.repository import body
from drkit.repository.signed import Begin, Commit, Where, encode
from tests.fixtures.faulty_store import Call, Fault, FaultyStore
from tests.fixtures.forgets import (
    Kill,
    apply,
    begin_only,
    daily,
    kinds,
    plan,
    reasons,
    taken,
    whole,
)
from tests.fixtures.repo import DAY, HOUR, Repo, repo, sample


@pytest.fixture(params=["memory", "local"])
def r(request: pytest.FixtureRequest, tmp_path: Path) -> Repo:
    return repo(tmp_path, local=request.param == "local")


@pytest.fixture
def m(tmp_path: Path) -> Repo:
    return repo(tmp_path)


def test_a_young_session_leaves_its_generation_alone(r: Repo) -> None:
    ids = daily(r, 2)
    r.clock.move(20 * DAY)
    begin_only(r)  # an incremental of the second
    r.full(7)
    before = r.objects()
    made = plan(r)
    assert made.expire == (ids[0],)
    assert reasons(made, ids[1]) == ("open session younger than patience: it began 0 s ago",)
    assert ("pass", "open sessions") in kinds(made.findings)
    done = apply(r, made)
    new = r.objects().keys() - before.keys()
    assert done.fenced == ()
    assert not [name for name in new if ids[1] in name]
    r.clock.move(DAY + HOUR)
    later = apply(r)
    assert [g for g, _ in later.fenced] == [ids[1]]
    assert later.expired == (ids[1],)


def test_stale_sessions_are_fenced_in_kept_generations_too(r: Repo) -> None:
    kept = r.full(1).generation
    begin_only(r)
    assert apply(r).fenced == ()
    r.clock.move(DAY + HOUR)
    made = plan(r)
    assert [g for g, _ in made.fence] == [kept]
    assert ("warn", "open sessions") in kinds(made.findings)
    assert apply(r, made).fenced == made.fence
    assert apply(r).fenced == ()
    assert r.back_up(sample(2)).kind == "incremental"


def test_a_session_that_is_fenced_says_so(m: Repo) -> None:
    """It stalls before its outcome, a forget fences it, it goes on."""
    m.full(1)

    def stall(call: Call) -> None:
        if call.verb == "put" and call.kind == "outcome":
            m.clock.move(2 * DAY)
            assert len(apply(m).fenced) == 1

    with pytest.raises(Busy, match="fenced"):
        m.back_up(sample(2), store=FaultyStore(m.store, Fault(before=stall)))
    assert len(m.history().snapshots) == 1
    whole(m)


def test_a_commit_between_plan_and_apply_is_honoured(m: Repo) -> None:
    """The session's begin is old enough for the fence, and its outcome was faster."""
    old = m.full(1)
    made: list[ForgetPlan] = []

    def stall(call: Call) -> None:
        if call.verb == "put" and call.kind == "outcome" and not made:
            m.clock.move(20 * DAY)
            m.back_up(sample(3), "full", host="other")
            made.append(plan(m))
            assert made[0].expire == (old.generation,)

    m.back_up(sample(2), store=FaultyStore(m.store, Fault(before=stall)))
    done = apply(m, made[0])
    assert (done.expired, done.closed, done.fenced) == ((), (), ())
    assert len(m.history().snapshots) == 3
    whole(m)


def test_a_commit_after_closed_spares_the_generation(m: Repo) -> None:
    """Its outcome comes in between the fence's listing of begins and the second look."""
    old = m.full(1)
    m.clock.move(20 * DAY)
    m.back_up(sample(3), "full", host="other")
    m.clock.move(-20 * DAY)
    stalled: list[bool] = []

    def forget_meanwhile(call: Call) -> None:
        """The writer has made its last check and is about to commit."""
        if call.verb == "put" and call.kind == "outcome" and not stalled:
            stalled.append(True)
            m.clock.move(20 * DAY)
            raise Kill

    with pytest.raises(Kill):
        m.back_up(sample(2), store=FaultyStore(m.store, Fault(before=forget_meanwhile)))
    session = next(iter(m.history().generations[old.generation].open_sessions))
    caught = outcome_of(m, old.generation, session)

    def commit_first(call: Call) -> None:
        if call.verb == "put" and call.kind == "outcome" and session in call.name:
            m.store.put(call.name, body(caught))

    done = apply(m, store=FaultyStore(m.store, Fault(before=commit_first)))
    assert done.fenced == ()
    assert done.closed == (old.generation,)
    assert done.expired == ()
    (spared,) = done.spared
    assert spared[0] == old.generation
    assert spared[1].startswith("within keep")
    assert session in {s.session for s in m.history().snapshots}
    assert m.back_up(sample(5)).kind == "full"  # closed


def place(r: Repo, generation: str, session: str) -> Where:
    return Where(
        repository=r.repository.id, domain=r.domain, generation=generation, session=session
    )


def outcome_of(r: Repo, generation: str, session: str) -> bytes:
    """A commit of that session, as its writer would have put it now."""
    g = r.history().generations[generation]
    sibling = next(iter(g.commits.values()))

    def promised(name: str) -> tuple[int, str]:
        made = body(r.store.read(name, 1 << 26))
        return made.size, made.sha256.hex()

    commit = Commit(
        kind="incremental",
        parent=sibling.session,
        begun=r.clock.at,
        ended=r.clock.at,
        heads=((generation, sibling.hash),),
        facts=sibling.facts,
        packlist=promised(names.packlist(r.domain, generation, session)),
        manifest=promised(names.manifest(r.domain, generation, session)),
    )
    where = Where(
        repository=r.repository.id, domain=r.domain, generation=generation, session=session
    )
    return encode(commit, where, r.writer)


def test_a_begin_after_the_fences_spares_the_generation_for_now(m: Repo) -> None:
    """A generation never goes with a session in it whose end nobody has put."""
    (old,) = daily(m, 1)
    m.clock.move(20 * DAY)
    m.full(3)
    session = "5" * 32

    def begin_now(call: Call) -> None:
        if call.verb == "list" and call.name == names.outcomes(m.domain, old):
            begin = Begin(kind="incremental", parent=None, begun=m.clock.at, start_lsn=None)
            name = names.begin(m.domain, old, session)
            taken(m, name, encode(begin, place(m, old, session), m.writer))

    done = apply(m, store=FaultyStore(m.store, Fault(after=begin_now)))
    assert (done.closed, done.expired) == ((old,), ())
    assert "younger than patience" in done.spared[0][1]
    whole(m)
    m.clock.move(DAY + HOUR)
    later = apply(m)
    assert later.fenced == ((old, session),)
    assert later.expired == (old,)


def test_an_old_begin_that_was_not_listed_before_spares_too(m: Repo) -> None:
    """A listing that lagged: by its age the session would not hold the generation."""
    (old,) = daily(m, 1)
    m.clock.move(20 * DAY)
    m.full(3)
    session = "5" * 32

    def late(call: Call) -> None:
        if call.verb == "list" and call.name == names.outcomes(m.domain, old):
            m.clock.apart = -5 * DAY
            begin = Begin(kind="incremental", parent=None, begun=m.clock.at, start_lsn=None)
            name = names.begin(m.domain, old, session)
            taken(m, name, encode(begin, place(m, old, session), m.writer))
            m.clock.apart = timedelta()

    done = apply(m, store=FaultyStore(m.store, Fault(after=late)))
    assert (done.closed, done.expired) == ((old,), ())
    assert done.spared[0][1].startswith("a session began meanwhile")
    assert apply(m).expired == (old,)


def test_the_order_is_the_contract(m: Repo) -> None:
    """closed, begins, fences, everything again, expired."""
    (old,) = daily(m, 1)
    begin_only(m)
    m.clock.move(20 * DAY)
    m.full(3)
    made = plan(m)
    store = FaultyStore(m.store)
    apply(m, made, store=store)
    calls = [(c.verb, c.name) for c in store.calls]
    session = next(iter(m.history().generations[old].fences))
    wanted = [
        ("put", names.closed(m.domain, old)),
        ("list", names.begins(m.domain, old)),
        ("list", names.outcomes(m.domain, old)),
        ("put", names.outcome(m.domain, old, session)),
        ("list", names.generations(m.domain)),
        ("list", names.EVIDENCE),
        ("put", names.expired(m.domain, old)),
    ]
    at = -1
    for call in wanted:
        at = calls.index(call, at + 1)


def test_a_writer_that_begins_in_a_closed_generation_ends(m: Repo) -> None:
    """It chose its base before; the forget came in between; it sees `closed` after its begin."""
    m.full(1)

    def meanwhile(call: Call) -> None:
        if call.verb == "put" and call.kind == "begin":
            m.clock.move(20 * DAY)
            m.back_up(sample(3), "full", host="other")
            assert len(apply(m).expired) == 1

    with pytest.raises(Busy, match="closed"):
        m.back_up(sample(2), store=FaultyStore(m.store, Fault(before=meanwhile)))
    assert m.back_up(sample(4)).kind == "full"
    whole(m)

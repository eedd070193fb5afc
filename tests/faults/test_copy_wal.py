"""WAL comes from a commit's start on; without all it needs a session is not there."""

from pathlib import Path

import pytest

from drkit.crypto.recipients import seal_envelope
from drkit.model.snapshot import BackupKind
from drkit.repository import names
from drkit.repository.base import Done
from drkit.repository.repository import body
from drkit.repository.session import back_up
from drkit.repository.signed import Floor, Where, encode
from drkit.repository.walobject import Hand, Part, Place
from drkit.repository.walobject import encode as encode_wal
from drkit.stores.base import Store
from tests.fixtures.copies import copied, held, joined, odd, sessions, sound
from tests.fixtures.faulty_store import Call, Fault, FaultyStore, number, on
from tests.fixtures.forgets import Kill, kill, taken
from tests.fixtures.repo import HOUR, ContentSource, Repo, noise, repo, sample

SEGMENT = 1 << 16
LARGE = 1 << 20


@pytest.fixture
def r(tmp_path: Path) -> Repo:
    return repo(tmp_path)


def session(r: Repo, start: int, end: int, kind: BackupKind = "full", size: int = SEGMENT) -> Done:
    """A backup that needs the WAL between two segments."""
    details: dict[str, str | int] = {
        "start_lsn": start * size + 40,
        "end_lsn": end * size + 500,
        "wal_segment_size": size,
    }
    content = sample(start)
    plan = r.plan(kind, r.writer, r.state())
    done = back_up(r.repository, plan, ContentSource(content, details=details), r.system)
    r.contents[done.session] = content
    r.clock.move(HOUR)
    return done


def file_of(n: int) -> str:
    return f"{1:08X}{0:08X}{n:08X}"


def archive(r: Repo, name: str, part: Part, *, key: object = None) -> str:
    session_key = bytes(32)
    hand = Hand(
        key=r.writer if key is None else r.stranger,
        session_key=session_key,
        envelope=seal_envelope(session_key, [i.recipient for i in r.identities]),
        random_bytes=r.system.random_bytes,
    )
    place = Place(repository=r.repository.id, domain=r.domain, name=name)
    taken(r, name, encode_wal(part, noise(part.end - part.start, part.end), place, hand))
    return name


def segment(r: Repo, n: int, *, size: int = SEGMENT, key: object = None) -> str:
    part = Part(file=file_of(n), start=0, end=size, size=size)
    return archive(r, names.wal_file(r.domain, file_of(n)), part, key=key)


def piece(r: Repo, n: int, start: int, end: int) -> str:
    part = Part(file=file_of(n), start=start, end=end, size=SEGMENT)
    return archive(r, names.wal_piece(r.domain, file_of(n), start, end), part)


def wal(store: Store, r: Repo) -> list[str]:
    return [s.name for s in store.list(names.wal(r.domain)) if "/floor/" not in s.name]


def test_from_the_start_on_as_far_as_there_is_any(r: Repo) -> None:
    for n in range(6):
        segment(r, n)
    part = Part(file="00000002.history", start=0, end=20, size=20)
    history = archive(r, names.wal_file(r.domain, "00000002.history"), part)
    last = piece(r, 6, 0, 1000)
    session(r, 2, 3)
    there = joined(r)
    done = copied(r, there)
    assert (done.left, done.findings) == ((), ())
    wanted = [names.wal_file(r.domain, file_of(n)) for n in range(2, 6)]
    assert wal(there, r) == sorted([*wanted, last, history])
    sound(r, there)


def test_later_wal_comes_without_a_new_session_and_fills_holes(r: Repo) -> None:
    for n in range(4):
        segment(r, n)
    session(r, 1, 2)
    there = joined(r)
    copied(r, there)
    new = [segment(r, n) for n in (4, 5)]
    del held(there)[names.wal_file(r.domain, file_of(3))]
    done = copied(r, there)
    assert (done.copied, done.objects) == ((), 3)
    assert set(new) < set(wal(there, r))
    assert copied(r, there).objects == 0


@pytest.mark.parametrize("end", [500, 499])
def test_the_last_segment_may_be_pieces_that_cover_the_end(r: Repo, end: int) -> None:
    segment(r, 0)
    piece(r, 1, 0, 300)
    piece(r, 1, 200, end)
    done = session(r, 0, 1)
    there = joined(r)
    found = copied(r, there)
    assert (done.session in sessions(r, there)) == (end == 500)
    assert bool(found.left) == (end == 499)


@pytest.mark.parametrize("how", ["gone", "flipped", "foreign"])
def test_without_its_wal_a_session_is_not_copied(r: Repo, how: str) -> None:
    segment(r, 0)
    name = segment(r, 1, key=r.stranger if how == "foreign" else None)
    segment(r, 2)
    session(r, 0, 2)
    data, when = held(r.store).pop(name)
    if how == "flipped":
        data = data[:400] + bytes([data[400] ^ 1]) + data[401:]
    if how != "gone":
        held(r.store)[name] = (data, when)
    there = joined(r)
    done = copied(r, there)
    assert [why for _, _, why in done.left] == ["not whole there"]
    assert any("WAL at 10000" in f.message for f in done.findings)
    assert name not in held(there)
    assert sessions(r, there) == set()


def test_below_the_floor_there_nothing_comes(r: Repo) -> None:
    for n in range(6):
        segment(r, n)
    old, new = session(r, 0, 1), session(r, 3, 4)
    there = joined(r)
    lsn = 2 * SEGMENT
    where = Where(repository=r.repository.id, domain=r.domain, lsn=lsn)
    data = encode(Floor(lsn=lsn, at=r.clock.at), where, r.keeper)
    there.put(names.floor(r.domain, lsn), body(data))
    done = copied(r, there)
    assert [(s, why) for _, s, why in done.left] == [
        (old.session, "it starts below the WAL floor there")
    ]
    assert sessions(r, there) == {new.session}
    assert wal(there, r)[0] == names.wal_file(r.domain, file_of(3))
    segment(r, 1 + 6)
    assert copied(r, there).objects == 1


def test_a_large_segment_goes_by_way_of_a_file(r: Repo) -> None:
    names_ = [segment(r, n, size=LARGE) for n in range(2)]
    session(r, 0, 1, size=LARGE)
    bad = segment(r, 2, size=LARGE)
    data, when = held(r.store)[bad]
    held(r.store)[bad] = (data[:-1] + b"?", when)
    there = joined(r)
    done = copied(r, there)
    assert len(done.copied) == 1
    assert wal(there, r) == names_
    assert any(bad in f.message for f in done.findings)


def test_killed_at_every_call(r: Repo) -> None:
    for n in range(3):
        segment(r, n)
    session(r, 0, 1)
    session(r, 1, 2, "incremental")
    bare = joined(r)
    whole = dict(held(bare))
    counting = FaultyStore(bare)
    copied(r, bare, through=(r.store, counting))
    assert [c for c in counting.calls if c.kind == "wal" and c.verb == "put"]
    for n in range(1, len(counting.calls) + 1):
        there = joined(r)
        held(there).clear()
        held(there).update(whole)
        faulty = FaultyStore(there, Fault(before=on(number(n), kill)))
        with pytest.raises(Kill):
            copied(r, there, through=(r.store, faulty))
        sound(r, there)
        assert not sessions(r, there) or len(wal(there, r)) == 3
        assert copied(r, there).left == ()
        assert odd(r, there) == []
        assert len(sessions(r, there)) == 2


def test_swept_at_the_source_while_it_is_copied(r: Repo) -> None:
    """Every segment in turn goes at the first put of WAL."""
    files = [segment(r, n) for n in range(3)]
    done = session(r, 0, 2)
    for name in files:
        there = joined(r)
        kept = dict(held(r.store))

        def gone(_: Call, name: str = name) -> None:
            held(r.store).pop(name, None)

        fault = Fault(before=on(lambda c: c.verb == "read_into" and c.kind == "wal", gone))
        found = copied(r, there, through=(FaultyStore(r.store, fault), there))
        assert (done.session in sessions(r, there)) == (not found.left)
        assert (len(wal(there, r)) == 3) or found.left
        held(r.store).update(kept)
        assert copied(r, there).left == ()

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from drkit.model.retention import Rules
from drkit.model.snapshot import Facts, Snapshot
from drkit.repository import names, wal_floor
from drkit.repository.session import back_up
from drkit.repository.wal_floor import END, SEGMENT, Needs, needs, unneeded, usable_floors
from tests.fixtures.forgets import apply, begin_only, taken
from tests.fixtures.repo import DAY, HOUR, START, ContentSource, Repo, repo

MIB16 = 16 << 20


def snapshot(age: timedelta, start: int, end: int | None, size: int | None = MIB16) -> Snapshot:
    details: dict[str, str | int] = {"start_lsn": start}
    details |= {} if end is None else {"end_lsn": end}
    details |= {} if size is None else {"wal_segment_size": size}
    return Snapshot(
        domain="d", generation=f"g{start:x}", session=f"s{start:x}", kind="full", parent=None,
        begun=START - age, ended=START - age, stored=START - age,
        facts=Facts(kind="p", label="p", details=details), signer="", pinned=True, hash="",
        heads=(), recipients=(), manifest=(0, ""), packlist=(0, ""),
    )  # fmt: skip


def segment(n: int, timeline: int = 1) -> str:
    return names.wal_file("d" * 32, f"{timeline:08X}{n // 256:08X}{n % 256:08X}")


def at(n: float) -> int:
    return int(n * MIB16)


def test_the_limit_is_the_lowest_start_of_what_is_within_keep() -> None:
    old, mid, new = (
        snapshot(d * DAY, at(d2), at(d2 + 1)) for d, d2 in ((100, 10.5), (5, 100.5), (1, 200.5))
    )
    found = needs([old, mid, new], new, [at(150.5)], 7 * DAY, START)
    assert found == Needs(
        limit=at(100.5),
        islands=((at(10.5), at(11.5)), (at(100.5), at(101.5)), (at(200.5), at(201.5))),
        segment=MIB16,
    )
    behind = needs([old, mid, new], new, [at(20)], 7 * DAY, START)
    assert behind is not None
    assert behind.limit == at(20)
    forever = needs([old, mid, new], new, [], None, START)
    assert forever is not None
    assert forever.limit == at(10.5)
    only_newest = needs([old], old, [], 7 * DAY, START)
    assert only_newest is not None
    assert only_newest.limit == at(10.5)


def test_what_is_not_known_keeps_everything() -> None:
    new = snapshot(DAY, at(5), at(6))
    assert needs([], None, [], 7 * DAY, START) is None
    assert needs([new], None, [], 7 * DAY, START) is None
    assert needs([new], new, [None], 7 * DAY, START) is None
    odd = snapshot(DAY, at(7), at(8), size=None)
    assert needs([new, odd], new, [], 7 * DAY, START) is None


def test_islands_the_limits_segment_and_histories_stay() -> None:
    wanted = Needs(limit=at(100.5), islands=((at(10.5), at(11.5)),), segment=MIB16)
    history = names.wal_file("d" * 32, "00000002.history")
    listed = [segment(n) for n in range(120)] + [segment(5, 2), history]
    gone = unneeded(listed, at(100.5), wanted)
    assert sorted(gone) == sorted(
        [segment(n) for n in range(100) if n not in (10, 11)] + [segment(5, 2)]
    )
    assert unneeded(listed, at(3), wanted) == sorted([*(segment(n) for n in range(3))])
    assert segment(99) in gone
    assert segment(100) not in gone
    open_end = replace(wanted, islands=((at(10.5), None),))
    assert unneeded([segment(n) for n in range(20)], at(100), open_end) == [
        segment(n) for n in range(10)
    ]


def test_pieces_go_only_beside_their_segment_and_before_it() -> None:
    domain, file = "d" * 32, segment(3).rpartition("/")[2]
    pieces = [names.wal_piece(domain, file, 0, 100), names.wal_piece(domain, file, 100, 200)]
    wanted = Needs(limit=at(50), islands=(), segment=MIB16)
    assert unneeded(pieces, at(50), wanted) == []
    assert unneeded([segment(3), *pieces], at(50), wanted) == [*pieces, segment(3)]


def test_a_floor_counts_once_it_has_stood_for_the_patience() -> None:
    floors = [(10, START - 3 * DAY), (20, START - HOUR), (30, START - 3 * DAY)]
    assert list(usable_floors(floors, 25, DAY, START)) == [10]


# --- the same in a repository: WAL objects are put by hand, the places are the sources' facts


def with_wal(r: Repo, start: int | None) -> None:
    details = (
        {} if start is None else {wal_floor.START: at(start), END: at(start + 1), SEGMENT: MIB16}
    )
    source = ContentSource({"x": b"%d" % (start or 0)}, details=details)
    back_up(r.repository, r.plan("full", r.writer, r.state()), source, r.system)


def stream(r: Repo, count: int) -> None:
    for n in range(count):
        file = f"00000001{n // 256:08X}{n % 256:08X}"
        taken(r, names.wal_file(r.domain, file), b"sealed")


def wal_left(r: Repo) -> list[int]:
    found = (names.parse(stored.name) for stored in r.store.list(names.wal(r.domain)))
    return [int(n.file[-8:], 16) for n in found if n is not None and n.kind == "wal" and n.file]


def test_a_floor_is_put_first_and_wal_goes_a_patience_later(tmp_path: Path) -> None:
    r = repo(tmp_path)
    with_wal(r, 2)
    r.clock.move(20 * DAY)
    with_wal(r, 8)
    stream(r, 12)
    first = apply(r)
    assert (first.floor, first.deleted) == (at(8), 0)
    assert wal_left(r) == list(range(12))
    r.clock.move(DAY + HOUR)
    assert apply(r).floor is None
    assert wal_left(r) == list(range(8, 12))


def test_commits_older_than_keep_are_islands(tmp_path: Path) -> None:
    r, rules = repo(tmp_path), Rules(keep=7 * DAY, yearly=1)
    with_wal(r, 2)
    r.clock.move(20 * DAY)
    with_wal(r, 8)
    stream(r, 12)
    apply(r, rules=rules)
    r.clock.move(DAY + HOUR)
    apply(r, rules=rules)
    assert wal_left(r) == [2, 3, *range(8, 12)]


def test_no_wal_goes_while_a_place_is_not_known(tmp_path: Path) -> None:
    """A file source's commits, and sessions without outcome, name none."""
    r = repo(tmp_path)
    with_wal(r, None)
    stream(r, 12)
    assert apply(r).floor is None
    r.clock.move(20 * DAY)
    with_wal(r, 8)
    begin_only(r)
    assert apply(r).floor is None
    r.clock.move(2 * DAY)
    apply(r)
    assert wal_left(r) == list(range(12))

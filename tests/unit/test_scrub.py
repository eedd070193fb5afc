from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from drkit.errors import Damaged, KeyMissing, StoreError, Tampering
from drkit.events import Advanced, Event, Finished, Started
from drkit.model.entry import Entry
from drkit.operations.scrub import Witness, scrub, verdict
from drkit.repository import names
from drkit.repository.reader import SnapshotReader
from drkit.repository.repository import body
from drkit.repository.scrub import ScrubResult
from drkit.repository.signed import plain
from tests.fixtures.faulty_store import Call, Fault, FaultyStore, on, refused
from tests.fixtures.forgets import apply, begin_only, kinds, objects_of
from tests.fixtures.repo import DAY, ContentSource, Repo, noise, repo, sample
from tests.fixtures.scrubs import LEVELS, Level, Scene, ask, flip, read, scene


@pytest.fixture
def s(tmp_path: Path) -> Scene:
    return scene(tmp_path)


def told(result: ScrubResult) -> set[tuple[str, str]]:
    return {(f.kind, f.name.split("/", 4)[4]) for f in result.faults}


def hits(result: ScrubResult) -> dict[str, tuple[str, ...]]:
    assert all(h.sure for h in result.hits)
    return {h.session: h.paths for h in result.hits}


def maybe(result: ScrubResult) -> set[str]:
    assert not any(h.sure for h in result.hits)
    return {h.session for h in result.hits}


def truncate(r: Repo, name: str, to: int) -> None:
    data, when = objects_of(r)[name]
    objects_of(r)[name] = (data[:to], when)


def swap(r: Repo, one: str, other: str) -> None:
    objects = objects_of(r)
    objects[one], objects[other] = objects[other], objects[one]


def last(name: str) -> str:
    return name.split("/", 4)[4]


def restorable(r: Repo) -> dict[str, set[str]]:
    """What a restore says is lost of each snapshot: the judge over every scrub of level 2."""
    lost = {}
    for snapshot in r.history().snapshots:
        try:
            with r.reader(snapshot) as reader:
                entries = [e for e in reader.entries() if e.type == "file"]
                lost[snapshot.session] = {e.path for e in entries if not opens(reader, e)}
        except (Damaged, StoreError):
            lost[snapshot.session] = {"*"}
    return {session: paths for session, paths in lost.items() if paths}


def opens(reader: SnapshotReader, entry: Entry) -> bool:
    try:
        reader.stream(entry).read()
    except (Damaged, StoreError):
        return False
    return True


READING: tuple[Level, ...] = (1, 2)
KEYLESS: dict[Level, Level] = {0: 0, 1: 1, 2: 1}


# --- nothing is wrong


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("local", [False, True])
def test_a_sound_repository(tmp_path: Path, level: Level, local: bool) -> None:
    r = repo(tmp_path, local=local)
    r.full(1)
    r.back_up(sample(1) | {"big": noise(9_000_000, 1)})
    before = r.objects()
    events: list[Event] = []
    system = replace(r.system, tell=events.append)
    result = scrub(r.repository, ask(r, level), system, lambda _: None)
    assert verdict(result) is None
    assert (result.faults, result.hits, result.findings) == ((), (), ())
    assert (result.snapshots, result.left, result.complete) == (2, 0, True)
    assert r.objects() == before
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    read_ = [e for e in events if isinstance(e, Advanced)]
    assert sum(e.items for e in read_) == result.objects
    assert sum(e.bytes for e in read_) == result.bytes == (events[0].total_bytes or 0)
    assert (result.objects > 0) == (level > 0)
    assert msgspec.json.encode(plain(result))


def test_level_two_asks_for_a_key_that_fits(s: Scene) -> None:
    stranger = repo(s.r.root / "stranger")
    with pytest.raises(KeyMissing):
        scrub(s.r.repository, replace(ask(s.r, 2), unwrap=stranger.unwrap), s.r.system, print)
    with pytest.raises(ValueError, match="identity"):
        scrub(s.r.repository, ask(s.r, 2, key=False), s.r.system, print)


# --- damage of each kind, at each level


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("key", [False, True])
def test_a_flipped_byte_of_a_record(s: Scene, level: Level, key: bool) -> None:
    if level == 2 and not key:
        return
    pack = next(p for p in s.packs(s.full) if len(objects_of(s.r)[p][0]) > 100_000)
    flip(s.r, pack, 60_000)
    result = read(s.r, level, key=key)
    if level == 0:
        assert (result.faults, result.hits) == ((), ())
        return
    assert told(result) == {("hash", last(pack))}
    if key:
        assert hits(result) == {s.full: ("large",), s.more: ("large",)}
        assert restorable(s.r) == {s.full: {"large"}, s.more: {"large"}}
    else:
        assert maybe(result) == {s.full, s.more}


@pytest.mark.parametrize("at", range(-40, 0, 13))
def test_a_flip_behind_the_records_hits_no_file(s: Scene, at: int) -> None:
    """Contents and trailer: the object is damaged, every file can be restored."""
    flip(s.r, s.packs(s.full)[0], at)
    for level in READING:
        result = read(s.r, level)
        assert told(result) == {("hash", last(s.packs(s.full)[0]))}
        assert result.hits == ()
    assert restorable(s.r) == {}


@pytest.mark.parametrize("at", [0, 9, 60, 300])
def test_a_flip_in_the_head(s: Scene, at: int) -> None:
    """Magic, envelope length, a stanza: all records of the pack are counted as lost."""
    pack = s.packs(s.other)[0]
    flip(s.r, pack, at)
    for level in READING:
        result = read(s.r, level)
        assert told(result) == {("hash", last(pack))}
        assert set(hits(result)) == {s.other}
    assert set(restorable(s.r)) <= {s.other}


@pytest.mark.parametrize("level", LEVELS)
def test_a_truncated_pack(s: Scene, level: Level) -> None:
    pack = next(p for p in s.packs(s.full) if len(objects_of(s.r)[p][0]) > 100_000)
    for to in (70_000, 100, 0):
        truncate(s.r, pack, to)
        result = read(s.r, level)
        assert told(result) == {("size", last(pack))}
        assert hits(result).keys() == restorable(s.r).keys() == {s.full, s.more}
        assert {p for paths in hits(result).values() for p in paths} >= {"large"}
        assert maybe(read(s.r, KEYLESS[level], key=False)) == {s.full, s.more}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("what", ["pack", "manifest", "packlist"])
def test_a_deleted_object(s: Scene, level: Level, what: str) -> None:
    name = {"pack": s.packs(s.full)[0], "manifest": s.manifest(s.more),
            "packlist": s.packlist(s.full)}[what]  # fmt: skip
    s.r.store.delete(name)
    result = read(s.r, level)
    assert told(result) == {("missing", last(name))}
    lost = restorable(s.r)
    assert hits(result).keys() == lost.keys()
    assert lost.keys() == {"pack": {s.full, s.more}, "manifest": {s.more}, "packlist": set()}[what]
    if what == "pack":
        assert {k: set(v) for k, v in hits(result).items()} == lost
    if level < 2:
        keyless = {"pack": {s.full, s.more}, "manifest": {s.more}, "packlist": {s.full, s.more}}
        assert maybe(read(s.r, level, key=False)) == keyless[what]


@pytest.mark.parametrize("level", LEVELS)
def test_a_flipped_packlist(s: Scene, level: Level) -> None:
    flip(s.r, s.packlist(s.more), 30)
    result = read(s.r, level)
    assert told(result) == {("hash", last(s.packlist(s.more)))}
    assert result.hits == ()
    truncate(s.r, s.packlist(s.more), 30)
    assert told(read(s.r, level)) == {("size", last(s.packlist(s.more)))}


@pytest.mark.parametrize("at", [0, 9, 60, 500, -3])
def test_a_flipped_manifest(s: Scene, at: int) -> None:
    flip(s.r, s.manifest(s.more), at)
    assert read(s.r, 0).faults == ()
    for level in READING:
        result = read(s.r, level)
        assert told(result) == {("hash", last(s.manifest(s.more)))}
        assert hits(result) == {s.more: ()}
        assert result.hits[0].files == len(s.r.contents[s.more])


@pytest.mark.parametrize("level", LEVELS)
def test_two_packs_swapped(tmp_path: Path, level: Level) -> None:
    r = repo(tmp_path)
    done = r.back_up(
        {"a": noise(400_000, 1), "b": noise(400_000, 2), "c": noise(400_000, 3)}, "full"
    )
    packs = sorted(n for n in objects_of(r) if "/packs/" in n)
    swap(r, packs[0], packs[1])
    same = len({len(objects_of(r)[p][0]) for p in packs[:2]}) == 1
    result = read(r, level)
    if level == 0 and same:
        assert result.faults == ()
        return
    assert {name for _, name in told(result)} == {last(p) for p in packs[:2]}
    assert set(hits(result)[done.session]) == restorable(r)[done.session]


@pytest.mark.parametrize("level", LEVELS)
def test_two_manifests_swapped(s: Scene, level: Level) -> None:
    swap(s.r, s.manifest(s.full), s.manifest(s.other))
    same = len({len(objects_of(s.r)[s.manifest(x)][0]) for x in (s.full, s.other)}) == 1
    result = read(s.r, level)
    if level == 0 and same:
        assert result.faults == ()
        return
    assert {name for _, name in told(result)} == {last(s.manifest(x)) for x in (s.full, s.other)}
    assert hits(result) == {s.full: (), s.other: ()}
    assert restorable(s.r).keys() == {s.full, s.other}


def test_hard_links_of_hit_files_are_hit(tmp_path: Path) -> None:
    r = repo(tmp_path)
    source = ContentSource({"m": noise(150_000, 1)}, {"a": "m", "z": "m"})
    from drkit.repository.session import back_up  # noqa: PLC0415

    done = back_up(r.repository, r.plan("full", r.writer, r.state()), source, r.system)
    for pack in [n for n in objects_of(r) if "/packs/" in n]:
        r.store.delete(pack)
    assert hits(read(r, 0)) == {done.session: ("a", "m", "z")}


@pytest.mark.parametrize("level", LEVELS)
def test_extra_objects_are_findings_and_no_damage(s: Scene, level: Level) -> None:
    domain = s.r.domain
    extra = [
        names.pack(domain, s.first, s.full, 99),
        names.pack(domain, s.first, "e" * 32, 0),
        names.manifest(domain, s.first, "e" * 32),
        names.packlist(domain, s.second, "e" * 32),
    ]
    for name in extra:
        s.r.store.put(name, body(b"junk"))
    result = read(s.r, level)
    assert result.faults == ()
    assert verdict(result) is None
    assert [f.what for f in result.findings] == ["extra"] * 4


@pytest.mark.parametrize("name", ["generations/{g}/packs/odd", "generations/{g}/x", "wal/junk"])
def test_names_that_drkit_never_gives(s: Scene, name: str) -> None:
    s.r.store.put(f"domains/{s.r.domain}/{name.format(g=s.first)}", body(b"junk"))
    result = read(s.r, 0)
    assert result.faults == ()
    assert kinds(result.findings) == {("fail", "tampering")}
    assert isinstance(verdict(result), Tampering)


@pytest.mark.parametrize("what", ["open", "begin", "outcome"])
def test_lost_signed_objects_are_tampering(s: Scene, what: str) -> None:
    of: dict[str, Callable[[], str]] = {
        "open": lambda: names.opened(s.r.domain, s.first),
        "begin": lambda: names.begin(s.r.domain, s.first, s.full),
        "outcome": lambda: names.outcome(s.r.domain, s.first, s.full),
    }
    s.r.store.delete(of[what]())
    assert isinstance(verdict(read(s.r, 0)), Damaged)


def test_running_and_fenced_sessions_are_nothing_odd(s: Scene) -> None:
    begin_only(s.r)
    assert read(s.r, 1).findings == ()
    s.r.clock.move(2 * DAY)
    assert len(apply(s.r).fenced) == 1
    assert read(s.r, 1).findings == ()


# --- the world around


def test_expired_generations_are_not_looked_at(s: Scene) -> None:
    s.r.clock.move(30 * DAY)
    assert apply(s.r).expired == (s.first,)
    s.r.store.delete(s.packs(s.full)[0])
    for level in LEVELS:
        result = read(s.r, level)
        assert (result.faults, result.snapshots) == ((), 1)


def test_a_forget_in_the_middle_of_a_scrub_is_no_damage(s: Scene) -> None:
    s.r.clock.move(30 * DAY)
    at_once = replace(s.r, clock=s.r.clock)
    done: list[bool] = []

    def forget(call: Call) -> None:
        if call.verb == "read_into" and not done:
            done.append(True)
            apply(at_once)
            s.r.clock.move(2 * DAY)
            apply(at_once)

    result = read(s.r, 1, store=FaultyStore(s.r.store, Fault(before=forget)))
    assert result.faults == ()
    assert [f.message.split()[-5:] for f in result.findings if f.what == "expired"] == [
        ["let", "go", "while", "it", "was", "read"][-5:]
    ]


def test_a_store_that_went_away_is_no_damage(s: Scene) -> None:
    """An unmounted disk looks like a repository without packs."""
    gone: list[bool] = []

    def unmount(call: Call) -> None:
        if call.verb == "read_into" and not gone:
            gone.append(True)
            objects_of(s.r).clear()

    shown: list[ScrubResult] = []
    repository = replace(s.r.repository, store=FaultyStore(s.r.store, Fault(before=unmount)))
    witness = Witness(signer=s.r.verifier, state=s.r.root / "keeper", subject="shop/files")
    with pytest.raises(Exception, match="holds no drkit repository"):
        scrub(repository, ask(s.r, 1), s.r.system, shown.append, witness)
    assert shown == []
    assert objects_of(s.r) == {}


def test_an_object_that_cannot_be_read_is_damage_and_a_store_that_is_down_is_not(s: Scene) -> None:
    pack = s.packs(s.full)[0]
    locked = on(lambda call: call.name == pack, refused)
    result = read(s.r, 1, store=FaultyStore(s.r.store, Fault(before=locked)), key=False)
    assert told(result) == {("unreadable", last(pack))}

    def down(call: Call) -> None:
        if call.name == pack:
            raise StoreError("down", transient=True)

    with pytest.raises(StoreError, match="down"):
        read(s.r, 1, store=FaultyStore(s.r.store, Fault(before=down)))

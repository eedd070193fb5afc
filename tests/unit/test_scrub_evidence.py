from pathlib import Path

import pytest

from drkit.crypto.sign import SignerKey
from drkit.errors import Damaged
from drkit.operations.scrub import Witness, scrub
from drkit.repository.evidence_chain import DAMAGED, read_proofs
from drkit.repository.scrub import ScrubResult
from tests.fixtures.forgets import apply, objects_of
from tests.fixtures.repo import DAY, Content, Repo, repo
from tests.fixtures.scrubs import (
    Scene,
    ask,
    flip,
    other_content_under_the_same_id,
    read,
    resigned,
    scene,
)


@pytest.fixture
def s(tmp_path: Path) -> Scene:
    return scene(tmp_path)


def witness(r: Repo, by: SignerKey | None = None) -> Witness:
    return Witness(signer=by or r.verifier, state=r.root / "keeper", subject="shop/files")


def test_damage_is_evidence_and_spares_what_is_older(s: Scene) -> None:
    s.r.clock.move(30 * DAY)
    flip(s.r, s.packs(s.other)[0], -3)
    before = s.r.objects()
    shown: list[ScrubResult] = []
    with pytest.raises(Damaged):
        scrub(s.r.repository, ask(s.r, 1), s.r.system, shown.append, witness(s.r))
    new = s.r.objects().keys() - before.keys()
    assert new == {shown[0].evidence}
    proofs = read_proofs(s.r.repository, s.r.domain, s.r.pins, {})
    assert proofs.damaged.keys() == {s.second}
    assert proofs.findings == ()
    assert DAMAGED in str(s.r.objects()[shown[0].evidence or ""])
    assert apply(s.r).expired == ()  # the newer one is not sound


@pytest.mark.parametrize("who", ["writer", "keeper", "stranger"])
def test_only_a_verifier_testifies(s: Scene, who: str) -> None:
    flip(s.r, s.packs(s.other)[0], -3)
    before = s.r.objects()
    with pytest.raises(Damaged):
        scrub(s.r.repository, ask(s.r, 1), s.r.system, print, witness(s.r, getattr(s.r, who)))
    assert s.r.objects() == before


def test_a_sound_repository_leaves_no_evidence(s: Scene) -> None:
    before = s.r.objects()
    assert scrub(s.r.repository, ask(s.r, 2), s.r.system, print, witness(s.r)).evidence is None
    assert s.r.objects() == before


def test_evidence_of_much_damage_fits(tmp_path: Path) -> None:
    r = repo(tmp_path)
    content: Content = {"x": b"1"}
    for n in range(60):
        r.back_up({**content, "n": b"%d" % n}, "full")
    for name in [n for n in objects_of(r) if "/packs/" in n]:
        r.store.delete(name)
    with pytest.raises(Damaged, match="60 of 60 snapshots are hit"):
        scrub(r.repository, ask(r, 0), r.system, lambda _: None, witness(r))
    assert len(read_proofs(r.repository, r.domain, r.pins, {}).damaged) == 60


# --- what only a key shows: every hash fits, because the writer itself vouches for it


def large_pack(s: Scene) -> str:
    return next(p for p in s.packs(s.other) if len(objects_of(s.r)[p][0]) > 100_000)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_signed_nonsense_is_found_by_level_two_alone(s: Scene) -> None:
    pack = large_pack(s)
    resigned(s, s.other, pack, flipped(objects_of(s.r)[pack][0], 60_000))
    assert read(s.r, 0).faults == read(s.r, 1).faults == ()
    result = read(s.r, 2)
    assert [(f.kind, f.name) for f in result.faults] == [("record", pack)]
    assert [(h.session, h.paths) for h in result.hits] == [(s.other, ("large",))]


def test_a_record_that_opens_and_is_not_what_its_id_says(s: Scene) -> None:
    pack = large_pack(s)
    resigned(s, s.other, pack, other_content_under_the_same_id(s, s.other, pack))
    assert read(s.r, 1).faults == ()
    result = read(s.r, 2)
    assert [(f.kind, f.name) for f in result.faults] == [("record", pack)]
    assert [(h.session, h.paths) for h in result.hits] == [(s.other, ("large",))]


def test_a_manifest_that_contradicts_its_packlist(s: Scene) -> None:
    pack = large_pack(s)
    data = flipped(objects_of(s.r)[pack][0], len(objects_of(s.r)[pack][0]) - 40)
    resigned(s, s.other, pack, data, manifest=False)
    assert read(s.r, 1).faults == ()
    result = read(s.r, 2)
    assert [f.name for f in result.faults] == [s.manifest(s.other)]
    assert "otherwise than its packlist" in result.faults[0].message


def test_the_forgery_itself_is_sound_where_nothing_was_changed(s: Scene) -> None:
    pack = large_pack(s)
    resigned(s, s.other, pack, objects_of(s.r)[pack][0])
    assert read(s.r, 2).faults == ()

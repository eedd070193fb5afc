from pathlib import Path

import pytest

from drkit.crypto.sign import SignerKey
from drkit.errors import Damaged
from drkit.operations.scrub import Witness, scrub
from drkit.repository.evidence_chain import DAMAGED, read_proofs
from drkit.repository.scrub import ScrubResult
from tests.fixtures.forgets import apply, objects_of
from tests.fixtures.repo import DAY, Content, Repo, repo
from tests.fixtures.scrubs import Scene, ask, flip, scene


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
    proofs = read_proofs(s.r.store, s.r.domain, s.r.pins, {})
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
    assert len(read_proofs(r.store, r.domain, r.pins, {}).damaged) == 60

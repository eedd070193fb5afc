"""The drill around any source, on file trees: they cost next to nothing."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from drkit.check import Restored
from drkit.crypto.recipients import new_identity
from drkit.errors import Exit, StoreError
from drkit.files.checks import questions
from drkit.model.drill import Aims, Checked, sound
from drkit.model.policy import Objectives
from drkit.operations.reading import opened
from drkit.operations.verify import complete, verify
from tests.fixtures.drills import Scene, failed
from tests.fixtures.faulty_store import Call, Fault, FaultyStore, on
from tests.fixtures.forgets import objects_of
from tests.fixtures.repo import repo


@pytest.fixture
def s(tmp_path: Path) -> Scene:
    made = repo(tmp_path)
    made.full(1)
    return Scene(r=made, snapshot=made.history().snapshots[-1], scratch=tmp_path / "scratch")


def test_an_rto_that_was_missed(s: Scene) -> None:
    result = verify(
        replace(s.plan(), objectives=Objectives(rto=timedelta(milliseconds=1))), s.system
    )
    error = failed(result, Exit.MISSED, "FAIL")
    assert "rto missed" in error.message
    assert s.proofs().proven.keys() == {s.snapshot.generation}, "slow, and sound"


def test_damage_in_the_store(s: Scene) -> None:
    name = max(
        (n for n in objects_of(s.r) if "/packs/" in n), key=lambda n: len(objects_of(s.r)[n][0])
    )
    data, when = objects_of(s.r)[name]
    objects_of(s.r)[name] = (data[:-3000] + bytes([data[-3000] ^ 1]) + data[-2999:], when)
    result = verify(s.plan(), s.system)
    failed(result, Exit.MISSED, "FAIL")
    assert result.drill.failure is not None
    assert (result.drill.failure.phase, result.drill.failure.cause) == ("P4", "damage")
    assert result.drill.times.service_ms is None
    assert s.proofs().damaged.keys() == {s.snapshot.generation}
    assert s.drills()[0].verdict == "FAIL"


def test_a_key_that_does_not_fit(s: Scene) -> None:
    result = verify(replace(s.plan(), identities=lambda: (new_identity(),)), s.system)
    failed(result, Exit.MISSED, "FAIL")
    assert result.drill.failure is not None
    assert result.drill.failure.cause == "key"
    assert s.proofs().damaged == {}, "the bytes are none the worse"


def test_no_identity(s: Scene) -> None:
    result = verify(replace(s.plan(), identities=tuple), s.system)
    failed(result, Exit.KEY, "NOT_RUN")
    assert s.drills()[0].verdict == "NOT_RUN"


def test_a_store_that_takes_no_evidence(s: Scene) -> None:
    def refused(call: Call) -> None:
        raise StoreError("permission denied")

    store = FaultyStore(
        s.r.store, Fault(before=on(lambda c: c.verb == "put" and "evidence" in c.name, refused))
    )
    domain = s.plan().find()
    there = replace(domain, repository=replace(domain.repository, store=store))
    result = verify(replace(s.plan(), find=lambda: there), s.system)
    assert result.drill.verdict == "PASS"
    assert result.error is not None
    assert result.error.exit_code == Exit.STORE
    assert result.error.message.startswith("PASS, but no evidence of it could be put: ")
    verify(s.plan(), s.system)
    assert len(s.drills()) == 2, "the next run puts what was kept"


def test_a_key_that_nobody_pins_leaves_no_record(s: Scene) -> None:
    by = s.plan().witness
    assert by is not None
    before = objects_of(s.r).keys()
    result = verify(replace(s.plan(), witness=replace(by, signer=s.r.stranger)), s.system)
    assert result.drill.verdict == "PASS"
    assert result.record is None
    assert "not pinned as a verifier" in result.untold
    assert objects_of(s.r).keys() == before


def test_an_older_snapshot_proves_nothing_of_the_generation(s: Scene) -> None:
    s.r.back_up({"new": b"content"})
    older = s.snapshot.session[:8]
    result = verify(replace(s.plan(), word=older), s.system)
    assert result.drill.verdict == "PASS"
    assert s.proofs().proven == {}
    verify(s.plan(), s.system)
    assert s.proofs().proven.keys() == {s.snapshot.generation}


def test_a_later_proof_heals_and_damage_makes_the_next_a_full(s: Scene) -> None:
    pack = next(n for n in objects_of(s.r) if "/packs/" in n)
    whole = objects_of(s.r)[pack]
    objects_of(s.r)[pack] = (whole[0][:-3000] + b"?" + whole[0][-2999:], whole[1])
    verify(s.plan(), s.system)
    assert s.proofs().damaged.keys() == {s.snapshot.generation}
    assert s.r.back_up({"new": b"content"}, None).kind == "full"


def test_files_that_a_restore_did_not_leave(s: Scene, tmp_path: Path) -> None:
    """Each check of a tree can fail."""
    with opened(s.plan().find(), s.snapshot, s.r.identities, s.system) as reader:
        into = tmp_path / "tree"
        into.mkdir()
        reader.tree(reader.entries(), into)
        restored = Restored(folder=into, facts=s.snapshot.facts)
        asked = questions(reader.entries)
        assert [q.check(restored).level for q in asked] == ["pass", "pass", "pass"]
        with (into / "large").open("ab") as file:
            file.write(b"x")
        assert [q.check(restored).level for q in asked] == ["pass", "pass", "fail"]
        (into / "empty").unlink()
        answers = {q.id: q.check(restored) for q in asked}
        assert (answers["entries"].level, answers["entries"].names) == ("fail", ("empty",))
        assert answers["sizes"].figures["bad"] == 2
        gone = replace(restored, folder=tmp_path / "nowhere")
        assert [q.check(gone).level for q in asked] == ["fail", "fail", "fail"]


def test_a_backup_that_was_never_complete_is_never_proven(s: Scene) -> None:
    assert complete(s.snapshot).result == "pass"
    damaged = replace(s.snapshot, facts=replace(s.snapshot.facts, damaged=True))
    found = complete(damaged)
    assert (found.result, found.level, found.required) == ("fail", 0, True)
    good = [Checked(id="x", level=n, required=True, result="pass", message="x") for n in (1, 2, 3)]
    assert sound(None, good, Aims())
    assert not sound(None, [found, *good], Aims())

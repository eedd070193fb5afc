from collections.abc import Iterator
from pathlib import Path

import pytest

from drkit.errors import Tampering
from drkit.model.evidence import FIRST, Record
from drkit.repository import evidence, names
from drkit.repository.evidence_chain import Chain, read_proofs
from drkit.stores.base import Store
from tests.fixtures.faulty_store import Call, Fault, FaultyStore, on
from tests.fixtures.forgets import Kill, kill, taken
from tests.fixtures.repo import START, Repo, repo


@pytest.fixture(params=["memory", "local"])
def r(request: pytest.FixtureRequest, tmp_path: Path) -> Repo:
    return repo(tmp_path, local=request.param == "local")


@pytest.fixture
def m(tmp_path: Path) -> Repo:
    return repo(tmp_path)


def chain(r: Repo, state: str = "state", store: Store | None = None) -> Chain:
    return Chain(store or r.store, r.root / state, r.verifier, r.system)


def records(r: Repo) -> Iterator[bytes]:
    for stored in r.store.list(names.EVIDENCE):
        yield r.store.read(stored.name, 1 << 16)


def test_a_chain_grows_without_gaps(m: Repo) -> None:
    for n in range(3):
        assert chain(m).append("x", "s", {"n": n}, ()).endswith(f"{n + 1:08d}")
    assert read_proofs(m.repository, m.domain, m.pins, {}).findings == ()
    assert chain(m, "lost state").append("x", "s", {}, ()).endswith("00000004")
    assert read_proofs(m.repository, m.domain, m.pins, {}).findings == ()
    assert len(list(records(m))) == 4


def test_killed_between_state_and_store(m: Repo) -> None:
    kill_put = on(lambda call: call.verb == "put", kill)
    with pytest.raises(Kill):
        chain(m, store=FaultyStore(m.store, Fault(before=kill_put))).append("x", "s", {"n": 1}, ())
    assert list(records(m)) == []
    chain(m).append("x", "s", {"n": 2}, ())
    assert len(list(records(m))) == 2
    assert read_proofs(m.repository, m.domain, m.pins, {}).findings == ()


def test_two_machines_with_one_key_are_told(m: Repo) -> None:
    chain(m, "one").append("x", "s", {}, ())
    key = m.verifier
    where = names.evidence(key.public.hex(), 2)
    forged = Record(signer=key.public_text, seq=2, prev=FIRST, at=START, kind="x", subject="s")

    def faster(call: Call) -> None:
        if call.verb == "put":
            taken(m, where, evidence.encode(forged, key))

    with pytest.raises(Tampering, match="forked"):
        chain(m, "one", FaultyStore(m.store, Fault(before=faster))).append("x", "s", {}, ())


def test_a_missing_record_is_a_finding(m: Repo) -> None:
    for n in range(3):
        chain(m).append("x", "s", {"n": n}, ())
    m.store.delete(names.evidence(m.verifier.public.hex(), 2))
    (found,) = read_proofs(m.repository, m.domain, m.pins, {}).findings
    assert found.level == "fail"
    assert "number 2 is missing" in found.message

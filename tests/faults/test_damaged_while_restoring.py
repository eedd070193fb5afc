"""A restore whose store loses, damages or refuses objects under its hands."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from drkit.errors import Damaged, StoreError
from drkit.model.snapshot import Snapshot
from drkit.stores.retry import Retrying
from drkit.system import System
from tests.fixtures import trees
from tests.fixtures.faulty_store import Call, Fault, FaultyStore, numbers, on, unanswered
from tests.fixtures.ledger import Ledger, change, soon, world

HASTY = System(now=soon, sleep=lambda _: None)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(world=world(tmp_path / "world"))
    for seed in range(3):
        assert made.run(made.world.back_up).session
        change(made.world.tree, seed)
    return made


def newest(ledger: Ledger) -> Snapshot:
    return ledger.world.history().snapshots[-1]


def packs(ledger: Ledger) -> list[Path]:
    return sorted(ledger.world.root.glob("store/domains/*/generations/*/packs/*"))


def read_by(ledger: Ledger) -> list[str]:
    """The objects that a restore of the newest reads; how often differs with its threads."""
    store = FaultyStore(ledger.world.store)
    into = ledger.world.restore(newest(ledger), ledger.world.root / "count", store)
    shutil.rmtree(into)
    found = sorted({call.name for call in store.calls})
    assert len(found) > 3
    return found


def partly(ledger: Ledger, into: Path, refused: Damaged) -> list[str]:
    """What is there is right, what is missing was named; the missing ones."""
    copy = ledger.copies[newest(ledger).session]
    differ = trees.compare(copy, into, ignore=("identity",))
    missing = [line.split(": only in ")[0].strip("'\"") for line in differ]
    assert all(line.endswith(f": only in {copy}") for line in differ), differ
    for path in missing[:5]:
        assert path in refused.message, refused
    assert refused.message.startswith(f"{len(missing)} files"), refused
    assert refused.hint
    return missing


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for at in range(5000, len(data) - 40_000, 97):
        data[at] ^= 1
    path.write_bytes(data)


def flip_head(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)


def swap(path: Path) -> None:
    other = next(p for p in path.parent.iterdir() if p.name[:32] != path.name[:32])
    shutil.copyfile(other, path)


def refusal(ledger: Ledger, into: Path) -> Damaged | None:
    try:
        ledger.world.restore(newest(ledger), into)
    except Damaged as refused:
        return refused
    return None


@pytest.mark.parametrize("damage", [Path.unlink, cut, flip, flip_head, swap])
@pytest.mark.parametrize("which", range(6))
def test_a_damaged_pack(ledger: Ledger, damage: Callable[[Path], None], which: int) -> None:
    """Everything else is restored; the files that it hits are left out and named."""
    into = ledger.world.root / "into"
    hurt = packs(ledger)
    assert len(hurt) == 6
    damage(hurt[which])
    if refused := refusal(ledger, into):
        assert refused.exit_code == 8
        assert 0 < len(partly(ledger, into, refused)) < 12
    else:  # the newest uses nothing of it
        assert trees.compare(ledger.copies[newest(ledger).session], into) == []


def named(name: str) -> Callable[[Call], bool]:
    return lambda call: call.name == name


def gone(path: Path) -> Callable[[Call], None]:
    return lambda _: path.unlink(missing_ok=True)


def test_an_object_that_vanishes_in_mid_restore(ledger: Ledger) -> None:
    for n, name in enumerate(read_by(ledger)):
        into = ledger.world.root / f"into {n}"
        lost = ledger.world.root / "store" / name
        kept = lost.read_bytes()
        vanish = on(named(name), gone(lost))
        store = FaultyStore(ledger.world.store, Fault(before=vanish))
        with pytest.raises(Damaged) as refused:
            ledger.world.restore(newest(ledger), into, store)
        assert refused.value.exit_code == 8
        if "/packs/" in name:
            partly(ledger, into, refused.value)
        lost.write_bytes(kept)
    ledger.settle()


def test_other_bytes_at_each_object(ledger: Ledger) -> None:
    for n, name in enumerate(read_by(ledger)):
        into = ledger.world.root / f"into {n}"
        store = FaultyStore(ledger.world.store, Fault(answer=others(name)))
        with pytest.raises(Damaged) as refused:
            ledger.world.restore(newest(ledger), into, store)
        if "/packs/" in name:
            partly(ledger, into, refused.value)
    ledger.settle()


def others(name: str) -> Callable[[Call, memoryview], None]:
    def answer(call: Call, view: memoryview) -> None:
        if call.name == name:
            for at in range(0, len(view), 50):
                view[at] ^= 0x20

    return answer


def test_a_store_that_goes_down_in_mid_restore(ledger: Ledger) -> None:
    """That is no damage: nothing says what the store still holds."""
    for n, name in enumerate(read_by(ledger)):
        into = ledger.world.root / f"into {n}"
        store = FaultyStore(ledger.world.store, Fault(before=down_from(name)))
        with pytest.raises(StoreError) as refused:
            ledger.world.restore(newest(ledger), into, store)
        assert refused.value.exit_code == 5
    ledger.settle()


def down_from(name: str) -> Callable[[Call], None]:
    met: list[Call] = []

    def hook(call: Call) -> None:
        if call.name == name:
            met.append(call)
        if met:
            unanswered(call)

    return hook


def test_bursts_are_ridden_out(ledger: Ledger) -> None:
    for n in range(1, len(read_by(ledger)) + 1):
        burst = on(numbers(n, n + 2), unanswered)
        into = ledger.world.root / f"into {n}"
        store = Retrying(FaultyStore(ledger.world.store, Fault(before=burst)), HASTY)
        ledger.world.restore(newest(ledger), into, store)
        assert trees.compare(ledger.copies[newest(ledger).session], into) == []
    ledger.settle()

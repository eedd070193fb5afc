"""Repositories written once must be read for ever, and damaged ones never give wrong data.

Each is opened by drkit and by `restore.py`, which shares no line with it.
"""

import ast
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from drkit.crypto.recipients import new_identity, paper_form
from drkit.errors import ConfigError, Damaged, DrkitError
from drkit.model.pins import Pins
from drkit.repository.history import missing
from drkit.stores.local import LocalStore
from tests.fixtures.trees import compare
from tests.format import make_golden
from tests.format.crafting import FORGER, IDENTITIES, KEY, PINS, SEGMENTS, WAL_FILES
from tests.format.make_golden import GOLDEN, tree, unpacked
from tests.format.restoring import SCRIPT, history_of, restore, run_script


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """Where targets are: nothing else may ever appear in it."""
    made = tmp_path / "box"
    made.mkdir()
    return made


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    path = tmp_path / "identity.txt"
    path.write_text(f"# for these samples\n{IDENTITIES[1].text!s}\n")
    return path


def by_drkit(store: Path, into: Path) -> None:
    repository, history = history_of(LocalStore(store), PINS)
    restore(repository, history.snapshots[-1], IDENTITIES, into)


def by_script(store: Path, identity: Path, into: Path, *more: object) -> tuple[int, str]:
    done = run_script(
        store, "--identity", identity, "--signer", KEY.public_text, "--into", into, *more
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_all_of_them_are_there_and_small() -> None:
    archives = {path.name.removesuffix(".tar.xz"): path for path in GOLDEN.iterdir()}
    assert archives.keys() == {"plain", *make_golden.CHANGES}
    assert sum(path.stat().st_size for path in archives.values()) < 300 << 10


def test_a_maker_makes_the_same_trees_of_today(tmp_path: Path) -> None:
    """The writer of today, not that of the samples, restored by both."""
    make_golden.plain(tmp_path / "store")
    assert len(make_golden.sessions(tmp_path / "store")) == 3


GOOD = {"plain": 3, "expired": 3, "fenced": 3, "packlist-missing": 3, "wal": 3, "rolled-back": 2}


@pytest.mark.parametrize("name", GOOD)
def test_good_ones_are_restored_bit_for_bit(
    name: str, tmp_path: Path, box: Path, identity: Path
) -> None:
    store = unpacked(name, tmp_path / "store")
    expected = tree(tmp_path / "source", GOOD[name])
    repository, history = history_of(LocalStore(store), PINS)
    assert history.tampered() == []
    assert all(snapshot.pinned for snapshot in history.snapshots)
    restore(repository, history.snapshots[-1], IDENTITIES[:1], box / "by drkit")
    assert compare(expected, box / "by drkit") == []
    code, said = by_script(store, identity, box / "by script")
    assert (code, "0 troubles" in said) == (0, True), said
    assert compare(expected, box / "by script") == []


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_backup_of_the_chain_restores(
    version: int, tmp_path: Path, box: Path, identity: Path
) -> None:
    store = unpacked("plain", tmp_path / "store")
    expected = tree(tmp_path / "source", version)
    repository, history = history_of(LocalStore(store), PINS)
    snapshot = history.snapshots[version - 1]
    restore(repository, snapshot, IDENTITIES[1:], box / "by drkit")
    assert compare(expected, box / "by drkit") == []
    code, said = by_script(store, identity, box / "it", "--snapshot", snapshot.session[:9])
    assert code == 0, said
    assert compare(expected, box / "it") == []


def test_an_expired_generation_is_not_shown(tmp_path: Path) -> None:
    store = unpacked("expired", tmp_path / "store")
    _, history = history_of(LocalStore(store), PINS)
    assert (len(history.commits), len(history.snapshots)) == (4, 1)
    listed = run_script(store, "--list").stdout
    assert [line for line in listed.splitlines() if "incremental" in line] == []
    assert history.snapshots[0].session in listed


def test_expired_by_somebody_else_hides_nothing(tmp_path: Path) -> None:
    store = unpacked("expired", tmp_path / "store")
    others = Pins(writers=frozenset([KEY.public]), maintainers=frozenset([FORGER.public]))
    _, history = history_of(LocalStore(store), others)
    assert len(history.snapshots) == 4
    assert any("does not pin" in finding.message for finding in history.tampered())


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    error: type[DrkitError]
    message: str
    script: str
    partly: bool = False  # what is not hit is restored


HIT = r"\d+ files could not be restored"
BAD = {
    "pack-missing": Bad(
        error=Damaged, message=HIT + r".* missing", script="No such file|missing", partly=True
    ),
    "pack-flipped": Bad(
        error=Damaged, message=HIT + r".* not what was sealed", script="as signed", partly=True
    ),
    "pack-truncated": Bad(
        error=Damaged, message=HIT + r".* bytes, not \d+", script="as signed", partly=True
    ),
    "manifest-missing": Bad(error=Damaged, message="it is missing", script="No such file"),
    "manifest-flipped": Bad(error=Damaged, message="not the manifest", script="isn't the signed"),
    "manifest-swapped": Bad(error=Damaged, message="manifest", script="isn't the signed"),
    "unknown-feature": Bad(
        error=ConfigError, message="needs a newer drkit", script="newer restore.py"
    ),
    "crafted-dotdot": Bad(error=Damaged, message="unsafe path", script="unsafe path"),
    "crafted-absolute": Bad(error=Damaged, message="unsafe or out of", script="unsafe path"),
    "crafted-link": Bad(error=Damaged, message="stands in|no folder", script="unsafe path"),
    "crafted-duplicate": Bad(error=Damaged, message="out of order", script="unsafe path"),
    "crafted-alias": Bad(error=Damaged, message="two entries", script="unsafe path"),
    "crafted-bomb": Bad(error=Damaged, message=HIT, script="has not its length", partly=True),
    "crafted-no-end": Bad(error=Damaged, message="no end line", script="no end line"),
    "crafted-extents": Bad(error=Damaged, message="passes the end", script="extents that can't"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_damaged_ones_are_refused(name: str, tmp_path: Path, box: Path, identity: Path) -> None:
    store = unpacked(name, tmp_path / "store")
    expected = tree(tmp_path / "source", 3)
    bad = BAD[name]
    with pytest.raises(DrkitError) as raised:
        by_drkit(store, box / "by drkit")
    assert type(raised.value) is bad.error
    assert re.search(bad.message, raised.value.message), raised.value.message
    assert not set(only_right(expected, box / "by drkit")) or name.startswith("crafted")
    code, said = by_script(store, identity, box / "by script")
    assert code == 1, said
    assert re.search(bad.script, said), said
    assert not set(only_right(expected, box / "by script")) or name.startswith("crafted")
    for target in ("by drkit", "by script"):
        assert bad.partly or names_in(box / target) <= {"a", "\u00e9", "twice"}
    assert untouched(box, tmp_path)


def only_right(expected: Path, found: Path) -> list[str]:
    """Differences, but for names that are left out and what that changes about folders."""
    if not found.exists():
        return []
    return [
        line
        for line in compare(expected, found)
        if f"only in {expected}" not in line and "hard links differ" not in line
    ]


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")} if folder.exists() else set()


def untouched(box: Path, above: Path) -> bool:
    """Nothing stands beside the targets."""
    beside = {path.name for path in box.iterdir()} - {"by drkit", "by script"}
    around = {path.name for path in above.iterdir()}
    known = {"store", "source", "box", "identity.txt"}
    return not beside and around == known and not Path("/drkit-outside").exists()


@pytest.mark.parametrize("name", ["crafted-bomb", "crafted-alias", "crafted-link"])
def test_nothing_of_a_crafted_file_is_left(
    name: str, tmp_path: Path, box: Path, identity: Path
) -> None:
    store = unpacked(name, tmp_path / "store")
    by_script(store, identity, box / "by script")
    assert [path for path in box.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["outcome-flipped", "outcome-forged", "outcome-missing"])
def test_a_commit_that_is_not_believed(
    name: str, tmp_path: Path, box: Path, identity: Path
) -> None:
    """It is told; the newest believed one is restored by drkit, the script wants to be told."""
    store = unpacked(name, tmp_path / "store")
    repository, history = history_of(LocalStore(store), PINS)
    newest = {"outcome-flipped": 2}.get(name, 3)
    says = {
        "outcome-flipped": "a signed object is no canonical JSON",
        "outcome-forged": f"{FORGER.public_text}, which the policy does not pin",
        "outcome-missing": "is gone, and drkit never deletes one",
    }
    assert says[name] in history.tampered()[-1].message
    restore(repository, history.snapshots[-1], IDENTITIES, box / "by drkit")
    expected = tree(tmp_path / "source", newest)
    assert compare(expected, box / "by drkit") == []
    code, said = by_script(store, identity, box / "refused")
    assert (code, "choose what to take with --snapshot" in said) == (1, True), said
    assert not (box / "refused").exists()
    session = history.snapshots[-1].session
    code, said = by_script(store, identity, box / "chosen", "--snapshot", session)
    assert (code, "TROUBLE" in said) == (1, True), said
    assert compare(expected, box / "chosen") == []


def test_without_a_pin_the_forged_one_is_listed_and_called_unpinned(tmp_path: Path) -> None:
    store = unpacked("outcome-forged", tmp_path / "store")
    done = run_script(store, "--list")
    assert "UNPINNED" in done.stderr
    assert FORGER.public_text in done.stdout
    _, history = history_of(LocalStore(store), Pins.none())
    assert [snapshot.pinned for snapshot in history.snapshots] == [False] * 4


def test_a_store_that_was_rolled_back_is_told_by_whoever_saw_more(tmp_path: Path) -> None:
    _, full = history_of(LocalStore(unpacked("plain", tmp_path / "plain")), PINS)
    seen = tuple((snapshot.generation, snapshot.hash) for snapshot in full.snapshots)
    _, history = history_of(LocalStore(unpacked("rolled-back", tmp_path / "store")), PINS)
    assert history.tampered() == []
    (finding,) = missing(history, seen)
    assert (finding.what, finding.level) == ("tampering", "fail")


# restore.py alone


def test_the_script_fits_its_limits() -> None:
    """And the oldest Python it is for understands it."""
    text = SCRIPT.read_text()
    lines = text.splitlines()
    assert len(lines) <= 200
    assert max(len(line) for line in lines) <= 100
    parsed = ast.parse(text, feature_version=(3, 9))
    imported = {
        name.split(".")[0]
        for node in ast.walk(parsed)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [a.name for a in node.names]
        )
    }
    assert imported - set(sys.stdlib_module_names) == {"cryptography", "zstandard"}


def test_a_wrong_identity_opens_nothing(tmp_path: Path, box: Path) -> None:
    other = tmp_path / "other"
    other.write_text(str(new_identity().text))
    code, said = by_script(unpacked("plain", tmp_path / "store"), other, box / "it")
    assert (code, "no identity given opens it" in said) == (1, True)
    assert names_in(box / "it") == set()


def test_the_identity_as_it_stands_on_paper_is_told_to_be_typed_as_one_line(
    tmp_path: Path, box: Path
) -> None:
    typed = tmp_path / "typed"
    rows = paper_form(IDENTITIES[0]).splitlines()[1:]
    body = "".join(row.partition(":")[2].partition("=")[0] for row in rows).replace(" ", "")
    typed.write_text("age-secret-key-1" + body.lower())
    code, said = by_script(unpacked("plain", tmp_path / "store"), typed, box / "it")
    assert code == 0, said


def test_a_folder_with_something_in_it_is_refused(
    tmp_path: Path, box: Path, identity: Path
) -> None:
    (box / "it").mkdir()
    (box / "it/mine").write_text("precious")
    code, said = by_script(unpacked("plain", tmp_path / "store"), identity, box / "it")
    assert (code, "not empty" in said) == (1, True)
    assert names_in(box / "it") == {"mine"}


def test_an_unknown_pin_believes_nothing(tmp_path: Path, box: Path, identity: Path) -> None:
    store = unpacked("plain", tmp_path / "store")
    done = run_script(
        store, "--identity", identity, "--signer", FORGER.public_text, "--into", box / "it"
    )
    assert done.returncode == 1
    assert done.stderr.count("not pinned") == 3
    assert not (box / "it").exists()


def test_wal_is_opened_into_plain_segments(tmp_path: Path, box: Path, identity: Path) -> None:
    store = unpacked("wal", tmp_path / "store")
    pins = ("--signer", KEY.public_text, "--signer", FORGER.public_text)
    done = run_script(store, "--identity", identity, *pins, "--wal", box / "wal")
    assert done.returncode == 1  # a segment whose beginning is missing
    assert "its beginning is missing" in done.stderr
    assert done.stderr.count("TROUBLE") == 1
    found = {path.name: path.read_bytes() for path in (box / "wal").iterdir()}
    assert found.keys() == WAL_FILES.keys()
    assert all(found[name] == data for name, data in WAL_FILES.items())


def test_wal_of_an_unpinned_signer_and_flipped_wal_are_left_out(
    tmp_path: Path, box: Path, identity: Path
) -> None:
    store = unpacked("wal", tmp_path / "store")
    (history,) = store.glob("domains/*/wal/00000002/00000002.history")
    make_golden.flip(history, 300)
    done = run_script(
        store, "--identity", identity, "--signer", KEY.public_text, "--wal", box / "wal"
    )
    assert done.returncode == 1
    assert f"ed25519:{FORGER.public.hex()}, not pinned" in done.stderr
    assert "00000002.history: InvalidSignature" in done.stderr
    assert names_in(box / "wal") == {SEGMENTS[1]}


def test_wal_swapped_with_another_is_refused(tmp_path: Path, box: Path, identity: Path) -> None:
    store = unpacked("wal", tmp_path / "store")
    (wal,) = store.glob("domains/*/wal/00000001")
    other = wal / "00000001000000000000000C"
    other.write_bytes((wal / SEGMENTS[0]).read_bytes())
    done = run_script(store, "--identity", identity, "--wal", box / "wal")
    assert f"{other.name}: InvalidSignature" in done.stderr
    assert other.name not in names_in(box / "wal")

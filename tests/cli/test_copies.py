"""A second store: filled by each backup, caught up after a failure, read when the first is gone."""

import shutil
from pathlib import Path

import pytest

from tests.fixtures import trees
from tests.fixtures.command import Site


@pytest.fixture
def pair(fresh: Site, tmp_path: Path) -> Site:
    """A policy with a copy; nothing backed up yet."""
    policy = fresh.policy
    text = policy.read_text().replace(
        "  # bandwidth: 80 MB/s", f"  copies: [{tmp_path / 'second'}]\n  # bandwidth: 80 MB/s"
    )
    policy.write_text(text)
    (tmp_path / "second").mkdir()
    return fresh


def objects(store: Path) -> dict[str, bytes]:
    found = (path for path in store.rglob("*") if path.is_file() and ".staging" not in path.parts)
    return {str(path.relative_to(store)): path.read_bytes() for path in found}


def more(site: Site, name: str) -> None:
    (site.data / name).write_text(f"{name}\n")


def test_each_backup_fills_it(pair: Site, tmp_path: Path) -> None:
    first = pair.ok("backup")
    assert "copied to" in first.out
    more(pair, "later.txt")
    pair.ok("backup", "--incremental")
    home, second = objects(Path(pair.store)), objects(tmp_path / "second")
    assert home.pop("store.json") != second.pop("store.json")
    assert home == second
    assert pair.ok("copy").out.strip().endswith("is up to date")


def test_committed_and_not_copied_is_exit_5_and_caught_up(pair: Site, tmp_path: Path) -> None:
    pair.ok("backup")
    second = tmp_path / "second"
    second.rename(tmp_path / "away")
    more(pair, "later.txt")
    failed = pair("backup", "--incremental", "--json")
    assert failed.code == 5
    (done,) = failed.document["backups"]
    assert done["committed"]
    assert not done["copies"][0]["complete"]
    assert "shop: committed, not copied to" in failed.err
    assert "the next drkit backup catches up" in failed.err
    idle = pair("backup", "--quiet")
    assert idle.code == 5, "nothing is due, and it is still not copied"
    (tmp_path / "away").rename(second)
    caught = pair.ok("backup")
    assert "1 snapshot" in caught.out
    pair.ok("backup", "--quiet")
    home, copy = objects(Path(pair.store)), objects(second)
    assert home.keys() == copy.keys()


def test_an_empty_place_where_a_copy_was_is_not_filled_again(pair: Site, tmp_path: Path) -> None:
    """The disk may not be mounted."""
    pair.ok("backup")
    second = tmp_path / "second"
    second.rename(tmp_path / "away")
    second.mkdir()
    more(pair, "later.txt")
    failed = pair("backup", "--incremental")
    assert failed.code == 5
    assert "holds no drkit repository" in failed.err
    assert list(second.iterdir()) == []


def test_it_is_read_when_home_is_gone(pair: Site, tmp_path: Path) -> None:
    pair.ok("backup")
    Path(pair.store).rename(tmp_path / "gone")
    listed = pair.ok("list")
    assert str(tmp_path / "second") in listed.out
    assert "is read instead" in listed.err
    pair.ok("show", "latest")
    pair.ok("restore", "--into", "out", "-i", pair.identity)
    assert trees.compare(pair.data, tmp_path / "out", owners=False) == []
    broken = pair("backup", "--full")
    assert broken.code == 5


def test_a_chosen_store(pair: Site, tmp_path: Path) -> None:
    pair.ok("backup")
    second = str(tmp_path / "second")
    assert second in pair.ok("list", "--store", second).out
    pair.ok("restore", "--store", second, "--into", "out", "-i", pair.identity)
    assert trees.compare(pair.data, tmp_path / "out", owners=False) == []
    assert pair("list", "--store", second, "--repository", second).code == 2


def test_a_pack_that_is_lost_is_put_back(pair: Site, tmp_path: Path) -> None:
    pair.ok("backup")
    pack = next(Path(pair.store).glob("domains/*/generations/*/packs/*"))
    data = pack.read_bytes()
    pack.unlink()
    assert pair("scrub", "--level", "0").code == 8
    dry = pair.ok("repair", "--dry-run")
    assert "would be put back" in dry.out
    assert not pack.exists()
    mended = pair.ok("repair", "--verbose")
    assert pack.name in mended.out + mended.err
    assert pack.read_bytes() == data
    assert "nothing is missing" in pair.ok("repair").out


def test_a_damaged_one_is_not_copied_and_not_overwritten(pair: Site, tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.rmdir()
    second.touch()
    assert pair("backup").code == 5
    second.unlink()
    pack = next(Path(pair.store).glob("domains/*/generations/*/packs/*"))
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(data)
    found = pair("copy")
    assert found.code == 8
    assert pack.name in found.err
    assert not list(second.glob("domains/*/generations/*/outcome/*"))


def test_two_halves_become_one(pair: Site, tmp_path: Path) -> None:
    """Each store took backups while the other was away."""
    pair.ok("backup")
    home, second = Path(pair.store), tmp_path / "second"
    second.rename(tmp_path / "away")
    more(pair, "in home alone.txt")
    assert pair("backup", "--full").code == 5
    shutil.copytree(pair.data, tmp_path / "tree of home", symlinks=True)

    home.rename(tmp_path / "home away")
    (tmp_path / "away").rename(home)  # the copy serves as home
    more(pair, "in second alone.txt")
    assert pair("backup", "--full").code in (0, 5, 8)
    shutil.copytree(pair.data, tmp_path / "tree of second", symlinks=True)
    home.rename(second)
    (tmp_path / "home away").rename(home)

    pair.ok("copy", "--from", str(second), "--to", str(home))
    pair.ok("copy", "--from", str(home), "--to", str(second))
    at_home, at_second = objects(home), objects(second)
    at_home.pop("store.json"), at_second.pop("store.json")
    assert at_home == at_second
    ids = [line.split()[0] for line in pair.ok("list").out.splitlines()[2:]]
    assert len(ids) == 3
    for id_, tree in zip(ids[1:], ("tree of home", "tree of second"), strict=True):
        for store in (home, second):
            into = tmp_path / f"{id_} {store.name}"
            args = ("--store", str(store), "--into", str(into), "-i", pair.identity)
            pair.ok("restore", "--snapshot", id_, "--yes", *args)
            assert trees.compare(tmp_path / tree, into, owners=False) == []


def test_without_a_policy(pair: Site, tmp_path: Path) -> None:
    pair.ok("backup")
    third = tmp_path / "third"
    pair.ok("copy", "--repository", pair.store, "--to", str(third))
    listed = pair.ok("list", "--repository", str(third), "-i", pair.identity)
    assert listed.out.startswith("shop: ")


def test_a_copy_needs_a_place_of_its_own(pair: Site, tmp_path: Path) -> None:
    pair.ok("backup")
    assert pair("copy", "--to", pair.store).code == 3
    other = tmp_path / "other"
    pair.ok("init", "other", "--files", pair.data, "--store", str(other), "-r",
            *_recipients(pair), "--non-interactive")  # fmt: skip
    refused = pair("copy", "shop", "--to", str(other))
    assert refused.code == 3
    assert "holds repository" in refused.err


def _recipients(site: Site) -> tuple[str, str, str]:
    one, two = [
        line.split()[1]
        for line in site.policy.read_text().splitlines()
        if line.strip().startswith("- age1")
    ]
    return one, "-r", two


def test_each_store_is_scrubbed_and_forgotten_in(pair: Site, tmp_path: Path) -> None:
    pair.ok("backup")
    pack = next((tmp_path / "second").glob("domains/*/generations/*/packs/*"))
    pack.unlink()
    found = pair("scrub", "--level", "0")
    assert found.code == 8
    assert "second" in found.out + found.err
    assert pair.ok("scrub", "--level", "0", "--store", pair.store).out.startswith("shop: ")
    shown = pair("forget", "--json")
    (one,) = shown.document["forgets"]
    assert [fate["keep"] for fate in one["plan"]["fates"]] == [True]
    assert len(one["copies"]) == 1
    after = pair("backup", "--incremental")
    assert after.code == 8
    assert "incremental backup committed" in after.out, "home is whole"
    assert "not whole at the copy" in after.err
    assert "drkit repair" in after.err
    pair.ok("repair")
    assert "copied to" in pair.ok("backup", "--incremental").out

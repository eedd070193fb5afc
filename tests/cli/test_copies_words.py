"""What is said where a copy is stopped, full, behind or tampered with, and how to go on."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from drkit.cli.bars import shortened
from drkit.repository.copies.carry import fetched_as_is
from drkit.stores.memory import MemoryStore
from drkit.system import System
from tests.fixtures import trees
from tests.fixtures.command import DRKIT, Site
from tests.fixtures.kinds import body

LARGE = 70_000_000
SMALL_FILES = 'ulimit -f 1024; exec "$@"'  # in KiB: writing beyond fails as on a full disk


def with_copy(site: Site, place: Path, more: str = "") -> Site:
    """From now on; what is backed up already is not there yet."""
    text = site.policy.read_text().replace(
        "  # bandwidth: 80 MB/s", f"  copies: [{place}]\n{more or '  # bandwidth: 80 MB/s'}"
    )
    site.policy.write_text(text)
    place.mkdir()
    return site


@pytest.fixture
def pair(shop: Site, tmp_path: Path) -> Site:
    """With one backup, in both stores."""
    with_copy(shop, tmp_path / "second")
    assert "copied to" in shop.ok("backup").out
    return shop


def large(site: Site, size: int) -> None:
    (site.data / "large").write_bytes(os.urandom(size))


def until(there: Path, pattern: str) -> None:
    end = time.monotonic() + 20
    while not any(there.glob(pattern)):
        assert time.monotonic() < end
        time.sleep(0.02)


def foreign(store: Path) -> None:
    """Something stands there that drkit never put."""
    (next(store.glob("domains/*/generations/*")) / "foreign").write_text("x\n")


# --- a tampered store


def test_a_tampered_home_is_restored_when_somebody_says_yes(pair: Site, tmp_path: Path) -> None:
    foreign(pair.store)
    assert pair("list").code == 8
    stopped = pair("restore", "--into", "out", "-i", pair.identity)
    assert stopped.code == 8
    assert "is no name that drkit gives: nothing was written" in stopped.err
    assert "look at the findings first; --yes restores it nevertheless" in stopped.err
    assert f"restore from a copy: --store {tmp_path / 'second'}" in stopped.err
    assert not (tmp_path / "out").exists()
    pair.ok("restore", "--into", "out", "-i", pair.identity, "--yes")
    assert trees.compare(pair.data, tmp_path / "out", owners=False) == []


def test_of_a_tampered_copy_no_copy_is_recommended(pair: Site, tmp_path: Path) -> None:
    pair.ok("backup", "--full")  # its policy, which stands in the backup, names the copy
    second = tmp_path / "second"
    foreign(second)
    for where in (("--store", second), ("--repository", second)):
        stopped = pair("restore", *where, "--into", "out", "-i", pair.identity)
        assert stopped.code == 8
        assert "nothing was written" in stopped.err
        assert "--yes restores it nevertheless" in stopped.err
        assert "from a copy" not in stopped.err
    pair.ok("restore", "--store", second, "--into", "out", "-i", pair.identity, "--yes")
    assert trees.compare(pair.data, tmp_path / "out", owners=False) == []


# --- a copy that ends early


def test_ctrl_c_while_it_is_copied_ends_soon_and_says_what_is_committed(
    fresh: Site, tmp_path: Path
) -> None:
    large(fresh, LARGE)
    fresh.ok("backup")
    second = tmp_path / "second"
    with_copy(fresh, second, "  bandwidth: 5 MB/s")
    running = fresh.start("backup")
    until(second, "domains/*/generations/*/begin/*")
    time.sleep(2)
    begun = time.monotonic()
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert time.monotonic() - begun < 4, "an object alone takes longer at that rate"
    assert running.returncode == 130
    said = f"shop: committed, not copied to file://{second} yet: the next drkit backup catches up"
    assert said in err.decode()
    assert b"Traceback" not in err
    fresh.policy.write_text(fresh.policy.read_text().replace("  bandwidth: 5 MB/s", ""))
    assert "1 snapshot" in fresh.ok("backup").out


def test_no_room_names_the_folder_that_is_full(fresh: Site, tmp_path: Path) -> None:
    large(fresh, 3 << 20)
    fresh.ok("backup")
    second = tmp_path / "second"
    with_copy(fresh, second)
    ran = subprocess.run(
        ["bash", "-c", SMALL_FILES, "-", DRKIT, "copy"],
        cwd=fresh.home,
        env=fresh.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 5, ran
    assert f"{second}/.staging" in ran.stderr
    assert "no room for an object on its way to another store: File too large" in ran.stderr
    assert "state folder" not in ran.stderr
    assert "Traceback" not in ran.stderr


# --- how far it is


def test_bytes_are_told_as_they_are_read(tmp_path: Path) -> None:
    store = MemoryStore(System().now)
    data = os.urandom(1 << 20)
    store.put("object", body(data))
    told: list[int] = []
    buffer = memoryview(bytearray(300 << 10))
    with fetched_as_is("object", len(data), store, tmp_path, buffer, told.append):
        assert told == [300 << 10] * 3 + [124 << 10], "all before it is put"


def test_no_byte_is_told_twice(fresh: Site, tmp_path: Path) -> None:
    large(fresh, 20 << 20)
    fresh.ok("backup")
    with_copy(fresh, tmp_path / "second")
    ran = fresh.ok("copy", "--json", "--log-format", "json")
    (copied,) = ran.document["copies"][0]["stores"]
    told = [json.loads(line) for line in ran.err.splitlines()]
    task = f"shop: copy to file://{tmp_path / 'second'}"
    (sums,) = [one["bytes"] for one in told if (one["event"], one["task"]) == ("finished", task)]
    assert sums == copied["bytes"]


@pytest.mark.parametrize(
    ("task", "shown"),
    [
        ("shop: backup", "shop: backup"),
        ("shop: copy to gs://bucket-9/path", "shop: copy to …et-9/path"),
        ("shop: repair gs://bucket-9/path", "shop: repair g…et-9/path"),
    ],
)
def test_a_bar_says_whose_it_is(task: str, shown: str) -> None:
    assert shortened(task) == shown


# --- what a store lacks


def test_a_home_that_lost_an_outcome_names_the_copy_that_has_it(pair: Site, tmp_path: Path) -> None:
    second = tmp_path / "second"
    (outcome,) = pair.store.glob("domains/*/generations/*/outcome/*")
    outcome.unlink()
    found = pair("repair", "--store", pair.store)
    assert f"1 backup of file://{second} is not here" in found.err
    assert f"hint: drkit copy shop --from {second} --to {pair.store}" in found.err
    pair.ok("copy", "shop", "--from", second, "--to", pair.store)
    assert outcome.exists()
    assert "not here" not in pair("repair", "--store", pair.store).err


def test_what_a_copy_lacks_for_good_is_no_news_for_cron(pair: Site, tmp_path: Path) -> None:
    """It was made after home had let go what its commits had seen."""
    pair.ok("backup", "--full")
    second = tmp_path / "second"
    first = min(second.glob("domains/*/generations/*"), key=lambda g: (g / "open").stat().st_mtime)
    shutil.rmtree(first)
    shutil.rmtree(pair.state / "domains")  # a machine that has never seen it there
    hint = "drkit copy catches up, unless the first store has let it go since"
    for words in (("list",), ("scrub", "--level", "0")):
        loud = pair.ok(*words, "--store", second)
        assert "is not in this copy" in loud.err
        assert hint in loud.err
        quiet = pair.ok(*words, "--store", second, "--quiet")
        assert quiet.err == ""
    (seen,) = pair.ok("list", "--store", second, "--json").document["domains"]
    assert [(f["level"], f["what"]) for f in seen["findings"]] == [("warn", "not copied")]

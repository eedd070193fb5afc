"""What nobody means to do, and somebody does at night."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from drkit.cli.machine import refused
from tests.fixtures.command import DRKIT, Site


def shell(site: Site, line: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        ["bash", "-c", line],
        cwd=site.home,
        env=site.environment() | {"DRKIT": str(DRKIT)},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_backup_needs_no_standard_streams(shop: Site, closed: str) -> None:
    ran = shell(shop, f'"$DRKIT" backup --incremental {closed}')
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert len(shop.ok("list", "--json").document["domains"][0]["snapshots"]) == 2


def test_a_full_disk_below_stdout_does_not_look_like_a_failed_backup(shop: Site) -> None:
    ran = shell(shop, '"$DRKIT" backup --incremental > /dev/full')
    assert ran.returncode == 5
    assert b"can't write to stdout: no space left" in ran.stderr
    assert len(shop.ok("list", "--json").document["domains"][0]["snapshots"]) == 2
    ran = shell(shop, '"$DRKIT" list --json > /dev/full')
    assert ran.returncode == 5
    assert b"Traceback" not in ran.stderr


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_time_out_of_range_is_no_time(done: Site, at: str) -> None:
    ran = done("restore", "--into", "out", "-i", done.identity, "--at", at)
    assert (ran.code, "is no time" in ran.err) == (2, True), ran


def test_an_empty_snapshot_id_is_not_the_latest(done: Site) -> None:
    ran = done("restore", "--into", "out", "-i", done.identity, "--snapshot", "")
    assert (ran.code, "names no snapshot" in ran.err) == (2, True), ran
    assert not (done.home / "out").exists()


@pytest.mark.parametrize("into", ["store/new", "link/new", "store/domains/new"])
def test_nothing_is_restored_into_the_store(shop: Site, into: str) -> None:
    (shop.home / "link").symlink_to("store")
    for words in (("shop",), ("--repository", shop.store)):
        ran = shop("restore", *words, "--into", into, "-i", shop.identity)
        assert (ran.code, "lies in the store" in ran.err) == (2, True), ran
    assert not (shop.home / into).exists()


def test_a_folder_is_not_its_own_store(bare: Site) -> None:
    (bare.home / "link").symlink_to(bare.data)
    for store in (bare.data, bare.home / "link"):
        words = ("--files", bare.data, "--store", store, "--identities-to", "keys")
        ran = bare("init", "shop", "--non-interactive", *words)
        assert (ran.code, "its own store" in ran.err) == (2, True), ran
    assert os.listdir(bare.data) == ["file"]
    assert not bare.policy.exists()


def test_a_file_that_is_no_identity_is_named(done: Site, tmp_path: Path) -> None:
    for number, content in enumerate(("garbage\n", "", "x" * 70_000)):
        path = tmp_path / f"key{number}"
        path.write_text(content)
        ran = done("restore", "--into", "out", "-i", path)
        assert ran.code in (3, 7)
        assert f"key{number}: " in ran.err


def test_the_state_is_closed_to_others_whatever_the_umask(bare: Site) -> None:
    before = os.umask(0)
    try:
        bare.init()
        bare.ok("backup")
    finally:
        os.umask(before)
    for folder in (bare.state, *(p for p in bare.state.rglob("*") if p.is_dir())):
        assert folder.stat().st_mode & 0o777 == 0o700, folder


def test_doctor_claims_no_more_than_it_looked_at(done: Site) -> None:
    said = done("doctor").out
    assert f"none in {done.state}" in " ".join(said.split())


def test_memory_and_threads_that_ran_out_are_no_bug() -> None:
    for error in (MemoryError(), OSError(12, "x"), RuntimeError("can't start new thread")):
        found = refused(error)
        assert found is not None
        assert "memory" in found.message
    assert refused(RuntimeError("other")) is None


def test_a_scrub_says_that_the_newest_backup_was_taken_away(shop: Site) -> None:
    shop.ok("backup", "--incremental")
    shop.ok("scrub")
    newest = max(shop.store.glob("domains/*/generations/*/outcome/*"), key=os.path.getmtime)
    newest.unlink()
    ran = shop("scrub")
    assert (ran.code, "is not in the store" in ran.err) == (8, True), ran


def test_a_verbose_backup_says_what_it_left_out(shop: Site) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(shop.data / "sock"))
    assert "shop: sock: a socket, left out" in shop.ok("backup", "--full", "-v").out


def test_what_is_made_is_its_users_alone_whatever_the_mask(shop: Site) -> None:
    for mask in (0o000, 0o777):
        done = subprocess.run(
            ["sh", "-c", f'umask {mask:o}; exec "$0" backup --full', DRKIT],
            cwd=shop.home,
            env=shop.environment(),
            check=False,
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
    made = [*shop.state.rglob("*"), *Path(shop.store).rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in made if path.is_dir()} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in made if path.is_file()} == {0o600}

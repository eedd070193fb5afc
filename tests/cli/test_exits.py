"""What goes wrong, with which exit code, in which words; never a traceback."""

import fcntl
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.fixtures.command import DRKIT, Ran, Site


def refused(ran: Ran, code: int, *said: str) -> None:
    assert ran.code == code, ran
    assert ran.err.startswith("drkit: ")
    for words in said:
        assert words in ran.err, ran.err


def packs(site: Site) -> list[Path]:
    return sorted(site.store.glob("domains/*/generations/*/packs/*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("bakup",), "did you mean backup?"),
        (("backup", "--fulll"), "--full"),
        (("backup", "--full", "--incremental"), "exclude each other"),
        (("restore",), "--into"),
        (("show", "latest", "--policy", "--files"), "nothing else"),
        (("list", "--log-format", "xml"), "xml"),
        (("scrub", "--size", "10 parsecs"), "parsecs"),
        (("list", "--signer", "ed25519:" + "00" * 32), "goes with --repository"),
    ],
)
def test_a_command_line_without_sense_is_2(done: Site, words: tuple[str, ...], said: str) -> None:
    refused(done(*words), 2, said)


def test_a_mistake_in_a_policy_is_3_with_file_and_line(shop: Site) -> None:
    text = shop.policy.read_text().replace("keep: 30 days", "keep: 10 parsecs")
    shop.policy.write_text(text)
    line = next(n for n, words in enumerate(text.splitlines(), 1) if "parsecs" in words)
    refused(shop("backup"), 3, f"policies/shop.yaml:{line}: retention.keep: '10 parsecs'")


def test_an_unknown_policy_is_3(done: Site) -> None:
    refused(done("backup", "shopp"), 3, "no policy is called 'shopp'", "did you mean shop?")


def test_no_policy_at_all_is_3(bare: Site) -> None:
    refused(bare("backup"), 3, "no policy: looked for", "drkit init writes one")


def test_one_broken_policy_stops_no_other(shop: Site) -> None:
    (shop.home / "policies/broken.yaml").write_text("version: 1\nnme: x\n")
    ran = shop("backup", "--incremental", "--json")
    refused(ran, 3, "policies/broken.yaml")
    broken, good = ran.document["backups"]
    assert broken["error"]["exit_code"] == 3
    assert good["committed"] is True


def test_the_exit_is_the_first_failed_ones_by_name(shop: Site) -> None:
    for name, root in (("a", "/nowhere/at/all"), ("z", str(shop.data))):
        text = shop.policy.read_text().replace("name: shop", f"name: {name}")
        text = text.replace(f"root: {shop.data}", f"root: {root}")
        (shop.home / f"policies/{name}.yaml").write_text(text)
    shutil.rmtree(shop.state / "domains", ignore_errors=True)
    ran = shop("backup", "--full")
    refused(ran, 3, "drkit: error: a: /nowhere/at/all can't be read")
    assert "shop: full backup committed" in ran.out
    assert "z: full backup committed" in ran.out


def test_a_store_that_is_not_mounted(shop: Site) -> None:
    shop.store.rename(shop.home / "elsewhere")
    for words in (("backup",), ("list",), ("scrub",), ("forget",), ("key", "show")):
        refused(shop(*words), 5, "no repository folder there", "mount the disk")


def test_nothing_protected_there(shop: Site) -> None:
    shutil.rmtree(shop.data)
    refused(shop("backup", "--incremental"), 3, "can't be read")
    shop.ok("restore", "--into", "out", "-i", shop.identity)


def test_two_at_once_one_is_6(shop: Site) -> None:
    (domain,) = (shop.state / "domains").iterdir()
    with (domain / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate()
        lock.write("4711\n")
        lock.flush()
        refused(shop("backup", "--full"), 6, "another run of shop is under way", "process 4711")
    shop.ok("backup", "--full")


def test_no_identity_is_7_and_says_which_would_do(done: Site, tmp_path: Path) -> None:
    public = done.ok("key", "show", "--json").document["recipients"]
    ran = done("restore", "--into", tmp_path / "out")
    refused(ran, 7, public[0][:20], public[1][:20], "DRKIT_IDENTITY_FILE")
    assert not (tmp_path / "out").exists()


def test_a_wrong_identity_is_7_and_says_which_would_do(done: Site, tmp_path: Path) -> None:
    done.ok("key", "new", "--to", tmp_path / "other.txt")
    public = done.ok("key", "show", "--json").document["recipients"]
    ran = done("restore", "--into", tmp_path / "out", "-i", tmp_path / "other.txt")
    refused(ran, 7, public[0][:20], public[1][:20], "nothing was written")
    assert not (tmp_path / "out").exists()
    refused(done("restore", "--into", "x", "-i", "no such file"), 7, "no such file")


def test_a_damaged_pack_is_8_and_names_files(shop: Site) -> None:
    pack = packs(shop)[0]
    content = bytearray(pack.read_bytes())
    content[12 + int.from_bytes(content[8:12], "little") + 20] ^= 1  # in the first record
    pack.chmod(0o600)
    pack.write_bytes(content)
    refused(
        shop("restore", "--into", "out", "-i", shop.identity), 8, "could not be restored", "out"
    )
    ran = shop("scrub", "--json")
    refused(ran, 8, "1 of 1 snapshots are hit")
    assert len(ran.document["scrubs"][0]["result"]["faults"]) == 1
    refused(shop("scrub", "--level", "2", "-i", shop.identity), 8, "snapshot")


def test_a_store_set_back_is_8_and_needs_a_yes(shop: Site) -> None:
    shutil.copytree(shop.store, shop.home / "old")
    shop.ok("backup", "--incremental")
    shutil.rmtree(shop.store)
    (shop.home / "old").rename(shop.store)
    refused(shop("list"), 8, "that this machine has seen is not in the store")
    words = ("restore", "--into", "out", "-i", shop.identity)
    refused(shop(*words), 8, "is not in the store")
    assert not (shop.home / "out").exists()
    agreed = shop.ok(*words, "--yes")
    assert "drkit: warning: " in agreed.err
    ran = shop("backup", "--full", "--json")
    refused(ran, 8, "a backup was committed")
    assert ran.document["backups"][0]["committed"] is True


def test_a_full_disk_below_stdout_is_5(done: Site) -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [DRKIT, "list"],
            cwd=done.home,
            env=done.environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert ran.returncode == 5
    assert b"no space left" in ran.stderr
    assert b"Traceback" not in ran.stderr


def test_a_reader_that_goes_away_changes_nothing(done: Site) -> None:
    with done.start("show", "latest", "--files", "-i", str(done.identity)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait() == 0, said
    assert b"Traceback" not in said


@pytest.mark.parametrize(
    ("command", "sent"),
    [
        ("backup", signal.SIGINT),
        ("restore", signal.SIGINT),
        ("backup", signal.SIGTERM),
        ("restore", signal.SIGHUP),
    ],
)
def test_a_signal_is_130_and_says_what_is_left(
    shop: Site, command: str, sent: signal.Signals
) -> None:
    big = shop.data / "big"
    with big.open("wb") as file:
        for _ in range(24):
            file.write(os.urandom(8 << 20))
    words: tuple[str | Path, ...] = ("backup", "--full")
    if command == "restore":
        shop.ok("backup", "--full")
        words = ("restore", "--into", "out", "-i", shop.identity)
    with shop.start(*words, "--log-format", "json") as process:
        assert process.stderr is not None
        assert b"started" in process.stderr.readline()
        time.sleep(0.1)
        process.send_signal(sent)
        said = process.stderr.read().decode()
        assert process.wait(20) == 130, said
    assert "Traceback" not in said
    assert "interrupted" in said
    if command == "backup":
        assert "nothing was committed" in said
        assert len(shop.ok("list", "--json").document["domains"][0]["snapshots"]) == 1
    else:
        assert "holds a part of the snapshot" in said
    shop.ok("backup", "--full")


def test_a_state_that_others_may_enter_is_refused(shop: Site) -> None:
    shop.state.chmod(0o755)
    refused(shop("backup", "--full"), 3, "others may enter", f"chmod 700 {shop.state}")
    shop.state.chmod(0o700)
    (shop.state / "signer.key").chmod(0o644)
    refused(shop("backup", "--full"), 3, "may be read by others", "chmod 600")


def test_a_damaged_signer_key_is_told(shop: Site) -> None:
    (shop.state / "signer.key").write_text("nonsense")
    refused(shop("backup", "--full"), 3, "a signer key file is damaged")


def test_a_lost_cache_costs_one_full(shop: Site) -> None:
    for cache in shop.state.rglob("cache.sqlite*"):
        cache.write_bytes(b"garbage" * 100)
    ran = shop.ok("backup", "--incremental")
    assert "shop: full backup committed" in ran.out
    assert "no incremental was possible" in ran.err
    assert "a full backup was taken instead" in ran.err


def test_a_full_disk_below_one_policys_state_stops_no_other(shop: Site) -> None:
    """The cache can't be written where a folder stands in its place."""
    text = shop.policy.read_text().replace("name: shop", "name: zoo")
    (shop.home / "policies/zoo.yaml").write_text(text)
    (domain,) = (shop.state / "domains").iterdir()
    for file in domain.iterdir():
        if file.is_file():
            file.unlink()
    (domain / "cache.sqlite").mkdir()
    ran = shop("backup", "--full")
    refused(ran, 5, "drkit: error: shop: ")
    assert "zoo: full backup committed" in ran.out

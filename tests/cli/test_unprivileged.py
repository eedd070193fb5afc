"""As a user without rights: what the machine refuses is told, and harms nothing."""

import os
from pathlib import Path

import pytest

from tests.fixtures.command import Ran, unprivileged


@pytest.fixture
def home(plain_home: Path) -> Path:
    """Set up and backed up once, all by nobody."""
    data = plain_home / "data"
    data.mkdir()
    for number in range(5):
        (data / f"{number}.txt").write_text(f"{number}\n")
    where: list[str | Path] = ["--files", data, "--store", plain_home / "store"]
    keys = ["--identities-to", "keys"]
    ran = unprivileged(plain_home, ["init", "shop", "--non-interactive", *where, *keys])
    assert ran.code == 0, ran
    assert unprivileged(plain_home, ["backup"]).code == 0
    return plain_home


def refused(ran: Ran, code: int, *said: str) -> None:
    assert ran.code == code, ran
    for words in said:
        assert words in ran.err, ran.err


def test_the_whole_path_needs_no_rights(home: Path) -> None:
    keys = ["-i", "keys/operations.txt"]
    assert unprivileged(home, ["backup", "--incremental"]).code == 0
    assert unprivileged(home, ["restore", "--into", "out", *keys]).code == 0
    assert sorted(p.name for p in (home / "out").iterdir()) == [f"{n}.txt" for n in range(5)]
    assert unprivileged(home, ["scrub", "--level", "2", *keys]).code == 0
    assert unprivileged(home, ["forget", "--apply"]).code == 0
    assert unprivileged(home, ["doctor"]).code == 0


def test_an_unreadable_file_is_8_and_the_rest_is_saved(home: Path) -> None:
    secret = home / "data/secret"
    secret.write_text("x")
    secret.chmod(0)
    ran = unprivileged(home, ["backup", "--incremental", "--json"])
    refused(ran, 8, "secret", "1 could not be read")
    assert ran.document["backups"][0]["committed"] is True
    policy = home / "policies/shop.yaml"
    policy.write_text(policy.read_text().replace("    # unreadable: warn", "    unreadable: warn"))
    ran = unprivileged(home, ["backup", "--incremental"])
    refused(ran, 0, "secret")


def test_a_store_that_may_only_be_read_is_5(home: Path) -> None:
    for path in (home / "store", *(home / "store").rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
        if os.geteuid() == 0:
            os.chown(path, 0, 0)
    refused(unprivileged(home, ["backup", "--full"]), 5, "permission denied", "drkit: hint: ")
    assert unprivileged(home, ["list"]).code == 0
    assert unprivileged(home, ["restore", "--into", "out", "-i", "keys/safe.txt"]).code == 0
    refused(unprivileged(home, ["doctor"]), 5)


def test_a_state_of_another_user_is_3(home: Path) -> None:
    if os.geteuid() == 0:
        os.chown(home / "state", 0, 0)
        (home / "state").chmod(0o777)
        refused(unprivileged(home, ["backup", "--full"]), 3, "belongs to user 0")
    else:
        (home / "state").chmod(0o777)
        refused(unprivileged(home, ["backup", "--full"]), 3, "others may enter")


def test_a_destination_that_may_not_be_written_is_5(home: Path) -> None:
    (home / "closed").mkdir(mode=0o555)
    ran = unprivileged(home, ["restore", "--into", "closed/out", "-i", "keys/safe.txt"])
    refused(ran, 5, "permission denied")
    assert not (home / "closed/out").exists()


def test_what_is_protected_may_not_be_read_is_3(home: Path) -> None:
    (home / "data").chmod(0)
    refused(unprivileged(home, ["backup", "--full"]), 3, "can't be read")
    (home / "data").chmod(0o755)


def test_an_identity_that_may_not_be_read_is_7(home: Path) -> None:
    key = home / "keys/operations.txt"
    key.chmod(0)
    refused(unprivileged(home, ["restore", "--into", "out", "-i", key]), 7, "can't be read")

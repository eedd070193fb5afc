"""drkit restore of a cluster, as it is typed."""

import os
import signal
import time
from pathlib import Path

import pytest

from drkit.postgres.leftovers import MARKER
from tests.fixtures.base_copy import ROWS, Sample, changed, sample
from tests.fixtures.command import Ran, Site
from tests.fixtures.postgres import own
from tests.fixtures.ready import started_as_told

pytestmark = pytest.mark.pg


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return sample(tmp_path_factory.mktemp("shop"), 18)


@pytest.fixture
def host(tmp_path: Path) -> Site:
    """Another machine than the one that was backed up: a key and the repository are all it has."""
    own(tmp_path)
    return Site(home=tmp_path)


def words(shop: Sample, host: Site, into: Path, *more: str | Path) -> list[str | Path]:
    (host.home / "key").write_text(f"{shop.made.identities[0].text}\n")
    (host.home / "key").chmod(0o600)
    signer = ("--signer", shop.made.writer.public_text)
    where = ("--repository", shop.store, "-i", host.home / "key", *signer)
    return ["restore", *where, "--into", into, *more]


def restore(shop: Sample, host: Site, into: Path, *more: str | Path) -> Ran:
    return host(*words(shop, host, into, *more))


def test_from_nothing_to_a_server(shop: Sample, host: Site) -> None:
    data, fast = host.home / "data", host.home / "fast"
    ran = restore(shop, host, data, "--tablespace", f"{shop.fast}={fast}")
    assert (ran.code, ran.err) == (0, ""), ran
    lines = ran.out.splitlines()
    [start] = [line.partition(": ")[2] for line in lines if line.startswith("start it with: ")]
    assert f"tablespace {shop.fast} is in {fast}" in lines
    assert "page checksums are right" in ran.out
    assert "the next backup must be a full" in ran.out
    assert f"drkit restore --rearm {data}" in ran.out
    with started_as_told(start, data, shop.major, host.home / "socket") as copy:
        assert copy.ask("select count(*) from orders") == str(ROWS)
        refused = host("restore", "--rearm", data)
        assert (refused.code, "its server runs" in refused.err) == (2, True), refused
    assert host.ok("restore", "--rearm", data).out
    again = host("restore", "--rearm", data)
    assert (again.code, "holds no lines of drkit" in again.err) == (2, True), again


def test_as_a_document(shop: Sample, host: Site) -> None:
    dry = restore(shop, host, host.home / "data", "--dry-run", "--json").document
    assert not (host.home / "data").exists()
    assert (dry["dry_run"], dry["cluster"]["expected_from"]) == (True, "assumed")
    assert dry["cluster"]["disks"][0]["needed_bytes"] == shop.snapshot.facts.bytes
    done = restore(shop, host, host.home / "data", "--json").document["cluster"]
    assert (done["opened"], done["pages_checked"], done["timeline"]) == (True, True, 2)
    assert done["reached"] == shop.snapshot.facts.details["end_lsn"]
    assert done["files_compared"] > 900


def test_in_words_before_it_is_done(shop: Sample, host: Site) -> None:
    ran = restore(shop, host, host.home / "data", "--dry-run")
    assert ran.code == 0, ran
    assert f"PostgreSQL {shop.source.version}" in ran.out
    assert f"tablespace {shop.oid}, was {shop.fast}" in ran.out
    assert "assuming 100 MiB/s" in ran.out


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (("--tablespace", "/nowhere=/srv/x"), 2, "/nowhere is no tablespace of this snapshot"),
        (("--tablespace", "fast"), 2, "is not OLD=NEW"),
        (("--tablespace", "a=/b", "--tablespace", "a=/c"), 2, "stands there twice"),
        (("--as-root",), 2, "--as-root is for files"),
        (("--tablespace", "{fast}=relative"), 2, "absolute path"),
    ],
)
def test_what_is_refused(
    shop: Sample, host: Site, more: tuple[str, ...], code: int, said: str
) -> None:
    given = [word.format(fast=shop.fast) for word in more]
    ran = restore(shop, host, host.home / "data", *given)
    assert (ran.code, said in ran.err) == (code, True), ran
    assert not (host.home / "data").exists()


def test_a_part_of_a_cluster(shop: Sample, host: Site) -> None:
    name = shop.made.domain[:8]
    ran = restore(shop, host, host.home / "data", name, "base/5/1259")
    assert (ran.code, "a part of a cluster is no cluster" in ran.err) == (2, True), ran


def test_a_live_clusters_folder(shop: Sample, host: Site) -> None:
    ran = restore(shop, host, shop.source.data)
    assert (ran.code, "is the data folder of a cluster" in ran.err) == (2, True), ran


def test_damage_that_only_the_end_shows(shop: Sample, host: Site) -> None:
    """The folder stays, and says of itself that it must not be used."""
    data = bytearray((shop.source.data / shop.orders).read_bytes())
    data[6000] ^= 1
    broken = changed(shop, host.home, changed={shop.orders: bytes(data)}, local=True)
    ran = restore(broken, host, host.home / "data")
    assert (ran.code, shop.orders in ran.err) == (8, True), ran
    assert "is not complete, or not proven" in ran.err
    assert (host.home / "data" / MARKER).exists()


def test_killed_in_the_middle_and_begun_again(shop: Sample, host: Site) -> None:
    first, second = host.home / "first", host.home / "second"
    process = host.start(*words(shop, host, first))
    until = time.monotonic() + 60
    while not (first / "base").exists() and time.monotonic() < until:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert (first / MARKER).exists()
    ran = restore(shop, host, first)
    assert (ran.code, "not empty" in ran.err or "data folder" in ran.err) == (2, True), ran
    assert restore(shop, host, second).code == 0

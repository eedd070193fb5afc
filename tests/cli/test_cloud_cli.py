"""The command line at stores of the cloud: a newcomer's days, a thief's, and the worst ones."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.cloud.storage import Bucket  # type: ignore[import-untyped]

from tests.fixtures import trees
from tests.fixtures.aws_environment import AWS_ENVIRONMENT
from tests.fixtures.command import Site
from tests.fixtures.gcs_double import Fault, GcsDouble, gcs_double
from tests.fixtures.gcs_double.client import storage_client
from tests.fixtures.servers import ministack

SHORT = """\
retention:
  keep: 1s
  patience: 1s
  lock: compliance
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """A host whose home is a folder, with its copy in a bucket that keeps versions."""

    site: Site
    double: GcsDouble
    bucket: str
    key: Path

    @property
    def url(self) -> str:
        return self.double.url(self.bucket, "host1", self.key)

    def objects(self) -> dict[str, bytes]:
        """The oldest version of each, as drkit reads them."""
        held = self.double.held(self.bucket)
        return {n.removeprefix("host1/"): bytes(v[0].content.data) for n, v in held.items()}

    def may(self, *verbs: str) -> None:
        self.double.account(self.key).permissions = frozenset(f"storage.objects.{v}" for v in verbs)

    def change(self, name: str) -> None:
        (self.site.data / name).write_text(f"{name}\n")

    def without_home(self) -> None:
        self.site.store.rename(self.site.home / "gone")


@pytest.fixture(scope="module")
def served() -> Iterator[GcsDouble]:
    with gcs_double() as double:
        yield double


@pytest.fixture
def cloud(bare: Site, served: GcsDouble) -> Iterator[Cloud]:
    made = Cloud(
        site=bare, double=served, bucket=served.bucket(versions=True), key=served.identity()
    )
    bare.init("--copy", made.url)
    yield made
    served.fault = None
    served.world.clock = lambda: datetime.now(UTC)


def restored(site: Site, *words: str | Path, tree: Path | None = None) -> None:
    into = site.home / f"restored-{time.monotonic_ns()}"
    site.ok("restore", *words, "--into", into, "-i", site.home / "keys/safe.txt")
    assert trees.compare(tree or site.data, into, owners=False) == []


def at_home(site: Site) -> dict[str, bytes]:
    found = (p for p in site.store.rglob("*") if p.is_file() and ".staging" not in p.parts)
    return {str(p.relative_to(site.store)): p.read_bytes() for p in found}


# --- as the documents say


def test_a_year_in_short(cloud: Cloud) -> None:
    site = cloud.site
    site.ok("doctor", "shop", "--only", "credentials")
    assert f"copied to gs://{cloud.bucket}/host1" in site.ok("backup", "shop").out
    for words in (("backup",), ("copy",), ("scrub",), ("repair",), ("forget", "--apply")):
        quiet = site.ok(*words, "--quiet")
        assert (quiet.out, quiet.err) == ("", ""), words
    cloud.without_home()
    for words in (("list",), ("show", "latest"), ("list", "--json")):
        assert "is read instead, a copy of it" in site.ok(*words).err
    restored(site, "shop")
    assert site("backup").code == 5


def test_the_site_is_gone(cloud: Cloud) -> None:
    """runbooks/site-loss.md, on a machine that knows nothing but an identity and the address."""
    site = cloud.site
    site.ok("backup")
    signer = site.ok("key", "show", "shop").out.split("writer")[1].split()[0]
    new = Site(home=site.home / "new")
    (new.home / "keys").mkdir(parents=True)
    (site.home / "keys/safe.txt").rename(new.home / "keys/safe.txt")
    there = ("--repository", cloud.url, "-i", "keys/safe.txt", "--signer", signer)
    assert new.ok("list", *there).err == ""
    new.ok("restore", *there, "--into", "data", "--dry-run")
    new.ok("restore", *there, "--into", "data")
    assert trees.compare(site.data, new.data, owners=False) == []
    policy = new.ok("show", "latest", *there, "--policy").out
    new.policy.parent.mkdir()
    new.policy.write_text(policy.replace(str(site.store), str(new.store)))
    new.ok("copy", "--repository", cloud.url, "--to", new.store)
    joined = new.ok("init", "shop", "--files", new.data, "--store", new.store, "--non-interactive")
    own = joined.err.split("this machine's key ")[1].split()[0]
    new.policy.write_text(new.policy.read_text().replace('ers: ["', f'ers: ["{own}", "'))
    assert f"copied to gs://{cloud.bucket}/host1" in new.ok("backup", "--full").out
    assert len(new.ok("list", "--json").document["domains"][0]["snapshots"]) == 2


@pytest.mark.parametrize("between", ["?", "/?", "//?"])
def test_one_bucket_in_two_spellings(cloud: Cloud, between: str) -> None:
    plain, _, given = cloud.url.partition("?")
    again = plain + between + "&".join(reversed(given.split("&")))
    stands = f'    - "{cloud.url}"\n'
    text = cloud.site.policy.read_text()
    cloud.site.policy.write_text(text.replace(stands, f'{stands}    - "{again}"\n'))
    refused = cloud.site("list")
    assert refused.code == 3
    assert "that is one store" in refused.err


# --- what fails at night


@pytest.mark.parametrize("missing", ["list", "get", "create"])
def test_a_permission_is_missing(cloud: Cloud, missing: str) -> None:
    """A backup is committed at home; what is wrong is named, and caught up once it is granted."""
    site = cloud.site
    site.ok("backup")
    cloud.change("later.txt")
    cloud.may(*{"list", "get", "create"} - {missing})
    failed = site("backup", "--incremental", "--json")
    assert failed.code == 5
    (done,) = failed.document["backups"]
    assert (done["committed"], done["copies"][0]["complete"]) == (True, False)
    said = done["copies"][0]["error"]
    assert f"storage.objects.{missing}" in said["message"]
    assert "gcloud storage buckets add-iam-policy-binding" in said["hint"]
    assert "objectAdmin" not in failed.err, "no host is told to be given the right to delete"
    assert site("copy").code == 5
    cloud.may("list", "get", "create")
    assert "1 snapshot" in site.ok("backup").out


@pytest.mark.parametrize(("days", "said"), [(2, "behind"), (-2, "ahead")])
def test_a_clock_that_is_off(cloud: Cloud, days: int, said: str) -> None:
    site = cloud.site
    site.ok("backup")
    cloud.change("later.txt")
    cloud.double.world.clock = lambda: datetime.now(UTC) + timedelta(days=days)
    failed = site("backup", "--incremental")
    assert failed.code == 5
    assert "committed, not copied to" in failed.err
    assert said in failed.err
    assert "timedatectl" in failed.err
    cloud.double.world.clock = lambda: datetime.now(UTC)
    assert "1 snapshot" in site.ok("backup").out


def test_an_emptied_bucket_is_not_filled_unasked(cloud: Cloud) -> None:
    site = cloud.site
    site.ok("backup")
    world = cloud.double.world
    with world.lock:
        found = world.bucket(cloud.bucket)
        for name in tuple(found.names):
            for version in tuple(found.held[name]):
                found.drop(version)
    cloud.change("later.txt")
    failed = site("backup", "--incremental")
    assert failed.code == 5
    assert "holds no drkit repository" in failed.err
    assert cloud.objects() == {}
    site.init("--copy", cloud.url)
    assert "2 snapshots" in site.ok("copy").out


# --- a thief with the host's key, who may delete


def thief(cloud: Cloud) -> Bucket:
    return storage_client(cloud.double, cloud.key).bucket(cloud.bucket)


def test_all_is_hidden_by_deletes(cloud: Cloud) -> None:
    site = cloud.site
    site.ok("backup")
    bucket = thief(cloud)
    for name in tuple(cloud.double.held(cloud.bucket)):
        bucket.blob(name).delete()
    assert not list(bucket.list_blobs())
    cloud.without_home()
    listed = site("list")
    assert listed.code == 8
    assert "hidden by a later delete" in listed.err
    refused = site("restore", "--into", "out", "-i", site.identity)
    assert refused.code == 8
    assert not (site.home / "out").exists()
    restored(site, "shop", "--yes")


def test_what_was_put_over_and_beside_does_not_count(cloud: Cloud) -> None:
    site = cloud.site
    site.ok("backup")
    bucket = thief(cloud)
    before = cloud.objects()
    outcome = next(name for name in before if "/outcome/" in name)
    bucket.blob(f"host1/{outcome}").upload_from_string(b"another")
    bucket.blob(f"host1/{outcome[:-4]}0000").upload_from_string(b"beside")
    bucket.blob("host1/domains/what is this?").upload_from_string(b"beside")
    for words in (("list", "--store", cloud.url), ("scrub", "--quiet"), ("repair", "--quiet")):
        found = site(*words)
        assert found.code == 8, words
        assert outcome in found.err
    assert "has 2 versions" in site("list", "--store", cloud.url).err
    restored(site, "shop", "--store", cloud.url, "--yes")
    cloud.change("later.txt")
    site("backup", "--incremental")
    assert before.items() <= cloud.objects().items()


# --- trees that have broken others


def test_hostile_names_there_and_back(cloud: Cloud) -> None:
    site = cloud.site
    (site.data / "file").unlink()
    site.data.rmdir()
    trees.hostile(site.data)
    backed = site("backup")
    assert backed.code == 0, backed
    cloud.without_home()
    into = site.home / "out"
    root = ("--as-root",) if os.geteuid() == 0 else ()
    site.ok("restore", "--into", into, "-i", site.identity, *root)
    assert trees.compare(site.data, into, owners=bool(root)) == []
    shown = site.ok("show", "latest", "--files", "-i", site.identity)
    assert "\x1b" not in shown.out


def test_nothing_at_all(cloud: Cloud) -> None:
    (cloud.site.data / "file").unlink()
    cloud.site.ok("backup")
    cloud.without_home()
    restored(cloud.site, "shop")


# --- killed, and told to stop


def test_a_killed_copy_is_ended_by_the_next(cloud: Cloud) -> None:
    site = cloud.site
    site.ok("backup")
    cloud.double.fault = lambda _: Fault(delay=0.03)
    for number in range(5):
        (site.data / f"{number}").write_bytes(os.urandom(200_000))
        process = site.start("backup", "--full" if number % 2 else "--incremental")
        time.sleep(0.35 + 0.12 * number)
        process.kill()
        process.communicate()
    cloud.double.fault = None
    site.ok("backup", "--incremental")
    site.ok("copy")
    home, copy = at_home(site), cloud.objects()
    assert home.pop("store.json") != copy.pop("store.json")
    assert copy.items() <= home.items()
    left = {name.split("/")[4] for name in home.keys() - copy.keys()}
    assert left <= {"begin", "open", "packs", "manifest", "packlist"}, "runs that never ended"
    cloud.without_home()
    restored(site, "shop")


# --- object lock


def test_what_is_locked_outlives_a_forget(bare: Site) -> None:
    server = ministack()
    site = replace(bare, variables=AWS_ENVIRONMENT)
    url = server.url(server.bucket(lock=True), "host1")
    where = ("--files", site.data, "--store", url, "--identities-to", "keys")
    site.ok("init", "shop", "--non-interactive", "--lock", "compliance", *where)
    site.ok("backup")
    site.ok("backup", "--full")
    text = site.policy.read_text()
    site.policy.write_text(text[: text.index("retention:")] + SHORT)
    time.sleep(1.1)
    assert "1 generation may go" in site.ok("forget", "--apply").out
    time.sleep(1.1)
    kept = site.ok("forget", "--apply")
    assert "locked until" in kept.out
    assert kept.err == ""
    assert "0 objects deleted" in kept.out
    assert site.ok("forget", "--apply", "--json").document["forgets"][0]["applied"]["refused"]

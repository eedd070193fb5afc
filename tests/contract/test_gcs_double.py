import base64
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import google_crc32c
import pytest
from google.api_core.exceptions import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    PreconditionFailed,
    RequestRangeNotSatisfiable,
)
from google.cloud.storage import Client  # type: ignore[import-untyped]

from tests.fixtures.gcs_double import Clock, GcsDouble, gcs_double
from tests.fixtures.gcs_double.client import storage_client

MIB = 1 << 20
BIG = os.urandom(9 * MIB + 17)  # beyond what the client sends in one request


@pytest.fixture(scope="module")
def double() -> Iterator[GcsDouble]:
    with gcs_double() as opened:
        yield opened


@pytest.fixture(scope="module")
def client(double: GcsDouble) -> Client:
    return storage_client(double, double.identity())


@pytest.fixture
def timed() -> Iterator[tuple[GcsDouble, Clock]]:
    clock = Clock()
    with gcs_double(clock=clock) as opened:
        yield opened, clock


@pytest.mark.parametrize("size", [0, 1, 70_000, len(BIG)])
def test_what_is_put_is_got(double: GcsDouble, client: Client, size: int) -> None:
    data = BIG[:size]
    blob = client.bucket(double.bucket()).blob("a/b c+ü.bin")
    blob.metadata = {"k": "v"}
    blob.upload_from_string(data, "text/x", if_generation_match=0, checksum="auto")
    again = client.bucket(blob.bucket.name).get_blob("a/b c+ü.bin")
    assert again.download_as_bytes() == data
    assert (again.size, again.metadata, again.content_type) == (size, {"k": "v"}, "text/x")
    assert again.md5_hash == base64.b64encode(hashlib.md5(data).digest()).decode()
    assert again.crc32c == base64.b64encode(google_crc32c.value(data).to_bytes(4)).decode()
    assert again.generation == blob.generation
    assert again.metageneration == 1


def test_a_stream_of_unknown_size_goes_in_chunks(double: GcsDouble, client: Client) -> None:
    blob = client.bucket(double.bucket()).blob("s", chunk_size=256 * 1024)
    with blob.open("wb", ignore_flush=True) as file:
        for start in range(0, MIB, 100_000):
            file.write(BIG[start : min(start + 100_000, MIB)])
    assert blob.download_as_bytes() == BIG[:MIB]
    puts = [one for one in double.log if one.object == "s" and one.method == "PUT"]
    assert [one.status for one in puts[:-1]] == [308] * (len(puts) - 1)
    assert puts[-1].status == 200


def test_ranges(double: GcsDouble, client: Client) -> None:
    blob = client.bucket(double.bucket()).blob("r")
    blob.upload_from_string(BIG[:1000])
    assert blob.download_as_bytes(start=10, end=19) == BIG[10:20]
    assert blob.download_as_bytes(start=990, end=5000) == BIG[990:1000]
    assert blob.download_as_bytes(start=-5) == BIG[995:1000]
    with pytest.raises(RequestRangeNotSatisfiable):
        blob.download_as_bytes(start=1000)


def test_wrong_digests_are_refused(double: GcsDouble, client: Client) -> None:
    bucket = client.bucket(double.bucket())
    for field, value in (("crc32c", "AAAAAA=="), ("md5_hash", "x" * 22 + "==")):
        blob = bucket.blob("w")
        setattr(blob, field, value)
        with pytest.raises(BadRequest, match=r"Provided .* doesn't match calculated"):
            blob.upload_from_string(b"x", checksum=None)
    assert not bucket.blob("w").exists()


def test_a_wrong_digest_at_the_end_of_a_session_is_refused(
    double: GcsDouble, client: Client
) -> None:
    blob = client.bucket(double.bucket()).blob("w")
    blob.crc32c = "AAAAAA=="
    with pytest.raises(BadRequest, match="CRC32C"):
        blob.upload_from_string(BIG, checksum=None)
    assert not blob.exists()


def test_listing_in_pages_by_prefix_and_range(double: GcsDouble, client: Client) -> None:
    bucket = client.bucket(double.bucket())
    names = sorted(["a", "b/1", "b/2/x", "b/2/y", "b/3", "b0", "c/ü", "c/z"])
    for name in names:
        bucket.blob(name).upload_from_string(b"")

    def listed(**by: object) -> list[str]:
        return [one.name for one in bucket.list_blobs(page_size=2, **by)]

    assert listed() == names
    assert listed(prefix="b/") == ["b/1", "b/2/x", "b/2/y", "b/3"]
    assert listed(start_offset="b/2/y", end_offset="c/") == ["b/2/y", "b/3", "b0"]
    assert [one.name for one in bucket.list_blobs(max_results=3)] == names[:3]
    folders = bucket.list_blobs(prefix="b/", delimiter="/", page_size=1)
    assert [one.name for one in folders] == ["b/1", "b/3"]
    assert folders.prefixes == {"b/2/"}


def test_versions_are_kept(double: GcsDouble, client: Client) -> None:
    bucket = client.bucket(double.bucket(versions=True))
    blob = bucket.blob("v")
    generations = []
    for data in (b"1", b"2", b"3"):
        blob.upload_from_string(data)
        generations.append(blob.generation)
    assert generations == sorted(set(generations))
    bucket.delete_blob("v")
    assert [one.name for one in bucket.list_blobs()] == []
    with pytest.raises(NotFound, match=f"No such object: {bucket.name}/v"):
        bucket.blob("v").download_as_bytes()
    shown = list(bucket.list_blobs(versions=True, page_size=2))
    assert [one.generation for one in shown] == generations
    assert all(one.time_deleted for one in shown)
    old = bucket.blob("v", generation=generations[0])
    assert old.download_as_bytes() == b"1"
    old.delete()
    assert [one.generation for one in bucket.list_blobs(versions=True)] == generations[1:]
    bucket.blob("v").upload_from_string(b"4", if_generation_match=0)


def test_without_versions_nothing_stays(double: GcsDouble, client: Client) -> None:
    bucket = client.bucket(double.bucket())
    bucket.blob("v").upload_from_string(b"1")
    bucket.blob("v").upload_from_string(b"2")
    assert len(list(bucket.list_blobs(versions=True))) == 1
    bucket.delete_blob("v")
    with pytest.raises(NotFound):
        bucket.delete_blob("v")
    assert double.held(bucket.name) == {}


def test_metadata_changes_count(double: GcsDouble, client: Client) -> None:
    blob = client.bucket(double.bucket()).blob("m")
    blob.upload_from_string(b"x")
    blob.metadata = {"a": "1", "b": "2"}
    blob.patch()
    blob.metadata = {"a": None, "c": "3"}
    blob.cache_control = "no-store"
    blob.patch()
    blob.reload()
    assert blob.metadata == {"b": "2", "c": "3"}
    assert (blob.cache_control, blob.metageneration) == ("no-store", 3)
    blob.update()
    assert blob.metageneration == 4


def test_copies_keep_the_bytes(double: GcsDouble, client: Client) -> None:
    source, target = client.bucket(double.bucket()), client.bucket(double.bucket())
    blob = source.blob("x/1")
    blob.upload_from_string(BIG[: 3 * MIB], "text/x")
    copied = source.copy_blob(blob, target, "y/1", if_generation_match=0)
    assert (copied.crc32c, copied.content_type) == (blob.crc32c, "text/x")
    with pytest.raises(PreconditionFailed):
        source.copy_blob(blob, target, "y/1", if_generation_match=0)
    colder = target.blob("y/1")
    colder.update_storage_class("NEARLINE")
    assert colder.storage_class == "NEARLINE"
    moved = source.move_blob(blob, "x/2")
    assert moved.download_as_bytes() == BIG[: 3 * MIB]
    assert not blob.exists()


def test_a_rewrite_goes_in_steps(double: GcsDouble, client: Client) -> None:
    bucket = client.bucket(double.bucket())
    bucket.blob("x").upload_from_string(BIG[: 2 * MIB + 1])
    path = f"/b/{bucket.name}/o/x/rewriteTo/b/{bucket.name}/o/y"
    token, seen = "", []
    while True:
        query = {"maxBytesRewrittenPerCall": str(MIB)} | ({"rewriteToken": token} if token else {})
        told = client._connection.api_request("POST", path, query_params=query, data={})
        seen.append(int(told["totalBytesRewritten"]))
        if told["done"]:
            break
        token = told["rewriteToken"]
    assert seen == [MIB, 2 * MIB, 2 * MIB + 1]
    assert bucket.blob("y").download_as_bytes() == BIG[: 2 * MIB + 1]


def test_compose(double: GcsDouble, client: Client) -> None:
    bucket = client.bucket(double.bucket())
    parts = [bucket.blob(f"p{n}") for n in range(3)]
    for number, part in enumerate(parts):
        part.upload_from_string(b"%d" % number * 10)
    whole = bucket.blob("whole")
    whole.content_type = "text/x"
    whole.compose(parts, if_generation_match=0)
    assert whole.download_as_bytes() == b"0" * 10 + b"1" * 10 + b"2" * 10
    assert (whole.component_count, whole.md5_hash) == (3, None)
    with pytest.raises(PreconditionFailed):
        bucket.blob("w2").compose(parts, if_source_generation_match=[1, 2, 3])


def test_soft_deleted_ones_come_back_until_their_time(timed: tuple[GcsDouble, Clock]) -> None:
    double, clock = timed
    bucket = storage_client(double, double.identity()).bucket(double.bucket(soft_delete=600))
    blob = bucket.blob("s")
    blob.upload_from_string(b"old")
    blob.upload_from_string(b"new")
    generation = blob.generation
    blob.delete()
    assert list(bucket.list_blobs(versions=True)) == []
    soft = list(bucket.list_blobs(soft_deleted=True))
    assert [one.name for one in soft] == ["s", "s"]
    assert soft[1].hard_delete_time - soft[1].soft_delete_time == timedelta(seconds=600)
    back = bucket.restore_blob("s", generation=generation, if_generation_match=0)
    assert back.generation > generation
    assert back.download_as_bytes() == b"new"
    clock.later(seconds=601)
    assert list(bucket.list_blobs(soft_deleted=True)) == []
    with pytest.raises(NotFound):
        bucket.restore_blob("s", generation=generation)


def test_buckets(double: GcsDouble, client: Client) -> None:
    made = client.create_bucket("made-here", location="europe-west3", enable_object_retention=True)
    assert made.object_retention_mode == "Enabled"
    assert (made.location, made.location_type) == ("EUROPE-WEST3", "region")
    assert made.soft_delete_policy.retention_duration_seconds == 7 * 86400
    with pytest.raises(Conflict):
        client.create_bucket("made-here")
    made.versioning_enabled = True
    made.iam_configuration.public_access_prevention = "enforced"
    made.add_lifecycle_delete_rule(age=30, is_live=False)
    made.patch()
    again = client.get_bucket("made-here")
    assert again.versioning_enabled
    assert again.iam_configuration.public_access_prevention == "enforced"
    assert [dict(rule) for rule in again.lifecycle_rules] == [dict(r) for r in made.lifecycle_rules]
    assert again.metageneration == 2
    assert "made-here" in [one.name for one in client.list_buckets(page_size=1)]
    again.blob("x").upload_from_string(b"")
    with pytest.raises(Conflict, match="not empty"):
        again.delete()
    again.blob("x").delete()
    for one in again.list_blobs(versions=True):
        one.delete()
    again.delete()
    with pytest.raises(NotFound, match="The specified bucket does not exist"):
        client.get_bucket("made-here")


def test_policies_of_buckets(double: GcsDouble, client: Client) -> None:
    bucket = client.bucket(double.bucket())
    policy = bucket.get_iam_policy(requested_policy_version=3)
    policy.bindings.append({"role": "roles/storage.objectViewer", "members": {"allUsers"}})
    bucket.set_iam_policy(policy)
    assert [b["members"] for b in bucket.get_iam_policy().bindings] == [{"allUsers"}]
    asked = ["storage.objects.get", "storage.objects.delete"]
    assert bucket.test_iam_permissions(asked) == asked
    few = storage_client(double, double.identity(permissions=frozenset({"storage.objects.get"})))
    assert few.bucket(bucket.name).test_iam_permissions(asked) == asked[:1]


def test_a_batch(double: GcsDouble, client: Client) -> None:
    bucket = client.bucket(double.bucket())
    for name in "abc":
        bucket.blob(name).upload_from_string(b"")

    def delete(names: str) -> None:
        with client.batch():
            for name in names:
                bucket.delete_blob(name)

    delete("ab")
    assert [one.name for one in bucket.list_blobs()] == ["c"]
    with pytest.raises(NotFound):
        delete("ac")
    assert list(bucket.list_blobs()) == []
    assert [o.status for o in double.log if (o.bucket, o.object) == (bucket.name, "a")] == [
        200,
        204,
        404,
    ]


def test_replication_arrives_after_its_delay(timed: tuple[GcsDouble, Clock]) -> None:
    double, clock = timed
    client = storage_client(double, double.identity())
    source, target = client.bucket(double.bucket()), client.bucket(double.bucket())
    double.replicate(source.name, target.name, timedelta(seconds=60))
    source.blob("r").upload_from_string(b"x")
    clock.later(seconds=59)
    assert list(target.list_blobs()) == []
    clock.later(seconds=2)
    [arrived] = target.list_blobs()
    assert arrived.download_as_bytes() == b"x"
    assert arrived.time_created - source.get_blob("r").time_created == timedelta(seconds=60)


def test_new_objects_can_be_late_in_listings(timed: tuple[GcsDouble, Clock]) -> None:
    double, clock = timed
    bucket = storage_client(double, double.identity()).bucket(double.bucket())
    double.world.listing_lag = 30
    bucket.blob("l").upload_from_string(b"x")
    assert list(bucket.list_blobs()) == []
    assert bucket.blob("l").download_as_bytes() == b"x"
    clock.later(seconds=31)
    assert [one.name for one in bucket.list_blobs()] == ["l"]


def test_an_identity_with_little_is_told_what_it_lacks(double: GcsDouble, client: Client) -> None:
    name = double.bucket()
    writer = double.identity("writer", frozenset({"storage.objects.create"}))
    bucket = storage_client(double, writer).bucket(name)
    bucket.blob("x").upload_from_string(b"1", if_generation_match=0)
    email = double.account(writer).email
    with pytest.raises(Forbidden, match=f"{email} does not have storage.objects.delete access"):
        bucket.blob("x").upload_from_string(b"2")
    with pytest.raises(PreconditionFailed):
        bucket.blob("x").upload_from_string(b"2", if_generation_match=0)
    with pytest.raises(Forbidden, match=r"'storage.objects.list' denied on resource \(or it may"):
        list(bucket.list_blobs())
    double.account(writer).permissions = None
    assert [one.name for one in bucket.list_blobs()] == ["x"]


def test_another_client_agrees(double: GcsDouble, tmp_path: Path) -> None:
    """rclone speaks Go's client: its sessions go on by POST, and shun 308."""
    (tmp_path / "small ü").write_bytes(BIG[:1000])
    (tmp_path / "big").write_bytes(BIG)
    to = f":gcs:{double.bucket()}/r"

    def rclone(*words: str | Path) -> str:
        options = [
            f"--gcs-endpoint={double.endpoint}/storage/v1/",
            f"--gcs-service-account-file={double.identity()}",
            "--config=/dev/null",
        ]
        command = [Path(sys.executable).with_name("rclone"), *words, *options]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    rclone("copy", tmp_path, to)
    rclone("check", tmp_path, to)
    rclone("check", tmp_path, to, "--download")
    assert rclone("lsf", to).splitlines() == ["big", "small ü"]
    rclone("delete", to)
    assert rclone("lsf", to) == ""

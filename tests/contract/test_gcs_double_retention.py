"""What may not be deleted yet, and what may not be made less."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from google.api_core.exceptions import Forbidden, GoogleAPICallError
from google.cloud.storage import Blob, Bucket  # type: ignore[import-untyped]

from tests.fixtures.gcs_double import Clock, GcsDouble, gcs_double
from tests.fixtures.gcs_double.client import storage_client


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    double: GcsDouble
    clock: Clock
    bucket: Bucket

    @property
    def soon(self) -> datetime:
        return self.clock.now + timedelta(minutes=10)

    def put(self, name: str, data: bytes = b"x") -> Blob:
        blob = self.bucket.blob(name)
        blob.upload_from_string(data)
        return blob

    def lock(self, name: str, mode: str) -> Blob:
        blob = self.bucket.blob(name)
        blob.retention.mode = mode
        blob.retention.retain_until_time = self.soon
        blob.upload_from_string(b"x", if_generation_match=0)
        return blob


def opened(double: GcsDouble, clock: Clock, name: str) -> Kept:
    client = storage_client(double, double.identity())
    return Kept(double=double, clock=clock, bucket=client.bucket(name))


def refused(reason: str, do: Callable[[], object]) -> str:
    """The message of that 403."""
    with pytest.raises(GoogleAPICallError) as caught:
        do()
    error = caught.value.response.json()["error"]  # an upload's .errors are empty
    assert (error["code"], error["errors"][0]["reason"]) == (403, reason)
    return str(error["message"])


@pytest.fixture
def timed() -> Iterator[tuple[GcsDouble, Clock]]:
    clock = Clock()
    with gcs_double(clock=clock) as double:
        yield double, clock


def test_a_buckets_retention_holds_until_its_time(timed: tuple[GcsDouble, Clock]) -> None:
    double, clock = timed
    kept = opened(double, clock, double.bucket(retention=timedelta(minutes=10)))
    blob = kept.put("r")
    blob.reload()
    assert blob.retention_expiration_time == blob.time_created + timedelta(minutes=10)
    told = refused("retentionPolicyNotMet", blob.delete)
    assert "cannot be deleted or overwritten until" in told
    refused("retentionPolicyNotMet", lambda: kept.put("r", b"y"))
    clock.later(minutes=10)
    kept.put("r", b"y")
    clock.later(minutes=10)
    kept.bucket.delete_blob("r")


def test_a_locked_policy_only_grows(timed: tuple[GcsDouble, Clock]) -> None:
    double, clock = timed
    bucket = opened(double, clock, double.bucket(retention=timedelta(minutes=10))).bucket
    bucket.reload()
    bucket.lock_retention_policy()
    assert bucket.retention_policy_locked
    for period in (60, None):
        bucket.retention_period = period
        with pytest.raises(Forbidden, match="Cannot reduce retention duration of a locked"):
            bucket.patch()
    bucket.reload()
    bucket.retention_period = 1200
    bucket.patch()
    bucket.reload()
    assert (bucket.retention_period, bucket.retention_policy_locked) == (1200, True)


@pytest.mark.parametrize("mode", ["Locked", "Unlocked"])
@pytest.mark.parametrize("versions", [False, True])
def test_object_retention_holds(timed: tuple[GcsDouble, Clock], mode: str, versions: bool) -> None:
    double, clock = timed
    kept = opened(double, clock, double.bucket(object_retention=True, versions=versions))
    blob = kept.lock("k", mode)
    refused("retentionPolicyNotMet", blob.delete)  # that generation
    if versions:
        kept.put("k", b"other")
        kept.bucket.delete_blob("k")
        old = kept.bucket.blob("k", generation=blob.generation)
        assert old.download_as_bytes() == b"x"
    else:
        refused("retentionPolicyNotMet", lambda: kept.put("k", b"other"))
        refused("retentionPolicyNotMet", lambda: kept.bucket.delete_blob("k"))
    refused("retentionPolicyNotMet", blob.delete)
    clock.later(minutes=10)
    blob.delete()


@pytest.mark.parametrize("mode", ["Locked", "Unlocked"])
def test_object_retention_only_grows(timed: tuple[GcsDouble, Clock], mode: str) -> None:
    double, clock = timed
    name = double.bucket(object_retention=True)
    may = frozenset(f"storage.objects.{verb}" for verb in "create get update setRetention".split())
    identity = double.identity("keeper", may)
    bucket = storage_client(double, identity).bucket(name)
    kept = Kept(double=double, clock=clock, bucket=bucket)
    blob = kept.lock("k", mode)

    def change(until: datetime | None, **by: bool) -> None:
        blob.retention.mode = mode if until else None
        blob.retention.retain_until_time = until
        blob.patch(**by)

    change(kept.soon + timedelta(minutes=10))
    refused("retentionPolicyNotMet", lambda: change(kept.soon))
    refused("retentionPolicyNotMet", lambda: change(None))
    override = {"override_unlocked_retention": True}
    if mode == "Unlocked":
        told = refused("forbidden", lambda: change(None, **override))
        assert "does not have storage.objects.overrideUnlockedRetention access" in told
        double.account(identity).permissions = may | {"storage.objects.overrideUnlockedRetention"}
        change(None, **override)
        double.account(identity).permissions = None
        bucket.delete_blob("k")
    else:
        double.account(identity).permissions = None
        refused("retentionPolicyNotMet", lambda: change(None, **override))
        refused("retentionPolicyNotMet", lambda: bucket.delete_blob("k"))


def test_retention_needs_its_bucket_and_its_permission(timed: tuple[GcsDouble, Clock]) -> None:
    double, clock = timed
    with pytest.raises(GoogleAPICallError, match="Object retention is not enabled"):
        opened(double, clock, double.bucket()).lock("k", "Locked")
    name = double.bucket(object_retention=True)
    writer = double.identity("writer", frozenset({"storage.objects.create"}))
    kept = Kept(double=double, clock=clock, bucket=storage_client(double, writer).bucket(name))
    told = refused("forbidden", lambda: kept.lock("k", "Locked"))
    assert "storage.objects.setRetention" in told


@pytest.mark.parametrize("hold", ["temporary_hold", "event_based_hold"])
def test_holds(timed: tuple[GcsDouble, Clock], hold: str) -> None:
    double, clock = timed
    kept = opened(double, clock, double.bucket())
    blob = kept.put("h")
    setattr(blob, hold, True)
    blob.patch()
    refused("objectUnderActiveHold", blob.delete)
    refused("objectUnderActiveHold", lambda: kept.put("h", b"y"))
    setattr(blob, hold, False)
    blob.patch()
    blob.delete()


def test_an_event_starts_the_buckets_retention(timed: tuple[GcsDouble, Clock]) -> None:
    double, clock = timed
    kept = opened(double, clock, double.bucket(retention=timedelta(minutes=10)))
    blob = kept.put("h")
    blob.event_based_hold = True
    blob.patch()
    clock.later(minutes=20)
    blob.event_based_hold = False
    blob.patch()
    refused("retentionPolicyNotMet", blob.delete)
    clock.later(minutes=10)
    blob.delete()

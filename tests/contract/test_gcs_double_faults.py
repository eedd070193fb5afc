"""Who is let in, and what goes wrong on the way when it is told to."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from google.api_core.exceptions import Forbidden, NotFound
from google.auth.exceptions import RefreshError

from tests.fixtures.gcs_double import (
    Answer,
    Clock,
    Cut,
    Fault,
    GcsDouble,
    Request,
    gcs_double,
    shared_double,
)
from tests.fixtures.gcs_double.client import storage_client
from tests.fixtures.gcs_double.tokens import pem

DATA = bytes(range(256)) * 4096


@pytest.fixture
def double() -> Iterator[GcsDouble]:
    with gcs_double(anonymous=True) as opened:
        yield opened


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as opened:
        yield opened


def used(double: GcsDouble, identity: Path) -> None:
    """Whatever needs a token."""
    bucket = storage_client(double, identity).bucket(next(iter(double.world.buckets), "none"))
    bucket.blob("x").download_as_bytes(retry=None)


def told(double: GcsDouble, identity: Path) -> str:
    with pytest.raises(RefreshError) as caught:
        used(double, identity)
    assert not caught.value.retryable
    return str(caught.value.args[0])


def test_a_key_that_is_not_active(double: GcsDouble) -> None:
    identity = double.identity()
    double.account(identity).keys.clear()
    assert told(double, identity) == "invalid_grant: Invalid JWT Signature."


def test_a_key_of_somebody_else(double: GcsDouble) -> None:
    identity = double.identity()
    content = json.loads(identity.read_text())
    content["private_key"] = pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    identity.write_text(json.dumps(content))
    assert told(double, identity) == "invalid_grant: Invalid JWT Signature."


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_clock_that_is_off(hours: int) -> None:
    clock = Clock()
    clock.later(hours=hours)
    with gcs_double(clock=clock) as double:
        expected = "invalid_grant: Invalid JWT: Token must be a short-lived token (60 minutes)"
        assert told(double, double.identity()).startswith(expected)


def test_accounts_that_are_gone_or_disabled(double: GcsDouble) -> None:
    identity = double.identity()
    double.account(identity).state = "deleted"
    assert told(double, identity) == "invalid_grant: Invalid grant: account not found"
    double.account(identity).state = "disabled"
    assert told(double, identity) == "disabled_client: The OAuth client was disabled."


def test_a_good_key_reaches_its_bucket(double: GcsDouble) -> None:
    double.bucket()
    identity = double.identity()
    assert identity.stat().st_mode & 0o777 == 0o600
    with pytest.raises(NotFound, match="No such object"):
        used(double, identity)


def test_a_token_ends_with_its_time_and_with_its_account() -> None:
    clock = Clock()
    with gcs_double(clock=clock) as double:
        bucket = double.bucket()
        identity = double.identity()
        client = storage_client(double, identity)
        client.bucket(bucket).blob("x").upload_from_string(b"x")
        clock.later(seconds=3601)
        with pytest.raises(RefreshError, match="short-lived"):  # 401, and a new one from the past
            client.bucket(bucket).blob("x").download_as_bytes(retry=None)
        clock.later(seconds=-3601)
        double.account(identity).state = "disabled"
        with pytest.raises(RefreshError, match="disabled_client"):
            client.bucket(bucket).blob("x").download_as_bytes(retry=None)


def test_nobody_and_a_false_token_are_refused(session: requests.Session) -> None:
    with gcs_double() as double:
        path = f"{double.endpoint}/storage/v1/b/{double.bucket()}/o"
        nobody = session.get(path, timeout=5)
        false = session.get(path, headers={"Authorization": "Bearer no"}, timeout=5)
    assert (nobody.status_code, false.status_code) == (401, 401)
    assert "Anonymous caller does not have storage.objects.list" in nobody.text
    assert false.json()["error"]["errors"][0]["reason"] == "authError"


def test_every_request_is_logged_with_what_it_needed(double: GcsDouble) -> None:
    name, identity = double.bucket(), double.identity("host")
    bucket = storage_client(double, identity).bucket(name)
    double.log.clear()
    bucket.blob("x").upload_from_string(b"12345", if_generation_match=0)
    bucket.blob("x").upload_from_string(b"2")
    bucket.blob("x").download_as_bytes()
    list(bucket.list_blobs())
    asked = [
        (o.operation, o.object, sorted(o.needed), o.status, o.identity) for o in double.log[1:]
    ]
    email = double.account(identity).email
    create, delete = "storage.objects.create", "storage.objects.delete"
    assert asked == [
        ("storage.objects.insert", "x", [create], 200, email),
        ("storage.objects.insert", "x", [create, delete], 200, email),
        ("storage.objects.get", "x", ["storage.objects.get"], 200, email),
        ("storage.objects.list", "", ["storage.objects.list"], 200, email),
    ]
    assert double.log[0].operation == "token"
    assert double.log[1].bytes > 5
    assert double.log[3].sent == 1


class Prepared:
    """A bucket with `x`, asked once with a fault and once without."""

    def __init__(self, double: GcsDouble, session: requests.Session) -> None:
        self.double = double
        self.session = session
        self.bucket = double.bucket()
        assert self.put("x").status_code == 200

    def put(self, name: str) -> requests.Response:
        return self.session.post(
            f"{self.double.endpoint}/upload/storage/v1/b/{self.bucket}/o",
            params={"uploadType": "media", "name": name},
            data=DATA,
            timeout=5,
        )

    def get(self) -> requests.Response:
        where = f"{self.double.endpoint}/storage/v1/b/{self.bucket}/o/x?alt=media"
        return self.session.get(where, timeout=5)

    def once(self, fault: Fault) -> None:
        def strike(request: Request) -> Fault:
            assert request.bucket == self.bucket
            self.double.fault = None
            return fault

        self.double.fault = strike

    @property
    def names(self) -> set[str]:
        return set(self.double.held(self.bucket))


@pytest.fixture
def prepared(double: GcsDouble, session: requests.Session) -> Prepared:
    return Prepared(double, session)


@pytest.mark.parametrize("status", [429, 503])
def test_an_answer_instead(prepared: Prepared, status: int) -> None:
    prepared.once(Fault(status=status, retry_after=7))
    answer = prepared.put("new")
    assert (answer.status_code, answer.headers["Retry-After"]) == (status, "7")
    assert answer.json()["error"]["code"] == status
    assert prepared.names == {"x"}
    assert prepared.put("new").status_code == 200


@pytest.mark.parametrize("cut", [Cut.BEFORE_BODY, Cut.IN_BODY])
def test_cut_before_it_is_done(prepared: Prepared, cut: Cut) -> None:
    prepared.once(Fault(cut=cut))
    with pytest.raises(requests.ConnectionError):
        prepared.put("new")
    assert prepared.names == {"x"}
    assert prepared.put("new").status_code == 200


@pytest.mark.parametrize("cut", [Cut.ANSWER_LOST, Cut.IN_ANSWER])
def test_cut_after_it_is_done(prepared: Prepared, cut: Cut) -> None:
    prepared.once(Fault(cut=cut))
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        prepared.put("new")
    assert prepared.names == {"x", "new"}


def test_cut_in_the_middle_of_a_download(prepared: Prepared) -> None:
    prepared.once(Fault(cut=Cut.IN_ANSWER))
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        prepared.get()
    assert prepared.get().content == DATA


@pytest.mark.parametrize("off", [-10, 10])
def test_a_wrong_length(prepared: Prepared, off: int) -> None:
    prepared.once(Fault(length_off=off))
    if off > 0:
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            prepared.get()
    else:
        assert len(prepared.get().content) == len(DATA) + off
    assert prepared.get().content == DATA


def test_slow_answers(prepared: Prepared) -> None:
    prepared.once(Fault(drip=len(DATA) * 4))
    begun = time.monotonic()
    assert prepared.get().content == DATA
    assert time.monotonic() - begun > 0.2
    prepared.once(Fault(delay=0.3))
    begun = time.monotonic()
    assert prepared.get().content == DATA
    assert time.monotonic() - begun > 0.3


def test_what_is_answered_can_be_edited(prepared: Prepared) -> None:
    def flip(answer: Answer) -> Answer:
        answer.body = bytes([answer.body[0] ^ 1]) + bytes(answer.body[1:])
        return answer

    prepared.once(Fault(edit=flip))
    assert prepared.get().content == b"\x01" + DATA[1:]
    prepared.once(Fault(status=200, body=b"<html>log in</html>"))
    assert prepared.get().text == "<html>log in</html>"
    assert prepared.get().content == DATA


def test_a_session_cut_in_its_body_is_resumed(prepared: Prepared) -> None:
    double, session = prepared.double, prepared.session
    begun = session.post(
        f"{double.endpoint}/upload/storage/v1/b/{prepared.bucket}/o",
        params={"uploadType": "resumable", "name": "new"},
        json={"contentType": "text/x"},
        timeout=5,
    )
    where = begun.headers["Location"]
    prepared.once(Fault(cut=Cut.IN_BODY))
    with pytest.raises(requests.ConnectionError):
        session.put(where, data=DATA, timeout=5)
    asked = session.put(where, headers={"Content-Range": f"bytes */{len(DATA)}"}, timeout=5)
    half = len(DATA) // 2
    assert (asked.status_code, asked.headers["Range"]) == (308, f"bytes=0-{half - 1}")
    span = {"Content-Range": f"bytes {half}-{len(DATA) - 1}/{len(DATA)}"}
    assert session.put(where, data=DATA[half:], headers=span, timeout=5).status_code == 200
    again = session.put(where, headers={"Content-Range": f"bytes */{len(DATA)}"}, timeout=5)
    assert (again.status_code, again.json()["size"]) == (200, str(len(DATA)))
    [version] = double.held(prepared.bucket)["new"]
    assert version.content.data == DATA
    assert version.fields["contentType"] == "text/x"


def test_a_cancelled_session_is_gone(prepared: Prepared) -> None:
    begun = prepared.session.post(
        f"{prepared.double.endpoint}/upload/storage/v1/b/{prepared.bucket}/o",
        params={"uploadType": "resumable", "name": "new"},
        timeout=5,
    )
    where = begun.headers["Location"]
    assert prepared.session.delete(where, timeout=5).status_code == 499
    assert prepared.session.put(where, data=b"x", timeout=5).status_code == 404


def test_a_missing_object_is_hidden_from_who_may_not_list(double: GcsDouble) -> None:
    name = double.bucket()
    reader = double.identity("reader", frozenset({"storage.objects.get"}))
    bucket = storage_client(double, reader).bucket(name)
    with pytest.raises(Forbidden, match=r"does not have storage\.objects\.list access"):
        bucket.blob("nothing").download_as_bytes()


def test_many_at_once(double: GcsDouble) -> None:
    """Of all who create a name, one does; no two generations are the same."""
    bucket = double.bucket()

    def put(number: int) -> int:
        answer = requests.post(
            f"{double.endpoint}/upload/storage/v1/b/{bucket}/o",
            params={"uploadType": "media", "name": f"n{number % 10}", "ifGenerationMatch": "0"},
            data=b"%d" % number,
            timeout=20,
        )
        return answer.status_code

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(put, range(100)))
    assert (statuses.count(200), statuses.count(412)) == (10, 90)
    generations = {v.generation for held in double.held(bucket).values() for v in held}
    assert len(generations) == 10


def test_tls_is_not_understood(double: GcsDouble) -> None:
    with pytest.raises(requests.exceptions.SSLError, match="WRONG_VERSION_NUMBER"):
        requests.get(double.endpoint.replace("http:", "https:"), timeout=5)


def test_the_shared_one_is_one(session: requests.Session) -> None:
    double = shared_double()
    assert double is shared_double()
    bucket, identity = double.bucket(), double.identity()
    url = double.url(bucket, "a/b", identity)
    assert url == f"gs://{bucket}/a/b?endpoint={double.endpoint}&credentials={identity}"
    assert session.get(f"{double.endpoint}/storage/v1/b", timeout=5).status_code == 401

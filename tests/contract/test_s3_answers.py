"""What S3 may answer, or not answer, and what drkit makes of it: in words, in time, no secrets."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from drkit.errors import AlreadyExists, NotFound, StoreError
from drkit.stores import open_store
from drkit.stores.base import Lock, Settings, Store
from drkit.system import System
from tests.fixtures.canned import Canned, Request, canned, refusal, reply
from tests.fixtures.kinds import body
from tests.fixtures.servers import Server

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SYSTEM = System(now=lambda: NOW)
SHORT = Settings(first_byte=0.4, whole=1.0)
AN_HOUR_AGO = "Sat, 21 Nov 2026 11:00:00 GMT"
LIST = b"<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated>"
FINE = reply(200, ETag='"0"')
LOG_IN = reply(200, b"<html>Log in</html>")

ASKS: dict[str, Callable[[Store], object]] = {
    "put": lambda store: store.put("outcome/s", body(b"x")),
    "read": lambda store: store.read("outcome/s", 9),
    "read_into": lambda store: store.read_into("outcome/s", 0, memoryview(bytearray(4))),
    "size": lambda store: store.size("outcome/s"),
    "list": lambda store: list(store.list("outcome/")),
    "delete": lambda store: store.delete("outcome/s"),
    "prepare": lambda store: store.prepare(),
}


@contextmanager
def answering(
    answer: Callable[[Request], Iterable[bytes | float]], settings: Settings | None = None
) -> Iterator[tuple[Store, Canned]]:
    with canned(answer) as told:
        url = Server(endpoint=told.endpoint).url("bucket")
        store = open_store(url, SYSTEM, settings or Settings())
        yield store, told
        store.close()


def told(answer: bytes, ask: str) -> StoreError:
    with answering(lambda _: [answer]) as (store, _), pytest.raises(StoreError) as caught:
        ASKS[ask](store)
    return caught.value


# answer, what is asked, words of the message, words of the hint, transient
REFUSALS: list[tuple[bytes, str, str, str, bool]] = [
    (refusal(403, "AccessDenied"), "put", "403 AccessDenied (request REQUEST0001)",
     "s3:PutObject", False),
    (refusal(403, "AccessDenied"), "read", "403 AccessDenied", "s3:GetObject", False),
    (refusal(403, "AccessDenied"), "list", "403 AccessDenied", "s3:ListBucket", False),
    (refusal(403, "AccessDenied"), "size", "403 AccessDenied", "s3:GetObject", False),
    (refusal(403, "AccessDenied"), "prepare", "403 AccessDenied", "s3:ListBucket on bucket", False),
    (refusal(404, "NoSuchBucket"), "put", "404 NoSuchBucket", "create-bucket --bucket bucket",
     False),
    (refusal(404, "NoSuchBucket"), "read", "404 NoSuchBucket", "create-bucket", False),
    (refusal(404, "NoSuchBucket"), "size", "404 NoSuchBucket", "create-bucket", False),
    (refusal(301, "PermanentRedirect", x_amz_bucket_region="eu-west-3"), "put",
     "the bucket is in eu-west-3", "?region=eu-west-3", False),
    (refusal(400, "AuthorizationHeaderMalformed", more="<Region>eu-north-1</Region>"), "read",
     "the bucket is in eu-north-1", "?region=eu-north-1", False),
    (refusal(403, "RequestTimeTooSkewed", Date=AN_HOUR_AGO), "put",
     "this machine's clock is 1 h ahead", "timedatectl", False),
    (refusal(400, "ExpiredToken"), "size", "400 ExpiredToken", "session token has run out", False),
    (refusal(403, "InvalidAccessKeyId"), "put", "InvalidAccessKeyId", "key id", False),
    (refusal(403, "SignatureDoesNotMatch"), "list", "SignatureDoesNotMatch", "secret key", False),
    (refusal(403, "InvalidObjectState"), "read", "InvalidObjectState", "archive class", False),
    (refusal(400, "BadDigest", "The x-amz-checksum-sha256 did not match"), "put",
     "BadDigest", "changes bytes", False),
    (refusal(501, "NotImplemented"), "put", "501 NotImplemented", "another kind of store", False),
    (refusal(503, "SlowDown"), "put", "503 SlowDown", "", True),
    (refusal(500, "InternalError"), "read", "500 InternalError", "", True),
    (refusal(400, "RequestTimeout"), "put", "400 RequestTimeout", "", True),
    (refusal(409, "ConditionalRequestConflict"), "put", "409 ConditionalRequestConflict", "", True),
    (reply(502, b"<html>Bad Gateway</html>"), "put", "put s3://bucket/backups/outcome/s: 502", "",
     True),
    (reply(404, b"<html>Not Found</html>"), "read", "404", "", False),
    (LOG_IN, "list", "what answers there is no S3 server", "see the endpoint", False),
    (LOG_IN, "put", "what answers there is no S3 server", "see the endpoint", False),
    (LOG_IN, "read", "what answers there is no S3 server", "see the endpoint", False),
    (LOG_IN, "read_into", "what answers there is no S3 server", "see the endpoint", False),
    (LOG_IN, "size", "what answers there is no S3 server", "see the endpoint", False),
    (LOG_IN, "delete", "what answers there is no S3 server", "see the endpoint", False),
    (LOG_IN, "prepare", "what answers there is no S3 server", "see the endpoint", False),
    (reply(200, b"Log in"), "list", "500", "", True),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "ask", "words", "hint", "transient"), REFUSALS)
def test_a_refusal_is_told_in_words(
    answer: bytes, ask: str, words: str, hint: str, transient: bool
) -> None:
    error = told(answer, ask)
    assert type(error) is StoreError
    assert words in error.message
    assert "s3://bucket/backups/" in error.message
    assert "\n" not in error.message + (error.hint or "")
    assert hint in (error.hint or "")
    assert error.transient is transient


def test_what_is_there_and_what_is_not_are_kinds_of_their_own() -> None:
    assert type(told(refusal(412, "PreconditionFailed"), "put")) is AlreadyExists
    assert type(told(refusal(404, "NoSuchKey"), "read")) is NotFound


def test_a_key_that_may_list_no_versions_lists_plainly_from_then_on() -> None:
    entry = (
        b"<Contents><Key>backups/a</Key><Size>3</Size>"
        b"<LastModified>2026-11-21T10:00:00.000Z</LastModified></Contents>"
    )

    def answer(request: Request) -> list[bytes]:
        if "versions" in request.line:
            return [refusal(403, "AccessDenied")]
        return [reply(200, LIST + entry + b"</ListBucketResult>")]

    with answering(answer) as (store, asked):
        for _ in range(2):
            assert [(found.name, found.size) for found in store.list("")] == [("a", 3)]
    assert ["versions" in line for line in asked.lines()] == [True, False, False]


def test_a_server_that_ignores_versions_is_found_out() -> None:
    entry = (
        b"<Contents><Key>backups/a</Key><Size>3</Size>"
        b"<LastModified>2026-11-21T10:00:00.000Z</LastModified></Contents>"
    )
    page = reply(200, LIST + entry + b"</ListBucketResult>")
    with answering(lambda _: [page]) as (store, _):
        assert [found.name for found in store.list("")] == ["a"]


def version(name: str, number: int, *, latest: bool = True) -> bytes:
    return (
        f"<Version><Key>backups/{name}</Key><VersionId>v{number}</VersionId><Size>{number}</Size>"
        f"<IsLatest>{str(latest).lower()}</IsLatest>"
        "<LastModified>2026-11-21T10:00:00.000Z</LastModified></Version>"
    ).encode()


def versions(*entries: bytes, more: bytes = b"") -> bytes:
    head = b"<ListVersionsResult><Name>bucket</Name><IsTruncated>%s</IsTruncated>"
    body = head % (b"true" if more else b"false") + more + b"".join(entries)
    return reply(200, body + b"</ListVersionsResult>")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (versions(version("b", 1), version("a", 1)), "out of order at a"),
        (versions(version("a", 1), version("b", 1), version("a", 2)), "out of order at a"),
        (versions(version("a", 1), more=b"<Delimiter>x</Delimiter>"), "in the middle"),
        (versions(version("a", 1), more=b"<NextKeyMarker>a</NextKeyMarker>"), "in the middle"),
        (versions(b"<Version><Key>backups/a</Key></Version>"), "makes no sense (KeyError)"),
        (versions(version("a", 1).replace(b"2026", b"9999999")), "makes no sense"),
    ],
)
def test_a_listing_that_makes_no_sense_is_no_listing(answer: bytes, words: str) -> None:
    error = told(answer, "list")
    assert words in error.message
    assert not error.transient


def test_no_refusal_falls_back_once_versions_were_listed() -> None:
    answers = iter([versions(version("a", 1)), refusal(403, "AccessDenied")])
    with answering(lambda _: [next(answers)]) as (store, _):
        assert [found.name for found in store.list("")] == ["a"]
        with pytest.raises(StoreError) as caught:
            list(store.list(""))
    assert "s3:ListBucketVersions" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("status", "message", "more"),
    [
        (400, "Unsupported header x-amz-checksum-sha256", ""),
        (501, "not implemented", "<Header>x-amz-checksum-sha256</Header>"),
    ],
)
def test_an_older_server_gets_md5_after_one_refusal(status: int, message: str, more: str) -> None:
    def answer(request: Request) -> list[bytes]:
        if "x-amz-checksum-sha256" in request.headers:
            return [refusal(status, "NotImplemented", message, more)]
        return [FINE]

    with answering(answer) as (store, asked):
        store.put("a", body(b"hello"))
        store.put("b", body(b"hello"))
    assert ["content-md5" in request.headers for request in asked.requests] == [False, True, True]
    assert asked.requests[1].headers["content-md5"] == "XUFAKrxLKna5cZ2REBfFkg=="
    assert "x-amz-sdk-checksum-algorithm" not in asked.requests[1].headers


def test_a_put_is_one_request_with_all_that_protects_it() -> None:
    lock = Lock(mode="compliance", until=NOW + timedelta(days=9))
    with answering(lambda _: [FINE]) as (store, asked):
        store.put("packs/p", replace(body(bytes(200_000)), lock=lock))
    (request,) = asked.requests
    sent = request.headers
    assert request.line == "PUT /bucket/backups/packs/p HTTP/1.1"
    assert request.size == 200_000
    assert sent["content-length"] == "200000"
    assert sent["if-none-match"] == "*"
    assert sent["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert "x-amz-checksum-sha256" in sent["authorization"]  # what is signed, so that it holds
    assert sent["x-amz-object-lock-mode"] == "COMPLIANCE"
    assert sent["x-amz-object-lock-retain-until-date"] == "2026-11-30T12:00:00Z"
    assert {"content-encoding", "transfer-encoding", "x-amz-trailer"}.isdisjoint(sent)

"""The way to S3: ranges, drips, silence, cuts, TLS, addresses, memory; no secret in any word."""

import base64
import hashlib
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from drkit.errors import StoreError
from drkit.stores import open_store
from drkit.stores.address import Address
from drkit.stores.aws.wire import bound
from drkit.stores.base import Body, Settings, Store
from drkit.stores.limits import Limits
from drkit.stores.s3 import S3Store, _config
from drkit.system import System
from tests.fixtures.aws_environment import KEY_ID, SECRET
from tests.fixtures.canned import Canned, Request, canned, refusal, reply
from tests.fixtures.kinds import body
from tests.fixtures.servers import Server

SYSTEM = System()
SHORT = Settings(first_byte=0.8, whole=1.6)
FINE = reply(200, ETag='"0"')

ASKS: dict[str, Callable[[Store], object]] = {
    "put": lambda store: store.put("outcome/s", body(b"x")),
    "read": lambda store: store.read("outcome/s", 9),
    "read_into": lambda store: store.read_into("outcome/s", 0, memoryview(bytearray(20))),
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


HEAD = b"HTTP/1.1 206 P\r\nLast-Modified: Sat, 21 Nov 2026 10:00:00 GMT\r\n"
RANGES = [
    (HEAD + b"Content-Length: 4\r\nContent-Range: bytes 4-23/99\r\n\r\n1234", "other bytes", False),
    (HEAD + b"Content-Length: 2\r\nContent-Range: bytes 0-1/2\r\n\r\n12", "ends at 2", False),
    (HEAD + b"Content-Length: 29\r\n\r\n123456789", "other bytes", False),
    (HEAD + b"Content-Length: 2\r\nContent-Range: bytes 0-19/29\r\n\r\n12", "cut", True),
    (HEAD + b"Content-Length: 20\r\nConnection: close\r\nContent-Range: bytes 0-19/29\r\n\r\n12",
     "cut", True),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "words", "transient"), RANGES)
def test_a_wrong_range_is_not_taken(answer: bytes, words: str, transient: bool) -> None:
    def cut(_: Request) -> Iterator[bytes]:
        yield answer
        raise ConnectionError

    with answering(cut) as (store, _), pytest.raises(StoreError, match=words) as caught:
        ASKS["read_into"](store)
    assert caught.value.transient is transient


@pytest.mark.parametrize("sent", [b"1235", b"1234"])
def test_what_is_read_whole_is_held_against_the_checksum(sent: bytes) -> None:
    digest = base64.b64encode(hashlib.sha256(b"1234").digest())
    answer = HEAD + b"Content-Length: 4\r\nx-amz-checksum-sha256: " + digest + b"\r\n\r\n" + sent
    with answering(lambda _: [answer]) as (store, _):
        if sent == b"1234":
            assert store.read("x", 9) == sent
            return
        with pytest.raises(StoreError, match="other bytes came") as caught:
            store.read("x", 9)
    assert caught.value.transient


DRIP: list[bytes | float] = [b"x", 0.2] * 40
SLOW: dict[str, tuple[str, list[bytes | float], str]] = {
    "silence": ("read", [5.0], "says nothing"),
    "a head that drips": ("read", [b"HTTP/1.1 200 OK\r\nServer: ", *DRIP], "not done in the time"),
    "a body that drips": (
        "read_into",
        [HEAD + b"Content-Length: 20\r\nContent-Range: bytes 0-19/20\r\n\r\n", *DRIP],
        "not done in the time",
    ),
    "a body that stops": (
        "read",
        [HEAD + b"Content-Length: 4\r\n\r\n1", 5.0],
        "says nothing",
    ),
    "a refusal that drips": (
        "put",
        [b"HTTP/1.1 403 No\r\nContent-Length: 999\r\n\r\n<Error>", *DRIP],
        "not done in the time",
    ),
    "a listing that drips": (
        "list",
        [b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", *DRIP],
        "not done in the time",
    ),
}


@pytest.mark.parametrize("case", SLOW)
def test_no_server_holds_a_request_longer_than_it_may(case: str) -> None:
    ask, parts, words = SLOW[case]
    begun = time.monotonic()
    with answering(lambda _: parts, SHORT) as (store, _):
        with pytest.raises(StoreError, match=words) as caught:
            ASKS[ask](store)
        assert time.monotonic() - begun < 4
    assert caught.value.transient


@pytest.mark.parametrize("pause", [9.0, 0.05])
def test_a_server_that_takes_nothing_or_little_is_left(pause: float) -> None:
    """Some of the body is in the kernel's hands, the rest must not wait for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        url = Server(endpoint=f"http://127.0.0.1:{listening.getsockname()[1]}").url("bucket")
        begun = time.monotonic()
        with pytest.raises(StoreError) as caught:
            open_store(url, SYSTEM, SHORT).put("p", body(bytes(64 << 20)))
        assert caught.value.transient
        assert time.monotonic() - begun < 4


def authority(folder: Path) -> tuple[ssl.SSLContext, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context, os.fspath(path)


def by_hand(endpoint: str, token: str | None = None, verify: str | None = None) -> Store:
    """Past the look at credentials that comes first otherwise."""
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        aws_session_token=token,
        verify=verify,
        config=_config({}, SHORT, 8),
    )
    bound(client, Limits(silence=0.8, whole=1.6, monotonic=time.monotonic))
    address = Address(scheme="s3", bucket="bucket", prefix="backups/", options={})
    return S3Store(client, address, SYSTEM, 8)


def test_tls_is_bounded_too(tmp_path: Path) -> None:
    context, path = authority(tmp_path)
    data = os.urandom(3 << 20)

    def answer(request: Request) -> list[bytes | float]:
        if request.line.startswith("PUT"):
            return [FINE]
        if request.line.endswith("slow HTTP/1.1"):
            return [HEAD, *DRIP]
        return [HEAD + b"Content-Length: %d\r\n\r\n" % len(data), data]

    with canned(answer, context) as server:
        store = by_hand(server.endpoint, verify=path)
        store.put("p", body(data))
        assert server.requests[0].size == len(data)
        assert server.requests[0].headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
        assert store.read("p", len(data)) == data
        begun = time.monotonic()
        with pytest.raises(StoreError, match="not done in the time"):
            store.read("slow", 9)
        assert time.monotonic() - begun < 4
        with pytest.raises(StoreError, match="certificate is not trusted") as caught:
            by_hand(server.endpoint).size("p")
        assert not caught.value.transient


def test_an_address_where_no_server_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    unknown = "http://nowhere.invalid"
    for endpoint, words in (
        (f"http://127.0.0.1:{port}", "nothing listens at that port"),
        (unknown, "the server's name is unknown|DNS does not answer"),
    ):
        store = open_store(Server(endpoint=endpoint).url("bucket"), SYSTEM, SHORT)
        for ask in ASKS.values():
            with pytest.raises(StoreError, match=words) as caught:
                ask(store)
            assert caught.value.hint
    with canned(lambda _: [FINE]) as server:
        url = Server(endpoint=server.endpoint.replace("http:", "https:")).url("bucket")
        with pytest.raises(StoreError, match="speaks no TLS") as caught:
            ASKS["put"](open_store(url, SYSTEM))
        assert "http://" in str(caught.value.hint)


def test_a_cut_connection_is_tried_again() -> None:
    def hang_up(_: Request) -> list[bytes]:
        raise ConnectionError

    with answering(hang_up) as (store, _):
        for ask in ASKS.values():
            with pytest.raises(StoreError, match="the connection was cut") as caught:
                ask(store)
            assert caught.value.transient


SECRETS = {"token": "FwoGZXIvYXdzEPT+secret/token\nline", "key": SECRET, "id": KEY_ID}


def shown(error: StoreError) -> str:
    return f"{error} {error.hint} {error!r} {error.__cause__}"


def test_no_secret_is_ever_told() -> None:
    echo = " ".join(SECRETS.values()).replace("\n", "")
    answer = refusal(403, echo, echo, f"<Region>{echo}</Region>", x_amz_bucket_region=echo)
    with canned(lambda _: [answer]) as server:
        texts = []
        for token in (SECRETS["token"], SECRETS["token"].replace("\n", "")):
            store = by_hand(server.endpoint, token)
            for ask in ASKS.values():
                with pytest.raises(StoreError) as caught:
                    ask(store)
                texts.append(shown(caught.value))
    for secret in ("FwoGZXIvYXdzEPT", "secret/token", SECRET, KEY_ID):
        assert [text for text in texts if secret in text] == []
    assert "doctor --only credentials" in texts[0]


PUT_64_MIB = """
import os, sys, tempfile
from drkit.stores import open_store
from drkit.stores.base import Body

def peak():
    with open("/proc/self/status") as lines:
        return next(int(l.split()[1]) for l in lines if l.startswith("VmHWM:"))

store = open_store(sys.argv[1])
with tempfile.TemporaryFile() as held:
    held.truncate(64 << 20)
    store.put("small", Body(size=100_000, sha256=bytes(32), fd=held.fileno()))
    before = peak()
    store.put("large", Body(size=64 << 20, sha256=bytes(32), fd=held.fileno()))
    print(peak() - before)
"""


def test_a_large_body_takes_little_memory() -> None:
    with canned(lambda _: [FINE]) as server:
        argv = [sys.executable, "-c", PUT_64_MIB, Server(endpoint=server.endpoint).url("bucket")]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert [request.size for request in server.requests] == [100_000, 64 << 20]
    assert int(done.stdout) < 4 << 10  # KiB


def test_a_body_is_sent_again_from_its_beginning() -> None:
    answers = iter([refusal(503, "SlowDown"), FINE])
    with answering(lambda _: [next(answers)]) as (store, asked), tempfile.TemporaryFile() as held:
        held.truncate(size := 300_000)
        mine = Body(size=size, sha256=bytes(32), fd=held.fileno())
        with pytest.raises(StoreError):
            store.put("p", mine)
        store.put("p", mine)
    assert [request.size for request in asked.requests] == [size, size]

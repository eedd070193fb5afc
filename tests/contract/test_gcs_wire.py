"""The way to Google Cloud Storage: bytes, broken connections, slow ones."""

import hashlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from drkit.errors import AlreadyExists, StoreError
from drkit.stores import open_store
from drkit.stores.base import Body, Settings
from drkit.stores.retry import Retrying
from drkit.system import System
from tests.fixtures.gcs_double import Answer, Cut, Fault, GcsDouble, Request, gcs_double
from tests.fixtures.gcs_scene import HOST, Scene, asks, refusals
from tests.fixtures.kinds import body, file_body

ROOT = Path(__file__).parents[2]
HTML = b"<!DOCTYPE html><title>Sign in to the guest network</title>"


@pytest.fixture
def double() -> Iterator[GcsDouble]:
    with gcs_double(anonymous=True) as double:
        yield double


@pytest.fixture
def host(double: GcsDouble) -> Scene:
    scene = Scene(double, double.bucket(), HOST)
    scene.store.prepare()
    return scene


# Bytes.


def test_bytes_that_are_not_those_that_were_sealed_are_never_sent(host: Scene) -> None:
    wrong = replace(body(b"sealed"), sha256=hashlib.sha256(b"other").digest())
    with tempfile.TemporaryFile() as held:
        held.write(b"sea")
        held.flush()
        for bad in (wrong, replace(file_body(held.fileno(), b"sealed"), size=6)):
            with pytest.raises(StoreError, match="not sent") as caught:
                host.store.put("x", bad)
            assert not caught.value.transient
    closed = Body(size=6, sha256=bytes(32), fd=2_000)
    with pytest.raises(StoreError, match="local file can't be read: bad file descriptor"):
        host.store.put("x", closed)
    assert all("insert" not in one.operation for one in host.double.log)


MEMORY = """
import hashlib, os, re, sys, tempfile
from pathlib import Path
from drkit.stores import open_store
from drkit.stores.base import Body

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) >> 10

size, piece = 64 << 20, os.urandom(1 << 20)
digest = hashlib.sha256()
with tempfile.TemporaryFile() as held:
    for _ in range(size >> 20):
        held.write(piece)
        digest.update(piece)
    held.flush()
    store = open_store(sys.argv[1])
    store.put("warm", Body(size=0, sha256=hashlib.sha256().digest(), data=b""))
    before = peak()
    store.put("big", Body(size=size, sha256=digest.digest(), fd=held.fileno()))
    put = peak()
    view = memoryview(bytearray(32 << 20))
    held = peak()
    store.read_into("big", 1, view)
    assert view[-1] == piece[0] and len(view) == 32 << 20
    print(put - before, peak() - held)
"""


def test_a_large_body_is_never_in_memory_as_a_whole(host: Scene) -> None:
    url = host.double.url(host.bucket, "m", host.key)
    argv = [sys.executable, "-c", MEMORY, url]
    ran = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    put, read = map(int, ran.stdout.split())
    assert put < 8
    assert read < 40  # the view's own 32 MiB are first touched here


def test_a_checksum_that_does_not_fit_is_found(host: Scene) -> None:
    def falsified(answer: Answer) -> Answer:
        if answer.body and "X-Goog-Hash" in {name.title() for name in answer.headers}:
            answer.body = bytes(answer.body)[:-1] + b"?"
        return answer

    host.store.put("x", body(b"sealed"))
    host.double.fault = lambda _request: Fault(edit=falsified)
    piece = memoryview(bytearray(6))
    for ask in (lambda: host.store.read("x", 9), lambda: host.store.read_into("x", 0, piece)):
        with pytest.raises(StoreError, match="damaged") as caught:
            ask()
        assert caught.value.transient


# Faults.


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("page", [None, HTML], ids=["JSON", "HTML"])
def test_a_server_in_trouble_may_be_asked_again(
    host: Scene, status: int, page: bytes | None
) -> None:
    host.double.fault = lambda _request: Fault(status=status, body=page)
    for error in refusals(host.store):
        assert error.transient
        assert str(status) in error.message


@pytest.mark.parametrize("status", [200, 302, 403, 404, 407, 412])
def test_a_page_of_a_proxy_is_no_answer(host: Scene, status: int) -> None:
    host.store.put("x", body(b"sealed"))
    host.double.fault = lambda _request: Fault(status=status, body=HTML)
    for error in refusals(host.store):
        assert "HTML" in error.message
        assert "guest" not in error.message
        assert "HTTPS_PROXY" in str(error.hint)
        assert not error.transient


@pytest.mark.parametrize("cut", Cut)
def test_a_cut_connection_may_be_tried_again(host: Scene, cut: Cut) -> None:
    host.store.put("x", body(b"sealed"))
    in_answer = cut is Cut.IN_ANSWER
    asked = "get" if in_answer else "insert"
    host.double.fault = lambda request: Fault(cut=cut) if asked in request.operation else None
    with pytest.raises(StoreError, match=r"cut|reset|broken pipe") as caught:
        asks(host.store)[1 if in_answer else 0]()
    assert caught.value.transient


@pytest.mark.parametrize("off", [-2, 2])
def test_an_answer_of_another_length_is_no_answer(host: Scene, off: int) -> None:
    host.store.put("x", body(b"sealed"))
    host.double.fault = lambda _request: Fault(length_off=off)
    for ask in asks(host.store)[1:3]:
        with pytest.raises(StoreError):
            ask()


def test_a_put_whose_answer_was_lost_is_done(host: Scene) -> None:
    cuts = [Cut.ANSWER_LOST, Cut.IN_BODY]

    def fault(request: Request) -> Fault | None:
        return Fault(cut=cuts.pop()) if cuts and "insert" in request.operation else None

    host.double.fault = fault
    data = os.urandom(300_000)
    Retrying(host.store, System()).put("x", body(data))
    assert cuts == []
    assert host.store.read("x", len(data)) == data
    with pytest.raises(AlreadyExists):
        host.store.put("x", body(data))


# Time. A peer of a few lines, that does one thing wrong.


def silent(peer: socket.socket) -> None:
    while peer.recv(1 << 16):
        pass


def deaf(_peer: socket.socket) -> None:
    time.sleep(3)


def drips(head: bytes, tail: bytes) -> Callable[[socket.socket], None]:
    def act(peer: socket.socket) -> None:
        peer.recv(1 << 16)
        peer.send(head)
        for byte in tail:
            peer.send(bytes([byte]))
            time.sleep(0.1)

    return act


OBJECT = b"HTTP/1.1 200 OK\r\nx-goog-generation: 1\r\nContent-Length: 500\r\n\r\n"
REFUSAL = b"HTTP/1.1 500 No\r\nContent-Length: 500\r\n\r\n"
BAD_PEERS = {
    "silent": (silent, "nothing moved for 0.4 s"),
    "deaf": (deaf, "nothing moved for 0.4 s"),
    "drips its head": (drips(b"", OBJECT), "not done within 1 s"),
    "drips a body": (drips(OBJECT, bytes(100)), "not done within 1 s"),
    "drips a refusal": (drips(REFUSAL, bytes(100)), "not done within 1 s"),
}


@contextmanager
def bad_server(act: Callable[[socket.socket], None]) -> Iterator[str]:
    def one(peer: socket.socket) -> None:
        with suppress(OSError), peer:
            act(peer)

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("peer", BAD_PEERS)
def test_no_peer_holds_a_request_for_ever(peer: str) -> None:
    act, words = BAD_PEERS[peer]
    with bad_server(act) as endpoint:
        url = f"gs://bucket/p?endpoint={endpoint}"
        store = open_store(url, settings=Settings(first_byte=0.4, whole=1.0))
        works: list[Callable[[], object]] = [lambda: store.size("x")]
        if peer in {"silent", "deaf"}:
            works.append(lambda: store.put("x", body(bytes(16 << 20))))
        for work in works:
            begun = time.monotonic()
            with pytest.raises(StoreError, match=words) as caught:
                work()
            assert caught.value.transient
            assert time.monotonic() - begun < 3


def test_a_slow_body_is_cut_off_in_time(host: Scene) -> None:
    host.store.put("x", body(bytes(100_000)))
    url = host.double.url(host.bucket, "home", host.key)
    store = open_store(url, settings=Settings(first_byte=0.4, whole=1.0))
    assert len(list(store.list(""))) == 1
    host.double.fault = lambda _request: Fault(drip=2000)
    begun = time.monotonic()
    with pytest.raises(StoreError, match="not done within 1 s"):
        store.read_into("x", 0, memoryview(bytearray(100_000)))
    assert time.monotonic() - begun < 3


def test_nobody_there_is_told_as_that() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for server, words in ((f"127.0.0.1:{port}", "connection refused"), ("x.invalid", "not found")):
        store = open_store(f"gs://bucket/p?endpoint=http://{server}")
        with pytest.raises(StoreError, match=f"gs://bucket/p/x: .*{words}") as caught:
            store.size("x")
        assert type(caught.value) is StoreError
        assert caught.value.transient

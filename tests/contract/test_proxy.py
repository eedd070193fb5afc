"""The proxy between stores and their servers: faithful, and exact in what it spoils."""

import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from urllib.parse import quote

import pytest
import urllib3

from tests.fixtures import http_acts as acts
from tests.fixtures.dialects import listed, object_name, verb_of, without
from tests.fixtures.plain_server import Upstream, server
from tests.fixtures.proxy import Act, Proxy, Reply, Seen
from tests.fixtures.wire import Head

BODY = bytes(range(256)) * 1000


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with server() as running:
        yield running


@pytest.fixture
def proxy(upstream: Upstream) -> Iterator[Proxy]:
    with Proxy(upstream.url) as running:
        yield running


@pytest.fixture
def client(proxy: Proxy) -> Iterator[urllib3.HTTPConnectionPool]:
    pool = urllib3.connection_from_url(proxy.url, retries=False, timeout=10, block=True)
    with closing(pool):
        yield pool


def address(proxy: Proxy) -> tuple[str, int]:
    return "127.0.0.1", int(proxy.url.rpartition(":")[2])


def all_of(sock: socket.socket) -> bytes:
    """An answer, its head at least."""
    data = sock.recv(2000)
    while b"\r\n\r\n" not in data:
        data += sock.recv(2000)
    return data


def always(act: Act) -> Callable[[Seen], Act]:
    return lambda _seen: act


# Nothing is spoilt.


@pytest.mark.parametrize("size", [0, 1, 1 << 16, (3 << 20) + 1])
def test_bodies_pass_both_ways(
    client: urllib3.HTTPConnectionPool, upstream: Upstream, size: int
) -> None:
    data = os.urandom(size)
    assert client.request("PUT", "/b/one", body=data).status == 200
    assert upstream.objects["/b/one"] == data
    assert client.request("GET", "/b/one").data == data
    assert client.request("GET", "/b/one?chunked").data == data
    assert client.request("GET", "/b/one?until-closed").data == data


def test_a_body_in_chunks(client: urllib3.HTTPConnectionPool, upstream: Upstream) -> None:
    pieces = [os.urandom(n) for n in (1, 70_000, 3)]
    client.request("PUT", "/b/one", body=iter(pieces), chunked=True)
    assert upstream.objects["/b/one"] == b"".join(pieces)


def test_answers_without_a_body(client: urllib3.HTTPConnectionPool, proxy: Proxy) -> None:
    client.request("PUT", "/b/one", body=BODY)
    looked = client.request("HEAD", "/b/one")
    assert (looked.headers["Content-Length"], looked.data) == (str(len(BODY)), b"")
    assert client.request("DELETE", "/b/one").status == 204
    assert client.request("GET", "/b/one").status == 404
    assert [s.status for s in proxy.requests] == [200, 200, 204, 404]


def test_one_connection_stays_open(client: urllib3.HTTPConnectionPool, upstream: Upstream) -> None:
    for _ in range(20):
        client.request("PUT", "/b/one", body=b"1")
    assert upstream.connections == 1


def test_a_body_that_waits_for_a_go_on(proxy: Proxy, upstream: Upstream) -> None:
    with closing(socket.create_connection(address(proxy))) as sock:
        head = (
            b"PUT /b/one HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        )
        sock.sendall(head)
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"abc")
        assert all_of(sock).startswith(b"HTTP/1.1 200")
        proxy.plan = always(acts.denied())
        sock.sendall(head)
        assert all_of(sock).startswith(b"HTTP/1.1 403")
        assert sock.recv(1) == b""
    assert upstream.heads == [("PUT", "/b/one")]


def test_what_it_has_seen(client: urllib3.HTTPConnectionPool, proxy: Proxy) -> None:
    client.request("PUT", "/b/a%2Bb/c", body=b"123")
    client.request("GET", "/b/?list-type=2&prefix=a%2B")
    put, listing = proxy.requests
    assert (put.number, put.verb, put.name, put.size, put.status) == (1, "put", "a+b/c", 3, 200)
    assert (listing.verb, listing.name, listing.query) == (
        "list",
        "a+",
        {"list-type": "2", "prefix": "a+"},
    )
    assert put.fields["content-length"] == "3"


@pytest.mark.parametrize(
    ("method", "path", "query", "verb", "name"),
    [
        ("GET", "/b/k/l", {}, "read", "k/l"),
        ("GET", "/b", {"versions": "", "prefix": "k/"}, "list", "k/"),
        ("PUT", "/b", {}, "other", ""),
        ("GET", "/storage/v1/b/b/o/k%2Fl", {"alt": "media"}, "read", "k/l"),
        ("GET", "/download/storage/v1/b/b/o/k%2Fl", {"alt": "media"}, "read", "k/l"),
        ("GET", "/storage/v1/b/b/o/k%2Fl", {}, "look", "k/l"),
        ("GET", "/storage/v1/b/b/o", {"prefix": "k/"}, "list", "k/"),
        ("DELETE", "/storage/v1/b/b/o/k", {}, "delete", "k"),
        ("POST", "/upload/storage/v1/b/b/o", {"uploadType": "multipart"}, "put", "k/l"),
        ("POST", "/upload/storage/v1/b/b/o", {"name": "k/m"}, "put", "k/m"),
        ("GET", "/storage/v1/b/b", {}, "other", ""),
        ("POST", "/token", {}, "other", ""),
    ],
)
def test_both_dialects(method: str, path: str, query: dict[str, str], verb: str, name: str) -> None:
    peeked = b'--x\r\n\r\n{"md5": "a", "name": "k/l"}\r\n' if "multipart" in query.values() else b""
    assert verb_of(method, path, query) == verb
    assert object_name(path, query, peeked) == name


# Faults.


@pytest.mark.parametrize(
    ("act", "path", "said"),
    [
        (acts.slow_down(), "/b/k", (503, b"<Code>SlowDown</Code>")),
        (acts.slow_down(), "/storage/v1/b/b/o/k", (503, b'"backendError"')),
        (acts.too_many(), "/storage/v1/b/b/o/k", (429, b'"rateLimitExceeded"')),
        (acts.denied(), "/b/k", (403, b"AccessDenied")),
        (acts.denied(), "/storage/v1/b/b/o/k", (403, b"storage.objects.delete")),
        (acts.skew(0.0), "/b/k", (403, b"RequestTimeTooSkewed")),
        (acts.no_space(), "/b/k", (507, b"InsufficientStorage")),
    ],
)
def test_answers_that_never_were_the_servers(
    client: urllib3.HTTPConnectionPool,
    upstream: Upstream,
    proxy: Proxy,
    act: Act,
    path: str,
    said: tuple[int, bytes],
) -> None:
    proxy.plan = always(act)
    answer = client.request("DELETE", path)
    assert (answer.status, said[1] in answer.data) == (said[0], True)
    assert upstream.heads == []
    proxy.plan = lambda _seen: None
    assert client.request("PUT", "/b/k", body=BODY).status == 200
    assert client.num_connections == 1


def test_a_clock_that_is_wrong(client: urllib3.HTTPConnectionPool, proxy: Proxy) -> None:
    proxy.plan = always(acts.skew(86_400.0))
    assert client.request("GET", "/b/k").headers["Date"] == "Fri, 02 Jan 1970 00:00:00 GMT"


@pytest.mark.parametrize("after", [0, 1, 100_000])
def test_a_request_that_is_cut(
    client: urllib3.HTTPConnectionPool, proxy: Proxy, upstream: Upstream, after: int
) -> None:
    proxy.plan = always(acts.reset_request(after))
    with pytest.raises(urllib3.exceptions.ProtocolError):
        client.request("PUT", "/b/k", body=BODY)
    assert upstream.objects == {}
    assert proxy.requests[0].status == 0


@pytest.mark.parametrize("act", [acts.reset_answer(1000), acts.short_answer(1000)])
def test_an_answer_that_is_cut(proxy: Proxy, upstream: Upstream, act: Act) -> None:
    upstream.objects["/b/k"] = BODY
    proxy.plan = always(act)
    with closing(http.client.HTTPConnection(*address(proxy), timeout=10)) as plain:
        plain.request("GET", "/b/k")
        answer = plain.getresponse()
        assert answer.headers["Content-Length"] == str(len(BODY))
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)) as caught:
            answer.read()
        assert isinstance(caught.value, ConnectionResetError) == act.reset


def test_a_whole_answer_with_a_smaller_length(
    client: urllib3.HTTPConnectionPool, proxy: Proxy, upstream: Upstream
) -> None:
    upstream.objects["/b/k"] = BODY
    proxy.plan = always(acts.wrong_length(10))
    for path in ("/b/k", "/b/k?chunked", "/b/k?until-closed"):
        assert client.request("GET", path).data == BODY[:-10]


def test_an_answer_that_gets_lost(
    client: urllib3.HTTPConnectionPool, proxy: Proxy, upstream: Upstream
) -> None:
    proxy.plan = always(acts.lost())
    with pytest.raises(urllib3.exceptions.ProtocolError):
        client.request("PUT", "/b/k", body=BODY)
    assert upstream.objects["/b/k"] == BODY
    assert (proxy.requests[0].status, proxy.put_order()) == (0, ["k"])


def test_a_slow_drip(client: urllib3.HTTPConnectionPool, proxy: Proxy, upstream: Upstream) -> None:
    upstream.objects["/b/k"] = BODY
    proxy.plan = always(acts.drip(1e6))
    begun = time.monotonic()
    assert client.request("GET", "/b/k").data == BODY
    assert time.monotonic() - begun >= len(BODY) / 1e6
    client.request("PUT", "/b/k", body=BODY)
    assert time.monotonic() - begun >= 2 * len(BODY) / 1e6


def test_a_changed_answer(
    client: urllib3.HTTPConnectionPool, proxy: Proxy, upstream: Upstream
) -> None:
    upstream.objects["/b/k"] = BODY
    told = Reply(head=Head(first="HTTP/1.1 206 Partial"), body=b"other")
    proxy.plan = always(Act(edit=lambda _seen, _reply: told))
    answer = client.request("GET", "/b/k")
    assert (answer.status, answer.data) == (206, b"other")
    proxy.plan = always(acts.flipped())
    assert sum(a != b for a, b in zip(client.request("GET", "/b/k").data, BODY, strict=True)) == 1


def test_hooks_before_and_after(
    client: urllib3.HTTPConnectionPool, proxy: Proxy, upstream: Upstream
) -> None:
    there: list[int] = []
    for when in ("before", "after"):
        proxy.plan = always(acts.around(when, lambda _seen: there.append(len(upstream.objects))))
        client.request("PUT", "/b/k", body=b"1")
    assert there == [0, 1]


def test_a_request_that_is_held(
    client: urllib3.HTTPConnectionPool, proxy: Proxy, upstream: Upstream
) -> None:
    gate = acts.Gate()
    proxy.plan = always(acts.around("before", gate.hold))
    thread = threading.Thread(target=client.request, args=("PUT", "/b/k", b"1"))
    thread.start()
    assert gate.reached()
    assert upstream.objects == {}
    gate.open()
    thread.join()
    assert upstream.objects == {"/b/k": b"1"}


def test_a_killed_client(upstream: Upstream) -> None:
    for when, arrives in (("before", False), ("after", True)):
        proxy, victim = Proxy(upstream.url), acts.Victim()
        proxy.plan = always(acts.around(when, victim.kill))
        pid = os.fork()
        if not pid:
            http.client.HTTPConnection(*address(proxy)).request("PUT", f"/b/{when}")
            time.sleep(30)
            os._exit(0)
        with proxy:
            victim.is_(pid)
            _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status)
        assert (f"/b/{when}" in upstream.objects) == arrives


def test_what_a_plan_raises_is_told(upstream: Upstream) -> None:
    def plan(_seen: Seen) -> Act | None:
        raise ZeroDivisionError

    proxy = Proxy(upstream.url, plan).__enter__()
    with closing(http.client.HTTPConnection(*address(proxy), timeout=10)) as plain:
        plain.request("GET", "/b/k")
        with pytest.raises((http.client.BadStatusLine, ConnectionError)):
            plain.getresponse()
    with pytest.raises(ZeroDivisionError):
        proxy.__exit__(None)


# Listings.


def s3_page(*names: str) -> bytes:
    items = "".join(
        f"<Contents><Key>{quote(n)}</Key><LastModified>2026-01-0{i}T00:00:00Z</LastModified>"
        "</Contents>"
        for i, n in enumerate(names, 1)
    )
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{items}</ListBucketResult>".encode()


def google_page(*names: str) -> bytes:
    items = [{"name": n, "timeCreated": f"2026-01-0{i}"} for i, n in enumerate(names, 1)]
    return json.dumps({"kind": "storage#objects", "items": items}).encode()


@pytest.mark.parametrize(("path", "page"), [("/b", s3_page), ("/storage/v1/b/b/o", google_page)])
def test_a_listing_that_lags(
    client: urllib3.HTTPConnectionPool,
    proxy: Proxy,
    upstream: Upstream,
    path: str,
    page: Callable[..., bytes],
) -> None:
    """What came through here last is missing first, then what has the latest time."""
    upstream.objects[path] = page("a+1", "b", "c", "d")
    client.request("PUT", "/b/b", body=b"")
    for newest, kept in ((0, 4), (1, 3), (2, 2), (9, 0)):
        proxy.plan = always(acts.stale(proxy, newest))
        body = client.request("GET", f"{path}?prefix=").data
        order = ["a+1", "c", "d", "b"] if newest else ["a+1", "b", "c", "d"]
        assert [name for name, _ in listed(path, body)] == order[:kept]
    assert without(path, page("a+1", "b"), {"a+1"}) != page("a+1", "b")


# Its own cost.


def test_latency_is_added_to_each_request_and_overlaps(
    client: urllib3.HTTPConnectionPool, proxy: Proxy
) -> None:
    proxy.latency = 0.1
    begun = time.monotonic()
    client.request("PUT", "/b/k", body=b"1")
    assert time.monotonic() - begun >= 0.1
    pool = urllib3.connection_from_url(proxy.url, maxsize=8)
    threads = [threading.Thread(target=pool.request, args=("GET", "/b/k")) for _ in range(8)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pool.close()
    assert 0.1 <= time.monotonic() - begun < 0.6


def test_it_leaves_no_thread(upstream: Upstream) -> None:
    before = threading.active_count()
    with Proxy(upstream.url) as proxy:
        pool = urllib3.connection_from_url(proxy.url)
        pool.request("PUT", "/b/k", body=b"1")
    pool.close()
    assert threading.active_count() - before <= 1  # the server's, of its own connection

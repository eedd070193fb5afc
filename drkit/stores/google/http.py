"""HTTP for one store: pooled connections, one try a request, and deadlines that hold."""

import io
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPConnection, HTTPSConnection

from drkit.stores.google.errors import Answer, Asked, refused, unreachable
from drkit.stores.google.tokens import Tokens
from drkit.stores.limits import Limits

_PIECE = 1 << 18  # what is sent under one timeout, and received in one go
_BUFFER = 1 << 16
_LONGEST_REFUSAL = 1 << 16
FINE = frozenset({200, 204, 206})


class _Watched:
    """A connection's socket: a peer that sends a byte now and then holds no request for ever."""

    def __init__(self, inner: socket.socket, limits: Limits) -> None:
        self._inner = inner
        self._limits = limits
        self.fileno = inner.fileno
        self.close = inner.close
        self.shutdown = inner.shutdown
        self.renew()

    def renew(self) -> None:
        self._ends = self._limits.monotonic() + self._limits.whole

    def settimeout(self, _timeout: float | None) -> None:
        """Each call below has its own."""

    def sendall(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        for offset in range(0, len(view), _PIECE):
            self.allow()
            self._inner.sendall(view[offset : offset + _PIECE])

    def makefile(self, mode: str, *_: object, **__: object) -> io.BufferedReader:
        assert mode == "rb"
        return io.BufferedReader(_Incoming(self), _BUFFER)

    def incoming(self) -> socket.SocketIO:
        return self._inner.makefile("rb", buffering=0)

    def allow(self) -> None:
        left = self._ends - self._limits.monotonic()
        if left <= 0:
            raise TimeoutError
        self._inner.settimeout(min(left, self._limits.silence))


class _Incoming(io.RawIOBase):
    def __init__(self, watched: _Watched) -> None:
        self._watched = watched
        self._raw = watched.incoming()  # keeps the socket open as long as an answer is read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int | None:  # type: ignore[override]
        self._watched.allow()
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _pools(limits: Limits) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """urllib3 hands nothing of ours through to a connection but its class."""

    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            self.sock = cast("socket.socket", _Watched(self.sock, limits))

        def putrequest(
            self,
            method: str,
            url: str,
            skip_host: bool = False,  # noqa: FBT001, FBT002  # as http.client has it
            skip_accept_encoding: bool = False,  # noqa: FBT001, FBT002  # as above
        ) -> None:
            if isinstance(self.sock, _Watched):
                self.sock.renew()
            super().putrequest(method, url, skip_host, skip_accept_encoding)

    class Secure(Plain, HTTPSConnection):
        """Plain's methods around those of HTTPSConnection."""

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


class _Adapter(HTTPAdapter):
    def __init__(self, limits: Limits, lanes: int) -> None:
        self._pools = _pools(limits)
        super().__init__(pool_connections=2, pool_maxsize=lanes, max_retries=0)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **options: object) -> urllib3.ProxyManager:
        manager: urllib3.ProxyManager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = self._pools
        return manager


def session_for(server: str | None, lanes: int, limits: Limits) -> requests.Session:
    """Proxies and authorities as the environment says; for one server they are asked once."""
    session = requests.Session()
    session.headers = CaseInsensitiveDict({"User-Agent": "drkit", "Accept-Encoding": "identity"})
    session.auth = _as_is
    adapter = _Adapter(limits, lanes)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    if server is not None:
        found = session.merge_environment_settings(server, {}, None, None, None)
        session.proxies, session.verify = found["proxies"], found["verify"]
        session.trust_env = False
    return session


def _as_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Without it a .netrc would put its password in the place of the token."""
    return request


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    method: str
    path: str
    params: Mapping[str, str | int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Iterable[bytes] | None = None


class Line:
    """Every request of a store goes through here, and every refusal is put into words here."""

    def __init__(self, endpoint: str, tokens: Tokens, session: requests.Session, limits: Limits):
        self._endpoint = endpoint
        self._tokens = tokens
        self._session = session
        self._limits = limits

    @property
    def account(self) -> str:
        return self._tokens.account

    @contextmanager
    def ask(self, asked: Asked, call: Call) -> Iterator[requests.Response]:
        """A good answer, its body still to be read."""
        with self.open(asked, call) as response:
            if response.status_code not in FINE:
                raise refused(asked, refusal(response))
            yield response

    @contextmanager
    def open(self, asked: Asked, call: Call) -> Iterator[requests.Response]:
        """Whatever the answer is."""
        begun = self._limits.monotonic()
        try:
            response = self._sent(asked, call)
            try:
                yield response
            finally:
                response.close()
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise unreachable(asked.text, error, self._waited(begun)) from None

    def close(self) -> None:
        self._session.close()

    def _sent(self, asked: Asked, call: Call) -> requests.Response:
        response = self._tried(call, self._tokens.headers(asked))
        if response.status_code != 401 or not self.account:
            return response
        response.close()
        return self._tried(call, self._tokens.headers(asked, renewed=True))

    def _tried(self, call: Call, token: Mapping[str, str]) -> requests.Response:
        return self._session.request(
            call.method,
            self._endpoint + call.path,
            params=call.params,
            headers={**call.headers, **token},
            data=call.body,
            timeout=self._limits.silence,
            allow_redirects=False,
            stream=True,
        )

    def _waited(self, begun: float) -> str:
        if self._limits.monotonic() - begun >= self._limits.whole:
            return f"not done within {self._limits.whole:g} s"
        return f"nothing moved for {self._limits.silence:g} s"


def refusal(response: requests.Response) -> Answer:
    body = bytearray(_LONGEST_REFUSAL)
    size = fill(response, memoryview(body))
    return Answer(status=response.status_code, body=bytes(body[:size]))


def fill(response: requests.Response, view: memoryview) -> int:
    """How much came, at most what the view holds."""
    done = 0
    while done < len(view):
        piece = response.raw.read1(min(_PIECE, len(view) - done), decode_content=False)
        if not piece:
            break
        view[done : done + len(piece)] = piece
        done += len(piece)
    return done


def whole(response: requests.Response, limit: int) -> bytes | None:
    """None: it is larger."""
    parts, left = [], limit
    while piece := response.raw.read1(_PIECE, decode_content=False):
        left -= len(piece)
        if left < 0:
            return None
        parts.append(piece)
    return b"".join(parts)

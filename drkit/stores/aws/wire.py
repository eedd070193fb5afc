"""Connections whose every wait ends: after a silence, and at the deadline of their request."""

import socket
import ssl
from collections.abc import Callable, MutableMapping
from functools import partial
from typing import Protocol

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)
from urllib3.connection import HTTPConnection

from drkit.stores.limits import Limits

PIECE = 1 << 20  # of a body that is sent


class TookTooLong(TimeoutError):
    """The whole request, though something came now and then."""


class _Bounded(socket.socket):
    """Libraries bound each wait, never their sum: one byte now and then would hold them for ever.

    It is done here, and not where bodies are read, because heads and refusals may drip as well.
    """

    limits: Limits | None = None
    ends = 0.0

    def begin(self, limits: Limits) -> None:
        self.limits = limits
        self.ends = limits.monotonic() + limits.whole

    def recv_into(self, *args: object) -> int:
        return self._waited(partial(super().recv_into, *args))  # type: ignore[arg-type]

    def sendall(self, data: bytes | memoryview, flags: int = 0) -> None:  # type: ignore[override]
        left = memoryview(data)
        while left:
            left = left[self._waited(partial(self.send, left, flags)) :]

    def _waited(self, act: Callable[[], int]) -> int:
        if self.limits is None:
            return act()
        left = self.ends - self.limits.monotonic()
        if left <= 0:
            raise TookTooLong
        self.settimeout(min(left, self.limits.silence))
        try:
            return act()
        except TimeoutError:
            if left <= self.limits.silence:
                raise TookTooLong from None
            raise


class _BoundedTLS(_Bounded, ssl.SSLSocket):  # type: ignore[misc]
    pass


class _Connection(HTTPConnection):
    def __init__(self, *args: object, limits: Limits, **options: object) -> None:
        # With the 128 KiB of botocore a put of 32 MiB takes a fifth more of the CPU.
        super().__init__(*args, **{**options, "blocksize": PIECE})  # type: ignore[arg-type]
        self._limits = limits

    def _new_conn(self) -> socket.socket:
        made = super()._new_conn()
        return _Bounded(made.family, made.type, made.proto, fileno=made.detach())

    def connect(self) -> None:
        super().connect()
        self._begin()

    def putrequest(self, *args: object, **options: object) -> None:
        self._begin()  # connected before: a new request on it
        super().putrequest(*args, **options)  # type: ignore[arg-type]

    def _begin(self) -> None:
        if isinstance(self.sock, _Bounded):
            self.sock.begin(self._limits)


class _Plain(_Connection, AWSHTTPConnection):  # type: ignore[misc]
    pass


class _Secure(_Connection, AWSHTTPSConnection):  # type: ignore[misc]
    def connect(self) -> None:
        assert self.ssl_context is not None
        self.ssl_context.sslsocket_class = _BoundedTLS
        super().connect()


class _PlainPool(AWSHTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(AWSHTTPSConnectionPool):
    ConnectionCls = _Secure


class _Session(Protocol):
    _pool_classes_by_scheme: MutableMapping[str, object]


def bound(client: object, limits: Limits) -> None:
    """botocore takes no connections of ours: they are put where its own are looked up."""
    session: _Session = client._endpoint.http_session  # type: ignore[attr-defined]  # noqa: SLF001
    session._pool_classes_by_scheme.update(  # noqa: SLF001
        http=partial(_PlainPool, limits=limits), https=partial(_SecurePool, limits=limits)
    )

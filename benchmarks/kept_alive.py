"""moto's S3 as a server worth timing: connections stay open, and no bytes are copied to list them.

moto's own server closes each connection; a listing of versions copies every object that it names,
with its bytes, and a range is cut out of a copy of the whole: both took longer than the clients.
A listing of versions also sorts the whole bucket and goes through it, whatever it is asked for,
where the plain one looks at the names below the prefix: here both do that.

python -m benchmarks.kept_alive PORT
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import FakeKey, S3Backend

_plain: Any = FakeKey.__dict__["value"]


def _itself(key: FakeKey, _memo: object) -> FakeKey:
    """A copy would close the bytes of both with itself."""
    return key


def _value(key: FakeKey) -> bytes:
    kept = key.__dict__
    if "whole" not in kept:
        kept["whole"] = _plain.fget(key)
    return bytes(kept["whole"])


def _set_value(key: FakeKey, new: bytes) -> None:
    key.__dict__.pop("whole", None)
    _plain.fset(key, new)


FakeKey.__deepcopy__ = _itself  # type: ignore[attr-defined]
FakeKey.value = property(_value, _set_value)  # type: ignore[assignment]

_listed_versions: Any = S3Backend.list_object_versions


def _versions(backend: Any, bucket_name: str, *, max_keys: int, **asked: Any) -> Any:  # noqa: ANN401  moto's own
    """The same answer, made of what can be in it: each name has a version at least."""
    keys = backend.get_bucket(bucket_name).keys
    names = sorted(_wanted(keys, **asked))[: max_keys + 2]
    found = {name: keys.getlist(name) for name in names}
    bucket = SimpleNamespace(keys=SimpleNamespace(iterlists=found.items))
    alone = SimpleNamespace(get_bucket=lambda _: bucket)
    return _listed_versions(alone, bucket_name, max_keys=max_keys, **asked)


def _wanted(
    keys: Any,  # noqa: ANN401  moto's own
    *,
    prefix: str,
    key_marker: str | None,
    delimiter: str | None,
    **_: object,
) -> Iterator[str]:
    """Gone through as the plain listing does it: neither shall be the cheaper one."""
    folders = set()
    for name, _newest in keys.items():  # noqa: PERF102  it would be cheaper without
        if not name.startswith(prefix) or name < (key_marker or ""):
            continue
        folder, split, _rest = name[len(prefix) :].partition(delimiter or "\0")
        if not split or folder not in folders:
            yield name
        if split:
            folders.add(folder)


S3Backend.list_object_versions = _versions  # type: ignore[assignment, method-assign]

_App = Callable[[dict[str, Any], Callable[..., object]], Iterable[bytes]]
_app: _App = DomainDispatcherApplication(create_backend_app)


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def handle_expect_100(self) -> bool:
        told = super().handle_expect_100()
        self.wfile.flush()
        return told

    def _answer(self) -> None:
        said: list[Any] = []
        size = int(self.headers.get("Content-Length", 0))
        environ = self._environ(self.rfile.read(size) if size else b"")
        body = b"".join(_app(environ, lambda status, fields, *_: said.extend((status, fields))))
        status, fields = said
        code, _, words = status.partition(" ")
        self.send_response_only(int(code), words)
        for name, value in fields:
            if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                self.send_header(name, value)
        lengths = [value for name, value in fields if name.lower() == "content-length"]
        self.send_header("Content-Length", lengths[0] if lengths else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def _environ(self, body: bytes) -> dict[str, Any]:
        path, _, query = self.path.partition("?")
        fields = {
            f"HTTP_{name.upper().replace('-', '_')}": value for name, value in self.headers.items()
        }
        return fields | {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(path, "latin-1"),
            "RAW_URI": self.path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": str(self.server.server_port),
            "SERVER_PROTOCOL": self.request_version,
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _answer  # noqa: N815  the library's names

    def log_message(self, *_: object) -> None:
        """Each line would cost the server more than its request."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


if __name__ == "__main__":
    _Server(("127.0.0.1", int(sys.argv[1])), _Handler).serve_forever()

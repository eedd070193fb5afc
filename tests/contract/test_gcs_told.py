"""How a store of Google Cloud Storage is opened, its tokens, and what is never told."""

import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from drkit.errors import ConfigError, DrkitError, Exit, StoreError
from drkit.stores import open_store
from drkit.stores.base import Settings
from tests.fixtures.gcs_double import Cut, Fault, GcsDouble, Request, gcs_double
from tests.fixtures.gcs_scene import HOST, Scene, refusals
from tests.fixtures.kinds import body

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


# TLS.

TLS = """
import os, sys
from drkit.stores import open_store
from tests.fixtures.kinds import body

store, data = open_store(sys.argv[1]), os.urandom(3_000_000)
store.put("x", body(data))
view = memoryview(bytearray(2_000_000))
store.read_into("x", 999_999, view)
assert view == data[999_999:2_999_999] and store.read("x", 3_000_000) == data
assert [one.size for one in store.list("")] == [3_000_000]
"""


def self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a proxy that looks into TLS")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(1))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    made = builder.add_extension(names, critical=False).sign(key, SHA256())
    forms = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    path = folder / "certificate.pem"
    path.write_bytes(made.public_bytes(pem) + key.private_bytes(pem, *forms))
    return path


@contextmanager
def tls_before(endpoint: str, certificate: Path) -> Iterator[str]:
    host, port = endpoint.removeprefix("http://").split(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def one(peer: socket.socket) -> None:
        behind = socket.create_connection((host, int(port)))
        with suppress(OSError), behind, context.wrap_socket(peer, server_side=True) as front:
            threading.Thread(target=pump, args=(behind, front), daemon=True).start()
            pump(front, behind)

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"https://localhost:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def test_tls_is_spoken_with_an_authority_that_is_trusted(double: GcsDouble, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    with tls_before(double.endpoint, certificate) as endpoint:
        url = f"gs://{double.bucket()}/p?endpoint={endpoint}"
        with pytest.raises(StoreError, match="certificate is not to be trusted") as caught:
            open_store(url).prepare()
        assert "REQUESTS_CA_BUNDLE" in str(caught.value.hint)
        assert not getattr(caught.value, "transient", False)
        env = {**os.environ, "REQUESTS_CA_BUNDLE": str(certificate)}
        subprocess.run([sys.executable, "-c", TLS, url], check=True, cwd=ROOT, env=env)


# Tokens.


def test_a_token_that_counts_no_more_is_replaced(host: Scene) -> None:
    host.double.world.tokens.clear()
    host.store.put("x", body(b"sealed" * 50_000))
    assert host.store.size("x") == 300_000


def no_token(double: GcsDouble, change: Callable[[Scene], object]) -> DrkitError:
    scene = Scene(double, double.bucket(), None)
    change(scene)
    with pytest.raises(DrkitError, match=r"gs://.*: no token for host-") as caught:
        scene.store.read("x", 1)
    assert type(caught.value) in (ConfigError, StoreError)
    assert caught.value.hint
    assert not getattr(caught.value, "transient", False)
    return caught.value


def test_a_key_that_was_deleted_is_named(double: GcsDouble) -> None:
    error = no_token(double, lambda scene: double.account(scene.key).keys.clear())
    words = r"the key is not active: key id [0-9a-f]{40} was deleted or rotated"
    assert re.search(words, error.message)
    assert "keys list --iam-account=host-" in str(error.hint)


@pytest.mark.parametrize(
    ("state", "words"), [("deleted", "was not found"), ("disabled", "is disabled")]
)
def test_an_account_that_is_gone_is_told(double: GcsDouble, state: str, words: str) -> None:
    error = no_token(double, lambda scene: setattr(double.account(scene.key), "state", state))
    assert f"the service account {words}" in error.message
    assert error.exit_code == Exit.CONFIGURATION


@pytest.mark.parametrize("status", [200, 302, 403])
def test_a_login_page_in_place_of_a_token_is_told(double: GcsDouble, status: int) -> None:
    page = Fault(status=status, body=HTML)
    double.fault = lambda request: page if request.operation == "token" else None
    error = no_token(double, lambda _scene: None)
    assert f"what came with status {status} from the token endpoint is no token" in error.message
    assert "proxy" in str(error.hint)


def test_a_token_endpoint_in_trouble_may_be_asked_again(host: Scene) -> None:
    store = host.opened()
    host.double.fault = lambda _request: Fault(cut=Cut.BEFORE_BODY)
    with pytest.raises(StoreError, match=r"token endpoint: .*(reset|cut)") as caught:
        store.size("x")
    assert caught.value.transient


@pytest.mark.parametrize(("hours", "way"), [(2, "behind"), (-3, "ahead")])
def test_a_wrong_clock_is_measured(hours: int, way: str) -> None:
    apart = timedelta(hours=hours)
    with gcs_double(clock=lambda: datetime.now(UTC) + apart) as double:
        store = open_store(double.url(double.bucket(), "p", double.identity()))
        about = f"({abs(hours)} h|{abs(hours) - 1} h 59 min).* {way}"
        with pytest.raises(ConfigError, match=f"machine's clock is .* off, {about}") as caught:
            store.prepare()
        assert "clock" in str(caught.value.hint)


def test_nobody_is_told_how_to_bring_credentials(double: GcsDouble) -> None:
    double.world.anonymous = False
    store = open_store(double.url(double.bucket(), "p"))
    with pytest.raises(StoreError, match="asked without credentials") as caught:
        store.prepare()
    assert "credentials=" in str(caught.value.hint)


@pytest.mark.parametrize("status", [200, 400, 401, 403, 500])
def test_no_token_and_no_key_is_ever_told(host: Scene, status: int) -> None:
    """A server that tells everything it was told."""

    def echo(request: Request) -> Fault:
        text = f"it was {request.headers.get('authorization')}, {request.query} {status}"
        return Fault(status=status, body=text.encode(), kind="text/plain")

    host.double.fault = echo
    told = [f"{e.message} {e.hint} {e.__cause__!r} {e!r}" for e in refusals(host.store)]
    secrets = [*host.double.world.tokens, host.key.read_text().split("PRIVATE KEY-----")[1][2:60]]
    assert len(secrets) >= 2
    assert not [text for text in told for secret in secrets if secret in text]


# How it is opened.


def test_no_library_of_google_is_imported_before_a_store_is_opened(double: GcsDouble) -> None:
    script = (
        "import sys; from drkit.stores import check_url, open_store; check_url(sys.argv[1]);"
        "seen = lambda: {m.split('.')[0] for m in sys.modules} & {'google', 'requests'};"
        "print(seen()); open_store(sys.argv[1]); print(len(seen()))"
    )
    argv = [sys.executable, "-c", script, double.url("bucket", "p", double.identity())]
    ran = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (ran.stdout, ran.stderr) == ("set()\n2\n", "")


def test_lanes_are_as_many_as_the_settings_say(double: GcsDouble) -> None:
    url = double.url(double.bucket(), "p/q", double.identity())
    plain, wide = open_store(url), open_store(url, settings=Settings(connections=3))
    assert (plain.lanes, wide.lanes, plain.locks) == (8, 3, True)
    assert plain.url.endswith("/p/q")
    assert "credentials" not in plain.url


@pytest.mark.parametrize(
    "endpoint", ["ftp://x", "x", "http://", "http://u:secret@x", "http://x/path", "http://x:99999"]
)
def test_an_endpoint_that_is_no_server_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(f"gs://bucket/p?endpoint={endpoint}")
    assert caught.value.hint
    assert "secret" not in caught.value.message


def test_tokens_never_travel_in_clear(double: GcsDouble, tmp_path: Path) -> None:
    key = double.identity().read_text()
    path = tmp_path / "key.json"
    path.write_text(key.replace(double.endpoint, "https://oauth2.googleapis.com"))
    path.chmod(0o600)
    settings = Settings(google_credentials=str(path))
    with pytest.raises(ConfigError, match="in clear") as caught:
        open_store("gs://bucket/p?endpoint=http://storage.example.com", settings=settings)
    assert caught.value.hint


def test_a_netrc_does_not_replace_the_token(host: Scene, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("default login somebody password else")
    script = "import sys; from drkit.stores import open_store; open_store(sys.argv[1]).prepare()"
    url = host.double.url(host.bucket, "p", host.key)
    env = {**os.environ, "NETRC": str(tmp_path / "netrc")}
    subprocess.run([sys.executable, "-c", script, url], check=True, cwd=ROOT, env=env)

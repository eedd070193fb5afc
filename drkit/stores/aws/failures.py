"""Why a request to S3 got no answer, or half of one."""

import socket
import ssl
from collections.abc import Iterator
from http.client import HTTPException

from botocore import exceptions as boto
from urllib3 import exceptions as http

from drkit.errors import DrkitError, StoreError
from drkit.stores.aws.wire import TookTooLong

_DOCTOR = "drkit doctor --only credentials"
_NO_KEY = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write ?profile=NAME behind the store's "
    f"address; then {_DOCTOR}"
)
_CREDENTIALS = {
    "NoCredentialsError": ("there are no credentials", _NO_KEY),
    "PartialCredentialsError": ("half of the credentials is missing", _NO_KEY),
    "ProfileNotFound": (
        "there is no such profile",
        "aws configure list-profiles names those there are; ?profile= in the store's address",
    ),
}
_UNKNOWN_NAME = "see the endpoint and the region in the store's address, and this machine's DNS"
_PLAIN_PORT = "a server without TLS? Then the endpoint begins with http://"
_AUTHORITY = (
    "a server of your own: AWS_CA_BUNDLE=/path/of/its/authority.pem; else somebody may be between"
)

_NOBODY = "see the endpoint in the store's address, and whether the server runs"

# In this order, as one may be the cause of another.
_KINDS: tuple[tuple[tuple[type[BaseException], ...], str, str | None], ...] = (
    ((TookTooLong,), "not done in the time that one request has", None),
    ((ConnectionRefusedError,), "nothing listens at that port", _NOBODY),
    ((TimeoutError, http.TimeoutError), "the server says nothing", None),
    (
        (ConnectionError, HTTPException, http.ProtocolError, boto.IncompleteReadError),
        "the connection was cut",
        None,
    ),
    ((boto.FlexibleChecksumError,), "other bytes came than the server's checksum says", None),
)


def failure(asked: str, error: Exception) -> DrkitError:
    """By the kinds of the errors in the chain: their texts may hold a token."""
    chain = list(_chain(error))
    own = next((link for link in chain if isinstance(link, DrkitError)), None)
    if own is not None:
        return own
    return _from_network(asked, chain) or _from_library(asked, chain)


def _from_network(asked: str, chain: list[BaseException]) -> StoreError | None:
    for link in chain:
        if isinstance(link, socket.gaierror):
            return _from_dns(asked, link)
        if isinstance(link, ssl.SSLError):
            return _from_tls(asked, link)
    for kinds, text, hint in _KINDS:
        if any(isinstance(link, kinds) for link in chain):
            return StoreError(f"{asked}: {text}", hint=hint, transient=True)
    return None


def _from_dns(asked: str, error: socket.gaierror) -> StoreError:
    if error.errno == socket.EAI_NONAME:
        return StoreError(f"{asked}: the server's name is unknown", hint=_UNKNOWN_NAME)
    return StoreError(f"{asked}: DNS does not answer", hint=_UNKNOWN_NAME, transient=True)


def _from_tls(asked: str, error: ssl.SSLError) -> StoreError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return StoreError(f"{asked}: the server's certificate is not trusted", hint=_AUTHORITY)
    if error.reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}:
        return StoreError(f"{asked}: what answers there speaks no TLS", hint=_PLAIN_PORT)
    return StoreError(f"{asked}: TLS failed ({error.reason or 'cut'})", transient=True)


def _from_library(asked: str, chain: list[BaseException]) -> StoreError:
    kinds = [type(link).__name__ for link in chain]
    for kind in kinds:
        if kind in _CREDENTIALS:
            message, hint = _CREDENTIALS[kind]
            return StoreError(f"{asked}: {message}", hint=hint)
    if "ValueError" in kinds:
        return StoreError(
            f"{asked}: the request can't be sent as it is",
            hint=f"a line break in a key id or in a session token does that: {_DOCTOR}",
        )
    unreachable = isinstance(chain[-1], OSError) or "ResponseParserError" in kinds
    return StoreError(f"{asked}: failed ({kinds[-1]})", hint=_DOCTOR, transient=unreachable)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """botocore and urllib3 keep causes in three places; a context may be no part of the story."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        link = waiting.pop()
        if not isinstance(link, BaseException) or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        kept = getattr(link, "kwargs", None)
        waiting += [link.__cause__, getattr(link, "reason", None), *link.args]
        waiting.append(kept.get("error") if isinstance(kept, dict) else None)

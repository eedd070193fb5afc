"""What S3 and the way to it answer, in drkit's words: never in theirs, a secret may stand there."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPException

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from drkit.errors import AlreadyExists, DrkitError, NotFound, StoreError
from drkit.model.units import roughly
from drkit.stores.aws.failures import failure
from drkit.system import System

_CODE = re.compile(r"[A-Za-z0-9.]{1,64}")
_REQUEST = re.compile(r"[A-Za-z0-9+/=._-]{1,100}")
_REGION = re.compile(r"[a-z0-9-]{2,32}")

_TRANSIENT = frozenset(
    "SlowDown SlowDownRead SlowDownWrite InternalError ServiceUnavailable RequestTimeout "
    "RequestTimeoutException ConditionalRequestConflict OperationAborted IncompleteBody Throttling "
    "ThrottlingException RequestLimitExceeded TooManyRequests TooManyRequestsException "
    "BandwidthLimitExceeded".split()
)
_NEVER = frozenset({501, 505})  # a server's own fault, and yet the same the next time
_REDIRECTED = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "TemporaryRedirect"}
    | {"IllegalLocationConstraintException"}
)

_ABSENT = frozenset({"NoSuchKey", "NoSuchVersion"})  # a bare 404 may be some proxy's
_DENIED = frozenset({"AccessDenied", "AllAccessDisabled", "403"})

# What a key must be allowed to do; the second one where the bucket has versions.
_ACTIONS = {
    "PutObject": "s3:PutObject, and s3:PutObjectRetention where objects are locked",
    "GetObject": "s3:GetObject and s3:GetObjectVersion",
    "HeadObject": "s3:GetObject and s3:GetObjectVersion",
    "DeleteObject": "s3:DeleteObject and s3:DeleteObjectVersion",
    "ListObjectVersions": "s3:ListBucketVersions",
    "ListObjectsV2": "s3:ListBucket",
}
_NO_S3 = "see the endpoint: a proxy or a web page may answer in the place of the server"
_CREDENTIALS = "check the key: drkit doctor --only credentials"
_DAMAGED = "a disk, memory or the line changes bytes: test this machine before the next backup"
_HINTS = {
    "ExpiredToken": "the session token has run out: get a new one, or use a key without one",
    "ExpiredTokenException": "the session token has run out: get a new one",
    "InvalidToken": f"the session token does not belong to the key; {_CREDENTIALS}",
    "InvalidAccessKeyId": f"the server knows no such key id; {_CREDENTIALS}",
    "SignatureDoesNotMatch": "the secret key is not the one of that key id, or has a space, quote "
    f"or line break around it; {_CREDENTIALS}",
    "BadDigest": _DAMAGED,
    "XAmzContentChecksumMismatch": _DAMAGED,
    "XAmzContentSHA256Mismatch": _DAMAGED,
    "InvalidObjectState": "the object is in an archive class: restore it there first",
    "QuotaExceeded": "the server is full: free space, or raise the quota",
    "EntityTooLarge": "the server takes no objects of that size",
    "NotImplemented": "the server can't do that: use another kind of store, or a newer server",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as a person knows it."""

    verb: str
    url: str
    bucket: str
    system: System

    def __str__(self) -> str:
        return f"{self.verb} {self.url}"


class Nonsense(Exception):
    """An answer that S3 never gives; its text is drkit's own."""


def check_answer(answer: Mapping[str, object], *fields: str) -> None:
    """What a log-in page sends with status 200 parses well, as an answer without anything."""
    if not all(field in answer for field in fields):
        raise Nonsense("what answers there is no S3 server")


@contextmanager
def translated(asked: Asked) -> Iterator[None]:
    try:
        yield
    except DrkitError:
        raise
    except ClientError as error:
        raise _refusal(asked, error) from None
    except (BotoCoreError, HTTPError, HTTPException, OSError) as error:
        raise failure(str(asked), error) from None
    except Nonsense as error:
        raise StoreError(f"{asked}: {error}", hint=_NO_S3) from None
    except (ValueError, KeyError, OverflowError) as error:
        text = f"{asked}: the answer makes no sense ({type(error).__name__})"
        raise StoreError(text, hint=_NO_S3) from None


def code_of(error: ClientError) -> str:
    """A word, or a status where the answer had no body."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    return code if _CODE.fullmatch(code) else str(status_of(error))


def status_of(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def names_checksum(error: ClientError) -> bool:
    """A server that is older than checksums in headers, and refuses them."""
    if status_of(error) not in (400, 501) or code_of(error) in _HINTS.keys() - {"NotImplemented"}:
        return False
    told = " ".join(str(value) for value in error.response.get("Error", {}).values()).lower()
    return "x-amz-checksum" in told or "x-amz-sdk-checksum" in told


def _refusal(asked: Asked, error: ClientError) -> StoreError:
    code, status = code_of(error), status_of(error)
    if code in _ABSENT:
        return NotFound(f"{asked.url} is not there")
    if status == 412:
        return AlreadyExists(f"{asked.url} is already there")
    if status == 416:
        return StoreError(f"{asked}: the object ends before what was asked for")
    return StoreError(
        f"{asked}: {_answer(error)}{_more(asked, error)}",
        hint=_hint(asked, error),
        transient=code in _TRANSIENT or status == 429 or (status >= 500 and status not in _NEVER),
    )


def _answer(error: ClientError) -> str:
    code, status = code_of(error), status_of(error)
    request = str(error.response.get("ResponseMetadata", {}).get("RequestId", ""))
    said = str(status) if code == str(status) else f"{status} {code}"
    return f"{said} (request {request})" if _REQUEST.fullmatch(request) else said


def _more(asked: Asked, error: ClientError) -> str:
    code = code_of(error)
    if code == "RequestTimeTooSkewed":
        return _skew(asked.system.now(), _headers(error).get("date", ""))
    region = _region(error) if code in _REDIRECTED else ""
    return f": the bucket is in {region}" if region else ""


def _skew(now: datetime, date: str) -> str:
    try:
        apart = now - parsedate_to_datetime(date)
    except (ValueError, TypeError):
        return ""
    side = "ahead" if apart > timedelta() else "behind"
    return f": this machine's clock is {roughly(abs(apart))} {side}"


def _region(error: ClientError) -> str:
    told = str(error.response.get("Error", {}).get("Region", ""))
    region = told or _headers(error).get("x-amz-bucket-region", "")
    return region if _REGION.fullmatch(region) else ""


def _headers(error: ClientError) -> Mapping[str, str]:
    return error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})


def _hint(asked: Asked, error: ClientError) -> str | None:
    code = code_of(error)
    if code in _DENIED:
        action = _ACTIONS.get(error.operation_name, error.operation_name)
        return f"the key must be allowed {action} on {asked.bucket}"
    if code == "NoSuchBucket":
        return (
            f"is the name right? if it is, make it: aws s3api create-bucket "
            f"--bucket {asked.bucket} --object-lock-enabled-for-bucket"
        )
    if code in _REDIRECTED:
        return f"write ?region={_region(error) or 'THAT-OF-THE-BUCKET'} behind the store's address"
    if code == "RequestTimeTooSkewed":
        return "set the clock of this machine: timedatectl set-ntp true"
    return _HINTS.get(code)

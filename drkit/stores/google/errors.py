"""What Google Cloud Storage and the way to it refuse, in words: never a token, never a key."""

import errno
import os
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import urllib3.exceptions

from drkit.errors import AlreadyExists, StoreError

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_SLOW_DOWN = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "backendError"})
_SECRET = re.compile(
    r"(?:Bearer\s+\S+|ya29\.\S+|eyJ[\w-]{8,}\S*|-----BEGIN.*|[\w+=.~-]{80,})",
    re.DOTALL,
)
_PERMISSION = re.compile(r"storage\.[A-Za-z]+\.[A-Za-z]+")
_UNTIL = re.compile(r"until (\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d))")
_LONGEST_REASON = 300
_ROLES = {
    "storage.objects.create": "roles/storage.objectCreator",
    "storage.objects.get": "roles/storage.objectViewer",
    "storage.objects.list": "roles/storage.objectViewer",
}
PROXY = "a proxy or a login page stands in between: see HTTPS_PROXY and NO_PROXY"
FAKED = "this is not how Google Cloud Storage answers: see endpoint= in the store's address"
CREDENTIALS = "see what is wrong with them: drkit doctor --only credentials"
_NO_CREDENTIALS = (
    "name a key file in the address, ?credentials=/path/of/key.json, or in "
    "GOOGLE_APPLICATION_CREDENTIALS"
)
_NO_LOCKS = (
    "objects can be locked only in buckets made for it: gcloud storage buckets create … "
    "--enable-per-object-retention"
)
_ABOUT_MONEY = frozenset({"accountDisabled", "billingDisabled", "userProjectAccountProblem"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request as a person knows it."""

    verb: str
    bucket: str
    name: str  # with the prefix of the store
    permission: str
    account: str  # whose credentials; empty: nobody's
    project: str

    @property
    def what(self) -> str:
        return f"gs://{self.bucket}/{self.name}"

    @property
    def text(self) -> str:
        return f"{self.verb} {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    body: bytes  # its beginning

    @property
    def html(self) -> bool:
        return self.body.lstrip()[:9].lower().startswith((b"<!doctype", b"<html"))


class _One(msgspec.Struct):
    reason: str = ""


class _Refusal(msgspec.Struct):
    message: str = ""
    errors: tuple[_One, ...] = ()


class _Refused(msgspec.Struct):
    error: _Refusal


def cleaned(text: str) -> str:
    """One line, without what looks like a token or a key."""
    line = " ".join(_SECRET.sub("***", text).split())
    return "".join(c for c in line if c.isprintable())[:_LONGEST_REASON].rstrip(". ")


def _said(answer: Answer) -> tuple[str, str]:
    """The message, and Google's short word for the reason."""
    if answer.html:
        return "an HTML page came, not an answer of Google Cloud Storage", ""
    try:
        error = msgspec.json.decode(answer.body, type=_Refused).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return cleaned(answer.body.decode(errors="replace")), ""
    return cleaned(error.message), error.errors[0].reason if error.errors else ""


def refused(asked: Asked, answer: Answer) -> StoreError:
    """A 404 is the bucket's: whether an object is there is asked of the listing alone."""
    message, reason = _said(answer)
    text = f"{asked.text}: {answer.status}{' ' + message if message else ''}"
    if asked.verb == "put" and not answer.html and _is_taken(answer.status, message):
        return AlreadyExists(f"{asked.what} is already there")
    if answer.status in TRANSIENT or reason in _SLOW_DOWN:
        return StoreError(text, transient=True)
    if answer.html or answer.status == 407 or 300 <= answer.status < 400:
        return StoreError(text, hint=PROXY)
    if answer.status == 404:
        return _no_bucket(asked)
    if answer.status in (401, 403):
        return _denied(asked, answer.status, message, reason)
    return _bad(text, message)


def _is_taken(status: int, message: str) -> bool:
    """Who may create and not delete is told that an overwrite needs the right to delete."""
    return status == 412 or (status == 403 and "storage.objects.delete" in message)


def _no_bucket(asked: Asked) -> StoreError:
    project = f" --project={asked.project}" if asked.project else ""
    return StoreError(
        f"{asked.text}: there is no bucket {asked.bucket}",
        hint="is the name right? if it is, make it: gcloud storage buckets create "
        f"gs://{asked.bucket}{project} --location=PLACE "
        "--uniform-bucket-level-access --public-access-prevention",
    )


def _denied(asked: Asked, status: int, message: str, reason: str) -> StoreError:
    text = f"{asked.text}: {status} {message}".rstrip()
    found = _PERMISSION.search(message)
    if not asked.account:
        return StoreError(f"{text} (asked without credentials)", hint=_NO_CREDENTIALS)
    if status == 401:
        return StoreError(f"{text}: the token of {asked.account} is refused", hint=CREDENTIALS)
    if reason in _ABOUT_MONEY:
        return StoreError(text, hint="the project of the bucket has no billing account that pays")
    missing = found[0] if found else asked.permission
    if found is None:
        text = f"{text} (it needs {missing})"
    role = _ROLES.get(missing, f"a role that has {missing}")
    return StoreError(
        text,
        hint=f"gcloud storage buckets add-iam-policy-binding gs://{asked.bucket} "
        f"--member=serviceAccount:{asked.account} --role={role}",
    )


def nonsense(text: str, body: bytes) -> StoreError:
    """A good status, and not the answer that belongs to it."""
    if Answer(status=200, body=body).html:
        return StoreError(f"{text}: an HTML page came instead of an answer", hint=PROXY)
    return StoreError(f"{text}: what was answered is not what was asked for", hint=FAKED)


def _bad(text: str, message: str) -> StoreError:
    if "crc32c" in message.lower():  # it was right when it left this machine
        return StoreError(text, transient=True)
    if "retention" in message.lower():
        return StoreError(text, hint=_NO_LOCKS)
    return StoreError(text)


def locked_until(answer: Answer) -> str:
    """What a refusal to delete says by itself; empty: it is another refusal."""
    message, reason = _said(answer)
    found = _UNTIL.search(message)
    if found:
        return found[1]
    return "an unknown time" if reason == "retentionPolicyNotMet" else ""


# The way to the server.


def unreachable(where: str, error: BaseException, waited: str) -> StoreError:
    """By the kinds of what failed beneath: their texts may hold an address with its secrets."""
    beneath = list(_beneath(error))
    for kinds, text, hint, transient in _FAILURES:
        if any(isinstance(one, kinds) for one in beneath):
            return StoreError(f"{where}: {text}", hint=hint, transient=transient)
    for one in beneath:
        number = one.errno if isinstance(one, OSError) else None
        if number is not None and number in errno.errorcode:
            return StoreError(f"{where}: {os.strerror(number).lower()}", transient=True)
    if any(isinstance(one, TimeoutError | urllib3.exceptions.TimeoutError) for one in beneath):
        return StoreError(f"{where}: {waited}", transient=True)
    return StoreError(f"{where}: the connection was cut", transient=True)


_Failure = tuple[tuple[type[BaseException], ...], str, str | None, bool]
_FAILURES: tuple[_Failure, ...] = (
    (
        (ssl.SSLCertVerificationError,),
        "the server's certificate is not to be trusted",
        "name its authority's file in REQUESTS_CA_BUNDLE, or set this machine's clock right",
        False,
    ),
    (
        (urllib3.exceptions.ProxyError,),
        "the proxy did not connect",
        "see HTTPS_PROXY and NO_PROXY",
        True,
    ),
    (
        (socket.gaierror, urllib3.exceptions.NameResolutionError),
        "its host name is not found",
        "see the network and the name server of this machine",
        True,
    ),
)


def _beneath(error: BaseException) -> Iterator[BaseException]:
    left, seen = [error], set[int]()
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        others = (one.__cause__, one.__context__, getattr(one, "reason", None), *one.args)
        left.extend(other for other in others if isinstance(other, BaseException))

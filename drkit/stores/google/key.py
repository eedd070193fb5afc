"""Credentials for Google's storage: found, checked before any request, and told when refused."""

import re
import warnings
from datetime import datetime
from email.utils import parsedate_to_datetime

import google.auth
from google.auth import exceptions
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.crypt import RSASigner
from google.oauth2 import service_account

from drkit.errors import ConfigError, StoreError
from drkit.model.finding import Finding, Level
from drkit.model.units import roughly
from drkit.stores.base import Settings
from drkit.stores.endpoint import check_endpoint
from drkit.stores.google.account import WHAT, Account, at_google, diagnose, parse_key
from drkit.stores.google.pem import NEW_KEY
from drkit.stores.secret_file import Place, open_to_others, read_secret
from drkit.system import System

_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
_OPTION = "credentials= in the store's address"
_SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)


def load_key(
    path: str | None,
    settings: Settings,
    endpoint: str | None,
    system: System,  # noqa: ARG001  the same call as for other kinds
) -> Credentials:
    """`path` is the address's own option. At a server that isn't Google's: its key, or nobody.

    What the machine itself is (its own account, gcloud's login) is for Google alone: its tokens
    must not go to another server.
    """
    check_endpoint(endpoint)
    place = _named(path, settings)
    if place is not None:
        return _credentials(parse_key(read_secret(place), place.shown, endpoint))
    return _of_the_machine() if at_google(endpoint) else _nobody()


def examine_key(path: str | None, settings: Settings, endpoint: str | None) -> tuple[Finding, ...]:
    """Offline, but for the question whether this is a machine of Google's."""
    place = _named(path, settings)
    try:
        check_endpoint(endpoint)
        if place is not None:
            return _examined(place, endpoint)
        if not at_google(endpoint):
            return (_finding("pass", "none, and the server is not Google's: anonymous"),)
        return (_seen(_of_the_machine()),)
    except ConfigError as error:
        return (_finding("fail", error.message, error.hint),)


def _examined(place: Place, endpoint: str | None) -> tuple[Finding, ...]:
    data = read_secret(place)
    found = list(diagnose(data, place.shown, endpoint))
    opened = open_to_others(WHAT, place.path)
    if opened is not None:
        found.append(opened)
    whole = found[0].level == "pass" and not at_google(endpoint)
    if whole and parse_key(data, place.shown, endpoint).asks_google:
        message = "the key is for Google's own servers, and the endpoint is not: it will see tokens"
        hint = "take endpoint= out of the store's address, or give a key of that server"
        found.append(_finding("warn", message, hint))
    return tuple(found)


def _finding(level: Level, message: str, hint: str | None = None) -> Finding:
    return Finding(level=level, what=WHAT, message=message, hint=hint)


def _named(path: str | None, settings: Settings) -> Place | None:
    if path:
        return Place(path=path, said_by=_OPTION)
    if settings.google_credentials:
        return Place(path=settings.google_credentials, said_by=_VARIABLE)
    return None


def _credentials(account: Account) -> Credentials:
    """Of the key that was checked: reading it once more costs as much as all else in opening."""
    made = service_account.Credentials(  # type: ignore[no-untyped-call]
        RSASigner(account.key, account.key_id),  # type: ignore[no-untyped-call]
        account.email,
        account.token_uri,
        scopes=_SCOPES,
        project_id=account.project,
    )
    assert isinstance(made, Credentials)
    return made


def _nobody() -> Credentials:
    return AnonymousCredentials()  # type: ignore[no-untyped-call]


def _of_the_machine() -> Credentials:
    """gcloud's login, or the account that a machine of Google's has."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of quotas, on stderr
            found, _ = google.auth.default(scopes=_SCOPES)
    except exceptions.DefaultCredentialsError:
        raise ConfigError(
            f"no credentials for Google's storage: neither {_OPTION} nor {_VARIABLE} is set, "
            "and this machine has none of its own",
            hint=f"make a key, and name its file in {_VARIABLE}: {NEW_KEY}",
        ) from None
    except exceptions.GoogleAuthError:
        raise ConfigError(
            "the credentials that this machine has of its own can't be used",
            hint=f"gcloud auth application-default login, or a key in {_VARIABLE}: {NEW_KEY}",
        ) from None
    assert isinstance(found, Credentials)
    return found


def _seen(credentials: Credentials) -> Finding:
    email = getattr(credentials, "service_account_email", None)
    if isinstance(email, str):
        name = "its own account" if email == "default" else email
        return _finding("pass", f"{name}, found on this machine")
    message = "a person's gcloud login, found on this machine: it ends when that person's does"
    return _finding("warn", message, f"give the host a service account: {NEW_KEY}")


# --- when a token is asked for


_LOGIN = "gcloud auth application-default login"
_CODES = re.compile(
    r"\b(invalid_grant|invalid_client|unauthorized_client|invalid_scope|access_denied|"
    r"invalid_request|invalid_rapt|internal_failure|server_error|temporarily_unavailable)\b"
)


def token_trouble(
    error: Exception,
    now: datetime,
    date_header: str | None,
    credentials: Credentials | None = None,
) -> ConfigError | StoreError:
    """What a request for a token met; nothing of the answer's text is repeated.

    A page of HTML with status 200 makes Google's library raise a plain TypeError.
    """
    text = " ".join(str(part) for part in error.args)
    if isinstance(error, TypeError | AttributeError) or re.search(
        r"<(!doctype|html|head)", text, re.IGNORECASE
    ):
        return StoreError(
            "the token endpoint returned HTML: a proxy or a login page answers in its place",
            hint="curl -I https://oauth2.googleapis.com/token, from this host as this user",
        )
    if isinstance(error, exceptions.TransportError | exceptions.TimeoutError):
        return StoreError(
            f"the token endpoint was not reached: {_unreached(text)}",
            hint="curl -I https://oauth2.googleapis.com/token, from this host as this user",
            transient=True,
        )
    return _refused(text.lower(), now, date_header, credentials) or _other(error, text)


def _unreached(text: str) -> str:
    for sign, said in (
        ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted here"),
        ("SSL", "TLS failed"),
        ("resol", "its name was not resolved"),
        ("refused", "the connection was refused"),
        ("imed out", "timed out"),
        ("ProxyError", "the proxy refused"),
    ):
        if sign in text:
            return said
    return "no connection"


def _refused(
    text: str, now: datetime, date_header: str | None, credentials: Credentials | None
) -> ConfigError | None:
    email = _shown(credentials, "service_account_email") or "ADDRESS"
    if "jwt signature" in text:
        signer = getattr(credentials, "signer", None)
        id = _shown(signer, "key_id")
        return ConfigError(
            f"the key is not active: {f'key id {id}' if id else 'it'} was deleted or rotated",
            hint=f"compare: gcloud iam service-accounts keys list --iam-account={email}; {NEW_KEY}",
        )
    if "short-lived token" in text:
        return ConfigError(
            f"Google refused the time in the request: {_clock(now, date_header)}",
            hint="set this machine's clock: timedatectl set-ntp true",
        )
    if "account not found" in text or "gaia id not found" in text:
        return ConfigError(
            f"the service account was not found: {email} was deleted, or its project",
            hint="recreate it, or undelete within 30 days: gcloud iam service-accounts undelete",
        )
    if "disabled" in text or "invalid_client" in text:
        return ConfigError(
            f"the service account is disabled: {email}",
            hint=f"gcloud iam service-accounts enable {email}",
        )
    if "project" in text:
        return project_trouble(_shown(credentials, "project_id"), None)
    return None


def _shown(holder: object, name: str) -> str | None:
    value = getattr(holder, name, None)
    return value if isinstance(value, str) and re.fullmatch(r"[\w.@:-]{1,200}", value) else None


def _clock(now: datetime, date_header: str | None) -> str:
    try:
        theirs = parsedate_to_datetime(date_header or "")
        apart = now - theirs
    except (ValueError, TypeError):
        return "this machine's clock is off"
    side = "ahead" if apart.total_seconds() > 0 else "behind"
    seconds = abs(round(apart.total_seconds()))
    return f"this machine's clock is {seconds} s off, {roughly(abs(apart))} {side}"


def _other(error: Exception, text: str) -> ConfigError | StoreError:
    code = _CODES.search(text)
    said = code[1] if code else "no reason that can be shown"
    if getattr(error, "retryable", False):
        return StoreError(f"the token endpoint stumbled: {said}", transient=True)
    if "reauth" in text.lower() or "expired or revoked" in text or said == "invalid_rapt":
        return ConfigError("the gcloud login has ended", hint=f"{_LOGIN}, or a key: {NEW_KEY}")
    return ConfigError(
        f"Google gave no token: {said}",
        hint=f"see the account's keys, or make a new one: {NEW_KEY}",
    )


def project_trouble(own: str | None, asked: str | None) -> ConfigError:
    """For a 403 at what alone needs a project: listing and creating buckets, quota."""
    return ConfigError(
        f"project {asked or own or 'unknown'} may not be used by this key, which is of project "
        f"{own or 'unknown'}",
        hint="bucket names are global, a project is needed only to list or create buckets and for "
        "quota: make the bucket by hand, or set project= in the store's address",
    )

"""Tokens for Google Cloud Storage: fetched before they are needed, and why there is none."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import google.auth.transport.requests
import requests
from google.auth import transport
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError

from drkit.errors import DrkitError, StoreError
from drkit.stores.google.errors import PROXY, TRANSIENT, Asked, unreachable
from drkit.stores.google.key import token_trouble
from drkit.system import System


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: int
    date: str
    at: datetime  # by this machine's clock


class _Endpoint:
    """As google-auth wants it; remembers what was answered last."""

    def __init__(self, session: requests.Session, system: System, silence: float) -> None:
        self._request = google.auth.transport.requests.Request(session)
        self._system = system
        self._silence = silence
        self.last: _Answer | None = None

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **options: object,
    ) -> transport.Response:
        self.last = None
        answer: transport.Response = self._request(
            url=url,
            method=method,
            body=body,
            headers=headers,
            timeout=timeout or self._silence,
            allow_redirects=False,  # what is sent here is as good as a token
            **options,
        )
        date = answer.headers.get("date", "")
        self.last = _Answer(status=answer.status, date=date, at=self._system.now())
        return answer


class Tokens:
    """Threads may fetch at the same time: each gets a good one."""

    def __init__(
        self, credentials: Credentials, session: requests.Session, system: System, silence: float
    ) -> None:
        self._credentials = credentials
        self._system = system
        self._endpoint = _Endpoint(session, system, silence)
        self._anonymous = isinstance(credentials, AnonymousCredentials)

    @property
    def account(self) -> str:
        """Empty: nobody's."""
        if self._anonymous:
            return ""
        return str(getattr(self._credentials, "service_account_email", "") or "this account")

    def headers(self, asked: Asked, *, renewed: bool = False) -> dict[str, str]:
        """Not by `before_request`: that starts a thread which asks Google about regions."""
        found: dict[str, str] = {}
        if self._anonymous:
            return found
        if renewed or not self._credentials.valid:
            with self._explained(asked):
                self._credentials.refresh(self._endpoint)  # type: ignore[no-untyped-call]
        self._credentials.apply(found)  # type: ignore[no-untyped-call]
        return found

    @contextmanager
    def _explained(self, asked: Asked) -> Iterator[None]:
        who = f"{asked.text}: no token for {self.account}"
        try:
            yield
        except TransportError as error:
            raise unreachable(f"{who}: the token endpoint", error, "it did not answer") from None
        except (GoogleAuthError, ValueError, TypeError, KeyError, AttributeError) as error:
            # Not `from error`: it may hold what was sent or answered.
            raise self._refused(who, error) from None

    def _refused(self, who: str, error: Exception) -> DrkitError:
        last = self._endpoint.last
        if last is not None and last.status in TRANSIENT:
            text = f"{who}: the token endpoint answered {last.status}"
            return StoreError(text, transient=True)
        if not _is_answer(error):
            answered = f"with status {last.status} " if last else ""
            text = f"{who}: what came {answered}from the token endpoint is no token"
            return StoreError(text, hint=PROXY)
        at = self._system.now() if last is None else last.at
        trouble = token_trouble(error, at, None if last is None else last.date, self._credentials)
        return type(trouble)(f"{who}: {trouble.message}", hint=trouble.hint)


def _is_answer(error: Exception) -> bool:
    """google-auth keeps what the endpoint said as the second argument; a page is no answer."""
    said = error.args[1] if isinstance(error, RefreshError) and len(error.args) > 1 else None
    return isinstance(said, dict) and isinstance(said.get("error"), str)

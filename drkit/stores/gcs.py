"""Google Cloud Storage: every object created once, and of several generations the oldest read."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec
import requests
from google.auth.credentials import AnonymousCredentials

from drkit.errors import AlreadyExists, ConfigError, NotFound, StoreError
from drkit.stores.address import Address
from drkit.stores.base import Body, Settings, Store, Stored, check_name, check_prefix
from drkit.stores.google.bucket import Bucket, Size, decoded
from drkit.stores.google.errors import FAKED, Asked, nonsense, refused
from drkit.stores.google.http import FINE, Call, Line, fill, refusal, session_for, whole
from drkit.stores.google.key import load_key
from drkit.stores.google.tokens import Tokens
from drkit.stores.google.upload import crc32c_of, upload
from drkit.stores.limits import limits_of
from drkit.stores.versions import Version, oldest, oldest_and_folders
from drkit.system import System

T = TypeVar("T")
_GOOGLE = "https://storage.googleapis.com"
_LANES = 8
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)
_CHECKSUM = re.compile(r"crc32c=([A-Za-z0-9+/]{6}==)")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class _Sized(msgspec.Struct):
    size: Size


def open_gcs(address: Address, system: System, settings: Settings) -> Store:
    options = address.options
    endpoint = options.get("endpoint")
    credentials = load_key(options.get("credentials"), settings, endpoint, system)
    server = (endpoint or _GOOGLE).rstrip("/")  # looked at with the key that may go there
    if not isinstance(credentials, AnonymousCredentials):
        _check_privacy(server)
    lanes = settings.connections or _LANES
    limits = limits_of(settings, system)
    tokens = Tokens(credentials, session_for(None, 1, limits), system, settings.first_byte)
    line = Line(server, tokens, session_for(server, lanes, limits), limits)
    return GcsStore(address.url, Bucket(address, line, system), system.random_bytes, lanes)


def _check_privacy(server: str) -> None:
    parts = urlsplit(server)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ConfigError(
            f"tokens would go to {parts.hostname} in clear", hint="write endpoint=https://…"
        )


class GcsStore:
    """Of what listings said it keeps only what is odd."""

    locks = True

    def __init__(
        self, url: str, bucket: Bucket, random_bytes: Callable[[int], bytes], lanes: int
    ) -> None:
        self.url = url
        self.lanes = lanes
        self._bucket = bucket
        self._random_bytes = random_bytes
        self._odd: dict[str, str] = {}  # where a plain read is wrong: the generation that counts
        self._even: set[str] = set()  # looked up one by one, and nothing odd
        self._listed: set[str] = set()  # below these prefixes every odd name is in `_odd`
        self._levels: set[str] = set()  # the same, without what is in folders

    def prepare(self) -> None:
        self._bucket.is_there()

    def put(self, name: str, body: Body) -> None:
        check_name(name)
        asked = self._bucket.asked("put", name)
        boundary = self._random_bytes(24).hex()
        sent = upload(asked, body, boundary)
        if name in self._odd and self._look(name) is not None:
            raise AlreadyExists(f"{asked.what} is already there")
        call = Call(
            method="POST",
            path=self._bucket.uploads,
            params={"uploadType": "multipart", "ifGenerationMatch": 0, "fields": "size"},
            headers={"Content-Type": f"multipart/related; boundary={boundary}"},
            body=sent,
        )
        if self._bucket.answered(asked, call, _Sized).size != body.size:
            raise StoreError(f"{asked.text}: taken with another size than it was sent", hint=FAKED)

    def read(self, name: str, limit: int) -> bytes:
        asked = self._bucket.asked("read", name)

        def take(response: requests.Response) -> bytes:
            data = None if _length(response) > limit else whole(response, limit)
            if data is None:
                raise StoreError(f"{asked.text}: it has more bytes than the {limit} it may have")
            _check_sum(asked, response, data)
            return data

        return self._fetched(asked, name, {}, take)

    def read_into(self, name: str, offset: int, view: memoryview) -> None:
        asked = self._bucket.asked("read", name)
        end = offset + len(view)

        def take(response: requests.Response) -> None:
            all_of_it = _check_range(asked, response, offset, end)
            if fill(response, view) != len(view):
                raise StoreError(f"{asked.text}: the answer was cut", transient=True)
            if all_of_it:
                _check_sum(asked, response, view)

        if offset >= 0 and len(view):
            return self._fetched(asked, name, {"Range": f"bytes={offset}-{end - 1}"}, take)
        if not 0 <= offset <= self.size(name):
            raise StoreError(f"{asked.text}: it ends before {offset}")
        return None

    def size(self, name: str) -> int:
        check_name(name)
        if self._is_even(name):
            asked = self._bucket.asked("look at", name)
            call = Call(method="GET", path=self._bucket.path(name), params={"fields": "size"})
            with self._bucket.line.open(asked, call) as response:
                if response.status_code != 404:
                    return decoded(asked, response, _Sized).size
                refusal(response)
        return self._found(name).size

    def list(self, prefix: str) -> Iterator[Stored]:
        check_prefix(prefix)
        for stored, version in oldest(self._bucket.versions(prefix)):
            self._note(stored, version)
            yield stored
        self._listed.add(prefix)

    def level(self, prefix: str) -> Iterator[Stored | str]:
        check_prefix(prefix)
        for found in oldest_and_folders(self._bucket.level(prefix)):
            if isinstance(found, str):
                yield found
                continue
            self._note(*found)
            yield found[0]
        self._levels.add(prefix)

    def delete(self, name: str) -> None:
        check_name(name)
        versions = tuple(self._bucket.of(name))
        gone = [self._bucket.delete(name, version.id) for version in versions]
        self._odd.pop(name, None)
        self._even.discard(name)
        if not any(gone):
            raise self._missing(name)

    def staging(self) -> Path | None:
        return None

    def close(self) -> None:
        self._bucket.line.close()

    # Which generation a name stands for.

    def _is_even(self, name: str) -> bool:
        if name in self._odd:
            return False
        ends = range(len(name) + 1)
        return (
            name in self._even
            or any(name[:end] in self._listed for end in ends)
            or any(name[:end] in self._levels for end in ends[name.rfind("/") + 1 :])
        )

    def _note(self, stored: Stored, version: Version) -> None:
        if stored.odd:
            self._odd[stored.name] = version.id
        else:
            self._odd.pop(stored.name, None)

    def _look(self, name: str) -> Version | None:
        for stored, version in oldest(self._bucket.of(name)):
            self._note(stored, version)
            if not stored.odd:
                self._even.add(name)
            return version
        self._odd.pop(name, None)
        return None

    def _found(self, name: str) -> Version:
        version = self._look(name)
        if version is None:
            raise self._missing(name)
        return version

    def _missing(self, name: str) -> NotFound:
        return NotFound(f"{self._bucket.asked('read', name).what} is not there")

    def _fetched(
        self,
        asked: Asked,
        name: str,
        headers: Mapping[str, str],
        take: Callable[[requests.Response], T],
    ) -> T:
        check_name(name)
        known = "" if self._is_even(name) else self._odd.get(name) or self._found(name).id
        for last in (False, True):
            params = {"alt": "media"} | ({"generation": known} if known else {})
            call = Call(method="GET", path=self._bucket.path(name), params=params, headers=headers)
            with self._bucket.line.open(asked, call) as response:
                if response.status_code in FINE:
                    _check_kind(asked, response)
                    return take(response)
                answer = refusal(response)
            if answer.status != 404 or last:
                raise refused(asked, answer)
            known = self._found(name).id  # a plain read does not see what a later delete hides
        raise AssertionError


def _check_kind(asked: Asked, response: requests.Response) -> None:
    """Any page of a proxy would do as the bytes of an object."""
    if "x-goog-generation" not in response.headers:
        raise nonsense(asked.text, refusal(response).body)


def _check_range(asked: Asked, response: requests.Response, offset: int, end: int) -> bool:
    """Whether it is the whole object that comes."""
    found = _RANGE.fullmatch(response.headers.get("content-range", ""))
    if response.status_code == 206 and found is not None:
        first, behind, size = int(found[1]), int(found[2]) + 1, int(found[3])
    else:
        first, size = 0, _length(response)
        behind = size
    if size < end:
        raise StoreError(f"{asked.text}: it ends at {size}, before {end}")
    if (first, behind) != (offset, end):
        raise StoreError(f"{asked.text}: other bytes came than were asked for", hint=FAKED)
    return (first, behind) == (0, size)


def _length(response: requests.Response) -> int:
    """0 where it is not said: what is read is counted anyway."""
    found = _LENGTH.fullmatch(response.headers.get("content-length", ""))
    return int(found[0]) if found else 0


def _check_sum(asked: Asked, response: requests.Response, data: bytes | memoryview) -> None:
    found = _CHECKSUM.search(response.headers.get("x-goog-hash", ""))
    if found and found[1] != crc32c_of(data):
        raise StoreError(f"{asked.text}: damaged on its way, or in the store", transient=True)

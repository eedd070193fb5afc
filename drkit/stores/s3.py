"""S3 and servers that speak it: objects put once, and of several versions the oldest read."""

import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, cast

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from drkit.errors import AlreadyExists, ConfigError, NotFound, StoreError
from drkit.stores.address import Address
from drkit.stores.aws.body import SMALL, Upload, check_whole, fill
from drkit.stores.aws.errors import (
    Asked,
    check_answer,
    code_of,
    names_checksum,
    status_of,
    translated,
)
from drkit.stores.aws.key import checked_session
from drkit.stores.aws.pages import Pages
from drkit.stores.aws.versions import Known, Versions
from drkit.stores.aws.wire import bound
from drkit.stores.base import Body, Lock, Settings, Store, Stored, check_name, check_prefix
from drkit.stores.limits import limits_of
from drkit.system import System

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from types_boto3_s3.client import S3Client

_LANES = 8
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_REGION = "us-east-1"  # what servers that know no regions call theirs
_IGNORED = "that server knows no ranges: use another kind of store"


class _Answer(TypedDict, total=False):
    """What is used of answers to GET and HEAD; botocore's own types promise all of it always."""

    Body: "StreamingBody"
    ContentLength: int
    ContentRange: str
    ETag: str
    LastModified: datetime
    VersionId: str
    ObjectLockLegalHoldStatus: str
    ObjectLockRetainUntilDate: datetime


_Ask = Callable[[str | None], _Answer]  # for a version, or for what is on top


def open_s3(address: Address, system: System, settings: Settings) -> Store:
    lanes = settings.connections or _LANES
    session = checked_session(address.options, settings, system, address.bucket)
    try:
        client = session.client(
            "s3",
            endpoint_url=address.options.get("endpoint"),
            region_name=session.region_name or _REGION,
            config=_config(address.options, settings, lanes),
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(
            f"{address.url} can't be opened ({type(error).__name__})",
            hint="drkit doctor --only credentials",
        ) from None
    bound(client, limits_of(settings, system))
    return S3Store(client, address, system, lanes)


def _config(options: Mapping[str, str], settings: Settings, lanes: int) -> Config:
    return Config(
        connect_timeout=settings.first_byte,
        read_timeout=settings.first_byte,
        max_pool_connections=lanes,
        retries={"total_max_attempts": 1, "mode": "standard"},  # `Retrying` is around it
        # The bodies' SHA-256 are known and sent: nothing is left to compute, here or there.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": _addressing(options), "payload_signing_enabled": False},
    )


def _addressing(options: Mapping[str, str]) -> Literal["auto", "path", "virtual"]:
    """A bucket's name before that of a server needs DNS and a certificate for each."""
    style = options.get("addressing")
    if style is None:
        return "path" if "endpoint" in options else "auto"
    if style not in {"path", "virtual"}:
        raise ConfigError(f"addressing={style[:20]} is none", hint="addressing=path or =virtual")
    return "path" if style == "path" else "virtual"


def _by_md5(options: Mapping[str, str]) -> bool:
    kind = options.get("checksum", "sha256")
    if kind not in {"sha256", "md5"}:
        raise ConfigError(f"checksum={kind[:20]} is none", hint="checksum=sha256 or checksum=md5")
    return kind == "md5"


class S3Store:
    locks = True

    def __init__(self, client: "S3Client", address: Address, system: System, lanes: int) -> None:
        self.url = address.url
        self.lanes = lanes
        self._client = client
        self._bucket = address.bucket
        self._home = address.prefix
        self._system = system
        self._by_md5 = _by_md5(address.options)
        self._pages = Pages(client=client, bucket=address.bucket, home=address.prefix)
        self._versions = Versions(self._pages)

    def prepare(self) -> None:
        """Where a bucket is and what it costs is for its owner to say: none is made here."""
        with translated(self._asked("look at", "")):
            next(self._pages.plain("", 1))

    def put(self, name: str, body: Body) -> None:
        asked = self._named("put", name)
        upload = Upload(asked, body)
        with translated(asked):
            self._refuse_hidden(name, asked)
            try:
                self._put(name, body, upload)
            except ClientError as error:
                if self._by_md5 or not names_checksum(error):
                    raise
                self._by_md5 = True
                self._put(name, body, upload)

    def read(self, name: str, limit: int) -> bytes:
        asked = self._named("read", name)
        with translated(asked):
            got = self._oldest(name, partial(self._get, name, ChecksumMode="ENABLED"))
            with closing(got["Body"]) as source:
                size = got["ContentLength"]
                if size > limit:
                    raise StoreError(f"{asked}: {size} bytes, more than the {limit} it may have")
                data = source.read()  # to its end: there the checksum is compared
                check_whole(asked, len(data), size)
                return data

    def read_into(self, name: str, offset: int, view: memoryview) -> None:
        asked = self._named("read", name)
        end = offset + len(view)
        if offset < 0 or not view:
            if not 0 <= offset <= self.size(name):
                raise StoreError(f"{asked}: it ends before {offset}")
            return
        with translated(asked):
            got = self._oldest(name, partial(self._get, name, Range=f"bytes={offset}-{end - 1}"))
            with closing(got["Body"]) as source:
                _check_range(asked, got, offset, end)
                check_whole(asked, fill(source, view), len(view))

    def size(self, name: str) -> int:
        with translated(self._named("look at", name)):
            return self._oldest(name, partial(self._head, name))["ContentLength"]

    def list(self, prefix: str) -> Iterator[Stored]:
        check_prefix(prefix)
        return self._versions.list(prefix, self._asked("list", prefix))

    def level(self, prefix: str) -> Iterator[Stored | str]:
        check_prefix(prefix)
        return self._versions.level(prefix, self._asked("list", prefix))

    def delete(self, name: str) -> None:
        asked = self._named("delete", name)
        with translated(asked):
            held = self._versions.held(name)
            if held is None:
                return self._delete_plainly(name, asked)
            if not held.versions:
                raise NotFound(f"{asked.url} is not there")
            # The oldest last of all that has bytes: until it is gone, it is the one that counts.
            for version in (*(version.id for version in held.versions), *held.markers):
                self._delete_version(name, version, asked)
            return self._versions.forget(name)

    def staging(self) -> Path | None:
        return None

    def close(self) -> None:
        self._client.close()

    def _asked(self, verb: str, name: str) -> Asked:
        url = f"s3://{self._bucket}/{self._home}{name}"
        return Asked(verb=verb, url=url, bucket=self._bucket, system=self._system)

    def _named(self, verb: str, name: str) -> Asked:
        check_name(name)
        return self._asked(verb, name)

    # One request each

    def _put(self, name: str, body: Body, upload: Upload) -> None:
        put = cast("Callable[..., _Answer]", self._client.put_object)
        checksum = (
            {"ContentMD5": upload.md5()}
            if self._by_md5
            else {"ChecksumSHA256": b64encode(body.sha256).decode()}
        )
        answer = put(
            Bucket=self._bucket,
            Key=self._home + name,
            Body=upload.all() if body.size <= SMALL else upload,
            ContentLength=body.size,
            IfNoneMatch="*",
            **checksum,
            **_retention(body.lock),
        )
        check_answer(answer, "ETag")

    def _get(self, name: str, version: str | None, **more: str) -> _Answer:
        get = cast("Callable[..., _Answer]", self._client.get_object)
        got = get(Bucket=self._bucket, Key=self._home + name, **_version(version), **more)
        with _unless_kept(got) as keep:
            check_answer(got, "LastModified", "ContentLength")
            keep()
        return got

    def _head(self, name: str, version: str | None) -> _Answer:
        head = cast("Callable[..., _Answer]", self._client.head_object)
        try:
            seen = head(Bucket=self._bucket, Key=self._home + name, **_version(version))
        except ClientError as error:
            if code_of(error).isdecimal():  # a HEAD's refusal has no words; a GET's has
                self._get(name, version, Range="bytes=0-0")["Body"].close()
            raise
        check_answer(seen, "LastModified", "ContentLength")
        return seen

    def _delete_version(self, name: str, version: str, asked: Asked) -> None:
        key = self._home + name
        try:
            self._client.delete_object(Bucket=self._bucket, Key=key, VersionId=version)
        except ClientError as error:
            held = self._lock_of(key, version) if 400 <= status_of(error) < 500 else ""
            if not held:
                raise
            raise StoreError(f"{asked}: {held}") from None

    def _delete_plainly(self, name: str, asked: Asked) -> None:
        if "VersionId" in self._head(name, None):
            raise StoreError(
                f"{asked}: it would only be hidden: its versions can't be listed",
                hint="the key must be allowed s3:ListBucketVersions and s3:DeleteObjectVersion on "
                f"{self._bucket}",
            )
        self._client.delete_object(Bucket=self._bucket, Key=self._home + name)

    def _lock_of(self, key: str, version: str) -> str:
        try:
            head = cast("Callable[..., _Answer]", self._client.head_object)
            seen = head(Bucket=self._bucket, Key=key, VersionId=version)
        except ClientError:
            return ""  # then the refusal speaks for itself
        until = seen.get("ObjectLockRetainUntilDate")
        if until is not None and until > self._system.now():
            return f"locked until {until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        return "under a legal hold" if seen.get("ObjectLockLegalHoldStatus") == "ON" else ""

    # Which version a name stands for

    def _oldest(self, name: str, ask: _Ask) -> _Answer:
        known = self._versions.known(name)
        if known is not None and known.odd:
            return self._by_id(name, known, ask)
        try:
            answer = ask(None)
        except ClientError as error:
            if status_of(error) not in (404, 416):
                raise
            right = self._versions.look_up(name)  # a later delete or put may stand before it
            if right is None or not right.odd:
                raise
            return self._by_id(name, right, ask)
        with _unless_kept(answer) as keep:
            right = self._right(name, known, answer)
            if right is None or right.id == answer["VersionId"]:
                keep()
                return answer
        return self._by_id(name, right, ask)

    def _right(self, name: str, known: Known | None, answer: _Answer) -> Known | None:
        """None: the answer is right, as far as can be told."""
        if "VersionId" not in answer:
            return None
        if known is None and self._versions.vouched(name, answer["LastModified"]):
            return None
        return known or self._versions.look_up(name)

    def _by_id(self, name: str, known: Known, ask: _Ask) -> _Answer:
        try:
            return ask(known.id)
        except ClientError as error:
            if status_of(error) != 404:
                raise
            self._versions.forget(name)  # deleted since, and perhaps put anew
            now = self._versions.look_up(name)
            if now is None or now.id == known.id:
                raise
            return ask(now.id)

    def _refuse_hidden(self, name: str, asked: Asked) -> None:
        """The server itself would take a put behind a delete, and then two would count as one."""
        known = self._versions.known(name)
        if known is not None and known.odd and self._versions.look_up(name) is not None:
            raise AlreadyExists(f"{asked.url} is already there")


@contextmanager
def _unless_kept(answer: _Answer) -> Iterator[Callable[[], object]]:
    """A body that is not read holds its connection: it is closed."""
    with ExitStack() as closing_it:
        if "Body" in answer:
            closing_it.callback(answer["Body"].close)
        yield closing_it.pop_all


def _version(version: str | None) -> dict[str, str]:
    return {} if version is None else {"VersionId": version}


def _retention(lock: Lock | None) -> dict[str, object]:
    if lock is None:
        return {}
    return {"ObjectLockMode": lock.mode.upper(), "ObjectLockRetainUntilDate": lock.until}


def _check_range(asked: Asked, got: _Answer, offset: int, end: int) -> None:
    found = _RANGE.fullmatch(got.get("ContentRange", ""))
    if found is None:
        first, behind = 0, got["ContentLength"]
        size = behind
    else:
        first, behind, size = int(found[1]), int(found[2]) + 1, int(found[3])
    if size < end:
        raise StoreError(f"{asked}: it ends at {size}, before {end}")
    if (first, behind) != (offset, end):
        raise StoreError(f"{asked}: other bytes came than were asked for", hint=_IGNORED)

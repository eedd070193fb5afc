"""S3 listings, page by page: with all versions, and plain."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from heapq import merge
from typing import TYPE_CHECKING, TypeVar, cast

from botocore.utils import parse_timestamp

from drkit.stores.aws.errors import Nonsense, check_answer
from drkit.stores.base import Stored, name_of
from drkit.stores.versions import Entry, Version, entry_name

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client
    from types_boto3_s3.type_defs import ListObjectsV2OutputTypeDef as Plain
    from types_boto3_s3.type_defs import ListObjectVersionsOutputTypeDef as Versioned

Answer = TypeVar("Answer", bound=Mapping[str, object])

PAGE = 1000  # the most that S3 gives at once
_VERSION_MARKS = {"NextKeyMarker": "KeyMarker", "NextVersionIdMarker": "VersionIdMarker"}
_PLAIN_MARKS = {"NextContinuationToken": "ContinuationToken"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """A delete that hides what was there before."""

    name: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    versions: list[Version]
    markers: list[Marker]
    folders: list[str]
    date: datetime | None  # by the server's clock

    @property
    def entries(self) -> Iterator[Entry]:
        return merge(self.versions, self.folders, key=entry_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    client: "S3Client"
    bucket: str
    home: str  # what stands before the names of this store

    def versions(self, prefix: str, size: int = PAGE, delimiter: str = "") -> Iterator[Page]:
        """Names in order; of one name from the newest version to the oldest, over pages."""
        ask = cast("Callable[..., Versioned]", self.client.list_object_versions)
        at = partial(ask, **self._asked(prefix, size, delimiter))
        return map(self._page, _followed(at, _VERSION_MARKS))

    def plain(
        self, prefix: str, size: int = PAGE, delimiter: str = ""
    ) -> Iterator[list[Stored | str]]:
        ask = cast("Callable[..., Plain]", self.client.list_objects_v2)
        at = partial(ask, **self._asked(prefix, size, delimiter))
        return map(self._objects, _followed(at, _PLAIN_MARKS))

    def _asked(self, prefix: str, size: int, delimiter: str) -> dict[str, object]:
        asked = {"Bucket": self.bucket, "Prefix": self.home + prefix, "MaxKeys": size}
        return {**asked, "Delimiter": delimiter} if delimiter else asked

    def _page(self, answer: "Versioned") -> Page:
        return Page(
            versions=[
                Version(
                    name=found["Key"].removeprefix(self.home),
                    id=found["VersionId"],
                    size=found["Size"],
                    modified=found["LastModified"].astimezone(UTC),
                    live=found["IsLatest"],
                )
                for found in answer.get("Versions", [])
            ],
            markers=[
                Marker(name=found["Key"].removeprefix(self.home), id=found["VersionId"])
                for found in answer.get("DeleteMarkers", [])
            ],
            folders=self._folders(answer),
            date=_date(answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")),
        )

    def _objects(self, answer: "Plain") -> list[Stored | str]:
        found: list[Stored | str] = [
            Stored(
                name=found["Key"].removeprefix(self.home),
                size=found["Size"],
                modified=found["LastModified"].astimezone(UTC),
            )
            for found in answer.get("Contents", [])
        ]
        return list(merge(found, self._folders(answer), key=name_of))

    def _folders(self, answer: "Plain | Versioned") -> list[str]:
        found = answer.get("CommonPrefixes", [])
        return [folder["Prefix"].removeprefix(self.home) for folder in found]


def _followed(ask: Callable[..., Answer], marks: Mapping[str, str]) -> Iterator[Answer]:
    """`marks`: what of an answer leads to the next one, and how a request calls it."""
    given: dict[str, object] = {}
    while True:
        answer = ask(**given)
        check_answer(answer, "Name", "IsTruncated")
        yield answer
        if not answer.get("IsTruncated"):
            return
        following = {mark: answer[told] for told, mark in marks.items() if answer.get(told)}
        if not following or following == given:
            raise Nonsense("the listing ends in the middle")
        given = following


def parsed_time(text: str) -> datetime:
    """A page has a thousand: botocore's own way takes a hundred times as long for each."""
    if text.endswith("Z"):
        with suppress(ValueError):
            return datetime.fromisoformat(text)
    return parse_timestamp(text)


def _date(header: str) -> datetime | None:
    try:
        return parsedate_to_datetime(header)
    except (ValueError, TypeError):
        return None

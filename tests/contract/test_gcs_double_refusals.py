"""Preconditions, on every operation that has them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
import requests

from tests.fixtures.gcs_double import GcsDouble, gcs_double

Query = dict[str, str]


@pytest.fixture(scope="module")
def open_double() -> Iterator[GcsDouble]:
    with gcs_double(anonymous=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as opened:
        yield opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A bucket with `a` (changed once, and once soft-deleted before) and `source`."""

    session: requests.Session
    endpoint: str
    bucket: str
    generation: int
    deleted: int

    def ask(self, method: str, path: str, query: Query, **more: object) -> requests.Response:
        where = f"{self.endpoint}/{path.replace('B', self.bucket)}"
        return self.session.request(method, where, params=query, timeout=10, **more)  # type: ignore[arg-type]


@pytest.fixture
def place(open_double: GcsDouble, session: requests.Session) -> Place:
    made = Place(
        session=session,
        endpoint=open_double.endpoint,
        bucket=open_double.bucket(soft_delete=60),
        generation=0,
        deleted=0,
    )
    for name in ("a", "source", "a"):
        put = {"uploadType": "media", "name": name}
        assert made.ask("POST", "upload/storage/v1/b/B/o", put, data=b"x").status_code == 200
    made.ask("PATCH", "storage/v1/b/B/o/a", {}, json={"metadata": {"k": "v"}})
    one, two = (version.generation for version in open_double.held(made.bucket)["a"])
    return Place(
        session=session,
        endpoint=made.endpoint,
        bucket=made.bucket,
        generation=two,
        deleted=one,
    )


OBJECTS = "storage/v1/b/B/o"
MULTIPART = (
    b'--x\r\nContent-Type: application/json\r\n\r\n{"name": "a"}\r\n'
    b"--x\r\nContent-Type: text/x\r\n\r\ndata\r\n--x--\r\n"
)
COMPOSED = {"sourceObjects": [{"name": "source"}]}
Ask = Callable[[Place, Query], requests.Response]


def in_parts(place: Place, query: Query) -> requests.Response:
    return place.ask(
        "POST",
        f"upload/{OBJECTS}",
        query | {"uploadType": "multipart"},
        data=MULTIPART,
        headers={"Content-Type": "multipart/related; boundary=x"},
    )


def in_a_session(place: Place, query: Query) -> requests.Response:
    """Begun without the condition holding or not: what counts is when it ends."""
    begun = place.ask("POST", f"upload/{OBJECTS}", query | {"uploadType": "resumable", "name": "a"})
    if begun.status_code != 200:
        return begun
    return place.session.put(begun.headers["Location"], data=b"x", timeout=10)


TARGET: dict[str, Ask] = {
    "get": lambda p, q: p.ask("GET", f"{OBJECTS}/a", q),
    "download": lambda p, q: p.ask("GET", f"download/{OBJECTS}/a", q | {"alt": "media"}),
    "patch": lambda p, q: p.ask("PATCH", f"{OBJECTS}/a", q, json={"cacheControl": "x"}),
    "update": lambda p, q: p.ask("PUT", f"{OBJECTS}/a", q, json={"cacheControl": "x"}),
    "delete": lambda p, q: p.ask("DELETE", f"{OBJECTS}/a", q),
    "delete a generation": lambda p, q: p.ask(
        "DELETE", f"{OBJECTS}/a", q | {"generation": str(p.generation)}
    ),
    "insert media": lambda p, q: p.ask(
        "POST", f"upload/{OBJECTS}", q | {"uploadType": "media", "name": "a"}, data=b"x"
    ),
    "insert multipart": in_parts,
    "insert resumable": in_a_session,
    "rewrite": lambda p, q: p.ask("POST", f"{OBJECTS}/source/rewriteTo/b/B/o/a", q, json={}),
    "copy": lambda p, q: p.ask("POST", f"{OBJECTS}/source/copyTo/b/B/o/a", q, json={}),
    "move": lambda p, q: p.ask("POST", f"{OBJECTS}/source/moveTo/o/a", q),
    "compose": lambda p, q: p.ask("POST", f"{OBJECTS}/a/compose", q, json=COMPOSED),
    "restore": lambda p, q: p.ask(
        "POST", f"{OBJECTS}/a/restore", q | {"generation": str(p.deleted)}, json={}
    ),
}
SOURCE: dict[str, Ask] = {
    "rewrite": lambda p, q: p.ask("POST", f"{OBJECTS}/a/rewriteTo/b/B/o/new", q, json={}),
    "copy": lambda p, q: p.ask("POST", f"{OBJECTS}/a/copyTo/b/B/o/new", q, json={}),
    "move": lambda p, q: p.ask("POST", f"{OBJECTS}/a/moveTo/o/new", q),
}
# what is asked, how far from what is there, whether it holds
CONDITIONS = [
    ("GenerationMatch", 0, True),
    ("GenerationMatch", 1, False),
    ("GenerationMatch", None, False),
    ("GenerationNotMatch", 0, False),
    ("GenerationNotMatch", 1, True),
    ("GenerationNotMatch", None, True),
    ("MetagenerationMatch", 0, True),
    ("MetagenerationMatch", 1, False),
    ("MetagenerationNotMatch", 0, False),
    ("MetagenerationNotMatch", 1, True),
]


def asked(place: Place, name: str, off: int | None) -> str:
    """`off` None: zero, that is: nothing there."""
    if off is None:
        return "0"
    return str(off + (2 if name.startswith("Meta") else place.generation))


@pytest.mark.parametrize("condition", CONDITIONS, ids=str)
@pytest.mark.parametrize(
    ("ask", "prefix"),
    [(ask, "if") for ask in TARGET.values()] + [(ask, "ifSource") for ask in SOURCE.values()],
    ids=[*TARGET, *(f"source of {one}" for one in SOURCE)],
)
def test_every_condition_of_every_operation(
    open_double: GcsDouble,
    place: Place,
    ask: Ask,
    prefix: str,
    condition: tuple[str, int | None, bool],
) -> None:
    name, off, holds = condition
    before = {k: [vars_of(v) for v in vs] for k, vs in open_double.held(place.bucket).items()}
    answer = ask(place, {f"{prefix}{name}": asked(place, name, off)})
    if holds:
        assert answer.status_code in {200, 204}, answer.text
        return
    after = {k: [vars_of(v) for v in vs] for k, vs in open_double.held(place.bucket).items()}
    assert before == after
    if answer.request.method == "GET" and "Not" in name:
        assert (answer.status_code, answer.content) == (304, b"")
        return
    assert answer.status_code == 412
    if "/download/" not in str(answer.url):
        assert answer.json()["error"]["errors"][0]["reason"] == "conditionNotMet"


def vars_of(version: object) -> tuple[object, ...]:
    return tuple(getattr(version, n) for n in ("generation", "metageneration", "soft_deleted"))


@pytest.mark.parametrize("operation", [n for n in TARGET if n not in SOURCE and "in" in n])
def test_only_one_of_two_creates_wins(place: Place, operation: str) -> None:
    place.ask("DELETE", f"{OBJECTS}/a", {})
    answers = [TARGET[operation](place, {"ifGenerationMatch": "0"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 412]


def test_a_session_that_ends_too_late_is_refused(place: Place) -> None:
    query = {"uploadType": "resumable", "name": "new", "ifGenerationMatch": "0"}
    begun = [place.ask("POST", f"upload/{OBJECTS}", query) for _ in range(2)]
    ended = [place.session.put(one.headers["Location"], data=b"x", timeout=10) for one in begun]
    assert [one.status_code for one in ended] == [200, 412]


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE", "POST"])
@pytest.mark.parametrize(
    "condition",
    [
        ("ifMetagenerationMatch", "1", True),
        ("ifMetagenerationMatch", "2", False),
        ("ifMetagenerationNotMatch", "2", True),
        ("ifMetagenerationNotMatch", "1", False),
    ],
)
def test_conditions_on_buckets(
    open_double: GcsDouble, session: requests.Session, method: str, condition: tuple[str, str, bool]
) -> None:
    """POST: its retention policy is locked."""
    name, value, holds = condition
    bucket = open_double.bucket(retention=timedelta(days=1))
    path = f"{open_double.endpoint}/storage/v1/b/{bucket}"
    query = {name: value}
    if method == "POST":
        path += "/lockRetentionPolicy"
        query.setdefault("ifMetagenerationMatch", "1")
    answer = session.request(method, path, params=query, json={}, timeout=10)
    refused = 304 if method == "GET" and "Not" in name else 412
    assert answer.status_code in ({200, 204} if holds else {refused})


def test_etags(place: Place) -> None:
    etag = place.ask("GET", f"{OBJECTS}/a", {}).json()["etag"]

    def status(method: str, **headers: str) -> int:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return place.ask(method, f"{OBJECTS}/a", {}, headers=sent, json={}).status_code

    assert status("GET", If_None_Match=etag) == 304
    assert status("GET", If_None_Match="other") == 200
    assert status("PATCH", If_Match="other") == 412
    assert status("DELETE", If_Match=etag) == 204

"""The repository itself: its identity, what stands at its root, and the names of its domains."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import msgspec

from drkit.errors import AlreadyExists, ConfigError, Damaged, NotFound
from drkit.repository import names
from drkit.repository.format import FORMAT
from drkit.repository.signed import time_text
from drkit.stores.base import Body, Store
from drkit.system import System

MAGIC = "drkit repository"
_FEATURES: frozenset[str] = frozenset()  # the required features that this version knows
_LIMIT = 64 << 10


class Features(msgspec.Struct, frozen=True, kw_only=True):
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


class Document(msgspec.Struct, frozen=True, kw_only=True):
    magic: str
    id: str
    format: int
    draft: bool
    features: Features
    created: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    store: Store
    id: str
    document: bytes
    store_id: str
    copy: bool = False  # a second store, as whoever opened it knows: sessions begin elsewhere
    memory: Path | None = None  # of small objects that were read from it before

    @property
    def raw_id(self) -> bytes:
        return bytes.fromhex(self.id)


def body(data: bytes) -> Body:
    return Body(size=len(data), sha256=hashlib.sha256(data).digest(), data=data)


def put_if_absent(store: Store, name: str, data: bytes) -> bool:
    try:
        store.put(name, body(data))
    except AlreadyExists:
        return False
    return True


def create(store: Store, system: System) -> Repository:
    """Make it, or join the one that is there: the store decides who was first."""
    document = Document(
        magic=MAGIC,
        id=system.random_bytes(16).hex(),
        format=FORMAT,
        draft=True,
        features=Features(),
        created=time_text(system.now()),
    )
    put_if_absent(store, names.REPOSITORY, msgspec.json.encode(document) + b"\n")
    return _furnished(store, system)


def join(store: Store, source: Repository, system: System) -> Repository:
    """Make an empty store a copy of the source's repository; the same one is opened."""
    if not _holds_document(store):
        _refuse_headless(store)
        put_if_absent(store, names.REPOSITORY, source.document)
    there = open_repository(store)
    if there.id != source.id:
        raise ConfigError(
            f"{store.url} holds repository {there.id}, not {source.id} of {source.store.url}",
            hint="a copy needs a place of its own: give another address; nothing was changed",
        )
    return _furnished(store, system)


def _furnished(store: Store, system: System) -> Repository:
    """What a killed run did not get to put is put now; nothing that is there is touched."""
    store_id = {"id": system.random_bytes(16).hex()}
    put_if_absent(store, names.STORE, msgspec.json.encode(store_id) + b"\n")
    put_if_absent(store, names.FORMAT, tool("FORMAT.md"))
    put_if_absent(store, names.RESTORE, tool("restore.py"))
    return open_repository(store)


def _holds_document(store: Store) -> bool:
    try:
        store.size(names.REPOSITORY)
    except NotFound:
        return False
    return True


def _refuse_headless(store: Store) -> None:
    """Backups without their repository.json: nobody knows whose they are."""
    for prefix in (names.DOMAINS, names.EVIDENCE):
        if next(iter(store.list(prefix)), None) is not None:
            raise ConfigError(
                f"{store.url} holds objects of a repository, and no {names.REPOSITORY}",
                hint=f"if they are of this one, put its {names.REPOSITORY} there by hand; "
                "else give another address",
            )


def tool(name: str) -> bytes:
    """A file of the exit path, as this version ships it."""
    return files("drkit.repository").joinpath("exit", name).read_bytes()


def open_repository(store: Store) -> Repository:
    try:
        data = store.read(names.REPOSITORY, _LIMIT)
    except NotFound:
        disk = " (is the disk mounted?)" if store.url.startswith("file://") else ""
        raise ConfigError(
            f"{store.url} holds no drkit repository",
            hint=f"check the address{disk}, or make one with: drkit init",
        ) from None
    try:
        document = msgspec.json.decode(data, type=Document)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Damaged(f"{names.REPOSITORY} in {store.url} is not readable: {error}") from error
    _check(document, store.url)
    return Repository(store=store, id=document.id, document=data, store_id=_store_id(store))


def _check(document: Document, url: str) -> None:
    if document.magic != MAGIC or not names.is_id(document.id):
        raise Damaged(f"{names.REPOSITORY} in {url} is not one of a drkit repository")
    unknown = sorted(set(document.features.required) - _FEATURES)
    if document.format != FORMAT or unknown:
        what = ", ".join(unknown) or f"format {document.format}"
        raise ConfigError(
            f"{url} needs a newer drkit: it uses {what}",
            hint="upgrade drkit on this machine; nothing was read or changed",
        )


def _store_id(store: Store) -> str:
    try:
        found = msgspec.json.decode(store.read(names.STORE, _LIMIT), type=dict[str, str])
    except (NotFound, msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    return found.get("id", "")


def domain_id(repository: str, policy: str, part: str) -> str:
    """Nothing but the policy's name is needed to find a domain again."""
    words = bytes.fromhex(repository) + b"domain" + policy.encode() + b"\0" + part.encode()
    return hashlib.sha256(words).hexdigest()[:32]

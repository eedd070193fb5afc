"""Objects taken from one store to another: read once, checked, and only then put."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from drkit.errors import AlreadyExists, Damaged, DiskError, NotFound, StoreError
from drkit.repository.pack import nameless
from drkit.repository.packlists import Promised
from drkit.repository.transfer import askers, gathered, parallel
from drkit.stores.base import Body, Store

T = TypeVar("T")

Told = Callable[[int], None]  # how many bytes more were read
_MOST = 16  # objects in flight
_WINDOW = 32 << 20  # bytes of all of them in memory, together
_PIECE = 8 << 20  # read at once, at most
_SMALL = 256 << 10  # up to this an object needs no file


class Unfit(Damaged):
    """What the source holds under a name is not what was signed, or is not there."""


def nobody(_: int) -> None:
    """Bytes that are counted elsewhere."""


def lanes(source: Store, target: Store) -> int:
    return max(1, min(_MOST, max(source.lanes, target.lanes)))


def carry(
    objects: Iterable[Promised],
    source: Store,
    target: Store,
    spool: Path,
    done: Callable[[Promised], None],
    told: Told,
) -> None:
    """Several at once; `done` and `told` are called from their threads, which one unfit ends.

    A name that is taken there meanwhile is left as it is: whoever asked looks again at the end.
    """

    def one(what: Promised, buffer: memoryview) -> None:
        with fetched(what, source, spool, buffer, told) as found, suppress(AlreadyExists):
            target.put(what.name, found)
            done(what)

    with_buffers(objects, one, lanes(source, target))


def with_buffers(items: Iterable[T], handle: Callable[[T, memoryview], None], threads: int) -> None:
    """In threads that own a buffer each; all of them together stay within the window."""

    @contextmanager
    def hand() -> Iterator[Callable[[T], None]]:
        buffer = memoryview(bytearray(min(_PIECE, _WINDOW // threads)))
        yield lambda item: handle(item, buffer)

    parallel(items, hand, threads)


@contextmanager
def fetched(
    what: Promised, source: Store, spool: Path, buffer: memoryview, told: Told = nobody
) -> Iterator[Body]:
    """The object as it was signed; anything else is Unfit."""
    with fetched_as_is(what.name, what.size, source, spool, buffer, told) as found:
        if found.sha256 != what.sha256:
            raise Unfit(f"{what.name} is not what was sealed: its SHA-256 is another")
        yield found


@contextmanager
def fetched_as_is(
    name: str, size: int, source: Store, spool: Path, buffer: memoryview, told: Told = nobody
) -> Iterator[Body]:
    """Its first bytes, so many: in memory, or in a file that goes with it."""
    if size <= min(_SMALL, len(buffer)):
        view = buffer[:size]
        with readable(name, source):
            source.read_into(name, 0, view)
        told(size)
        yield Body(size=size, sha256=hashlib.sha256(view).digest(), data=bytes(view))
        return
    fd = nameless(spool)
    try:
        digest = hashlib.sha256()
        for offset in range(0, size, len(buffer)):
            view = buffer[: min(len(buffer), size - offset)]
            with readable(name, source):
                source.read_into(name, offset, view)
            digest.update(view)
            with _room(spool):
                _write_at(fd, view, offset)
            told(len(view))
        yield Body(size=size, sha256=digest.digest(), fd=fd)
    finally:
        os.close(fd)


def _write_at(fd: int, view: memoryview, offset: int) -> None:
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    """The store's own, or this machine's for what is sent."""
    try:
        yield
    except OSError as error:
        raise DiskError(
            f"{folder}: no room for an object on its way to another store: {error.strerror}",
            hint="free some there, and run it again: what was sent is kept",
        ) from error


@contextmanager
def readable(name: str, source: Store) -> Iterator[None]:
    """A store that is down is another matter: that goes on as it is."""
    try:
        yield
    except NotFound as error:
        raise Unfit(f"{name} is missing in {source.url}") from error
    except StoreError as error:
        if error.transient:
            raise
        raise Unfit(f"{name} can't be read in {source.url}: {error.message}") from error


def read_all(store: Store, wanted: Iterable[str], limit: int) -> dict[str, bytes | StoreError]:
    """Small objects, many at once; what is final is an answer, what may pass is raised."""

    def ask(name: str) -> bytes | StoreError:
        try:
            return store.read(name, limit)
        except StoreError as error:
            if error.transient:
                raise
            return error

    names = list(wanted)
    return dict(zip(names, gathered(names, ask, askers(store.lanes)), strict=True))

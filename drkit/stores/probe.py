"""What a store really does, asked with a few objects: some accept a condition and ignore it."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from drkit.errors import AlreadyExists, NotFound, StoreError
from drkit.model.finding import Finding
from drkit.model.retention import LockMode
from drkit.stores.base import Body, Lock, Store

LOCKED_FOR = timedelta(minutes=5)  # outlasts clocks a minute or two apart, and some retries
_SIZE = 70_001  # over one 64 KiB buffer, and odd
_ALLOWED = "allowed"
_OTHER_STORE = "no backup is safe there: use another kind of store, or a newer server"
_SWITCH_ON = {
    "s3": "with versioning on: aws s3api put-object-lock-configuration --bucket {bucket} "
    "--object-lock-configuration ObjectLockEnabled=Enabled; where the server refuses that: "
    "a new bucket, aws s3api create-bucket --bucket NAME --object-lock-enabled-for-bucket",
    "gs": "a new bucket: gcloud storage buckets create gs://NAME --enable-per-object-retention; "
    "in an existing one only the Google Cloud console can switch it on",
}
_NEEDS_LOCK = "retention: lock takes an s3:// or gs:// store: at least one of the copies"


def brief_lock(mode: LockMode, now: datetime) -> Lock:
    """What `probe` asks with: an object under it can't be taken away before."""
    return Lock(mode=mode, until=now + LOCKED_FOR)


def probe(
    store: Store, random_bytes: Callable[[int], bytes], lock: Lock | None = None
) -> list[Finding]:
    """Each question once; the objects asked with are deleted again where that is allowed.

    With `lock`, one object more is put under it, and stays until then.
    """
    home = f"probe/{random_bytes(16).hex()}"
    data = random_bytes(_SIZE)
    names = _names(home)
    first = _asked("put", lambda: _puts(store, names, data))
    if first.level == "fail":
        return [first]
    questions = {
        "create if absent": lambda: _twice(store, names[0], data),
        "listing": lambda: _listed(store, home, names),
        "ranges": lambda: _ranges(store, names[0], data),
        "the end of an object": lambda: _past_the_end(store, names[0]),
        "missing objects": lambda: _missing(store, f"{home}/nothing"),
    }
    findings = [first, *(_asked(what, ask) for what, ask in questions.items())]
    if not _is_folder(store):
        findings.append(_checksums(store, f"{home}/wrong", data))
    findings.append(_deletes(store, names))
    if lock is not None:
        findings.append(_locks(store, f"{home}/locked", lock, allowed=findings[-1]))
    return findings


def _is_folder(store: Store) -> bool:
    """Bytes that travel no wire need no checksum on their way."""
    try:
        return store.staging() is not None
    except StoreError:
        return False


def _names(home: str) -> tuple[str, ...]:
    """Like those of the format: the longest, and every unusual character."""
    a, b = "0123456789abcdef" * 2, "fedcba9876543210" * 2
    domain = f"{home}/domains/{a}"
    segment = f"{domain}/wal/00000001/000000010000000A000000FF"
    return (
        f"{domain}/generations/{b}/packs/{a}-000000",
        f"{domain}/generations/{b}/outcome/{a}",
        f"{segment}.d/00000000-00ffffff",
        f"{segment}+{a}",
        f"{home}/restore.py",
    )


def _asked(what: str, ask: Callable[[], str]) -> Finding:
    """What a question raises is its answer: an unknown is a failure."""
    try:
        return Finding(level="pass", what=what, message=ask())
    except StoreError as error:
        hint = error.hint or _OTHER_STORE
        return Finding(level="fail", what=what, message=error.message, hint=hint)


def _body(data: bytes) -> Body:
    return Body(size=len(data), sha256=hashlib.sha256(data).digest(), data=data)


def _puts(store: Store, names: tuple[str, ...], data: bytes) -> str:
    for number, name in enumerate(names):
        store.put(name, _body(data[number:]))
    return f"{len(names)} objects with names as the format has them"


def _twice(store: Store, name: str, data: bytes) -> str:
    try:
        store.put(name, _body(bytes(len(data))))
    except AlreadyExists:
        pass
    else:
        raise StoreError("a second put of one name was accepted")
    if store.read(name, _SIZE) != data:
        raise StoreError("a second put was refused, and yet changed the object")
    return "a second put is refused, the first bytes stay"


def _listed(store: Store, home: str, names: tuple[str, ...]) -> str:
    wanted = sorted((name, _SIZE - number) for number, name in enumerate(names))
    found = [(item.name, item.size) for item in store.list(f"{home}/")]
    if found != wanted:
        raise StoreError(
            f"{len(wanted)} new objects, but the listing is {_difference(found, wanted)}"
        )
    return "new objects are listed at once, in order, with their sizes"


def _difference(found: list[tuple[str, int]], wanted: list[tuple[str, int]]) -> str:
    lacking = [name for name, _ in wanted if name not in dict(found)]
    if lacking:
        return f"without {lacking[0]}"
    return "out of order" if sorted(found) == wanted else "wrong in sizes or names"


def _ranges(store: Store, name: str, data: bytes) -> str:
    for offset, length in _cuts():
        piece = bytearray(length)
        store.read_into(name, offset, memoryview(piece))
        if piece != data[offset : offset + length]:
            raise StoreError(f"bytes {offset} to {offset + length} of an object are wrong")
    return "every range asked for is right"


def _cuts() -> Iterator[tuple[int, int]]:
    yield 0, _SIZE
    for offset in (0, 1, 4095, 4096, 65_535, 65_536):
        yield offset, 1
        yield offset, 4097
    yield _SIZE - 1, 1


def _past_the_end(store: Store, name: str) -> str:
    for offset, length in ((0, _SIZE + 1), (_SIZE - 1, 2), (_SIZE, 1), (_SIZE + 4096, 1)):
        try:
            store.read_into(name, offset, memoryview(bytearray(length)))
        except NotFound:
            raise StoreError("an object that is there counts as missing behind its end") from None
        except StoreError:
            continue
        raise StoreError(f"{length} bytes at {offset} were read of an object that ends at {_SIZE}")
    return "reading past the end is an error"


def _missing(store: Store, name: str) -> str:
    asks: tuple[Callable[[], object], ...] = (
        lambda: store.read(name, 1),
        lambda: store.size(name),
        lambda: store.read_into(name, 0, memoryview(bytearray(1))),
    )
    for ask in asks:
        try:
            ask()
        except NotFound:
            continue
        raise StoreError("an object that was never put is there")
    return "what is not there is not found"


def _deletes(store: Store, names: tuple[str, ...]) -> Finding:
    what = "deleting"
    try:
        for name in names:
            store.delete(name)
    except StoreError as error:
        message = f"refused, so this host can't delete backups: {error.message}"
        return Finding(level="pass", what=what, message=message)
    left = _asked(what, lambda: f"{sum(1 for _ in store.list(names[0]))} objects left")
    if left.message != "0 objects left":
        return Finding(level="warn", what=what, message=f"allowed, but then {left.message}")
    return Finding(level="pass", what=what, message=_ALLOWED)


def _checksums(store: Store, name: str, data: bytes) -> Finding:
    what = "checksums"
    try:
        store.put(name, replace(_body(data), sha256=hashlib.sha256(b"other bytes").digest()))
    except StoreError as error:
        if not error.transient:
            return Finding(level="pass", what=what, message="bytes that were changed are refused")
        return Finding(level="fail", what=what, message=error.message, hint=error.hint)
    with suppress(StoreError):  # it may not: then the object stays, and does no harm
        store.delete(name)
    return Finding(
        level="warn",
        what=what,
        message="bytes that do not fit their checksum are accepted",
        hint="what is damaged on its way there is found by drkit scrub alone: plan one a week",
    )


def _locks(store: Store, name: str, lock: Lock, *, allowed: Finding) -> Finding:
    """`allowed`: what came of deleting objects without a lock."""
    what = "lock"
    if not store.locks:
        message = "this kind of store has no lock"
        return Finding(level="warn", what=what, message=message, hint=_NEEDS_LOCK)
    try:
        refusal = _held(store, name, lock)
    except StoreError as error:
        hint = error.hint or _switch_on(store)
        return Finding(level="fail", what=what, message=error.message, hint=hint)
    if allowed.message != _ALLOWED:
        return Finding(
            level="warn",
            what=what,
            message=f"taken, but not proven, as this machine may delete nothing: {refusal}",
            hint="run drkit doctor with this policy where deleting is allowed",
        )
    until = f"{lock.until:%Y-%m-%dT%H:%M:%SZ}"
    message = f"a locked object can't be deleted; {name} stays until {until}"
    return Finding(level="pass", what=what, message=message)


def _held(store: Store, name: str, lock: Lock) -> str:
    """What the store says to the delete."""
    data = name.encode()
    store.put(name, replace(_body(data), lock=lock))
    try:
        store.delete(name)
    except StoreError as error:
        if error.transient:
            raise
        if store.read(name, _SIZE) != data:
            raise StoreError("a delete was refused, and yet changed the object") from error
        return error.message
    raise StoreError("a locked object was deleted at once: the bucket has no object lock")


def _switch_on(store: Store) -> str:
    scheme, _, rest = store.url.partition("://")
    return _SWITCH_ON.get(scheme, _OTHER_STORE).format(bucket=rest.partition("/")[0])

"""The commit point: one object, put once, believed only when it reads back."""

from drkit.errors import AlreadyExists, Busy, Damaged, NotFound, StoreError
from drkit.repository.repository import body
from drkit.repository.signed import Fence, Where, decode_outcome
from drkit.stores.base import Store

_LIMIT = 64 << 10


def put_outcome(store: Store, name: str, data: bytes, where: Where) -> None:
    """Whatever the put said, what stands there decides; what can't be seen is unknown."""
    refusal = _put(store, name, data)
    try:
        found = store.read(name, _LIMIT)
    except NotFound as error:
        if refusal is not None and not refusal.transient:
            raise refusal from error
        raise _unknown(where, refusal or error) from error
    except StoreError as error:
        raise _unknown(where, error) from error
    if found != data:
        raise fenced(where) if _is_fence(found, where) else _unknown(where, _odd(name))
    if refusal is not None and not refusal.transient:  # there, and perhaps not durable
        raise _unknown(where, refusal)


def _put(store: Store, name: str, data: bytes) -> StoreError | None:
    try:
        store.put(name, body(data))
    except AlreadyExists:
        return StoreError(f"{name} was taken and is not there", transient=True)
    except StoreError as error:
        return error
    return None


def _is_fence(data: bytes, where: Where) -> bool:
    try:
        return isinstance(decode_outcome(data, where)[0], Fence)
    except Damaged:
        return False


def _odd(name: str) -> StoreError:
    return StoreError(f"{name} reads as neither this commit nor a fence")


def _unknown(where: Where, error: StoreError) -> StoreError:
    return StoreError(
        f"outcome unknown: the last object of session {where.session} was sent: {error}",
        hint="drkit list shows whether it counts; the next drkit backup is safe either way",
        transient=error.transient,
    )


def fenced(where: Where) -> Busy:
    return Busy(
        f"session {where.session} was fenced by a forget while it ran; nothing was committed",
        hint="run drkit backup again",
    )

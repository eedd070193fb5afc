"""The small objects of a domain, read many at a time: over a network each is a round trip."""

from collections.abc import Sequence

from drkit.errors import Damaged, NotFound, StoreError
from drkit.repository.repository import Repository
from drkit.repository.seen import remember, remembered
from drkit.repository.transfer import askers, gathered, is_far
from drkit.stores.base import Store, Stored

LIMIT = 64 << 10
Answer = bytes | Damaged | NotFound  # the last two are findings, not ends


def read_small(store: Store, name: str) -> bytes:
    """One object too large must not keep everything else from being listed."""
    try:
        return store.read(name, LIMIT)
    except NotFound:
        raise
    except StoreError as error:
        if error.transient or (size := store.size(name)) <= LIMIT:
            raise
        raise Damaged(f"{name} has {size} bytes, more than drkit ever gives it") from error


def read_smalls(repository: Repository, listed: Sequence[Stored]) -> dict[str, Answer]:
    """What a listing has just shown; over a network, as far as it is remembered, without asking."""
    store = repository.store
    memory = repository.memory if is_far(store.lanes) else None
    known = remembered(memory, {stored.name: stored for stored in listed})

    def ask(stored: Stored) -> Answer:
        try:
            return read_small(store, stored.name)
        except (Damaged, NotFound) as error:
            return error

    new = [stored for stored in listed if stored.name not in known]
    answers = gathered(new, ask, askers(store.lanes))
    read = list(zip(new, answers, strict=True))
    remember(memory, [(stored, data) for stored, data in read if isinstance(data, bytes)])
    return {**known, **{stored.name: answer for stored, answer in read}}


def of(answers: dict[str, Answer], name: str) -> bytes:
    answer = answers[name]
    if isinstance(answer, bytes):
        return answer
    raise answer

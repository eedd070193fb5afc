"""The small objects of a domain, read many at a time: over a network each is a round trip."""

from collections.abc import Sequence

from drkit.errors import Damaged, NotFound, StoreError
from drkit.repository.transfer import askers, gathered
from drkit.stores.base import Store

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


def read_smalls(store: Store, names: Sequence[str]) -> dict[str, Answer]:
    def ask(name: str) -> Answer:
        try:
            return read_small(store, name)
        except (Damaged, NotFound) as error:
            return error

    answers = gathered(names, ask, askers(store.lanes))
    return dict(zip(names, answers, strict=True))


def of(answers: dict[str, Answer], name: str) -> bytes:
    answer = answers[name]
    if isinstance(answer, bytes):
        return answer
    raise answer

"""WAL cut at a floor: put the floor, look again, delete below the lower of both limits."""

from collections.abc import Iterable
from datetime import datetime

from drkit.crypto.sign import SignerKey
from drkit.errors import Damaged, NotFound
from drkit.model.snapshot import Snapshot
from drkit.repository import names
from drkit.repository.expiry import Forgetting, Looked
from drkit.repository.history import History, read_history
from drkit.repository.repository import Repository, put_if_absent
from drkit.repository.signed import Begin, Floor, Where, decode, encode
from drkit.repository.wal_floor import Needs, needs, unneeded, usable_floors

_LIMIT = 64 << 10

Gone = list[list[tuple[str, int]]]  # names and sizes, a batch after the other


def forget_wal(
    repository: Repository, ask: Forgetting, signer: SignerKey, looked: Looked, now: datetime
) -> tuple[int | None, Gone]:
    """The floor that was put, and what may be deleted now."""
    store = repository.store
    listed = {stored.name: stored for stored in store.list(names.wal(ask.domain))}
    first = _needs(repository, ask, looked.history, looked, now) if listed else None
    if first is None or not unneeded(listed, first.limit, first):
        return None, []
    where = Where(repository=repository.id, domain=ask.domain, lsn=first.limit)
    data = encode(Floor(lsn=first.limit, at=now), where, signer)
    put = put_if_absent(store, names.floor(ask.domain, first.limit), data)
    again = read_history(repository, ask.domain, ask.pins)
    second = _needs(repository, ask, again, looked, now)
    if second is None:
        return first.limit if put else None, []
    lowest = min(first.limit, second.limit)
    stood = ((s.lsn, listed[n].modified) for n in listed if (s := _floor(n)) is not None)
    old = usable_floors(
        ((lsn, at) for lsn, at in stood if lsn is not None), lowest, ask.rules.patience, now
    )
    gone = unneeded(listed, max(old, default=0), second)
    pieces = [(n, listed[n].size) for n in gone if ".d/" in n]
    rest = [(n, listed[n].size) for n in gone if ".d/" not in n]
    return first.limit if put else None, [pieces, rest]


def _floor(name: str) -> "names.Name | None":
    said = names.parse(name)
    return said if said is not None and said.kind == "floor" else None


def _needs(
    repository: Repository, ask: Forgetting, history: History, looked: Looked, now: datetime
) -> Needs | None:
    commits = history.snapshots
    sound = [s for s in commits if _sound(s, looked)]
    begins = _begins(repository, history)
    newest = max(sound, key=lambda s: (s.stored, s.session), default=None)
    return needs(commits, newest, begins, ask.rules.keep, now)


def _sound(snapshot: Snapshot, looked: Looked) -> bool:
    lost = looked.lost.get(snapshot.generation)
    return lost is not None and not lost and snapshot.generation not in looked.proofs.damaged


def _begins(repository: Repository, history: History) -> Iterable[int | None]:
    """Of sessions without outcome; None where it can't be read, which stops every delete."""
    for g in history.generations.values():
        for session, stored in g.open_sessions.items():
            where = Where(
                repository=repository.id, domain=history.domain, generation=g.id, session=session
            )
            if stored.size > _LIMIT:
                yield None
                continue
            try:
                begin, _ = decode(Begin, repository.store.read(stored.name, _LIMIT), where)
            except (Damaged, NotFound):
                yield None
            else:
                yield begin.start_lsn

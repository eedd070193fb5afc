"""What lies in a repository and belongs to nobody's commit."""

from collections.abc import Iterator, Mapping

from drkit.errors import Damaged, NotFound
from drkit.model.finding import Finding
from drkit.repository import names
from drkit.repository.history import Generation, History
from drkit.repository.packlists import Packlist, Read
from drkit.repository.repository import Repository
from drkit.repository.signed import SMALL, Begin, Where, decode

_HINT = "find out who has rights on the store"


def odd(
    repository: Repository, history: History, lists: Mapping[str, Mapping[str, Read]]
) -> Iterator[Finding]:
    for g in history.generations.values():
        yield from _begins(repository, history, g)
        if not g.expired:
            yield from _opened(g)
            yield from _extra(g, lists.get(g.id, {}))
        for session in sorted(set(g.outcomes) - set(g.begins)):
            yield _finding("fail", f"session {session} of generation {g.id} has lost its begin")
    for stored in repository.store.list(names.wal(history.domain)):
        if names.parse(stored.name) is None:
            yield _finding("fail", f"{stored.name} is no name that drkit gives")


def _begins(repository: Repository, history: History, g: Generation) -> Iterator[Finding]:
    for session, stored in sorted(g.begins.items()):
        where = Where(
            repository=repository.id, domain=history.domain, generation=g.id, session=session
        )
        if stored.size > SMALL:
            yield _finding("fail", f"{stored.name}: {stored.size} bytes, more than drkit gives it")
            continue
        try:
            decode(Begin, repository.store.read(stored.name, SMALL), where)
        except (Damaged, NotFound) as error:
            yield _finding("fail", f"{stored.name}: {error.message}")


def _opened(g: Generation) -> Iterator[Finding]:
    if g.opened is None:
        yield _finding("fail", f"generation {g.id} has lost its `open`")


def _extra(g: Generation, lists: Mapping[str, Read]) -> Iterator[Finding]:
    """A running or fenced session's objects are nobody's yet, and no finding."""
    for last in sorted(g.packs):
        session = last.partition("-")[0]
        read = lists.get(session)
        foreign = isinstance(read, Packlist) and last not in read.packs
        if foreign or session not in g.begins:
            yield _finding("warn", f"pack {last} of generation {g.id} is in no packlist")
    for kind, there in (("manifest", g.manifests), ("packlist", g.packlists)):
        for session in sorted(set(there) - set(g.begins)):
            yield _finding("warn", f"{kind} {session} of generation {g.id} is of no session")


def _finding(level: str, message: str) -> Finding:
    return Finding(
        level="fail" if level == "fail" else "warn",
        what="tampering" if level == "fail" else "extra",
        message=message,
        hint=_HINT,
    )

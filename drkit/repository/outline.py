"""A domain listed without what is most of it and seldom asked for: packs and what lists them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile

from drkit.repository import names
from drkit.repository.transfer import askers, gathered
from drkit.stores.base import Store, Stored

_PAGE = 1000  # what a store tells at once; its last one only with the next page
_FEW = _PAGE - 1
_OBJECTS = 2  # a session leaves for ever: begin and outcome
_PARTS = ("begin/", "outcome/")
_LEFT_OUT = ("packs/", "manifest/", "packlist/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    objects: list[Stored]  # in the order of names
    generations: frozenset[str]  # ids of those of which something was left out


def outline(store: Store, domain: str, seen: Sequence[str] = ()) -> Outline:
    """Marks, begins, outcomes, and whatever stands beside them.

    Page by page while each tells of more generations than could be asked for meanwhile, as in a
    small domain, all of which comes on one. What is left then is asked for by folder, many at once:
    all but packs, manifests and packlists. `seen`: names that were there once; so many that they
    fill pages by themselves make those needless.
    """
    root = names.generations(domain)
    pages = len(seen) * _OBJECTS / _FEW
    if pages >= 1 and len(_generations(root, seen)) <= pages * store.lanes:
        return _Large(store, root, seen).outline()
    listing = store.list(root)
    found: list[Stored] = []
    while True:
        wanted = _PAGE if found else _FEW
        page = list(islice(listing, wanted))
        found += page
        if len(page) < wanted:
            return Outline(objects=found, generations=frozenset())
        if len(_generations(root, (stored.name for stored in page))) <= store.lanes:
            return _Large(store, root, [found[-1].name], found, listing).outline()


def _generations(root: str, listed: Iterable[str]) -> set[str]:
    return {name[len(root) :].partition("/")[0] for name in listed if name.startswith(root)}


def domains_of(store: Store) -> list[str]:
    """Those in which something was opened, or came to an end."""
    first = list(islice(store.list(names.DOMAINS), _FEW))
    if len(first) < _FEW:
        parsed = [names.parse(stored.name) for stored in first]
        kinds = {"open", "outcome"}
        return sorted(
            {name.domain for name in parsed if name and name.domain and name.kind in kinds}
        )
    ids = [folder.split("/")[-2] for folder in _folders(store, names.DOMAINS)]
    used = gathered(ids, lambda id: names.is_id(id) and _is_used(store, id), askers(store.lanes))
    return [id for id, is_used in zip(ids, used, strict=True) if is_used]


def _is_used(store: Store, domain: str) -> bool:
    for folder in _folders(store, names.generations(domain)):
        generation = folder.split("/")[-2]
        if not names.is_id(generation):
            continue
        if any(name == names.opened(domain, generation) for name in _objects(store, folder)):
            return True
        parsed = (names.parse(s.name) for s in store.list(names.outcomes(domain, generation)))
        if any(parsed):
            return True
    return False


def _folders(store: Store, prefix: str) -> Iterator[str]:
    return (found for found in store.level(prefix) if isinstance(found, str))


def _objects(store: Store, prefix: str) -> Iterator[str]:
    return (found.name for found in store.level(prefix) if isinstance(found, Stored))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    prefix: str
    level: bool = False


class _Large:
    """What goes on behind a first page; without one, all of it."""

    def __init__(
        self,
        store: Store,
        root: str,
        seen: Iterable[str],
        first: Sequence[Stored] = (),
        listing: Iterable[Stored] = (),
    ) -> None:
        self._store = store
        self._root = root
        self._seen = seen
        self._listing = listing  # behind `first`
        self._last = first[-1].name if first else ""
        self._objects = {stored.name: stored for stored in first}
        self._left_out: set[str] = set()
        self._asked: set[str] = set()

    def outline(self) -> Outline:
        """Generations that are known already are asked for at once."""
        known = _generations(self._root, self._seen)
        asks = [_Ask(prefix=self._root, level=True)]
        asks += [ask for id in sorted(known) for ask in self._of_folder(f"{self._root}{id}/")]
        while asks:
            answers = gathered(asks, self._ask, askers(self._store.lanes))
            found = [one for answer in answers for one in answer]
            self._objects |= {one.name: one for one in found if isinstance(one, Stored)}
            folders = [one for one in found if isinstance(one, str)]
            asks = [ask for folder in folders for ask in self._of_folder(folder)]
        return Outline(
            objects=[self._objects[name] for name in sorted(self._objects)],
            generations=frozenset(self._left_out),
        )

    def _of_folder(self, folder: str) -> list[_Ask]:
        """What is still unknown of it."""
        if folder in self._asked:
            return []
        self._asked.add(folder)
        generation, _, inside = folder[len(self._root) :].partition("/")
        if names.is_id(generation) and inside in _LEFT_OUT:
            self._left_out.add(generation)
            return []
        asks = [_Ask(prefix=folder)]
        if names.is_id(generation) and not inside:
            parts = [_Ask(prefix=folder + part) for part in _PARTS]
            self._asked.update(part.prefix for part in parts)
            asks = [_Ask(prefix=folder, level=True), *parts]
        return [ask for ask in asks if self._is_open(ask.prefix)]

    def _is_open(self, prefix: str) -> bool:
        """Whether the page ended before all of it."""
        return prefix > self._last or self._last.startswith(prefix)

    def _ask(self, ask: _Ask) -> list[Stored | str]:
        if ask.level:
            return list(self._store.level(ask.prefix))
        found = self._store.list(ask.prefix)
        if self._last.startswith(ask.prefix):  # the page ended in it: it goes on from there
            found = takewhile(lambda stored: stored.name.startswith(ask.prefix), self._listing)
        return [*found]

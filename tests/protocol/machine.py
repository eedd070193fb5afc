"""A store as a bit mask of objects, a scene of generations and sessions, and what a listing says about them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

Stores = tuple[int, ...]  # home first, then the copy
Proc = tuple[str, int, int, int]  # the next step, and three numbers of memory
State = tuple[Stores, tuple[Proc, ...]]
Step = tuple[str, Stores, Proc]  # what happened, and what is then
Machine = Callable[[Stores, Proc, tuple[Proc, ...]], Iterator[Step]]


@dataclass(frozen=True, kw_only=True)
class Session:
    name: str
    generation: str
    rank: int  # the fixed order of commits ("newer"); never the order in which they arrive
    parent: str | None = None
    uses: tuple[str, ...] = ()  # sessions whose packs are referenced
    low: int = 0  # the lower bound of the start LSN that `begin` holds; one LSN a segment
    start: int = 0
    end: int = 0
    retained: bool = False  # inside retention
    kept: bool = False  # inside `keep`, which counts for WAL
    ageing: bool = False  # a forgetter may find it inside or outside `keep`


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What stands in the stores at first, what may happen, and which mutants are at work."""

    sessions: tuple[Session, ...]
    segments: int = 0  # WAL segments that were put before
    streamed: int = 0  # further ones that a stream may still put
    committed: tuple[frozenset[str], ...] = (frozenset(),)  # by store
    fenced: frozenset[str] = frozenset()
    proven: frozenset[str] = frozenset()  # generations
    damaged: frozenset[str] = frozenset()  # sessions with damage evidence later than any proof
    targets: tuple[str, ...] = ()  # generations the forgetters' plans may pick
    lost: bool = True  # answers to an outcome's put may be lost
    crash: bool = False  # a writer may crash anywhere and start its next session
    patient: bool = False  # restores are shorter than the patience, and deletes wait that long
    jobs: int = 1  # how many jobs a forgetter does one after the other
    mutants: frozenset[str] = frozenset()

    @cached_property
    def bits(self) -> Mapping[str, int]:
        names = [f"{kind}/{g}" for g in self.generations for kind in ("closed", "expired", "proof")]
        kinds = ("begin", "packs", "manifest", "packlist", "commit", "fence", "fence-here")
        names += [f"{kind}/{s.name}" for s in self.sessions for kind in kinds]
        names += [f"wal/{n}" for n in range(self.segments + self.streamed)]
        names += [f"floor/{n}" for n in range(self.segments + self.streamed + 1)]
        return {name: 1 << number for number, name in enumerate(names)}

    @cached_property
    def generations(self) -> tuple[str, ...]:
        return tuple(sorted({s.generation for s in self.sessions}))

    @cached_property
    def by_name(self) -> Mapping[str, "Listed"]:
        return {s.name: Listed.of(self, s) for s in self.sessions}

    @cached_property
    def in_generation(self) -> Mapping[str, tuple["Listed", ...]]:
        all_ = self.by_name.values()
        return {g: tuple(x for x in all_ if x.session.generation == g) for g in self.generations}

    @cached_property
    def floors(self) -> tuple[int, ...]:
        return tuple(self.bits[f"floor/{n}"] for n in range(self.segments + self.streamed + 1))

    @cached_property
    def wal(self) -> tuple[int, ...]:
        return tuple(self.bits[f"wal/{n}"] for n in range(self.segments + self.streamed))

    def mutant(self, name: str) -> bool:
        return name in self.mutants

    def first(self) -> Stores:
        return tuple(self._store(names) for names in self.committed)

    def _store(self, names: frozenset[str]) -> int:
        bits = self.bits
        store = sum(bits[f"proof/{g}"] for g in self.proven) | sum(self.wal[: self.segments])
        for name in names:
            store |= self.by_name[name].whole | bits[f"begin/{name}"] | bits[f"commit/{name}"]
        for name in self.fenced:
            store |= self.by_name[name].own | bits[f"begin/{name}"] | bits[f"fence/{name}"]
        return store


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A session and the bits of its objects."""

    session: Session
    begin: int
    commit: int
    fence: int
    slot: int  # the one outcome: commit or fence
    own: int  # packs, manifest, packlist
    packs: int
    whole: int  # own, and used packs
    wal: int  # from start to end
    closed: int
    expired: int
    parent: int  # its commit, 0 without
    damaged: bool

    @staticmethod
    def of(scene: Scene, s: Session) -> "Listed":
        bit = scene.bits
        own = bit[f"packs/{s.name}"] | bit[f"manifest/{s.name}"] | bit[f"packlist/{s.name}"]
        fences = bit[f"fence/{s.name}"] | bit[f"fence-here/{s.name}"]
        return Listed(
            session=s,
            begin=bit[f"begin/{s.name}"],
            commit=bit[f"commit/{s.name}"],
            fence=fences,
            slot=bit[f"commit/{s.name}"] | fences,
            own=own,
            packs=bit[f"packs/{s.name}"],
            whole=own | sum(bit[f"packs/{used}"] for used in s.uses),
            wal=sum(scene.wal[s.start : s.end + 1]) if scene.wal else 0,
            closed=bit[f"closed/{s.generation}"],
            expired=bit[f"expired/{s.generation}"],
            parent=bit[f"commit/{s.parent}"] if s.parent else 0,
            damaged=s.name in scene.damaged,
        )

    def live(self, store: int) -> bool:
        return bool(store & self.commit) and not store & self.expired

    def sound(self, store: int) -> bool:
        return self.live(store) and store & self.whole == self.whole and not self.damaged

    def open(self, store: int) -> bool:
        return bool(store & self.begin) and not store & self.slot


def live(scene: Scene, store: int) -> list[Listed]:
    return [x for x in scene.by_name.values() if x.live(store)]


def newest_sound(scene: Scene, store: int) -> list[Listed]:
    """The newest sound commit, or none."""
    sound = [x for x in scene.by_name.values() if x.sound(store)]
    return sorted(sound, key=lambda x: x.session.rank)[-1:]


def highest_floor(scene: Scene, store: int) -> int:
    return max((n for n, bit in enumerate(scene.floors) if store & bit), default=0)


def may_go(scene: Scene, store: int, generation: str, *, look_at_proof: bool = True) -> bool:
    """Step 1 of expiry: the whole decision over what one listing shows."""
    commits = [x for x in scene.in_generation[generation] if store & x.commit]
    if any(x.session.retained for x in commits):
        return False
    if not _another_newer(scene, store, generation, commits):
        return False
    return not look_at_proof or _another_proven(scene, store, generation)


def _another_newer(scene: Scene, store: int, generation: str, commits: list[Listed]) -> bool:
    others = [x for x in live(scene, store) if x.session.generation != generation]
    if scene.mutant("no newer rule"):
        return any(x.sound(store) for x in others)
    last = max((x.session.rank for x in commits), default=-1)
    if scene.mutant("newer and sound by different commits"):
        newer = {x.session.generation for x in others if x.session.rank > last}
        return any(x.sound(store) and x.session.generation in newer for x in others)
    return any(x.sound(store) and x.session.rank > last for x in others)


def _another_proven(scene: Scene, store: int, generation: str) -> bool:
    bit = scene.bits
    proven = [g for g in scene.generations if store & bit[f"proof/{g}"]]
    if not proven:
        return True
    closed_counts = scene.mutant("a closed generation counts as proven")
    return any(
        g != generation
        and (closed_counts or not store & bit[f"closed/{g}"])
        and any(x.sound(store) for x in scene.in_generation[g])
        for g in proven
    )


def wal_limits(scene: Scene, store: int) -> set[int]:
    """The lowest LSN anything needs, as forgetters with either opinion on what is ageing see it."""
    commits = live(scene, store)
    if not commits:
        return set()
    certain = [x.session.start for x in commits if x.session.kept]
    if not scene.mutant("newest not counted for WAL"):
        certain += [x.session.start for x in newest_sound(scene, store)]
    if not scene.mutant("open sessions ignored for WAL"):
        certain += [x.session.low for x in scene.by_name.values() if x.open(store)]
    top = scene.segments + scene.streamed
    ageing = [x.session.start for x in commits if x.session.ageing]
    return {min([*certain, top]), min([*certain, *ageing, top])}


def islands(scene: Scene, store: int) -> int:
    mask = 0
    for x in live(scene, store):
        mask |= x.wal
    return mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """A scene and the processes in it; `alike` are indexes of interchangeable ones."""

    name: str
    scene: Scene
    names: tuple[str, ...]
    machines: tuple[Machine, ...]
    begin: tuple[Proc, ...]
    sessions: tuple[tuple[str, ...], ...]  # by process: what it writes or copies
    alike: tuple[int, int] | None = None
    must_happen: frozenset[str] = field(default_factory=frozenset)

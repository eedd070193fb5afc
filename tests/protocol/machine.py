"""A store as a bit mask of objects, the scene it stands for, and what a listing says."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

Stores = tuple[int, ...]  # home first, then the copy, then a third
Proc = tuple[str, int, int, int]  # the next step, and three numbers of memory
State = tuple[Stores, tuple[Proc, ...]]
Step = tuple[str, Stores, Proc]  # what happened, and what is then
HOME, COPY, THIRD = 0, 1, 2
DRILLS = 1  # marks a drill's memory, so that a patient forgetter knows one
RUNNING = frozenset({"manifest", "packs", "wal"})  # the steps of a drill that read
Machine = Callable[[Stores, Proc, tuple[Proc, ...]], Iterator[Step]]


@dataclass(frozen=True, kw_only=True)
class Session:
    name: str
    generation: str
    rank: int  # the fixed order of commits ("newer"); never the order in which they arrive
    parent: str | None = None
    uses: tuple[str, ...] = ()  # sessions whose packs are referenced
    timeline: int = 1
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
    timelines: tuple[int, ...] = (1,)
    segments: int = 0  # WAL segments a timeline that were put before
    streamed: int = 0  # further ones that a stream may still put on the last
    committed: tuple[frozenset[str], ...] = (frozenset(),)  # by store
    fenced: frozenset[str] = frozenset()
    also: frozenset[str] = frozenset()  # further objects that are there
    absent: frozenset[str] = frozenset()  # and some that are not
    proven: frozenset[str] = frozenset()  # generations
    damaged: frozenset[str] = frozenset()  # sessions with damage evidence later than any proof
    targets: tuple[str, ...] = ()  # generations the forgetters' plans may pick
    lost: bool = True  # answers to an outcome's put may be lost
    crash: bool = False  # a writer may crash anywhere and start its next session
    patient: bool = False  # restores are shorter than the patience, and deletes wait that long
    parts: bool = False  # the second look reads one generation at a time
    unforgotten: frozenset[int] = frozenset()  # stores that no forgetter works on
    mutants: frozenset[str] = frozenset()

    @cached_property
    def bits(self) -> Mapping[str, int]:
        kinds = "begin packs manifest packlist commit fence fence-here damage".split()
        names = [f"{kind}/{s.name}" for s in self.sessions for kind in kinds]
        names += [
            f"{kind}/{g}" for g in self.generations for kind in ("closed", "expired", "proof")
        ]
        for t in self.timelines:
            names += [f"wal/{t}/{n}" for n in range(self.top)]
            names += [f"floor/{t}/{n}" for n in range(self.top + 1)]
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

    @property
    def top(self) -> int:
        return self.segments + self.streamed

    @cached_property
    def floors(self) -> Mapping[int, tuple[int, ...]]:
        bits = self.bits
        return {
            t: tuple(bits[f"floor/{t}/{n}"] for n in range(self.top + 1)) for t in self.timelines
        }

    @cached_property
    def wal(self) -> Mapping[int, tuple[int, ...]]:
        bits = self.bits
        return {t: tuple(bits[f"wal/{t}/{n}"] for n in range(self.top)) for t in self.timelines}

    def mutant(self, name: str) -> bool:
        return name in self.mutants

    def first(self) -> Stores:
        return tuple(self._store(names) for names in self.committed)

    def _store(self, names: frozenset[str]) -> int:
        bits = self.bits
        store = sum(bits[f"proof/{g}"] for g in self.proven) | sum(bits[n] for n in self.also)
        store |= sum(bits[f"damage/{name}"] for name in self.damaged)
        for t in self.timelines:
            store |= sum(self.wal[t][: self.segments])
        store &= ~sum(bits[n] for n in self.absent)
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
    damage: int  # evidence of it

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
            wal=sum(scene.wal[s.timeline][s.start : s.end + 1]),
            closed=bit[f"closed/{s.generation}"],
            expired=bit[f"expired/{s.generation}"],
            parent=bit[f"commit/{s.parent}"] if s.parent else 0,
            damage=bit[f"damage/{s.name}"],
        )

    def live(self, store: int) -> bool:
        return bool(store & self.commit) and not store & self.expired

    def sound(self, store: int) -> bool:
        return self.live(store) and not store & self.damage and not self.whole & ~store

    def open(self, store: int) -> bool:
        return bool(store & self.begin) and not store & self.slot


def newest_sound(among: Iterable[Listed], store: int) -> list[Listed]:
    """The newest sound commit, or none."""
    sound = [x for x in among if x.sound(store)]
    return sorted(sound, key=lambda x: x.session.rank)[-1:]


def highest_floor(scene: Scene, store: int, timeline: int) -> int:
    timelines = scene.timelines if scene.mutant("one floor for all timelines") else (timeline,)
    there = (n for t in timelines for n, bit in enumerate(scene.floors[t]) if store & bit)
    return max(there, default=0)


def changed(stores: Stores, at: int, store: int) -> Stores:
    return (*stores[:at], store, *stores[at + 1 :])


FRESH, NEWER, PROVEN, ANY_PROOF = 1, 2, 4, 8  # what a look at one generation adds to a decision


def may_go(scene: Scene, store: int, generation: str) -> bool:
    """Step 1 of expiry: the whole decision over what one listing shows."""
    seen = 0
    for other in scene.generations:
        seen |= looked_at(scene, store, generation, other)
    return decided(seen)


def decided(seen: int, *, look_at_proof: bool = True) -> bool:
    proven = seen & PROVEN or not seen & ANY_PROOF or not look_at_proof
    return bool(seen & NEWER and proven and not seen & FRESH)


def looked_at(scene: Scene, store: int, generation: str, other: str) -> int:
    """What the other generation, or this one itself, says about letting this one go."""
    proof = ANY_PROOF if store & scene.bits[f"proof/{other}"] else 0
    if other == generation:
        fresh = any(x.session.retained and store & x.commit for x in scene.in_generation[other])
        return proof | (FRESH if fresh else 0)
    sound = [x for x in scene.in_generation[other] if x.sound(store)]
    proven = PROVEN if proof and sound and not _closed_counts(scene, store, other) else 0
    return proof | proven | (NEWER if _newer(scene, store, generation, other, sound) else 0)


def _closed_counts(scene: Scene, store: int, generation: str) -> bool:
    closed = store & scene.bits[f"closed/{generation}"]
    return bool(closed) and not scene.mutant("a closed generation counts as proven")


def _newer(scene: Scene, store: int, generation: str, other: str, sound: list[Listed]) -> bool:
    """A sound commit there is newer than every commit here."""
    here = [x.session.rank for x in scene.in_generation[generation] if store & x.commit]
    last = max(here, default=-1)
    if scene.mutant("no newer rule"):
        return bool(sound)
    if scene.mutant("newer and sound by different commits"):
        there = scene.in_generation[other]
        return bool(sound) and any(x.live(store) and x.session.rank > last for x in there)
    return any(x.session.rank > last for x in sound)


def wal_limits(scene: Scene, store: int, timeline: int) -> set[int]:
    """The lowest LSN anything needs, as forgetters of either opinion on what is ageing see it.

    A timeline without a live commit or an open session of its own has no limit: nothing goes there.
    """
    before = [x for x in scene.by_name.values() if x.session.timeline <= timeline]
    commits = [x for x in before if x.live(store)]
    opened = [x for x in before if x.open(store)]
    if not commits or not any(x.session.timeline == timeline for x in commits + opened):
        return set()
    certain = [x.session.start for x in commits if x.session.kept]
    if not scene.mutant("newest not counted for WAL"):
        certain += [x.session.start for x in newest_sound(before, store)]
    if not scene.mutant("open sessions ignored for WAL"):
        certain += [x.session.low for x in opened]
    ageing = [x.session.start for x in commits if x.session.ageing]
    return {min([*certain, scene.top]), min([*certain, *ageing, scene.top])}


def islands(scene: Scene, store: int) -> int:
    mask = 0
    for x in scene.by_name.values():
        if x.live(store):
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
    must_happen: tuple[str, ...] = ()  # labels without which the exploration would prove nothing

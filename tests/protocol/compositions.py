"""The scenes that are explored, each proving its part of the protocol, and the mutants that must fail in one of them."""

from dataclasses import dataclass, replace

from tests.protocol.machine import Composition, Machine, Proc, Scene, Session
from tests.protocol.processes import COPY, HOME, copier, drill, forgetter, reader, stream, writer

Actor = tuple[str, tuple[Machine, Proc], tuple[str, ...]]


def _composed(name: str, scene: Scene, *actors: Actor, alike: tuple[int, int] | None) -> Composition:
    return Composition(
        name=name,
        scene=scene,
        names=tuple(label for label, _, _ in actors),
        machines=tuple(made[0] for _, made, _ in actors),
        begin=tuple(made[1] for _, made, _ in actors),
        sessions=tuple(names for _, _, names in actors),
        alike=alike,
    )


def _writers(scene: Scene, *chains: tuple[str, ...]) -> list[Actor]:
    return [(f"writer {chain[0]}", writer(scene, *chain), chain) for chain in chains]


def _forgetters(scene: Scene, count: int = 2) -> list[Actor]:
    return [(f"forgetter {n + 1}", forgetter(scene), ()) for n in range(count)]


def expiry(scene: Scene) -> Composition:
    """Two writers add to two old generations while two forgetters may let either go."""
    actors = [*_writers(scene, ("w1",), ("w2",)), *_forgetters(scene)]
    return _composed("writers × forgetters, expiry", scene, *actors, alike=(2, 3))


EXPIRY = Scene(
    sessions=(
        Session(name="a", generation="A", rank=1),
        Session(name="b", generation="B", rank=2),
        Session(name="w1", generation="A", rank=4, parent="a", uses=("a",), retained=True),
        Session(name="w2", generation="B", rank=3, parent="b", uses=("b",), retained=True),
    ),
    committed=(frozenset({"a", "b"}),),
    targets=("A", "B"),
)


def wal(scene: Scene) -> Composition:
    """Two writers, one with a start LSN that lags, a stream, two forgetters of WAL."""
    actors = [*_writers(scene, ("w1",), ("w2",)), *_forgetters(scene)]
    actors.append(("stream", stream(scene), ()))
    return _composed("writers × forgetters, WAL", scene, *actors, alike=(2, 3))


WAL = Scene(
    sessions=(
        Session(name="a", generation="A", rank=1, start=0, end=0),
        Session(name="b", generation="B", rank=2, start=2, end=2),
        Session(
            name="w1", generation="B", rank=3, parent="b", low=1, start=1, end=3,
            retained=True, kept=True,
        ),
        Session(name="w2", generation="C", rank=4, low=1, start=3, end=4, retained=True, kept=True),
    ),
    segments=4,
    streamed=1,
    committed=(frozenset({"a", "b"}),),
    targets=("A",),
    lost=False,
)  # fmt: skip


def proofs(scene: Scene) -> Composition:
    """A drill beside two forgetters; restores may take longer than the patience."""
    actors: list[Actor] = [("drill", drill(scene), ()), *_forgetters(scene)]
    return _composed("drill × forgetters", scene, *actors, alike=(1, 2))


PROOFS = Scene(
    sessions=(
        Session(name="a", generation="A", rank=1, start=0, end=0),
        Session(name="b", generation="B", rank=2, start=1, end=1, ageing=True),
        Session(name="b2", generation="B", rank=3, parent="b", uses=("b",), start=2, end=2, ageing=True),
        Session(name="c", generation="C", rank=4, start=3, end=3),
    ),
    segments=5,
    committed=(frozenset({"a", "b", "b2", "c"}),),
    proven=frozenset({"A", "B"}),
    targets=("A", "B"),
    jobs=2,
)  # fmt: skip
PATIENT = replace(PROOFS, patient=True)
DAMAGED = Scene(
    sessions=(
        Session(name="a", generation="A", rank=3),
        Session(name="b", generation="B", rank=2),
        Session(name="b2", generation="B", rank=4, parent="b", uses=("b",)),
    ),
    committed=(frozenset({"a", "b", "b2"}),),
    damaged=frozenset({"b2"}),
    targets=("A", "B"),
    jobs=2,
)


def copies(scene: Scene) -> Composition:
    """A copier beside a forgetter of the source and one of the destination, and a reader of both."""
    actors: list[Actor] = [
        ("copier", copier(scene, "a", "a2"), ()),
        ("forgetter of the source", forgetter(scene, HOME), ()),
        ("forgetter of the copy", forgetter(scene, COPY), ()),
        ("reader", reader(scene, "a2"), ()),
    ]
    return _composed("copier × forgetters", scene, *actors, alike=None)


COPIES = Scene(
    sessions=(
        Session(name="a", generation="A", rank=1, start=0, end=0),
        Session(name="a2", generation="A", rank=2, parent="a", uses=("a",), start=1, end=1),
        Session(name="b", generation="B", rank=3, start=2, end=2),
        Session(name="old", generation="O", rank=0, start=0, end=0),
    ),
    segments=3,
    committed=(frozenset({"a", "a2", "b"}), frozenset({"old", "b"})),
    targets=("A", "O"),
    jobs=2,
)


def orphan(scene: Scene) -> Composition:
    """A writer whose cache names a fenced session as the parent."""
    actors = [*_writers(scene, ("w1",), ("w2",)), *_forgetters(scene, 1)]
    return _composed("a parent that was fenced", scene, *actors, alike=None)


ORPHAN = Scene(
    sessions=(
        Session(name="a", generation="A", rank=1),
        Session(name="lost", generation="A", rank=2, parent="a", uses=("a",)),
        Session(name="w1", generation="A", rank=3, parent="lost", uses=("a", "lost"), retained=True),
        Session(name="w2", generation="A", rank=4, parent="a", uses=("a",), retained=True),
    ),
    committed=(frozenset({"a"}),),
    fenced=frozenset({"lost"}),
    targets=("A",),
)  # fmt: skip

SCENES = {
    "expiry": (expiry, EXPIRY),
    "wal": (wal, WAL),
    "proofs": (proofs, PROOFS),
    "patient": (proofs, PATIENT),
    "damaged": (proofs, DAMAGED),
    "copies": (copies, COPIES),
    "orphan": (orphan, ORPHAN),
}


def composed(scene: str, *mutants: str) -> Composition:
    make, plain = SCENES[scene]
    return make(replace(plain, mutants=frozenset(mutants)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    name: str
    scene: str
    breaks: str  # the property that falls first


MUTANTS = tuple(
    Mutant(name=name, scene=scene, breaks=breaks)
    for name, scene, breaks in (
        ("no closed check", "expiry", "S2"),
        ("closed read before begin", "expiry", "S2"),
        ("begins listed before closed", "expiry", "S2"),
        ("no fence", "expiry", "S2"),
        ("fences deleted", "expiry", "S2"),
        ("no second look", "expiry", "S2"),
        ("fence taken for success", "expiry", "S2"),
        ("outcome before packs", "expiry", "S1"),
        ("no expired", "expiry", "S1"),
        ("no floor check", "wal", "S1"),
        ("no floor", "wal", "S1"),
        ("open sessions ignored for WAL", "wal", "S1"),
        ("no newer rule", "expiry", "S3"),
        ("proof not looked at again", "proofs", "S3"),
        ("destination fence without scope", "copies", "S6"),
        ("parent's commit not checked", "orphan", "S1"),
        ("no check of the listing", "wal", "S1"),
        ("unknown outcome taken for success", "expiry", "S2"),
        ("unknown outcome called failed", "expiry", "S2"),
        ("store overwrites", "expiry", "S4"),
        ("a closed generation counts as proven", "proofs", "S3"),
        ("newer and sound by different commits", "damaged", "S3"),
        ("newest not counted for WAL", "wal", "S1"),
        ("limit of the first listing alone", "wal", "S1"),
        ("limit of the second listing alone", "wal", "S1"),
        ("no islands", "wal", "S1"),
        ("packs deleted without patience", "patient", "S5b"),
        ("WAL deleted without patience", "patient", "S5b"),
        ("floor not read by restores", "proofs", "S5"),
        ("copier looks before begin", "copies", "S"),
        ("copier checks nothing there", "copies", "S1"),
    )
)

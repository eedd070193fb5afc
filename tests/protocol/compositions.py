"""The scenes that are explored, and the known limits."""

from collections.abc import Callable
from dataclasses import replace

from tests.protocol.forgetter import forgetter
from tests.protocol.machine import COPY, HOME, THIRD, Composition, Machine, Proc, Scene, Session
from tests.protocol.processes import copier, drill, reader, scrub, stream, writer

INTERCHANGEABLE = frozenset({"forgetter 1", "forgetter 2"})
Actor = tuple[str, tuple[Machine, Proc], tuple[str, ...]]


def _composed(name: str, scene: Scene, actors: list[Actor], *must_happen: str) -> Composition:
    labels = [label for label, _, _ in actors]
    alike = [number for number, label in enumerate(labels) if label in INTERCHANGEABLE]
    return Composition(
        name=name,
        scene=scene,
        names=tuple(labels),
        machines=tuple(made[0] for _, made, _ in actors),
        begin=tuple(made[1] for _, made, _ in actors),
        sessions=tuple(names for _, _, names in actors),
        alike=(alike[0], alike[1]) if len(alike) == 2 else None,
        must_happen=must_happen,
    )


def _writers(scene: Scene, *chains: tuple[str, ...]) -> list[Actor]:
    return [(f"writer {chain[0]}", writer(scene, *chain), chain) for chain in chains]


def _forgetters(scene: Scene, *, count: int = 2, jobs: int = 1) -> list[Actor]:
    return [(f"forgetter {n + 1}", forgetter(scene, jobs=jobs), ()) for n in range(count)]


# --- writers × forgetters ---------------------------------------------------------------------

EXPIRY = Scene(
    sessions=(
        Session(name="a", generation="A", rank=1),
        Session(name="b", generation="B", rank=2),
        Session(name="w1", generation="A", rank=4, parent="a", uses=("a",), retained=True),
        Session(name="w2", generation="B", rank=3, parent="b", uses=("b",), retained=True),
        Session(name="w3", generation="C", rank=5, retained=True),
    ),
    committed=(frozenset({"a", "b"}),),
    targets=("A", "B"),
    parts=True,
)  # fmt: skip


def expiry(scene: Scene, *, jobs: int = 1, third: bool = False) -> Composition:
    """Two writers add to two old generations, either of which two forgetters may let go."""
    chains = (("w1",), ("w3",), ("w2",)) if third else (("w1", "w3"), ("w2",))
    actors = _writers(scene, *chains) + _forgetters(scene, jobs=jobs)
    return _composed(
        "writers × forgetters, expiry", scene, actors,
        "writer w1: look: closed", "writer w1: outcome: fenced", "writer w1: check",
        "writer w1: look for the outcome: own", "writer w1: look for the outcome: fence",
        "writer w1: outcome, arriving late", "writer w2: outcome",
        "forgetter 1: expired A", "forgetter 1: expired B", "forgetter 1: again A: spared",
        "forgetter 1: again B: spared",
    )  # fmt: skip


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
    targets=("A", "B", "C"),
    lost=False,
)  # fmt: skip


def wal(scene: Scene, *, jobs: int = 1) -> Composition:
    """Two writers, one with a start LSN that lags, a stream, two forgetters of WAL."""
    actors = _writers(scene, ("w1",), ("w2",)) + _forgetters(scene, jobs=jobs)
    actors.append(("stream", stream(scene), ()))
    return _composed(
        "writers × forgetters, WAL", scene, actors,
        "writer w1: outcome", "writer w1: look: below the floor", "writer w2: outcome",
        "writer w2: look", "forgetter 1: expired A", "forgetter 2: delete WAL on timeline 1",
        "forgetter 1: limit again 1/1", "forgetter 1: limit again 1/2",
    )  # fmt: skip


ORPHAN = Scene(
    sessions=(
        Session(name="a", generation="A", rank=1),
        Session(name="lost", generation="A", rank=2, parent="a", uses=("a",)),
        Session(
            name="w1", generation="A", rank=3, parent="lost", uses=("a", "lost"), retained=True
        ),
        Session(name="w2", generation="A", rank=4, parent="a", uses=("a",), retained=True),
    ),
    committed=(frozenset({"a"}),),
    fenced=frozenset({"lost"}),
    targets=("A",),
)  # fmt: skip


def orphan(scene: Scene) -> Composition:
    """A writer whose cache names a fenced session as the parent."""
    actors = _writers(scene, ("w1",), ("w2",)) + _forgetters(scene, count=1)
    return _composed(
        "a parent that was fenced", scene, actors,
        "writer w1: look: parent not committed", "writer w2: outcome",
    )  # fmt: skip


REWOUND = Scene(
    sessions=(
        Session(name="island", generation="A", rank=1, start=0, end=0),
        Session(name="b", generation="B", rank=2, start=3, end=3, kept=True),
        Session(
            name="w1", generation="C", rank=3, timeline=2, low=1, start=1, end=1,
            retained=True, kept=True,
        ),
        Session(
            name="w2", generation="C", rank=4, parent="w1", uses=("w1",), timeline=2,
            low=2, start=2, end=3, retained=True, kept=True,
        ),
    ),
    timelines=(1, 2),
    segments=4,
    committed=(frozenset({"island", "b"}),),
    also=frozenset({"floor/1/3"}),
    absent=frozenset({"wal/1/1", "wal/1/2"}),
    targets=("A",),
    lost=False,
)  # fmt: skip


def rewound(scene: Scene, *, jobs: int = 1) -> Composition:
    """A server restored from an island goes on, on timeline 2, below the floor of timeline 1."""
    actors = _writers(scene, ("w1",), ("w2",)) + _forgetters(scene, jobs=jobs)
    return _composed(
        "a server restored below the floor", scene, actors,
        "writer w1: outcome", "writer w2: outcome", "forgetter 1: delete WAL on timeline 2",
    )  # fmt: skip


# --- drill × forgetters -----------------------------------------------------------------------

PROOFS = Scene(
    sessions=(
        Session(name="a", generation="A", rank=1, start=0, end=0),
        Session(name="b", generation="B", rank=2, start=1, end=1, ageing=True),
        Session(
            name="b2", generation="B", rank=3, parent="b", uses=("b",), start=3, end=3, ageing=True
        ),
        Session(name="c", generation="C", rank=4, start=4, end=4),
    ),
    segments=6,
    committed=(frozenset({"a", "b", "b2", "c"}),),
    proven=frozenset({"A", "B"}),
    targets=("A", "B"),
)
PATIENT = replace(PROOFS, patient=True)
DAMAGED = Scene(
    sessions=(
        Session(name="z", generation="Z", rank=1),
        Session(name="a", generation="A", rank=3),
        Session(name="b", generation="B", rank=2),
        Session(name="b2", generation="B", rank=4, parent="b", uses=("b",)),
    ),
    committed=(frozenset({"z", "a", "b", "b2"}),),
    damaged=frozenset({"b2"}),
    targets=("A", "B", "Z"),
)


def proofs(scene: Scene, *, drills: int = 1, jobs: int = 2) -> Composition:
    """A drill beside two forgetters; restores may take longer than the patience."""
    actors: list[Actor] = [(f"drill {n + 1}", drill(scene), ()) for n in range(drills)]
    actors += _forgetters(scene, jobs=jobs)
    return _composed(
        "drill × forgetters", scene, actors,
        "drill 1: evidence", "drill 1: choose b and later", "drill 1: wal: missing",
        "drill 1: packs: missing", "forgetter 1: expired A", "forgetter 1: expired B",
        "forgetter 1: again A: spared", "forgetter 2: sweep A",
    )  # fmt: skip


def patient(scene: Scene) -> Composition:
    """The same with restores shorter than the patience: none is ever cut off."""
    actors: list[Actor] = [("drill", drill(scene), ()), *_forgetters(scene, jobs=2)]
    return _composed(
        "drill × patient forgetters", scene, actors,
        "drill: evidence", "forgetter 1: sweep A", "forgetter 2: delete WAL on timeline 1",
    )  # fmt: skip


def damaged(scene: Scene) -> Composition:
    """The newest commit is damaged, and what is sound beside it is older than the other's."""
    actors = _forgetters(scene, jobs=2)
    return _composed("forgetters beside damage", scene, actors, "forgetter 2: sweep Z")


# --- copier × forgetters ----------------------------------------------------------------------

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
)


def copies(scene: Scene, *, copiers: int = 1, jobs: int = 2) -> Composition:
    """A copier beside a forgetter of the source and one of the destination."""
    actors: list[Actor] = [
        *((f"copier {n + 1}", copier(scene, "a", "a2"), ()) for n in range(copiers)),
        ("forgetter at home", forgetter(scene, HOME, jobs=2), ()),
        ("forgetter at the copy", forgetter(scene, COPY, jobs=jobs), ()),
    ]
    return _composed(
        "copier × forgetters", scene, actors,
        "copier 1: outcome", "copier 1: outcome: fenced", "copier 1: look: closed",
        "copier 1: packs: 404", "copier 1: look: below the floor", "copier 1: check: incomplete",
        "forgetter at the copy: expired A",
        "forgetter at the copy: fence a2", "forgetter at home: expired A",
    )  # fmt: skip


def fence_at_copy(scene: Scene) -> Composition:
    """A reader of both stores, beside a copier and a forgetter that fences at the copy."""
    actors: list[Actor] = [
        ("copier", copier(scene, "a", "a2"), ()),
        ("forgetter at the copy", forgetter(scene, COPY, jobs=2), ()),
        ("reader", reader(scene, "a2"), ()),
    ]
    return _composed(
        "a fence at the copy", scene, actors,
        "forgetter at the copy: fence a2", "reader: ask home",
    )  # fmt: skip


# --- copies both ways -------------------------------------------------------------------------

DIVERGED = Scene(
    sessions=(
        Session(name="a", generation="A", rank=1),
        Session(name="a3", generation="A", rank=5, parent="a", uses=("a",), retained=True),
        Session(
            name="a4", generation="A", rank=6, parent="a3", uses=("a", "a3"), retained=True
        ),
        Session(name="b", generation="B", rank=3),
        Session(name="b2", generation="B", rank=4, parent="b", uses=("b",), retained=True),
    ),
    committed=(frozenset({"a", "b", "b2"}), frozenset({"a", "a3", "a4", "b"})),
    targets=("A", "B"),
    lost=False,
)  # fmt: skip


def diverged(scene: Scene) -> Composition:
    """Each store has sessions that the other lacks, a copier each way, a forgetter each."""
    actors: list[Actor] = [
        ("copier there", copier(scene, "b", "b2"), ()),
        ("copier back", copier(scene, "a", "a3", "a4", source=COPY, there=HOME), ()),
        ("forgetter at home", forgetter(scene, HOME), ()),
        ("forgetter at the copy", forgetter(scene, COPY), ()),
    ]
    return _composed(
        "copies both ways", scene, actors,
        "copier there: outcome", "copier back: outcome", "copier back: outcome: fenced",
        "copier there: outcome: fenced", "copier back: look: closed",
        "forgetter at home: fence a3",
    )  # fmt: skip


UNION = replace(
    DIVERGED,
    committed=(frozenset({"a", "b", "b2"}), frozenset({"a", "a3", "a4", "b"}), frozenset()),
    targets=(),
    unforgotten=frozenset({HOME, THIRD}),
)


def union(scene: Scene) -> Composition:
    """A third store is built from two, one of which still gets what it lacks, and forgets."""
    sessions = ("a", "a3", "a4", "b", "b2")
    actors: list[Actor] = [
        ("copier there", copier(scene, "b2"), ()),
        ("copier 1", copier(scene, *sessions, there=THIRD), ()),
        ("copier 2", copier(scene, *sessions, source=COPY, there=THIRD), ()),
        ("forgetter at the copy", forgetter(scene, COPY), ()),
    ]
    return _composed(
        "a third store from two", scene, actors,
        "copier 1: outcome", "copier 2: outcome", "copier 1: outcome: there",
        "copier 2: outcomes: not committed", "copier there: outcome: fenced",
    )  # fmt: skip


# --- known limits: a decision can't be younger than its look ----------------------------------

LATE = Scene(
    sessions=(
        Session(name="a", generation="A", rank=1),
        Session(name="b", generation="B", rank=2),
    ),
    committed=(frozenset({"a", "b"}),),
    targets=("A",),
)


def late(scene: Scene) -> Composition:
    """Damage is found after a forgetter's second look and before its `expired`."""
    actors: list[Actor] = [("scrub", scrub(scene, "b"), ()), *_forgetters(scene, count=1)]
    return _composed("damage found too late", scene, actors)


SCENES: dict[str, tuple[Callable[[Scene], Composition], Scene]] = {
    "expiry": (expiry, EXPIRY),
    "wal": (wal, WAL),
    "orphan": (orphan, ORPHAN),
    "rewound": (rewound, REWOUND),
    "proofs": (proofs, PROOFS),
    "patient": (patient, PATIENT),
    "damaged": (damaged, DAMAGED),
    "copies": (copies, COPIES),
    "fence at the copy": (fence_at_copy, COPIES),
    "diverged": (diverged, DIVERGED),
    "union": (union, UNION),
}

BIGGER: dict[str, Callable[[], Composition]] = {
    "expiry, crashes, two jobs": lambda: expiry(replace(EXPIRY, crash=True), jobs=2),
    "expiry, three writers": lambda: expiry(EXPIRY, third=True),
    "wal, two jobs": lambda: wal(WAL, jobs=2),
    "wal, lost answers": lambda: wal(replace(WAL, lost=True)),
    "rewound, two jobs": lambda: rewound(replace(REWOUND, lost=True), jobs=2),
    "two drills": lambda: proofs(replace(PROOFS, parts=True), drills=2, jobs=1),
    "two copiers": lambda: copies(replace(COPIES, parts=True), copiers=2),
}


def composed(scene: str, *mutants: str) -> Composition:
    make, plain = SCENES[scene]
    return make(replace(plain, mutants=frozenset(mutants)))

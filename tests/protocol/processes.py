"""Writer, copier, drill and small ones as step functions, with the specification's names."""

from collections.abc import Callable, Iterator

from tests.protocol.machine import (
    COPY,
    DRILLS,
    HOME,
    RUNNING,
    Listed,
    Machine,
    Proc,
    Scene,
    Step,
    Stores,
    changed,
    highest_floor,
    newest_sound,
)

# --- writer: begin, look, packs, manifest, check, outcome -------------------------------------


def writer(scene: Scene, *names: str) -> tuple[Machine, Proc]:
    """Memory: which session is running. One that ends early is followed by the next."""
    chain = tuple(scene.by_name[name] for name in names)
    order = _writer_order(scene)
    following = [*(name for name, _ in order[1:]), "success"]
    steps = {name: (does, after) for (name, does), after in zip(order, following, strict=True)}

    def machine(stores: Stores, proc: Proc, _: tuple[Proc, ...]) -> Iterator[Step]:
        step, number, *_rest = proc
        mine, store = chain[number], stores[HOME]
        if scene.crash and step not in ENDS and number + 1 < len(chain):
            yield "crash", stores, (order[0][0], number + 1, 0, 0)
        if step in steps:
            does, after = steps[step]
            found = does(scene, mine, store, after)
        elif step == "unknown":
            found = _unknown(scene, mine, store)
        elif step == "gave up" and not store & mine.slot:
            found = iter([("outcome, arriving late", store | mine.commit, "gave up")])
        else:
            return
        for label, new, then in found:
            if then in ("ended", "fenced") and number + 1 < len(chain):
                yield label, changed(stores, HOME, new), (order[0][0], number + 1, 0, 0)
            else:
                yield label, changed(stores, HOME, new), (then, number, 0, 0)

    return machine, (order[0][0], 0, 0, 0)


ENDS = frozenset({"success", "fenced", "ended", "gave up"})
Found = Iterator[tuple[str, int, str]]  # label, store, the writer's next step
WriterStep = Callable[[Scene, Listed, int, str], Found]


def _writer_order(scene: Scene) -> list[tuple[str, WriterStep]]:
    begin, look, packs = ("begin", _begin), ("look", _look), ("packs", _packs)
    manifest, check, outcome = ("manifest", _manifest), ("check", _check), ("outcome", _outcome)
    if scene.mutant("closed read before begin"):
        return [look, begin, packs, manifest, check, outcome]
    if scene.mutant("outcome before packs"):
        return [begin, look, manifest, outcome, packs]
    if scene.mutant("no check of the listing"):
        return [begin, look, packs, manifest, outcome]
    return [begin, look, packs, manifest, check, outcome]


def _begin(scene: Scene, mine: Listed, store: int, after: str) -> Found:
    """A lost answer is looked for, which changes nothing: only going on without it would."""
    yield "begin", store | mine.begin, after
    if scene.mutant("unknown begin taken for there"):
        yield "begin, never arrived", store, after


def _look(scene: Scene, mine: Listed, store: int, after: str) -> Found:
    """One listing; what it asks for only grows, so reading in parts would pass no more often."""
    floor = highest_floor(scene, store, mine.session.timeline)
    if store & mine.closed and not scene.mutant("no closed check"):
        yield "look: closed", store, "ended"
    elif mine.session.start < floor and not scene.mutant("no floor check"):
        yield "look: below the floor", store, "ended"
    elif mine.parent & ~store and not scene.mutant("parent's commit not checked"):
        yield "look: parent not committed", store, "ended"
    else:
        yield "look", store, after


def _packs(_: Scene, mine: Listed, store: int, after: str) -> Found:
    yield "packs", store | mine.packs, after


def _manifest(_: Scene, mine: Listed, store: int, after: str) -> Found:
    yield "manifest", store | mine.own & ~mine.packs, after


def _check(_: Scene, mine: Listed, store: int, after: str) -> Found:
    """A thing missing is waited for: for ever, if need be."""
    if not (mine.whole | mine.wal) & ~store:
        yield "check", store, after


def _outcome(scene: Scene, mine: Listed, store: int, after: str) -> Found:
    there = store & mine.slot
    if scene.mutant("store overwrites"):
        there = 0
    if not there:
        new = store & ~mine.slot | mine.commit
        yield "outcome", new, after
        if scene.lost:
            yield "outcome, answer lost", new, "unknown"
            yield "outcome, never arrived", store, "unknown"
    elif there & mine.commit or scene.mutant("fence taken for success"):
        yield "outcome: there, taken as own", store, after
    else:
        yield "outcome: fenced", store, "fenced"


def _unknown(scene: Scene, mine: Listed, store: int) -> Found:
    """Look; absent: put again; or the run ends not knowing, and the put may still arrive."""
    if scene.mutant("unknown outcome taken for success"):
        yield "outcome unknown, taken for success", store, "success"
        return
    yield "outcome unknown, given up", store, _gave_up(scene)
    if not store & mine.slot:
        yield "look for the outcome: absent", store, "outcome"
    elif store & mine.commit:
        yield "look for the outcome: own", store, "success"
    else:
        yield "look for the outcome: fence", store, "fenced"


def _gave_up(scene: Scene) -> str:
    return "fenced" if scene.mutant("unknown outcome called failed") else "gave up"


# --- copier: outcomes, begin, look, packs, check, outcome, all at the destination -------------


def copier(
    scene: Scene, *names: str, source: int = HOME, there: int = COPY
) -> tuple[Machine, Proc]:
    """Memory: which session is being copied. What was read at the source stays in hand."""
    chain = tuple(scene.by_name[name] for name in names)

    def machine(stores: Stores, proc: Proc, _: tuple[Proc, ...]) -> Iterator[Step]:
        step, number, *_rest = proc
        if number < len(chain) and step in COPIES:
            two = (stores[source], stores[there])
            for label, store, then, further in COPIES[step](scene, chain[number], two):
                yield label, changed(stores, there, store), (then, number + further, 0, 0)

    return machine, ("outcomes", 0, 0, 0)


CopyFound = Iterator[tuple[str, int, str, int]]
Two = tuple[int, int]  # the source and the destination of one copier


def _source_outcomes(scene: Scene, x: Listed, two: Two) -> CopyFound:
    """What is no commit there is passed over: nothing that builds on it can be one."""
    home, there = two
    if there & x.commit:
        yield "outcomes: copied before", there, "outcomes", 1
    elif x.live(home):
        early = scene.mutant("copier looks before begin")
        yield "outcomes", there, "look" if early else "begin", 0
    elif home & x.fence and scene.mutant("fences are copied") and not there & x.slot:
        yield "outcomes: a fence, copied", there | home & x.fence, "outcomes", 1
    elif not home & x.commit:
        yield "outcomes: not committed", there, "outcomes", 1


def _copy_begin(scene: Scene, x: Listed, two: Two) -> CopyFound:
    early = scene.mutant("copier looks before begin")
    yield "begin", two[1] | x.begin, "packs" if early else "look", 0


def _copy_look(scene: Scene, x: Listed, two: Two) -> CopyFound:
    there = two[1]
    if there & (x.closed | x.expired) and not scene.mutant("copier does not look"):
        yield "look: closed", there, "left", 0
    elif x.session.start < highest_floor(scene, there, x.session.timeline):
        yield "look: below the floor", there, "left", 0
    else:
        early = scene.mutant("copier looks before begin")
        yield "look", there, "begin" if early else "packs", 0


def _copy_packs(scene: Scene, x: Listed, two: Two) -> CopyFound:
    """Reading and putting are apart, so a put may come long after the source lost the object."""
    home, there = two
    after = "outcome" if scene.mutant("copier checks nothing there") else "check"
    yield "packs", there | x.own, "wal", 0
    if x.own & ~home:
        yield "packs: 404", there, "left", 0
        if after == "outcome":
            yield "packs: 404, skipped", there, "wal", 0


def _copy_wal(scene: Scene, x: Listed, two: Two) -> CopyFound:
    home, there = two
    after = "outcome" if scene.mutant("copier checks nothing there") else "check"
    yield "wal", there | x.wal, after, 0
    if x.wal & ~home:
        yield "wal: 404", there, "left", 0


def _copy_check(_: Scene, x: Listed, two: Two) -> CopyFound:
    """Everything the packlist names, used packs too, and WAL from start to end."""
    there = two[1]
    complete = not (x.whole | x.wal) & ~there
    if complete:
        yield "check", there, "outcome", 0
    else:
        yield "check: incomplete", there, "left", 0


def _copy_outcome(scene: Scene, x: Listed, two: Two) -> CopyFound:
    there = two[1]
    if not there & x.slot:
        yield "outcome", there | x.commit, "outcomes", 1
    elif there & x.commit:
        yield "outcome: there", there, "outcomes", 1
    elif scene.mutant("copier goes on after a fence"):
        yield "outcome: fenced, passed over", there, "outcomes", 1
    else:
        yield "outcome: fenced", there, "left", 0


COPIES = {
    "outcomes": _source_outcomes,
    "begin": _copy_begin,
    "look": _copy_look,
    "packs": _copy_packs,
    "wal": _copy_wal,
    "check": _copy_check,
    "outcome": _copy_outcome,
}


# --- drill or restore: choose, manifest, packs, wal, evidence ---------------------------------


def drill(scene: Scene) -> tuple[Machine, Proc]:
    """Memory: the chosen session's number; whether it wants the WAL after its end too."""
    all_ = tuple(scene.by_name.values())

    def machine(stores: Stores, proc: Proc, _: tuple[Proc, ...]) -> Iterator[Step]:
        step, number, further, mark = proc
        store = stores[HOME]
        x = all_[number]
        if step == "choose":
            for label, chosen, later in _choices(scene, all_, store):
                yield label, stores, ("manifest", chosen, later, mark)
        elif step == "evidence":
            proof = scene.bits[f"proof/{x.session.generation}"]
            put = changed(stores, HOME, store | proof)
            yield "evidence", put, ("proven", number, further, mark)
        elif step in RUNNING:
            wants, after = _wants(scene, x, further)[step]
            missing = wants & ~store
            label = f"{step}: missing" if missing else step
            then = _explains(scene, x, store, step) if missing else after
            yield label, stores, (then, number, further, mark)

    return machine, ("choose", 0, 0, DRILLS)


def _choices(scene: Scene, among: tuple[Listed, ...], store: int) -> Iterator[tuple[str, int, int]]:
    for number, x in enumerate(among):
        if x.live(store) and not store & x.damage:
            yield f"choose {x.session.name}", number, 0
            if _recoverable(scene, x, store):
                yield f"choose {x.session.name} and later", number, 1


def _recoverable(scene: Scene, x: Listed, store: int) -> bool:
    """An island is restorable to its own end only."""
    wal = scene.wal[x.session.timeline][x.session.start : scene.segments]
    inside = x.session.kept or x.session.ageing or x in newest_sound(scene.by_name.values(), store)
    return inside and bool(wal) and not sum(wal) & ~store


def _wants(scene: Scene, x: Listed, further: int) -> dict[str, tuple[int, str]]:
    """`whole` has the packs of used sessions beside its own objects."""
    end = scene.segments if further else x.session.end + 1
    wal = sum(scene.wal[x.session.timeline][x.session.start : end])
    return {
        "manifest": (x.own & ~x.packs, "packs"),
        "packs": (x.whole & ~(x.own & ~x.packs), "wal"),
        "wal": (wal, "evidence"),
    }


def _explains(scene: Scene, x: Listed, store: int, step: str) -> str:
    """Something is missing: `expired` says why, or for WAL the floor; else it is damage."""
    if store & x.expired:
        return "told"
    below = x.session.start < highest_floor(scene, store, x.session.timeline)
    if step == "wal" and below and not scene.mutant("floor not read by restores"):
        return "told"
    return "damage"


# --- the small ones ---------------------------------------------------------------------------


def stream(scene: Scene) -> tuple[Machine, Proc]:
    """Puts the further WAL segments of the last timeline, one after the other."""
    wal = scene.wal[scene.timelines[-1]]

    def machine(stores: Stores, proc: Proc, _: tuple[Proc, ...]) -> Iterator[Step]:
        number = proc[1]
        if number < len(wal):
            put = changed(stores, HOME, stores[HOME] | wal[number])
            yield f"wal/{number}", put, ("stream", number + 1, 0, 0)

    return machine, ("stream", scene.segments, 0, 0)


def scrub(scene: Scene, name: str) -> tuple[Machine, Proc]:
    """Finds a session damaged, at any time."""
    damage = scene.bits[f"damage/{name}"]

    def machine(stores: Stores, proc: Proc, _: tuple[Proc, ...]) -> Iterator[Step]:
        if proc[0] == "damage evidence":
            yield "damage evidence", changed(stores, HOME, stores[HOME] | damage), ("done", 0, 0, 0)

    return machine, ("damage evidence", 0, 0, 0)


def reader(scene: Scene, name: str) -> tuple[Machine, Proc]:
    """Asks the copy first, then home: does this session's backup exist?"""
    x = scene.by_name[name]
    everywhere = scene.bits[f"fence/{name}"]

    def machine(stores: Stores, proc: Proc, _: tuple[Proc, ...]) -> Iterator[Step]:
        if proc[0] == "ask the copy":
            denied = int(bool(stores[COPY] & everywhere))
            yield "ask the copy", stores, ("ask home", denied, 0, 0)
        elif proc[0] == "ask home" and stores[HOME] & x.commit:
            yield "ask home", stores, ("denied" if proc[1] else "believed", 0, 0, 0)

    return machine, ("ask the copy", 0, 0, 0)

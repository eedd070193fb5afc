"""Writer, forgetter, copier, drill and the small ones as step functions; steps are named as in the specification."""

from collections.abc import Callable, Iterator

from tests.protocol.machine import (
    Listed,
    Machine,
    Proc,
    Scene,
    Step,
    Stores,
    highest_floor,
    islands,
    may_go,
    wal_limits,
)

HOME, COPY = 0, 1
RUNNING = frozenset({"manifest", "packs", "wal"})  # of a drill


def changed(stores: Stores, at: int, store: int) -> Stores:
    return (*stores[:at], store, *stores[at + 1 :])


# --- writer: begin, look, packs, manifest, check, outcome -------------------------------------


def writer(scene: Scene, *names: str) -> tuple[Machine, Proc]:
    """Memory: which of its sessions is running. A session that ends early is followed by the next one."""
    chain = tuple(scene.by_name[name] for name in names)
    order = _writer_order(scene)
    steps = {
        name: (steps_of, after) for (name, steps_of), after in zip(order, _after(order), strict=True)
    }

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


def _after(order: list[tuple[str, WriterStep]]) -> list[str]:
    return [*(name for name, _ in order[1:]), "success"]


def _begin(_: Scene, mine: Listed, store: int, after: str) -> Found:
    yield "begin", store | mine.begin, after


def _look(scene: Scene, mine: Listed, store: int, after: str) -> Found:
    """One listing; all it asks for only ever grows, so reading it in parts would pass no more often."""
    if store & mine.closed and not scene.mutant("no closed check"):
        yield "look: closed", store, "ended"
    elif mine.session.start < highest_floor(scene, store) and not scene.mutant("no floor check"):
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


# --- forgetter: closed, begins, fence, again, expired, sweep; and WAL: limit, floor, limit again, delete


def forgetter(scene: Scene, at: int = HOME) -> tuple[Machine, Proc]:
    """Memory: generation's number or WAL limit, mask of sessions to fence or segments to delete, jobs left."""
    steps: dict[str, ForgetStep] = {
        "plan": _plan,
        "closed": _closed,
        "begins": _begins,
        "fence": _fence,
        "again": _again,
        "expired": _expired,
        "sweep": _sweep,
        "floor": _floor,
        "limit again": _limit_again,
        "delete": _delete,
    }

    def machine(stores: Stores, proc: Proc, procs: tuple[Proc, ...]) -> Iterator[Step]:
        if proc[0] not in steps:
            return
        for label, store, then in steps[proc[0]](scene, at, stores[at], proc, procs):
            yield label, changed(stores, at, store), then

    return machine, ("plan", 0, 0, scene.jobs)


ForgetFound = Iterator[tuple[str, int, Proc]]
ForgetStep = Callable[[Scene, int, int, Proc, tuple[Proc, ...]], ForgetFound]


def _done(proc: Proc) -> Proc:
    jobs = proc[3] - 1
    return ("plan" if jobs else "done", 0, 0, jobs)


def _plan(scene: Scene, _at: int, store: int, proc: Proc, _: tuple[Proc, ...]) -> ForgetFound:
    """Choose one job. Which sessions are older than the patience is anybody's guess."""
    jobs = proc[3]
    for number, generation in enumerate(scene.generations):
        if generation in scene.targets and may_go(scene, store, generation):
            expired = store & scene.bits[f"expired/{generation}"]
            first = "begins" if scene.mutant("begins listed before closed") else "closed"
            yield f"plan {generation}", store, ("sweep" if expired else first, number, 0, jobs)
    for x in scene.by_name.values():
        if x.open(store):
            yield f"fence {x.session.name}, older than the patience", _fenced(scene, x, store, _at), proc
    for limit in wal_limits(scene, store) if scene.wal else ():
        yield f"limit {limit}", store, ("floor", limit, 0, jobs)


def _fenced(scene: Scene, x: Listed, store: int, at: int) -> int:
    if store & x.slot:
        return store
    scoped = at == COPY and not scene.mutant("destination fence without scope")
    kind = "fence-here" if scoped else "fence"
    return store | scene.bits[f"{kind}/{x.session.name}"]


def _closed(scene: Scene, _at: int, store: int, proc: Proc, _: tuple[Proc, ...]) -> ForgetFound:
    _step, number, todo, jobs = proc
    generation = scene.generations[number]
    after = "fence" if scene.mutant("begins listed before closed") else "begins"
    yield f"closed {generation}", store | scene.bits[f"closed/{generation}"], (after, number, todo, jobs)


def _begins(scene: Scene, _at: int, store: int, proc: Proc, _: tuple[Proc, ...]) -> ForgetFound:
    _step, number, _todo, jobs = proc
    generation = scene.generations[number]
    todo = sum(x.begin for x in scene.in_generation[generation] if x.open(store))
    if scene.mutant("no fence"):
        todo = 0
    after = "closed" if scene.mutant("begins listed before closed") else "fence"
    yield f"begins {generation}", store, (after, number, todo, jobs)


def _fence(scene: Scene, at: int, store: int, proc: Proc, _: tuple[Proc, ...]) -> ForgetFound:
    _step, number, todo, jobs = proc
    left = [x for x in scene.in_generation[scene.generations[number]] if x.begin & todo]
    if not left:
        yield from _again(scene, at, store, proc, _)
        return
    x = left[0]
    then = ("fence" if len(left) > 1 else "again", number, todo & ~x.begin, jobs)
    yield f"fence {x.session.name}", _fenced(scene, x, store, at), then


def _again(scene: Scene, _at: int, store: int, proc: Proc, _: tuple[Proc, ...]) -> ForgetFound:
    """The whole decision once more."""
    _step, number, _todo, jobs = proc
    generation = scene.generations[number]
    proof = not scene.mutant("proof not looked at again")
    if scene.mutant("no second look") or may_go(scene, store, generation, look_at_proof=proof):
        yield f"again {generation}: goes", store, ("expired", number, 0, jobs)
    else:
        yield f"again {generation}: spared", store, _done(proc)


def _expired(scene: Scene, _at: int, store: int, proc: Proc, _: tuple[Proc, ...]) -> ForgetFound:
    _step, number, _todo, jobs = proc
    generation = scene.generations[number]
    put = 0 if scene.mutant("no expired") else scene.bits[f"expired/{generation}"]
    yield f"expired {generation}", store | put, ("sweep", number, 0, jobs)


def _sweep(scene: Scene, at: int, store: int, proc: Proc, procs: tuple[Proc, ...]) -> ForgetFound:
    generation = scene.generations[proc[1]]
    waits = scene.patient and not scene.mutant("packs deleted without patience")
    if waits and any(_reads(scene, p, at, generation) for p in procs):
        return
    gone = 0
    for x in scene.in_generation[generation]:
        gone |= x.own
        if scene.mutant("fences deleted"):
            gone |= x.fence
    yield f"sweep {generation}", store & ~gone, _done(proc)


def _reads(scene: Scene, proc: Proc, at: int, generation: str) -> bool:
    if proc[0] not in RUNNING or at != HOME or not proc[3] & DRILLS:
        return False
    return list(scene.by_name.values())[proc[1]].session.generation == generation


def _floor(scene: Scene, _at: int, store: int, proc: Proc, _: tuple[Proc, ...]) -> ForgetFound:
    limit = proc[1]
    put = 0 if scene.mutant("no floor") else scene.floors[limit]
    yield f"floor {limit}", store | put, ("limit again", limit, 0, proc[3])


def _limit_again(scene: Scene, _at: int, store: int, proc: Proc, _: tuple[Proc, ...]) -> ForgetFound:
    for again in wal_limits(scene, store):
        limit = min(proc[1], again)
        if scene.mutant("limit of the second listing alone"):
            limit = again
        if scene.mutant("limit of the first listing alone"):
            limit = proc[1]
        gone = sum(scene.wal[:limit]) & store
        if not scene.mutant("no islands"):
            gone &= ~islands(scene, store)
        then = ("delete", limit, gone, proc[3]) if gone else _done(proc)
        yield f"limit again {again}", store, then


def _delete(scene: Scene, at: int, store: int, proc: Proc, procs: tuple[Proc, ...]) -> ForgetFound:
    waits = scene.patient and not scene.mutant("WAL deleted without patience")
    if waits and at == HOME and any(p[0] in RUNNING and p[3] & DRILLS for p in procs):
        return
    yield f"delete WAL below {proc[1]}", store & ~proc[2], _done(proc)


# --- copier: outcomes, begin, look, packs, check, outcome, all at the destination -------------


def copier(scene: Scene, *names: str) -> tuple[Machine, Proc]:
    """Memory: which session is being copied. What was read at the source stays in hand."""
    chain = tuple(scene.by_name[name] for name in names)

    def machine(stores: Stores, proc: Proc, _: tuple[Proc, ...]) -> Iterator[Step]:
        step, number, *_rest = proc
        if number < len(chain) and step in COPIES:
            for label, store, then, further in COPIES[step](scene, chain[number], stores):
                yield label, changed(stores, COPY, store), (then, number + further, 0, 0)

    return machine, ("outcomes", 0, 0, 0)


CopyFound = Iterator[tuple[str, int, str, int]]


def _source_outcomes(scene: Scene, x: Listed, stores: Stores) -> CopyFound:
    if stores[COPY] & x.commit:
        yield "outcomes: copied before", stores[COPY], "outcomes", 1
    elif x.live(stores[HOME]):
        early = scene.mutant("copier looks before begin")
        yield "outcomes", stores[COPY], "look" if early else "begin", 0


def _copy_begin(scene: Scene, x: Listed, stores: Stores) -> CopyFound:
    early = scene.mutant("copier looks before begin")
    yield "begin", stores[COPY] | x.begin, "packs" if early else "look", 0


def _copy_look(scene: Scene, x: Listed, stores: Stores) -> CopyFound:
    there = stores[COPY]
    if there & (x.closed | x.expired):
        yield "look: closed", there, "left", 0
    elif x.session.start < highest_floor(scene, there):
        yield "look: below the floor", there, "left", 0
    else:
        early = scene.mutant("copier looks before begin")
        yield "look", there, "begin" if early else "packs", 0


def _copy_packs(scene: Scene, x: Listed, stores: Stores) -> CopyFound:
    """Reading and putting are apart, so a put may come long after the source lost the object."""
    home, there = stores
    after = "outcome" if scene.mutant("copier checks nothing there") else "check"
    yield "packs", there | x.own, "wal", 0
    if x.own & ~home:
        yield "packs: 404", there, "left", 0
        if after == "outcome":
            yield "packs: 404, skipped", there, "wal", 0


def _copy_wal(scene: Scene, x: Listed, stores: Stores) -> CopyFound:
    after = "outcome" if scene.mutant("copier checks nothing there") else "check"
    yield "wal", stores[COPY] | x.wal, after, 0
    if x.wal & ~stores[HOME]:
        yield "wal: 404", stores[COPY], "left", 0


def _copy_check(_: Scene, x: Listed, stores: Stores) -> CopyFound:
    """Everything the packlist names, used packs too, and WAL from start to end."""
    complete = not (x.whole | x.wal) & ~stores[COPY]
    yield ("check", stores[COPY], "outcome", 0) if complete else ("check: incomplete", stores[COPY], "left", 0)


def _copy_outcome(scene: Scene, x: Listed, stores: Stores) -> CopyFound:
    there = stores[COPY]
    if not there & x.slot:
        yield "outcome", there | x.commit, "outcomes", 1
    elif there & x.commit:
        yield "outcome: there", there, "outcomes", 1
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

DRILLS = 1 << 10  # marks a drill's memory, so that a forgetter's guard knows it


def drill(scene: Scene) -> tuple[Machine, Proc]:
    """Memory: the chosen session's number; whether it wants the WAL after its end too."""
    all_ = tuple(scene.by_name.values())

    def machine(stores: Stores, proc: Proc, _: tuple[Proc, ...]) -> Iterator[Step]:
        step, number, further, mark = proc
        store = stores[HOME]
        if step == "choose":
            for chosen, x in enumerate(all_):
                if x.live(store) and not x.damaged:
                    yield f"choose {x.session.name}", stores, ("manifest", chosen, 0, mark)
                    if _recoverable(scene, x, store):
                        yield f"choose {x.session.name} and later", stores, ("manifest", chosen, 1, mark)
            return
        if step not in RUNNING and step != "evidence":
            return
        x = all_[number]
        if step == "evidence":
            proof = scene.bits[f"proof/{x.session.generation}"]
            yield "evidence", (store | proof, *stores[1:]), ("proven", number, further, mark)
            return
        wants, after = _wants(scene, x, further)[step]
        if not wants & ~store:
            yield step, stores, (after, number, further, mark)
        else:
            yield f"{step}: missing", stores, (_explains(scene, x, store, step), number, further, mark)

    return machine, ("choose", 0, 0, DRILLS)


def _recoverable(scene: Scene, x: Listed, store: int) -> bool:
    return bool(scene.wal) and not sum(scene.wal[x.session.start : scene.segments]) & ~store


def _wants(scene: Scene, x: Listed, further: int) -> dict[str, tuple[int, str]]:
    """`whole` has the packs of used sessions beside its own objects."""
    end = scene.segments if further else x.session.end + 1
    wal = sum(scene.wal[x.session.start : end])
    return {
        "manifest": (x.own & ~x.packs, "packs"),
        "packs": (x.whole & ~(x.own & ~x.packs), "wal"),
        "wal": (wal, "evidence"),
    }


def _explains(scene: Scene, x: Listed, store: int, step: str) -> str:
    """Something is missing: `expired` says why, or for WAL the floor; else it is damage."""
    if store & x.expired:
        return "told"
    below = x.session.start < highest_floor(scene, store)
    if step == "wal" and below and not scene.mutant("floor not read by restores"):
        return "told"
    return "damage"


# --- the small ones ---------------------------------------------------------------------------


def stream(scene: Scene) -> tuple[Machine, Proc]:
    """Puts the further WAL segments, one after the other."""

    def machine(stores: Stores, proc: Proc, _: tuple[Proc, ...]) -> Iterator[Step]:
        number = proc[1]
        if number < len(scene.wal):
            put = changed(stores, HOME, stores[HOME] | scene.wal[number])
            yield f"wal/{number}", put, ("stream", number + 1, 0, 0)

    return machine, ("stream", scene.segments, 0, 0)


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

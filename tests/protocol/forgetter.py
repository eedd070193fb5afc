"""The forgetter: closed, begins, fence, again, expired, sweep; WAL: limit, floor, delete."""

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
    decided,
    islands,
    looked_at,
    may_go,
    wal_limits,
)


def forgetter(scene: Scene, at: int = HOME, *, jobs: int = 1) -> tuple[Machine, Proc]:
    """Memory: generation or timeline; WAL limit, what to fence or to delete; jobs left."""
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

    return machine, ("plan", 0, 0, jobs)


Procs = tuple[Proc, ...]
ForgetFound = Iterator[tuple[str, int, Proc]]
ForgetStep = Callable[[Scene, int, int, Proc, tuple[Proc, ...]], ForgetFound]


def _done(proc: Proc) -> Proc:
    jobs = proc[3] - 1
    return ("plan" if jobs else "done", 0, 0, jobs)


def _plan(scene: Scene, at: int, store: int, proc: Proc, procs: Procs) -> ForgetFound:
    """Choose one job. Who is older than the patience, sessions or `expired`, is anybody's guess."""
    jobs = proc[3]
    sweepable = "closed" if scene.mutant("no expired") else "expired"
    for number, generation in enumerate(scene.generations):
        if generation in scene.targets and may_go(scene, store, generation):
            expired = store & scene.bits[f"{sweepable}/{generation}"]
            first = "begins" if scene.mutant("begins listed before closed") else "closed"
            yield f"plan {generation}", store, ("sweep" if expired else first, number, 0, jobs)
    for x in scene.by_name.values():
        if x.open(store):
            yield (
                f"fence {x.session.name}, older than the patience",
                _fenced(scene, x, store, at),
                proc,
            )
    for timeline in scene.timelines if scene.top else ():
        for limit in wal_limits(scene, store, timeline):
            yield f"limit {timeline}/{limit}", store, ("floor", timeline, limit, jobs)


def _fenced(scene: Scene, x: Listed, store: int, at: int) -> int:
    """A fence speaks for its own store: of two that went apart, each holds the other's sessions."""
    if store & x.slot:
        return store
    mutant = "destination fence without scope" if at == COPY else "home fence without scope"
    scoped = not scene.mutant(mutant)
    kind = "fence-here" if scoped else "fence"
    return store | scene.bits[f"{kind}/{x.session.name}"]


def _closed(scene: Scene, at: int, store: int, proc: Proc, procs: Procs) -> ForgetFound:
    _step, number, todo, jobs = proc
    generation = scene.generations[number]
    after = "fence" if scene.mutant("begins listed before closed") else "begins"
    yield (
        f"closed {generation}",
        store | scene.bits[f"closed/{generation}"],
        (after, number, todo, jobs),
    )


def _begins(scene: Scene, at: int, store: int, proc: Proc, procs: Procs) -> ForgetFound:
    _step, number, _todo, jobs = proc
    generation = scene.generations[number]
    todo = sum(x.begin for x in scene.in_generation[generation] if x.open(store))
    if scene.mutant("no fence"):
        todo = 0
    after = "closed" if scene.mutant("begins listed before closed") else "fence"
    yield f"begins {generation}", store, (after, number, todo, jobs)


def _fence(scene: Scene, at: int, store: int, proc: Proc, procs: Procs) -> ForgetFound:
    _step, number, todo, jobs = proc
    left = [x for x in scene.in_generation[scene.generations[number]] if x.begin & todo]
    if not left:
        yield from _again(scene, at, store, ("again", number, 0, jobs), procs)
        return
    x = left[0]
    rest = todo & ~x.begin
    then = ("fence", number, rest, jobs) if rest else ("again", number, 0, jobs)
    yield f"fence {x.session.name}", _fenced(scene, x, store, at), then


def _again(scene: Scene, at: int, store: int, proc: Proc, procs: Procs) -> ForgetFound:
    """The whole decision once more: in one listing, or in parts of a generation each."""
    _step, number, memory, jobs = proc
    generation, following, seen = scene.generations[number], memory >> 4, memory & 15
    others = scene.generations[following:][: 1 if scene.parts else None]
    for other in others:
        seen |= looked_at(scene, store, generation, other)
    following += len(others)
    if following < len(scene.generations):
        yield (
            f"again {generation}: {others[0]}",
            store,
            ("again", number, following << 4 | seen, jobs),
        )
        return
    proof = not scene.mutant("proof not looked at again")
    if scene.mutant("no second look") or decided(seen, look_at_proof=proof):
        yield f"again {generation}: goes", store, ("expired", number, 0, jobs)
    else:
        yield f"again {generation}: spared", store, _done(proc)


def _expired(scene: Scene, at: int, store: int, proc: Proc, procs: Procs) -> ForgetFound:
    generation = scene.generations[proc[1]]
    put = 0 if scene.mutant("no expired") else scene.bits[f"expired/{generation}"]
    yield f"expired {generation}", store | put, _done(proc)


def _sweep(scene: Scene, at: int, store: int, proc: Proc, procs: Procs) -> ForgetFound:
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


def _floor(scene: Scene, at: int, store: int, proc: Proc, procs: Procs) -> ForgetFound:
    _step, timeline, limit, jobs = proc
    put = 0 if scene.mutant("no floor") else scene.floors[timeline][limit]
    yield f"floor {timeline}/{limit}", store | put, ("limit again", timeline, limit, jobs)


def _limit_again(scene: Scene, at: int, store: int, proc: Proc, procs: Procs) -> ForgetFound:
    _step, timeline, first, jobs = proc
    for again in wal_limits(scene, store, timeline):
        limit = min(first, again)
        if scene.mutant("limit of the second listing alone"):
            limit = again
        if scene.mutant("limit of the first listing alone"):
            limit = first
        gone = sum(scene.wal[timeline][:limit]) & store
        if not scene.mutant("no islands"):
            gone &= ~islands(scene, store)
        then = ("delete", timeline, gone, jobs) if gone else _done(proc)
        yield f"limit again {timeline}/{again}", store, then


def _delete(scene: Scene, at: int, store: int, proc: Proc, procs: Procs) -> ForgetFound:
    waits = scene.patient and not scene.mutant("WAL deleted without patience")
    if waits and at == HOME and any(p[0] in RUNNING and p[3] & DRILLS for p in procs):
        return
    yield f"delete WAL on timeline {proc[1]}", store & ~proc[2], _done(proc)

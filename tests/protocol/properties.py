"""What must hold in every reachable state, whoever stalls: S1 to S7 and the patience (S5b)."""

from collections.abc import Callable, Iterator

from tests.protocol.machine import Composition, Listed, Scene, State, Stores, newest_sound

Property = Callable[[State], str | None]  # a name and what is wrong, or None


def properties(composition: Composition) -> list[Property]:
    """Those over stores alone come first: explore remembers their answers by stores."""
    scene = composition.scene
    return [
        lambda state: _first(_of_stores(scene, state[0])),
        lambda state: _first(_of_processes(composition, state)),
    ]


def _first(found: Iterator[str]) -> str | None:
    return next(found, None)


def overwritten(scene: Scene, old: Stores, new: Stores) -> str | None:
    """S4: a slot that held an outcome never holds another one at once."""
    for before, after in zip(old, new, strict=True):
        for x in scene.by_name.values():
            if before & x.slot and after & x.slot and (before ^ after) & x.slot:
                return f"S4: the outcome of {x.session.name} was overwritten"
    return None


def _of_stores(scene: Scene, stores: Stores) -> Iterator[str]:
    for at, store in enumerate(stores):
        where = ("at home", "at the copy", "at the third")[at]
        yield from (f"{found} {where}" for found in _complete(scene, store, at))
        yield from (f"{found} {where}" for found in _kept(scene, store, at))
        yield from (f"{found} {where}" for found in _union(scene, stores, at))


def _union(scene: Scene, stores: Stores, at: int) -> Iterator[str]:
    """S6 over stores, and S7: what went apart comes together without loss."""
    for x in scene.by_name.values():
        name = x.session.name
        elsewhere = any(s & x.commit for n, s in enumerate(stores) if n != at)
        if stores[at] & scene.bits[f"fence/{name}"] and elsewhere:
            yield f"S6: {name} is committed in another store, and denied for all by a fence"
        if at in scene.unforgotten and stores[at] & x.fence:
            yield f"S7: a fence of {name} stands where nobody forgets"
        if name in scene.committed[at] and not stores[at] & x.commit:
            yield f"S7: the commit of {name} was lost"


def _complete(scene: Scene, store: int, at: int) -> Iterator[str]:
    """S1, and S6 at the copy."""
    newest = newest_sound(scene.by_name.values(), store)
    for x in scene.by_name.values():
        if not x.live(store):
            continue
        name = x.session.name
        if x.whole & ~store:
            yield f"S1: {name} is visible without all packs, manifest and packlist"
        if x.wal & ~store:
            yield f"S1: {name} is visible without its WAL from start to end"
        if x.parent & ~store:
            yield f"S1: {name} is visible and its parent never was committed"
        if (x.session.kept and not x.session.ageing) or x in newest:
            timelines = scene.timelines if name in scene.committed[at] else (x.session.timeline,)
            if any(_gap(scene, x, t, store) for t in timelines if t >= x.session.timeline):
                yield f"S1: WAL after the kept or newest {name} is gone"


def _gap(scene: Scene, x: Listed, timeline: int, store: int) -> bool:
    """WAL that was there at first and is needed to go on from this commit."""
    there = sum(scene.wal[timeline][x.session.start : scene.segments])
    there &= ~sum(scene.bits[name] for name in scene.absent)
    return bool(there & ~store)


def _kept(scene: Scene, store: int, at: int) -> Iterator[str]:
    """S2: no fresh commit vanishes; S3: the newest and the last proven stay."""
    everyone = scene.by_name.values()
    commits = [x for x in everyone if store & x.commit]
    for x in commits:
        if store & x.expired and x.session.retained:
            yield f"S2: the fresh commit {x.session.name} vanished with its generation"
    sound = [x for x in commits if not store & x.damage]
    if sound and max(sound, key=lambda x: x.session.rank).expired & store:
        yield "S3: the newest sound commit is expired"
    if scene.committed[at] and not any(x.live(store) for x in sound):
        yield "S3: no sound commit is left"
    proofs = [g for g in scene.generations if store & scene.bits[f"proof/{g}"]]
    if scene.proven and not any(x.live(store) for g in proofs for x in scene.in_generation[g]):
        yield "S3: the last proven generation is expired"


def _of_processes(composition: Composition, state: State) -> Iterator[str]:
    (home, *_), procs = state
    scene = composition.scene
    for proc, names in zip(procs, composition.sessions, strict=True):
        step = proc[0]
        if step in ("success", "fenced", "ended") and names:
            yield from _report(scene, home, step, names[proc[1]])
        elif step == "damage":
            yield "S5: a restore misses an object and nothing says why"
        elif step == "told" and scene.patient:
            yield "S5b: a restore shorter than the patience was cut off"
        elif step == "denied":
            yield "S6: a fence at the copy denies the commit at home"


def _report(scene: Scene, home: int, report: str, name: str) -> Iterator[str]:
    x = scene.by_name[name]
    if report == "success" and home & x.fence:
        yield f"S2: the fenced {name} reports success"
    if report == "success" and not home & x.commit:
        yield f"S2: {name} reports success without a commit"
    if report != "success" and home & x.commit:
        yield f"S2: {name} reports failure beside its commit"

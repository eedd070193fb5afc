"""Backups to S3: drkit against restic, in one run and in turns, near and over a longer network.

The server is moto, on this machine and for both, with connections that stay open. 30 ms means that
every byte comes 15 ms later in each direction. The server's own CPU time stands beside the
client's: it may be the bound.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import data, measure, table
from benchmarks.history import OBJECTS, make_history
from benchmarks.server import BUCKET, Server, lengthened, serving
from benchmarks.store_tools import PHASES, TOOLS
from benchmarks.table import Result
from benchmarks.tools import Phase, Place, Tool
from benchmarks.words import path_with_drkit, size

_ONE = 8 * data.MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    names: tuple[str, ...]
    size: int
    latencies: tuple[int, ...]
    phases: tuple[str, ...]
    turns: int
    max_memory: int


def main() -> int:
    options = _parse()
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="drkit-bench-") as work, serving(Path(work)) as server:
        for latency in options.latencies:
            with lengthened(server, latency) as reached:
                for turn in range(options.turns):
                    results += _turn(reached, latency, turn, options, Path(work))
    rows = table.summarise(results)
    print("", *table.render(rows), sep="\n")
    over = [r for r in rows if r.tool == table.OWN and r.memory > options.max_memory]
    for row in over:
        print(f"bench: error: {row.case} {row.phase} took {row.memory / data.MIB:.1f} MiB")
    return int(bool(over))


def _parse() -> Options:
    parser = argparse.ArgumentParser(prog="scripts/bench stores", description=__doc__)
    parser.add_argument("--tool", default="drkit,restic", help="which, in which order")
    parser.add_argument("--size", default="1GiB", type=size, help="of the tree")
    parser.add_argument("--latency", default="0,30", help="milliseconds for there and back")
    parser.add_argument("--phase", default=",".join(PHASES))
    parser.add_argument("-n", default=1, type=int, help="turns; medians are shown")
    parser.add_argument("--max-memory", default="250MiB", type=size, help="of drkit, else it fails")
    given = parser.parse_args()
    names, phases = tuple(given.tool.split(",")), tuple(given.phase.split(","))
    if unknown := {*names, *phases} - {*TOOLS, *PHASES}:
        parser.error(f"{unknown.pop()!r} is not one of {', '.join((*TOOLS, *PHASES))}")
    return Options(
        names=names,
        size=given.size,
        latencies=tuple(int(ms) for ms in given.latency.split(",")),
        phases=phases,
        turns=given.n,
        max_memory=given.max_memory,
    )


def _turn(
    server: Server, latency: int, turn: int, options: Options, work: Path
) -> Iterator[Result]:
    source = work / "tree"
    source.mkdir()
    _make(source, options.size)
    data.settle(source)
    names = options.names[::-1] if turn % 2 else options.names
    places = {name: _place(server, source, name, (latency, turn)) for name in names}
    for phase in options.phases:
        if phase == "changed":
            _change(source, turn)
            data.settle(source)
        for name in names:
            yield _phase(server, f"{latency} ms", phase, TOOLS[name], places[name])
    for place in places.values():
        shutil.rmtree(place.home)
    shutil.rmtree(source)


def _make(root: Path, total: int) -> None:
    """Half of it one file, the rest files of 1 to 8 MiB; half of the bytes compress."""
    data.make_big(root, data.Amounts(size=total // 2, files=0, text=0))
    data.make_middle(root, total - total // 2, _ONE)


def _change(root: Path, turn: int) -> None:
    data.change_big(root, turn)
    data.change_middle(root, turn)


def _place(server: Server, source: Path, name: str, of: tuple[int, int]) -> Place:
    latency, turn = of
    home = source.with_name(f"{name}-{latency}-{turn}")
    place = Place(
        home=home,
        store=Path(f"/{BUCKET}/{name}-{latency}-{turn}"),
        source=source,
        target=home / "restored",
        turn=server.port,
    )
    home.mkdir()
    tool = TOOLS[name]
    measure.run(tool.init(place), log=home / "log", env=_env(tool, place), cwd=home)
    return place


def _env(tool: Tool, place: Place) -> dict[str, str]:
    return {**tool.env(place), "PATH": path_with_drkit()}


def _phase(server: Server, case: str, phase: Phase, tool: Tool, place: Place) -> Result:
    restores = phase in ("restore", "one file")
    if restores:
        place.target.mkdir()
    if phase == OBJECTS:
        make_history(server, tool, place)
    before, spent = server.stored(place.store.name), server.spent()
    cost = measure.run(
        tool.command(place, phase),
        log=place.home / "log",
        env=_env(tool, place),
        cwd=place.target if restores else place.source,
        sync=place.home,
    )
    served = server.spent() - spent
    result = Result(
        case=case,
        phase=phase,
        tool=tool.name,
        turn=place.turn,
        cost=cost,
        stored=server.stored(place.store.name),
        added=server.stored(place.store.name) - before,
    )
    print(
        f"{case} {phase}: {tool.name} {cost.wall:.2f} s, {cost.cpu:.2f} s of CPU,"
        f" the server {served:.2f}, {cost.memory / data.MIB:.0f} MiB",
        flush=True,
    )
    if restores:
        shutil.rmtree(place.target)
    return result


if __name__ == "__main__":
    sys.exit(main())

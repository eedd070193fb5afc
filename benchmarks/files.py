"""File backups: drkit against restic and borg, in one run and in turns.

Every timed phase begins with all disks synced and ends with `sync -f` of the folder written to,
inside the time taken, for all tools: each keeps its own fsync habits, none is paid for leaving
work to the kernel. Sources are in the page cache. A warm-up turn on a small tree comes first.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import data, measure, table, tools
from benchmarks.table import Result, Row
from benchmarks.tools import PHASES, TOOLS, Phase, Place, Tool
from benchmarks.words import path_with_drkit, size

WARM_UP = data.Amounts(size=16 * data.MIB, files=1000, text=4 * data.MIB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    names: tuple[str, ...]
    cases: tuple[str, ...]
    amounts: data.Amounts
    turns: int
    compare: bool
    workdir: Path | None
    report: Path | None
    max_memory: int | None


def main() -> int:
    options = _parse()
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="drkit-bench-", dir=options.workdir) as work:
        print(*_head(options, Path(work)), sep="\n", flush=True)
        for case in options.cases:
            results += _case(case, options, Path(work))
    rows = table.summarise(results)
    print("", *table.render(rows), sep="\n")
    if options.report is not None:
        _write(options.report, options, rows, results)
    return _judge(rows, options.max_memory)


def _write(path: Path, options: Options, rows: list[Row], results: list[Result]) -> None:
    figures = {
        "machine": _machine(),
        "options": asdict(options),
        "medians": [asdict(row) for row in rows],
        "runs": [asdict(result) for result in results],
    }
    path.write_text(json.dumps(figures, indent=1, default=str) + "\n")


def _judge(rows: list[Row], max_memory: int | None) -> int:
    if max_memory is None:
        return 0
    over = [row for row in rows if row.tool == table.OWN and row.memory > max_memory]
    for row in over:
        print(f"bench: error: {row.case} {row.phase} took {row.memory / data.MIB:.1f} MiB")
    return int(bool(over))


def _parse() -> Options:
    parser = argparse.ArgumentParser(prog="scripts/bench files", description=__doc__.split("\n")[0])
    parser.add_argument("--tool", default="drkit,restic,borg", help="which, in which order")
    parser.add_argument("--case", default="big,small,text")
    parser.add_argument("--size", default="4GiB", type=size, help="of the one big file")
    parser.add_argument("--files", default=100_000, type=int, help="number of small files")
    parser.add_argument("--text", default="400MiB", type=size, help="of the tree of text")
    parser.add_argument("-n", default=3, type=int, help="turns; medians are shown")
    parser.add_argument("--workdir", type=Path, help="default: a temporary folder, removed after")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--max-memory", type=size, help="fail when drkit took more")
    parser.add_argument("--no-compare", action="store_true", help="trust the restored files")
    given = parser.parse_args()
    names, cases = tuple(given.tool.split(",")), tuple(given.case.split(","))
    for words, known in ((names, list(TOOLS)), (cases, list(data.CASES))):
        if unknown := set(words) - set(known):
            parser.error(f"{unknown.pop()!r} is not one of {', '.join(known)}")
    for name in names:
        if shutil.which(name, path=path_with_drkit()) is None:
            parser.error(f"{name} is not installed")
    return Options(
        names=names,
        cases=cases,
        amounts=data.Amounts(size=given.size, files=given.files, text=given.text),
        turns=given.n,
        compare=not given.no_compare,
        workdir=given.workdir,
        report=given.json,
        max_memory=given.max_memory,
    )


def _machine() -> dict[str, str | int]:
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def _head(options: Options, work: Path) -> Iterator[str]:
    machine = _machine()
    yield f"{machine['cores']} cores, {int(machine['memory']) >> 30} GiB, {machine['system']}"
    for name in options.names:
        done = subprocess.run(TOOLS[name].version, capture_output=True, check=True, cwd=work)
        yield f"{name}: {done.stdout.decode().strip()}; {TOOLS[name].settings}"
    yield f"medians of {options.turns}; wall includes `sync -f` of what was written, for all"


def _case(case: str, options: Options, work: Path) -> Iterator[Result]:
    source = work / case
    for _ in _turns(case, WARM_UP, (source, 1), options):
        pass
    yield from _turns(case, options.amounts, (source, options.turns), options)


def _turns(
    case: str, amounts: data.Amounts, place: tuple[Path, int], options: Options
) -> Iterator[Result]:
    source, turns = place
    make, change = data.CASES[case]
    source.mkdir()
    make(source, amounts)
    data.settle(source)
    for turn in range(turns):
        order = (
            options.names[turn % len(options.names) :] + options.names[: turn % len(options.names)]
        )
        places = {name: _place(source, name, turn) for name in order}
        for name in order:
            _prepare(TOOLS[name], places[name])
        for phase in PHASES:
            if phase == "changed":
                change(source, turn)
                data.settle(source)
            for name in order:
                yield _phase(case, phase, TOOLS[name], places[name])
                if phase in tools.RESTORES:
                    whole = phase == "restore"
                    _finish(places[name], compare=whole and options.compare and turn == 0)
        for name in order:
            shutil.rmtree(places[name].home)
    shutil.rmtree(source)


def _place(source: Path, name: str, turn: int) -> Place:
    home = source.with_name(f"{source.name}-{name}")
    return Place(
        home=home, store=home / "store", source=source, target=home / "restored", turn=turn
    )


def _prepare(tool: Tool, place: Place) -> None:
    place.home.mkdir()
    measure.run(tool.init(place), log=place.home / "log", env=_env(tool, place), cwd=place.home)


def _phase(case: str, phase: Phase, tool: Tool, place: Place) -> Result:
    if phase in tools.RESTORES:
        place.target.mkdir()
    before = _stored(place.store)
    os.sync()
    cost = measure.run(
        tool.command(place, phase),
        log=place.home / "log",
        env=_env(tool, place),
        cwd=tools.folder(place, phase),
        sync=place.home,
    )
    after = _stored(place.store)
    return Result(
        case=case,
        phase=phase,
        tool=tool.name,
        turn=place.turn,
        cost=cost,
        stored=after,
        added=after - before,
    )


def _env(tool: Tool, place: Place) -> dict[str, str]:
    return {**tool.env(place), "PATH": path_with_drkit()}


def _stored(store: Path) -> int:
    return sum(path.lstat().st_size for path in store.rglob("*") if path.is_file())


def _finish(place: Place, *, compare: bool) -> None:
    if compare:
        argv = ("diff", "--recursive", "--brief", "--no-dereference", place.source, place.target)
        subprocess.run(argv, check=True)
    shutil.rmtree(place.target)


if __name__ == "__main__":
    sys.exit(main())

"""Clusters: drkit against pgBackRest (15) and the server's own incremental backups (18).

In one run, in turns: each round takes a full, changes one page in a hundred, takes an incremental
and restores it, with each tool on its own store. After the rounds drkit alone takes seven
incrementals one after the other, and the last of them is restored beside a full. The server's CPU
time is that of the server during a backup.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import measure
from benchmarks.pg_tools import TOOLS, Place, Tool, clear, env
from benchmarks.words import size
from tests.fixtures.postgres import Server, own, run

_MIB = 1 << 20
_SCALE = 15 * _MIB  # what one unit of pgbench's scale takes
# Accounts alone compress twenty to one, as no real table does: three tenths are hexadecimal noise.
_NOTE = 440  # bytes a row takes
_NOTES = """create table notes as select n as id, (select string_agg(md5(n || '-' || i), '')
    from generate_series(1, 12) i) as body from generate_series(1, {rows}) n"""
PHASES = ("full", "incremental", "restore")
PEERS = {15: ("drkit", "pgbackrest", "pgbackrest+"), 18: ("drkit", "server")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    phase: str
    tool: str
    cost: measure.Cost
    server: float  # seconds of CPU
    added: int  # bytes


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench postgres", description=__doc__)
    parser.add_argument("--major", default="15,18", help="which servers")
    parser.add_argument("--size", default="2GiB", type=size, help="of the cluster")
    parser.add_argument("-n", default=5, type=int, help="rounds; best and median are shown")
    parser.add_argument(
        "--changes", default=1300, type=int, help="transactions before an increment"
    )
    parser.add_argument("--tool", default="", help="which, else all that fit the server")
    parser.add_argument("--chain", default=7, type=int, help="incrementals before the last restore")
    given = parser.parse_args()
    for major in map(int, given.major.split(",")):
        names = tuple(given.tool.split(",")) if given.tool else PEERS[major]
        with tempfile.TemporaryDirectory(prefix="drkit-bench-") as work:
            Path(work).chmod(0o755)
            _bench(Path(work), major, names, given)
    return 0


def _bench(work: Path, major: int, names: tuple[str, ...], given: argparse.Namespace) -> None:
    server = _cluster(work / "cluster", major, given.size)
    results: list[Result] = []
    try:
        print(f"server {major}: {_bytes(server.data) / _MIB:.0f} MiB", flush=True)
        for turn in range(given.n):
            order = names[turn % len(names) :] + names[: turn % len(names)]
            results += _round(work, server, order, given.changes)
        for line in _table(major, results):
            print(line)
        if "drkit" in names and given.chain:
            _chain(work, server, given)
    finally:
        server.destroy()


def _cluster(folder: Path, major: int, wanted: int) -> Server:
    server = Server(folder=folder, major=major).make()
    more = {"summarize_wal": "on"} if major >= 17 else {}
    server.start(shared_buffers="512MB", max_wal_size="1GB", min_wal_size="80MB", **more)
    scale = str(max(1, wanted * 7 // 10 // _SCALE))
    run(server.bin / "pgbench", "-q", "-i", "-s", scale, "-d", server.dsn)
    server.sql(_NOTES.format(rows=wanted * 3 // 10 // _NOTE))
    server.sql("vacuum freeze", "checkpoint", "select pg_switch_wal()", "checkpoint")
    return server


def _round(work: Path, server: Server, names: tuple[str, ...], changes: int) -> Iterator[Result]:
    places = {name: _place(work / name, server, TOOLS[name]) for name in names}
    for name, place in places.items():
        yield _timed("full", TOOLS[name], place)
        TOOLS[name].between(place)
    _change(server, changes)
    for name, place in places.items():
        yield _timed("incremental", TOOLS[name], place)
    for name, place in places.items():
        own_folder(place.target)
        yield _timed("restore", TOOLS[name], place)
        clear(place.home)


def _place(home: Path, server: Server, tool: Tool) -> Place:
    home.mkdir()
    home.chmod(0o755)
    place = Place(home=home, server=server)
    tool.init(place)
    return place


def own_folder(path: Path) -> None:
    path.mkdir()
    own(path)


def _change(server: Server, count: int) -> None:
    if count:
        run(server.bin / "pgbench", "-n", "-c", "1", "-t", str(count), "-d", server.dsn)


def _timed(phase: str, tool: Tool, place: Place) -> Result:
    command = {"full": tool.full, "incremental": tool.incremental, "restore": tool.restore}[phase]
    place.server.sql("checkpoint")
    before, spent = _bytes(place.store), _spent(place.server)
    cost = measure.run(
        command(place), log=place.home / "log", env=env(place), cwd=place.home, sync=place.home
    )
    return _told(
        Result(
            phase=phase,
            tool=tool.name,
            cost=cost,
            server=_spent(place.server) - spent,
            added=_bytes(place.store) - before,
        )
    )


def _told(result: Result) -> Result:
    cost = result.cost
    print(
        f"{result.phase}: {result.tool} {cost.wall:.2f} s, {cost.cpu:.2f} s of CPU, the server"
        f" {result.server:.2f}, {cost.memory / _MIB:.0f} MiB, {result.added / _MIB:.2f} MiB stored",
        flush=True,
    )
    return result


def _chain(work: Path, server: Server, given: argparse.Namespace) -> None:
    """A full restored, then so many incrementals later, in turns: nothing else differs."""
    drkit = TOOLS["drkit"]
    first = _place(work / "chain", server, drkit)
    _timed("full", drkit, first)
    shutil.copytree(first.home, work / "short")
    short = Place(home=work / "short", server=server)
    _moved(short, first)
    for _ in range(given.chain):
        _change(server, given.changes)
        _timed("incremental", drkit, first)
    walls: dict[str, list[float]] = {"full": [], "chain": []}
    for _ in range(given.n):
        for name, place in (("full", short), ("chain", first)):
            own_folder(place.target)
            walls[name].append(_timed("restore", drkit, place).cost.wall)
            clear(place.target)
    ratio = median(walls["chain"]) / median(walls["full"])
    print(f"restore after {given.chain} incrementals to that of a full: {ratio:.2f}")


def _moved(place: Place, old: Place) -> None:
    """A copied repository is at another place, and its policy must say so."""
    policy = place.home / "policies" / "bench.yaml"
    policy.write_text(policy.read_text().replace(str(old.store), str(place.store)))


def _bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def _spent(server: Server) -> float:
    """Seconds of the postmaster and of all its children that have ended."""
    fields = Path(f"/proc/{server.pid()}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _table(major: int, results: list[Result]) -> Iterator[str]:
    yield ""
    yield (
        f"{'':12}{'tool':12}{'best s':>8}{'median s':>9}{'cpu s':>7}{'server':>8}{'MiB':>6}"
        f"{'stored MiB':>11}  drkit to it: best median  cpu   mem stored"
    )
    for phase in PHASES:
        tools = dict.fromkeys(r.tool for r in results)
        own_rows = [r for r in results if (r.phase, r.tool) == (phase, "drkit")]
        for tool in tools:
            rows = [r for r in results if (r.phase, r.tool) == (phase, tool)]
            yield _line(f"{major} {phase}", rows) + (
                _ratio(own_rows, rows) if tool != "drkit" and own_rows else ""
            )
    yield ""


def _figures(rows: list[Result]) -> tuple[float, float, float, float, float, float]:
    walls = [r.cost.wall for r in rows]
    return (
        min(walls),
        median(walls),
        median(r.cost.cpu for r in rows),
        median(r.server for r in rows),
        max(r.cost.memory for r in rows) / _MIB,
        median(r.added for r in rows) / _MIB,
    )


def _line(what: str, rows: list[Result]) -> str:
    best, middle, cpu, server, memory, added = _figures(rows)
    return (
        f"{what:15} {rows[0].tool:12}{best:5.2f}{middle:9.2f}{cpu:7.2f}{server:8.2f}{memory:6.0f}"
        f"{added:11.2f}"
    )


def _ratio(own_rows: list[Result], peer: list[Result]) -> str:
    mine, other = _figures(own_rows), _figures(peer)
    best, middle, cpu, _, memory, added = (
        a / b if b else 0 for a, b in zip(mine, other, strict=True)
    )
    return f"  {'':13}{best:4.2f} {middle:6.2f} {cpu:5.2f} {memory:5.2f} {added:6.2f}"


if __name__ == "__main__":
    sys.exit(main())

"""Run one command and say what it cost: wall time, CPU, memory."""

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    wall: float  # seconds, with `sync -f` of the target where one is given
    cpu: float  # user and system, of the process and all it waited for
    memory: int  # bytes; highest sampled sum of anonymous and shared memory over the process tree
    resident: int  # bytes; ru_maxrss of the largest process: counts mapped files, and the starter


class CommandFailed(Exception):
    def __init__(self, argv: Sequence[str], code: int, output: str) -> None:
        super().__init__(f"{' '.join(argv)} ended with {code}\n{output}")


def run(
    argv: Sequence[str], *, log: Path, env: Mapping[str, str], cwd: Path, sync: Path | None = None
) -> Cost:
    """Output goes to `log`; the file system of `sync` is flushed inside the time taken."""
    with log.open("wb") as out:
        begun = time.perf_counter()
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=dict(env), cwd=cwd
        )
        highest: list[int] = [0]
        watcher = threading.Thread(target=_watch, args=(process.pid, highest), daemon=True)
        watcher.start()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if sync is not None:
            subprocess.run(["sync", "-f", str(sync)], check=True)
        wall = time.perf_counter() - begun
    watcher.join()
    if process.returncode != 0:
        tail = log.read_text(errors="replace")[-4000:]
        raise CommandFailed(argv, process.returncode, tail)
    return Cost(
        wall=wall,
        cpu=used.ru_utime + used.ru_stime,
        memory=highest[0],
        resident=used.ru_maxrss * 1024,
    )


def _watch(pid: int, highest: list[int]) -> None:
    while (now := _memory(pid)) is not None:
        highest[0] = max(highest[0], now)
        time.sleep(SAMPLE_SECONDS)


def _memory(pid: int) -> int | None:
    """Anonymous and shared memory of a process and its children; None when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines())
    if "RssAnon" not in fields:  # already a zombie
        return None
    own = sum(int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "RssShmem"))
    return own + sum(_memory(int(child)) or 0 for child in children)

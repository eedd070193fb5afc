"""The world as one argument: clock, sleep, randomness, processes; the only real ones."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from drkit.events import Listener, nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    code: int
    out: bytes
    err: bytes


def _run(
    argv: Sequence[str], env: Mapping[str, str] | None = None, user: tuple[int, int] | None = None
) -> Ran:
    """`user`: as which user and group, for root; in a folder that this user may enter."""
    uid, gid = (None, None) if user is None else user
    groups: list[int] | None = None if user is None else []
    done = subprocess.run(
        argv,
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL if user else None,
        cwd="/" if user else None,
        env=env,
        user=uid,
        group=gid,
        extra_groups=groups,
    )
    return Ran(code=done.returncode, out=done.stdout, err=done.stderr)


class Process(Protocol):
    """One that goes on by itself."""

    pid: int

    def poll(self) -> int | None:
        """How it ended; None while it runs."""


def _start(
    argv: Sequence[str], env: Mapping[str, str], log: Path, user: tuple[int, int] | None = None
) -> Process:
    """In a session of its own: Ctrl-C at the terminal is for drkit, which ends it in order."""
    uid, gid = (None, None) if user is None else user
    groups: list[int] | None = None if user is None else []
    with log.open("ab") as said:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=env,
            cwd="/",
            start_new_session=True,
            user=uid,
            group=gid,
            extra_groups=groups,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random_bytes: Callable[[int], bytes] = os.urandom
    run: Callable[..., Ran] = _run
    start: Callable[..., Process] = _start
    tell: Listener = nobody

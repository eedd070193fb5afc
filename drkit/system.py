"""The world as one argument: clock, sleep, randomness, processes; the only real ones."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from drkit.events import Listener, nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    code: int
    out: bytes
    err: bytes


def _run(
    argv: Sequence[str], env: Mapping[str, str] | None = None, user: tuple[int, int] | None = None
) -> Ran:
    """`user`: as which user and group, for root."""
    uid, gid = (None, None) if user is None else user
    groups: list[int] | None = None if user is None else []
    done = subprocess.run(
        argv, capture_output=True, check=False, env=env, user=uid, group=gid, extra_groups=groups
    )
    return Ran(code=done.returncode, out=done.stdout, err=done.stderr)


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random_bytes: Callable[[int], bytes] = os.urandom
    run: Callable[..., Ran] = _run
    tell: Listener = nobody

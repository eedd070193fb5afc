"""What the WAL of a copy would do outside of it: replay follows the paths that it holds."""

import os
import re
from pathlib import Path

from drkit.errors import PostgresError
from drkit.events import Warned
from drkit.model.lsn import parse_lsn, segment_name, segment_start, show_lsn
from drkit.postgres.binaries import ENVIRONMENT, Binaries
from drkit.postgres.control import read_control
from drkit.system import System

_START = re.compile(r"^START WAL LOCATION: (\S+) ", re.MULTILINE)
_TIMELINE = re.compile(r"^START TIMELINE: (\d+)$", re.MULTILINE)
_MADE = re.compile(r'desc: CREATE \d+ "(/.*)"$', re.MULTILINE)


def check_replay(
    data: Path, binaries: Binaries, user: tuple[int, int] | None, system: System
) -> None:
    """CREATE TABLESPACE is replayed at its own path: on the original's host, in its live files."""
    label = data / "backup_label"
    if not label.exists():
        return
    if not binaries.has("pg_waldump"):
        said = f"{binaries.folder} has no pg_waldump: what replay does outside the copy is unknown"
        system.tell(Warned(message=said, hint="install the server's package completely"))
        return
    text = label.read_text("utf-8", "replace")
    for path in _tablespaces(text, data, binaries, user, system):
        if os.path.lexists(path):
            raise PostgresError(
                f"a tablespace was made in {path} while the backup ran, and that folder is here: "
                "replay would write into it",
                hint="restore a later or an earlier snapshot, or this one on another machine",
            )


def _tablespaces(
    label: str, data: Path, binaries: Binaries, user: tuple[int, int] | None, system: System
) -> list[str]:
    found, timeline = _START.search(label), _TIMELINE.search(label)
    if found is None:
        return []
    start = parse_lsn(found[1])
    number = int(timeline[1]) if timeline else 1
    end = _wal_end(data, number, start)
    if end <= start:
        return []  # the server will say that its WAL is missing
    argv = [binaries.program("pg_waldump"), "--path", str(data / "pg_wal"), "--rmgr", "Tablespace"]
    argv += ["--timeline", str(number), "--start", show_lsn(start), "--end", show_lsn(end)]
    ran = system.run(argv, env=ENVIRONMENT, user=user)  # it ends in an error, where the WAL ends
    return _MADE.findall(os.fsdecode(ran.out))


def _wal_end(data: Path, timeline: int, start: int) -> int:
    """Of what is there in a row. pg_waldump waits 5 s for a segment that is not there."""
    size = read_control(data).segment_size
    end = segment_start(start, size)
    while (data / "pg_wal" / segment_name(timeline, end, size)).exists():
        end += size
    return end

"""Where a drill ran, and how much like a real disaster that was: as far as it can be known."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from drkit import __version__
from drkit.stores import folder_of

UNKNOWN = "unknown"


def machine(repository: str) -> dict[str, int | str]:
    """The host's name is hashed with the repository: alike there, and nowhere else."""
    name = os.uname().nodename
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "host": hashlib.sha256(f"{repository} {name}".encode()).hexdigest()[:16],
        "system": f"{os.uname().sysname} {os.uname().machine}",
    }


def locality(url: str, scratch: Path) -> str:
    """`mounted`: a folder of this host, which may lie on a disk of it or of another one."""
    folder = folder_of(url)
    if folder is None:
        return "far"
    try:
        same = folder.stat().st_dev == scratch.stat().st_dev
    except OSError:
        return UNKNOWN
    return "same_disk" if same else "mounted"


def versions(more: Mapping[str, str]) -> dict[str, str]:
    return {"drkit": __version__, **more}

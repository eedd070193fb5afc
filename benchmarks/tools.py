"""How each tool is told to do the same work: encrypted, compressed with zstd."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Phase = str
PHASES: tuple[Phase, ...] = ("full", "unchanged", "changed", "restore", "one file", "list")
RESTORES = ("restore", "one file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one tool works in one turn."""

    home: Path  # caches, keys, state
    store: Path
    source: Path
    target: Path  # of the restore; empty or absent
    turn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    name: str
    version: Sequence[str]
    settings: str  # for the reader of the table
    init: Callable[[Place], Sequence[str]]
    command: Callable[[Place, Phase], Sequence[str]]
    env: Callable[[Place], Mapping[str, str]]


def _base(place: Place) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(place.home),
        "TMPDIR": str(place.home),
        "XDG_CACHE_HOME": str(place.home / "cache"),
    }


_DRKIT = str(Path(sys.executable).with_name("drkit"))


def _one(place: Place) -> str:
    """The first file in some order: which one doesn't matter."""
    folder, _, names = next(found for found in os.walk(place.source) if found[2])
    return str((Path(folder) / min(names)).relative_to(place.source))


# --- drkit: every flag it is given stands in these three functions


def _drkit_init(place: Place) -> Sequence[str]:
    return (
        *(_DRKIT, "init", "bench", "--non-interactive"),
        *("--policy-dir", str(place.home / "policies")),
        *("--files", str(place.source), "--store", place.store.as_uri()),
        *("--identities-to", str(place.home / "keys")),
    )


def _drkit_command(place: Place, phase: Phase) -> Sequence[str]:
    policies = ("--policy-dir", str(place.home / "policies"))
    identity = ("--identity", str(place.home / "keys" / "operations.txt"))
    match phase:
        case "full":
            return (_DRKIT, "backup", "bench", "--full", "--quiet", *policies)
        case "unchanged" | "changed":
            return (_DRKIT, "backup", "bench", "--incremental", "--quiet", *policies)
        case "restore" | "one file":
            one = (_one(place),) if phase == "one file" else ()
            into = ("--into", str(place.target))
            return (_DRKIT, "restore", "bench", *one, "--yes", *into, *identity, *policies)
        case _:
            return (_DRKIT, "list", "bench", *policies)


def _drkit_env(place: Place) -> Mapping[str, str]:
    return {**_base(place), "DRKIT_STATE": str(place.home / "state")}


def _restic_command(place: Place, phase: Phase) -> Sequence[str]:
    match phase:
        case "full" | "unchanged" | "changed":
            return ("restic", "backup", "--compression", "auto", ".")
        case "restore" | "one file":
            one = ("--include", f"/{_one(place)}") if phase == "one file" else ()
            return ("restic", "restore", "latest", "--target", str(place.target), *one)
        case _:
            return ("restic", "snapshots")


def _restic_env(place: Place) -> Mapping[str, str]:
    return {
        **_base(place),
        "RESTIC_REPOSITORY": str(place.store),
        "RESTIC_PASSWORD": "benchmark",
        "RESTIC_CACHE_DIR": str(place.home / "cache"),
    }


def _borg_command(place: Place, phase: Phase) -> Sequence[str]:
    match phase:
        case "full" | "unchanged" | "changed":
            return ("borg", "create", "--compression", "zstd,3", f"::{phase}", ".")
        case "restore" | "one file":
            one = (_one(place),) if phase == "one file" else ()
            return ("borg", "extract", "::changed", *one)
        case _:
            return ("borg", "list")


def _borg_mode() -> str:
    """With SHA instructions in the processor borg's SHA-256 mode is the quicker one."""
    return "repokey" if "sha_ni" in Path("/proc/cpuinfo").read_text() else "repokey-blake2"


def _borg_env(place: Place) -> Mapping[str, str]:
    return {
        **_base(place),
        "BORG_REPO": str(place.store),
        "BORG_PASSPHRASE": "benchmark",
        "BORG_BASE_DIR": str(place.home),
    }


TOOLS: dict[str, Tool] = {
    "drkit": Tool(
        name="drkit",
        version=(_DRKIT, "--version"),
        settings="zstd 3, AES-256-GCM, two age recipients",
        init=_drkit_init,
        command=_drkit_command,
        env=_drkit_env,
    ),
    "restic": Tool(
        name="restic",
        version=("restic", "version"),
        settings="repository version 2, --compression auto (zstd), AES-256-CTR and Poly1305",
        init=lambda _: ("restic", "init", "--repository-version", "2"),
        command=_restic_command,
        env=_restic_env,
    ),
    "borg": Tool(
        name="borg",
        version=("borg", "--version"),
        settings=f"{_borg_mode()}, zstd,3",
        init=lambda _: ("borg", "init", "--encryption", _borg_mode()),
        command=_borg_command,
        env=_borg_env,
    ),
}


def folder(place: Place, phase: Phase) -> Path:
    """borg extracts into the current folder; all others stand in the source."""
    return place.target if phase in RESTORES else place.source

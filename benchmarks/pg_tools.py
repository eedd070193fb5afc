"""How each tool is told to back up and restore the same cluster: encrypted, zstd."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fixtures.postgres import Server, somebody

Argv = Sequence[str]
_DRKIT = str(Path(sys.executable).with_name("drkit"))
PGBACKREST = os.environ.get("PGBACKREST", "pgbackrest")
_KEY = "-aes-256-ctr -pass pass:benchmark -pbkdf2 -iter 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One tool's own folder for one round."""

    home: Path
    server: Server

    @property
    def store(self) -> Path:
        return self.home / "store"

    @property
    def target(self) -> Path:
        return self.home / "restored"

    @property
    def manifest(self) -> Path:
        return self.home / "manifest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    name: str
    settings: str  # for the reader of the table
    init: Callable[[Place], None]
    full: Callable[[Place], Argv]
    incremental: Callable[[Place], Argv]
    restore: Callable[[Place], Argv]
    between: Callable[[Place], None] = lambda _: None  # after the full, not timed


def env(place: Place) -> Mapping[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "LC_ALL": "C.UTF-8",
        "HOME": str(place.home),
        "TMPDIR": str(place.home),
        "DRKIT_STATE": str(place.home / "state"),
    }


def _quiet(argv: Argv, place: Place) -> None:
    subprocess.run(argv, check=True, capture_output=True, env=env(place), cwd=place.home)


# --- drkit


def _policies(place: Place) -> Argv:
    return ("--policy-dir", str(place.home / "policies"))


def _drkit_init(place: Place) -> None:
    _quiet(
        (
            *(_DRKIT, "init", "bench", "--non-interactive", *_policies(place)),
            *("--postgres", place.server.dsn, "--store", str(place.store)),
            *("--identities-to", str(place.home / "keys")),
        ),
        place,
    )


def _drkit_backup(kind: str) -> Callable[[Place], Argv]:
    return lambda place: (_DRKIT, "backup", "bench", f"--{kind}", "--quiet", *_policies(place))


def _drkit_restore(place: Place) -> Argv:
    """As the peers do it: the server is not started."""
    return (
        *(_DRKIT, "restore", "bench", "--prepare-only", "--yes", "--into", str(place.target)),
        *("--identity", str(place.home / "keys" / "operations.txt"), *_policies(place)),
    )


# --- pgBackRest: 2 processes, zst 3, AES-256-CBC


def _backrest(place: Place, *words: str) -> Argv:
    return (PGBACKREST, f"--config={place.home}/pgbackrest.conf", "--stanza=bench", *words)


def _backrest_init(extra: str) -> Callable[[Place], None]:
    def init(place: Place) -> None:
        (place.home / "pgbackrest.conf").write_text(
            f"[global]\nrepo1-path={place.store}\nrepo1-cipher-type=aes-256-cbc\n"
            "repo1-cipher-pass=benchmark\ncompress-type=zst\ncompress-level=3\nprocess-max=2\n"
            "start-fast=y\narchive-check=n\nlog-level-console=warn\nlog-level-file=off\n"
            f"lock-path={place.home}/lock\nspool-path={place.home}/spool\n{extra}{_as_root()}"
            f"[bench]\npg1-path={place.server.data}\npg1-socket-path={place.server.folder}\n"
            f"pg1-user=postgres\n"
        )
        _quiet(_backrest(place, "stanza-create", "--no-online"), place)

    return init


def _bundled_init(place: Place) -> None:
    block = "repo1-block=y\n" if has_block() else ""
    _backrest_init(f"repo1-bundle=y\n{block}")(place)


def _backrest_backup(kind: str) -> Callable[[Place], Argv]:
    return lambda place: _backrest(place, f"--type={kind}", "backup")


def _backrest_restore(place: Place) -> Argv:
    return _backrest(place, f"--pg1-path={place.target}", "--type=none", "restore")


def _is_from(*version: int) -> bool:
    said = subprocess.run((PGBACKREST, "version"), capture_output=True, text=True, check=False)
    numbers = re.findall(r"\d+", said.stdout)
    return tuple(map(int, numbers[:2])) >= version


def has_block() -> bool:
    return _is_from(2, 46)


def _as_root() -> str:
    return "allow-root=y\n" if not os.geteuid() and _is_from(2, 60) else ""


# --- the server's own: tar, zstd, openssl


def _shell(script: str) -> Argv:
    return ("bash", "-c", f"set -o pipefail; {script}")


def _sealed(name: str, place: Place) -> str:
    return f"zstd -q -3 -T2 | openssl enc {_KEY} > {shlex.quote(str(place.store / name))}"


def _opened(name: str, place: Place) -> str:
    return f"openssl enc -d {_KEY} < {shlex.quote(str(place.store / name))} | zstd -q -d"


def _base(place: Place, more: str = "") -> str:
    program = shlex.quote(str(place.server.bin / "pg_basebackup"))
    return f"{program} -d {shlex.quote(place.server.dsn)} -c fast -X fetch -Ft -D - {more}"


def _own_init(place: Place) -> None:
    place.store.mkdir()


def _own_between(place: Place) -> None:
    """The next one needs the manifest, which lies at the end of the tar."""
    script = (
        f"{_opened('full', place)} | tar -xO backup_manifest > {shlex.quote(str(place.manifest))}"
    )
    _quiet(_shell(script), place)


def _own_restore(place: Place) -> Argv:
    """pg_combinebackup refuses to be root."""
    quoted = {name: shlex.quote(str(place.home / name)) for name in ("a", "b", "restored")}
    user = somebody()
    become = f"setpriv --reuid={user.pw_uid} --regid={user.pw_gid} --clear-groups"
    program = shlex.quote(str(place.server.bin / "pg_combinebackup"))
    return _shell(
        f"mkdir {quoted['a']} {quoted['b']} && {_opened('full', place)} | tar -xC {quoted['a']} && "
        f"{_opened('incremental', place)} | tar -xC {quoted['b']} && "
        f"chown -R {user.pw_uid}:{user.pw_gid} {quoted['a']} {quoted['b']} {quoted['restored']} && "
        f"{become} {program} {quoted['a']} {quoted['b']} -o {quoted['restored']}/data"
    )


TOOLS = {
    "drkit": Tool(
        name="drkit",
        settings="zstd 3, AES-256-GCM, two age recipients, signed, manifest, WAL carried",
        init=_drkit_init,
        full=_drkit_backup("full"),
        incremental=_drkit_backup("incremental"),
        restore=_drkit_restore,
    ),
    "pgbackrest": Tool(
        name="pgbackrest",
        settings="2 processes, zst 3, aes-256-cbc, without its wait for the archive",
        init=_backrest_init(""),
        full=_backrest_backup("full"),
        incremental=_backrest_backup("incr"),
        restore=_backrest_restore,
    ),
    "pgbackrest+": Tool(
        name="pgbackrest+",
        settings="the same with bundles, and block incremental where it has it (2.46 and later)",
        init=_bundled_init,
        full=_backrest_backup("full"),
        incremental=_backrest_backup("incr"),
        restore=_backrest_restore,
    ),
    "server": Tool(
        name="server",
        settings="pg_basebackup --incremental as tar, zstd -3 -T2, openssl, pg_combinebackup",
        init=_own_init,
        full=lambda place: _shell(f"{_base(place)} | {_sealed('full', place)}"),
        between=_own_between,
        incremental=lambda place: _shell(
            f"{_base(place, f'--incremental={shlex.quote(str(place.manifest))}')}"
            f" | {_sealed('incremental', place)}"
        ),
        restore=_own_restore,
    ),
}


def clear(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)

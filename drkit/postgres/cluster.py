"""A server on a copy: started apart from the world, asked, and stopped, whatever happens."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from drkit.errors import DiskError, PostgresError
from drkit.events import Warned
from drkit.postgres.binaries import ENVIRONMENT, Binaries
from drkit.postgres.control import read_control
from drkit.postgres.isolation import loadable, server_settings, session_options
from drkit.postgres.processes import Somebody, end_all, ids, servers_in, somebody
from drkit.postgres.replay import check_replay
from drkit.postgres.scratch import marked, sweep
from drkit.postgres.startup import reason
from drkit.system import Process, System

if TYPE_CHECKING:
    from drkit.postgres.wire import Wire

# A socket's path takes 107 bytes at most: it can't lie beside data in a folder of any name.
_SHORT = Path("/tmp")  # noqa: S108  folders of its own in it, marked
_HBA = "local all all trust\nlocal replication all trust\n"  # in a folder that nobody else enters
_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_STATUS_LINE = 7  # of postmaster.pid
_SLOWEST = 0.25  # seconds between two looks
_END_OF_LOG = 1 << 20

Mode = Literal["smart", "fast", "immediate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPlan:
    data: Path
    binaries: Binaries
    settings: Mapping[str, str] = field(default_factory=dict)  # never above what isolates
    minimums: Mapping[str, int] = field(default_factory=dict)  # as recorded; pg_control's too
    libraries: tuple[str, ...] = ()  # shared_preload_libraries of the original
    superuser: str = "postgres"
    home: str = "postgres"  # a database to ask from
    hba: str = _HBA
    user: str | None = None  # who runs it when drkit is root
    memory: int = 256 << 20
    kept: bool = False  # the copy stays: what it writes is durable, and it is shut down cleanly
    writable: bool = False  # ready means out of recovery, not only consistent
    timeout: float = 600.0  # seconds until it is ready, replay included
    log: Path | None = None  # appended to; None: one for this run


class Running:
    def __init__(self, plan: ServerPlan, system: System, process: Process, folder: Path) -> None:
        self.log = plan.log or folder / "log"
        self.data = plan.data
        self.pid = process.pid
        self.socket_folder = folder
        self.left_out: Mapping[str, str] = {}  # libraries that it runs without, and why
        self._plan = plan
        self._system = system
        self._process = process
        self._wire: tuple[str, Wire] | None = None

    @property
    def dsn(self) -> str:
        return self.to(self._plan.home)

    def to(self, database: str) -> str:
        """As its superuser."""
        words = {
            "host": str(self.socket_folder),
            "port": "5432",
            "user": self._plan.superuser,
            "dbname": database,
            "options": session_options(self._plan.binaries.major),
        }
        return " ".join(f"{name}={_quoted(value)}" for name, value in words.items())

    def query(self, sql: str, database: str | None = None) -> list[tuple[str | None, ...]]:
        """The rows of the last statement; PostgresError when it refuses."""
        if self._process.poll() is not None:
            raise self.failed("ended while it was asked")
        try:
            return self._connected(database or self._plan.home).query(sql)
        except PostgresError as error:
            self._disconnect()
            if not error.sqlstate or error.sqlstate.startswith("57P"):
                self._gone(1.0)
                if self._process.poll() is not None:
                    raise self.failed("ended while it was asked") from error
            raise

    def status(self) -> str:
        """As it writes itself: starting, ready (it takes questions), stopping; empty before."""
        try:
            lines = (self.data / "postmaster.pid").read_text("utf-8", "replace").split("\n")
        except OSError:
            return ""
        own = lines[0].strip() == str(self.pid)
        return lines[_STATUS_LINE].strip() if own and len(lines) > _STATUS_LINE else ""

    def log_lines(self) -> list[str]:
        """The last of it, where it is long."""
        with suppress(FileNotFoundError), self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _END_OF_LOG, 0))
            return file.read().decode("utf-8", "replace").splitlines()
        return []

    def wait(self, *, writable: bool, timeout: float) -> None:
        """Till it takes questions, and `writable` orders too."""
        until = self._system.monotonic() + timeout
        pause = 0.01
        while self.status() != "ready" or (writable and self._in_recovery()):
            if self._process.poll() is not None:
                raise self.failed("did not start")
            if self._system.monotonic() > until:
                raise self.failed(f"was not ready after {timeout:.0f} s")
            self._system.sleep(pause)
            pause = min(pause * 1.5, _SLOWEST)

    def stop(self, mode: Mode = "fast", patience: float = 60.0) -> None:
        """Gone when it returns: what doesn't follow is shut down harder."""
        self._disconnect()
        for number in (_SIGNALS[mode], signal.SIGQUIT):
            if self._process.poll() is None:
                os.kill(self.pid, number)
                self._gone(patience)
        if self._process.poll() is None or servers_in(self.data):
            end_all(lambda: servers_in(self.data), self._system, min(patience, 10.0))
            self._gone(patience)
        if self._process.poll() is None:
            raise PostgresError(f"the server on {self.data} can't be ended: process {self.pid}")

    def failed(self, how: str) -> PostgresError:
        said, hint = reason(self.log_lines())
        return PostgresError(f"the server on {self.data} {how}: {said}", hint=hint)

    def _in_recovery(self) -> bool:
        return self.query("select pg_catalog.pg_is_in_recovery()") != [("f",)]

    def _gone(self, patience: float) -> None:
        until = self._system.monotonic() + patience
        while self._process.poll() is None and self._system.monotonic() < until:
            self._system.sleep(0.01)

    def _connected(self, database: str) -> "Wire":
        from drkit.postgres.wire import connect  # noqa: PLC0415  libpq, when somebody asks

        if self._wire is None or self._wire[0] != database:
            self._disconnect()
            self._wire = database, connect(self.to(database), self._system)
            self._wire[1].patience = None  # to read every row of it takes as long as it takes
        return self._wire[1]

    def _disconnect(self) -> None:
        if self._wire is not None:
            self._wire[1].close()
            self._wire = None


@contextmanager
def started(plan: ServerPlan, system: System) -> Iterator[Running]:
    who = somebody(plan.user)
    sweep(_SHORT, system)
    with marked(_SHORT, who, system) as folder:
        running = _launch(plan, system, folder, who)
        try:
            running.wait(writable=plan.writable, timeout=plan.timeout)
            yield running
        finally:
            running.stop("fast" if plan.kept else "immediate")


def _launch(plan: ServerPlan, system: System, folder: Path, who: Somebody | None) -> Running:
    check_replay(plan.data, plan.binaries, ids(who), system)
    kept, left_out = loadable(plan.libraries, plan.binaries.libraries)
    for name, why in left_out.items():
        system.tell(Warned(message=f"the copy's server runs without the library {name}: {why}"))
    given = dict(plan.settings) | {"shared_preload_libraries": ",".join(map(_listed, kept))}
    settings = server_settings(
        plan.binaries.major,
        read_control(plan.data),
        given | {"unix_socket_directories": str(folder)},
        plan.minimums,
        plan.memory,
        kept=plan.kept,
    )
    settings = _own_files(plan, folder) | settings
    # By itself, not by pg_ctl: that hands the folder's name to a shell, and has nothing to wait on.
    argv = [plan.binaries.program("postgres"), "-D", str(plan.data)]
    argv += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    log = plan.log or folder / "log"
    try:
        process = system.start(argv, env=ENVIRONMENT, log=log, user=ids(who))
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        raise PostgresError(f"can't run {argv[0]}: {said}") from error
    running = Running(plan, system, process, folder)
    running.left_out = left_out
    return running


def _own_files(plan: ServerPlan, folder: Path) -> dict[str, str]:
    """Those of the original may lie anywhere, or be missing; none of them is read."""
    files = {
        "config_file": ("postgresql.conf", "# all of it stands on the command line\n"),
        "hba_file": ("pg_hba.conf", plan.hba),
        "ident_file": ("pg_ident.conf", "# nobody is somebody else\n"),
    }
    for name, text in files.values():
        path = folder / name
        try:
            path.write_text(text)
            path.chmod(0o644)  # the folder itself is closed
        except OSError as error:
            said = (error.strerror or str(error)).lower()
            raise DiskError(f"can't write {path}: {said}") from error
    return {setting: str(folder / name) for setting, (name, _) in files.items()}


def _listed(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"

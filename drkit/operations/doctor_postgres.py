"""A PostgreSQL server as a source: whether it can be reached, backed up and restored from here."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from drkit.errors import ConfigError, Exit, PostgresError
from drkit.model.finding import Finding
from drkit.model.policy import Postgres
from drkit.model.units import size_in_words
from drkit.operations.doctor_plan import Checked, DoctorPlan, asked, finding
from drkit.postgres import advice
from drkit.postgres.binaries import find_binaries
from drkit.postgres.scratch import scratch_plan
from drkit.postgres.server import ServerFacts, ask, objections
from drkit.postgres.wire import Wire, connect
from drkit.stores import folder_of
from drkit.system import System

_PATIENCE = 10  # seconds for a connection, and for each question
_SPARE = 1.1  # what a restore takes beside the files: the WAL of the backup, and of the copy
_ELSEWHERE = "or leave it: restores may run on another machine"


def examine_server(plan: DoctorPlan, system: System) -> list[Checked]:
    postgres = plan.policy.source.postgres
    assert postgres is not None
    met: list[ServerFacts] = []

    def server() -> Iterator[Finding]:
        met.append(meet(postgres.dsn, system))
        yield from advice.check(met[0], postgres.incremental)

    found = asked("client", Exit.CONFIGURATION, _client)
    found += asked("password", Exit.CONFIGURATION, lambda: _password(plan, postgres.dsn))
    found += asked("server", Exit.POSTGRES, server)
    if not met:
        return found
    facts = met[0]
    if not objections(facts):
        found += asked("replication", Exit.POSTGRES, lambda: _replicate(postgres, facts, system))
    found += asked("places", Exit.CONFIGURATION, lambda: _places(plan, facts))
    found += asked("binaries", Exit.CONFIGURATION, lambda: _binaries(plan, facts.major, system))
    return found + asked("scratch", Exit.STORE, lambda: _scratch(plan, facts))


def meet(dsn: str, system: System) -> ServerFacts:
    """Nobody waits long for a doctor."""
    with _opened(dsn, system) as sql:
        sql.query(f"set statement_timeout = '{_PATIENCE}s'")
        return ask(sql)


def _opened(dsn: str, system: System, *, replication: bool = False) -> Wire:
    given = conninfo_to_dict(dsn)
    patient = given | {"connect_timeout": given.get("connect_timeout") or _PATIENCE}
    return connect(make_conninfo("", **patient), system, replication=replication)


def _client() -> Iterator[Finding]:
    number = pq.version()
    message = f"libpq {number // 10000}.{number % 10000}"
    if pq.__impl__ == "python":
        hint = "pip install 'psycopg[binary]'"
        yield finding("warn", "client", f"{message}, used from plain Python: backups crawl", hint)
    else:
        yield finding("pass", "client", message)


# --- the way in


def _password(plan: DoctorPlan, dsn: str) -> Iterator[Finding]:
    """What libpq would ignore without a word that reaches anybody."""
    defaults = {o.keyword: (o.val or b"").decode() for o in pq.Conninfo.get_defaults()}
    if defaults.get(b"password"):
        message = "PGPASSWORD is set here: cron and systemd may start drkit without it"
        yield finding("warn", "password", message, "put it into ~/.pgpass, chmod 600")
    own = "" if plan.env.home is None else str(plan.env.home / ".pgpass")
    path = str(conninfo_to_dict(dsn).get("passfile") or defaults.get(b"passfile") or own)
    try:
        found = os.stat(path)
    except OSError:
        return
    if not stat.S_ISREG(found.st_mode):
        yield finding("warn", "password", f"{path} is no file: libpq ignores it")
    elif found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        message = f"others may read {path}: libpq ignores it"
        yield finding("warn", "password", message, f"chmod 600 {path}")


def _replicate(postgres: Postgres, facts: ServerFacts, system: System) -> Iterator[Finding]:
    """pg_hba.conf has lines of its own for it; a pooler or a second host may be in between."""
    with _opened(postgres.dsn, system, replication=True) as sql:
        ((system_id, *_),) = sql.query("IDENTIFY_SYSTEM")
    if system_id != facts.system_id:
        raise PostgresError(
            f"replication leads to another cluster: {system_id}, not {facts.system_id}",
            hint="one host in dsn, and no pooler before it",
        )
    yield finding("pass", "replication", f"{facts.role.name} gets in, system {system_id}")


# --- this machine


def _places(plan: DoctorPlan, facts: ServerFacts) -> Iterator[Finding]:
    """Of a server that runs here: what lies in its folder would be in every backup."""
    data = facts.data_directory
    if not data or not os.path.isdir(data):
        return
    folders = {
        "the state folder": plan.state,
        "the scratch folder": scratch_plan(plan.policy.verify.scratch, plan.state).folder,
    }
    for url in (plan.policy.repository.store, *plan.policy.repository.copies):
        folder = folder_of(url)
        if folder is not None:
            folders[f"the store {url}"] = folder
    for what, folder in folders.items():
        if folder.resolve().is_relative_to(Path(data).resolve()):
            message = f"{what} lies in the server's data folder {data}: a backup would hold itself"
            yield finding("fail", "places", message, "give it a place elsewhere, on another disk")


def _binaries(plan: DoctorPlan, major: int, system: System) -> Iterator[Finding]:
    postgres = plan.policy.source.postgres
    assert postgres is not None
    user = plan.policy.verify.scratch.user
    try:
        found = find_binaries(major, system, postgres.binaries, user)
    except ConfigError as error:
        yield finding("warn", "binaries", error.message, f"{error.hint}; {_ELSEWHERE}")
    else:
        message = f"{found.version} in {found.folder}: restores can be opened and proven here"
        yield finding("pass", "binaries", message)


def _scratch(plan: DoctorPlan, facts: ServerFacts) -> Iterator[Finding]:
    wanted = scratch_plan(plan.policy.verify.scratch, plan.state).folder
    there = next(path for path in (wanted, *wanted.parents) if path.exists())
    found = os.statvfs(there)
    free = found.f_bavail * found.f_frsize
    message = f"{wanted}, {size_in_words(free)} free"
    if facts.size is None:
        yield finding("pass", "scratch", f"{message}; the size of the cluster is not known")
    elif free < facts.size * _SPARE:
        needed = size_in_words(round(facts.size * _SPARE))
        hint = f"verify: scratch: folder: one with more room; {_ELSEWHERE}"
        yield finding("warn", "scratch", f"{message}: a whole restore takes {needed}", hint)
    else:
        yield finding("pass", "scratch", message)

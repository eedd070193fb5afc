"""A whole cluster as a source."""

from collections.abc import Iterator
from contextlib import contextmanager

from drkit.errors import ConfigError
from drkit.model.lsn import parse_lsn
from drkit.model.snapshot import Facts, Snapshot
from drkit.postgres.capture import KIND, Task, capture, timeline_changed
from drkit.postgres.limits import summaries_cover, unsound
from drkit.postgres.plan import PhysicalPlan
from drkit.postgres.server import ServerFacts, look
from drkit.postgres.state import Method, State, decode
from drkit.postgres.wire import Wire, connect
from drkit.source import Reader, Save, Target
from drkit.system import System

_NEWEST = "select tli, max(end_lsn) from pg_catalog.pg_available_wal_summaries() group by tli"


class PhysicalSource:
    kind = KIND

    def __init__(self, plan: PhysicalPlan, system: System, sql: Wire, server: ServerFacts) -> None:
        self._plan = plan
        self._system = system
        self._sql = sql
        self._server = server
        self.system_id = server.system_id

    def unfit(self, state: bytes) -> str:
        """Why nothing can be built on the last backup; '' if something can."""
        last = decode(state)
        if last is None:
            return "the last backup was made by another version of drkit"
        return self._changed(last) or self._not_native(last)

    def _changed(self, last: State) -> str:
        server, wanted = self._server, self._plan.incremental
        if last.damaged:
            return "the last backup holds damaged pages"
        if last.server != server.major:
            return f"PostgreSQL {last.server} became {server.major}"
        if last.timeline != server.timeline:
            return timeline_changed(last.timeline, server.timeline)
        if wanted not in ("auto", last.method):
            return f"the policy says incremental: {wanted}, and the last ones were {last.method}"
        return ""

    def _not_native(self, last: State) -> str:
        if last.method != "native":
            return ""
        return no_native(self._server) or summaries_cover(self._sql, last.start, self._until(last))

    def _until(self, last: State) -> int:
        """As far as there are summaries: the newest one is made when the backup begins."""
        rows = self._sql.query(_NEWEST)
        ends = [parse_lsn(lsn or "0/0") for tli, lsn in rows if tli == str(last.timeline)]
        return max([*ends, last.start_lsn])

    def capture(self, save: Save) -> Facts:
        parent = decode(save.state)
        method = self._method() if parent is None else parent.method
        task = Task(plan=self._plan, server=self._server, method=method, parent=parent)
        return capture(task, self._sql, save, self._system)

    def _method(self) -> Method:
        """Of a generation that begins."""
        reason = no_native(self._server)
        if self._plan.incremental == "native" and reason:
            raise ConfigError(
                f"the policy says incremental: native, but {reason}",
                hint="ALTER SYSTEM SET summarize_wal = on, and reload; or say incremental: auto",
            )
        return "stream" if reason or self._plan.incremental == "stream" else "native"

    def restore(self, snapshot: Snapshot, reader: Reader, into: Target) -> None:  # noqa: ARG002
        """The files alone: links of tablespaces, and whether it starts, are for operations."""
        reader.tree(reader.entries(), into.into, as_root=into.as_root)


def no_native(server: ServerFacts) -> str:
    """Why this server can't make increments itself; '' if it can."""
    if not server.differs.summaries:
        return f"PostgreSQL {server.major} makes no increments itself"
    if not server.summarize_wal:
        return "summarize_wal is off"
    return unsound(server.version_num)


@contextmanager
def opened(plan: PhysicalPlan, system: System) -> Iterator[PhysicalSource]:
    with connect(plan.dsn, system) as sql:
        sql.patience = plan.answer
        yield PhysicalSource(plan, system, sql, look(sql))

"""One connection to a server by libpq, never blocking: plain SQL, and the replication protocol."""

import select
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from psycopg import OperationalError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import ProgrammingError
from psycopg.pq import (
    ConnStatus,
    DiagnosticField,
    Escaping,
    ExecStatus,
    PollingStatus,
)
from psycopg.pq import PGconn as Libpq
from psycopg.pq.abc import PGconn, PGresult

from drkit.errors import ConfigError, PostgresError
from drkit.postgres.refusals import complaint, lost, refused, silent
from drkit.system import System

Row = tuple[str | None, ...]

NAME = "drkit"  # as the server lists it
_CONNECT_TIMEOUT = 30
ANSWER = 600.0  # a server that is stopped, or whose disk hangs, keeps its connections
_PIECE = 64 << 10  # of what goes to the server at once
_TLS_LOOK = 0.1
_KEEPALIVES = {
    "keepalives": "1",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "6",
}
# wal_sender_timeout too: while a slow store holds the capture up, nobody answers the server.
# Its keepalives then end what is left of a client that vanished.
_OPTIONS = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "wal_sender_timeout": "0",
    "tcp_keepalives_idle": "60",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "6",
}
# Older servers refuse a connection that names these.
_LATER_OPTIONS = {"idle_session_timeout": 140000, "transaction_timeout": 170000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    severity: str  # not translated
    sqlstate: str
    text: str


class Wire:
    """Used from one thread. After an error of the server it may be used on; after a loss not."""

    def __init__(self, connection: PGconn, system: System, where: str) -> None:
        self._connection = connection
        self._system = system
        self._lost: str | None = None
        self.where = where  # host:port or socket, as people know it
        self.patience: float | None = ANSWER  # seconds for an answer, where nobody says otherwise
        self.pid = connection.backend_pid
        self.fileno = connection.socket
        self.tls = bool(connection.ssl_in_use)  # then bytes may wait while the socket is quiet
        self.version = connection.server_version  # as 150018
        self.heard: Callable[[Notice], None] = lambda _notice: None
        connection.nonblocking = 1
        connection.notice_handler = self._notice

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """At once: what the server was doing for this connection it gives up when it notices."""
        self._connection.notice_handler = None
        self._connection.finish()

    # plain questions

    def query(self, sql: str) -> list[Row]:
        """The rows of the last result."""
        return [
            tuple(
                None if value is None else value.decode("utf-8", "backslashreplace")
                for value in row
            )
            for row in self.raw_query(sql)
        ]

    def raw_query(self, sql: str) -> list[tuple[bytes | None, ...]]:
        self.send(sql)
        rows: list[tuple[bytes | None, ...]] = []
        while (result := self.result()) is not None:
            rows = rows_of(result)
        return rows

    def literal(self, text: str) -> str:
        return Escaping(self._connection).escape_literal(text.encode()).decode()

    # step by step

    def send(self, command: str) -> None:
        try:
            self._connection.send_query(command.encode())
        except OperationalError as error:
            raise lost(self.where, str(error)) from error

    def result(self, patience: float | None = None) -> PGresult | None:
        """The next of a command; None: there is no more. `patience`: seconds until it comes."""
        self._flush()
        self._until_free(self.patience if patience is None else patience)
        result = self._connection.get_result()
        if result is not None and result.status == ExecStatus.FATAL_ERROR:
            raise self._failed(result)
        return result

    def _until_free(self, patience: float | None) -> None:
        begun = self._system.monotonic()
        while self._connection.is_busy():
            if self._lost is not None:
                raise lost(self.where, self._lost)
            waited = self._system.monotonic() - begun
            if patience is not None and waited >= patience:
                raise silent(self.where, patience)
            self.wait(self.look if patience is None else patience - waited)

    def _failed(self, result: PGresult) -> PostgresError:
        """What is left of the command goes, so that the next one may be sent."""
        error = self._complaint(result)
        while self._connection.status == ConnStatus.OK:
            self._until_free(self.patience)
            rest = self._connection.get_result()
            if rest is None or rest.status not in _ENDED:  # in a COPY it comes again and again
                break
        return error

    def _complaint(self, result: PGresult) -> PostgresError:
        sqlstate = _field(result, DiagnosticField.SQLSTATE)
        if not sqlstate:  # libpq's own words
            return lost(self.where, self._lost or _text(result.error_message))
        said = _field(result, DiagnosticField.MESSAGE_PRIMARY)
        detail = _field(result, DiagnosticField.MESSAGE_DETAIL)
        advice = _field(result, DiagnosticField.MESSAGE_HINT)
        return complaint(self.where, sqlstate, f"{said}\n{detail}", advice)

    # COPY

    def take(self) -> tuple[int, memoryview]:
        """Length and bytes of the next row; 0: none has come yet; -1: there are no more."""
        try:
            length, view = self._connection.get_copy_data(1)
        except OperationalError as error:
            raise lost(self.where, self._lost or str(error)) from error
        if not length and self._lost is not None:
            raise lost(self.where, self._lost)
        return length, view

    def absorb(self) -> None:
        """Read what the socket holds. A loss counts when all that came before it was taken."""
        try:
            self._connection.consume_input()
        except OperationalError as error:
            self._lost = self._lost or str(error)

    def wait(self, seconds: float) -> None:
        """Until something came, or the time is over."""
        poll = select.poll()
        poll.register(self.fileno, select.POLLIN)
        poll.poll(1000 * min(seconds, self.look))
        self.absorb()

    @property
    def look(self) -> float:
        """For how long at most its socket's silence may be believed."""
        return _TLS_LOOK if self.tls else 3600.0

    def put(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE):
            while not self._connection.put_copy_data(data[start : start + _PIECE]):
                self._writable()
        self._flush()

    def put_end(self) -> None:
        while not self._connection.put_copy_end():
            self._writable()
        self._flush()

    def _flush(self) -> None:
        try:
            while self._connection.flush():
                self._writable()
        except OperationalError as error:
            self._lost = self._lost or str(error)

    def _writable(self) -> None:
        """The server may wait for us to read before it reads on."""
        poll = select.poll()
        poll.register(self.fileno, select.POLLIN | select.POLLOUT)
        waited = None if self.patience is None else 1000 * self.patience
        found = poll.poll(waited)
        if not found:
            raise silent(self.where, self.patience or 0)
        if any(event & ~select.POLLOUT for _, event in found):
            self.absorb()

    def _notice(self, result: PGresult) -> None:
        self.heard(
            Notice(
                severity=_field(result, DiagnosticField.SEVERITY_NONLOCALIZED),
                sqlstate=_field(result, DiagnosticField.SQLSTATE),
                text=_field(result, DiagnosticField.MESSAGE_PRIMARY),
            )
        )


_ENDED = {ExecStatus.FATAL_ERROR, ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK}


def rows_of(result: PGresult) -> list[tuple[bytes | None, ...]]:
    if result.status not in _ENDED:
        raise ValueError(f"{ExecStatus(result.status).name} is no answer to a question")
    columns = range(result.nfields)
    return [tuple(result.get_value(i, j) for j in columns) for i in range(result.ntuples)]


def _field(result: PGresult, field: DiagnosticField) -> str:
    return _text(result.error_field(field) or b"")


def _text(said: bytes) -> str:
    return said.decode("utf-8", "replace")


def connect(dsn: str, system: System, *, replication: bool = False) -> Wire:
    wire = _connected(dsn, system, _OPTIONS, replication=replication)
    try:
        later = {name: "0" for name, since in _LATER_OPTIONS.items() if wire.version >= since}
        if not replication:
            for name in later:
                wire.query(f"set {name} = 0")
        elif any(wire.query(f"SHOW {name}") != [("0",)] for name in later):
            wire.close()  # such a connection knows no SET
            wire = _connected(dsn, system, _OPTIONS | later, replication=True)
    except BaseException:
        wire.close()
        raise
    return wire


def _connected(dsn: str, system: System, settings: dict[str, str], *, replication: bool) -> Wire:
    given = _parsed(dsn)
    words = [given.get("options", ""), *(f"-c {name}={value}" for name, value in settings.items())]
    options = {
        **_KEEPALIVES,
        **given,
        "application_name": NAME,
        "client_encoding": "UTF8",
        "options": " ".join(words).strip(),
        **({"replication": "true"} if replication else {}),
    }
    patience = float(given.get("connect_timeout") or _CONNECT_TIMEOUT)
    connection = Libpq.connect_start(make_conninfo("", **options).encode())
    try:
        _complete(connection, system, patience)
        return Wire(connection, system, _where(connection))
    except BaseException:
        connection.finish()
        raise


def to_database(dsn: str, name: str) -> str:
    """The same server, another database."""
    return make_conninfo("", **{**_parsed(dsn), "dbname": name})


def _parsed(dsn: str) -> dict[str, str]:
    try:
        return {key: str(value) for key, value in conninfo_to_dict(dsn).items()}
    except ProgrammingError:  # its words may repeat a password
        raise ConfigError(
            "the `dsn:` is none that libpq understands",
            hint="write it like service=shop, host=db dbname=postgres or postgresql://host/db",
        ) from None


def _complete(connection: PGconn, system: System, patience: float) -> None:
    deadline = system.monotonic() + patience
    status = connection.status
    if status == ConnStatus.BAD:
        raise _no_connection(connection)
    while (step := connection.connect_poll()) != PollingStatus.OK:
        if step == PollingStatus.FAILED:
            raise _no_connection(connection)
        poll = select.poll()  # the socket is another one for each address tried
        event = select.POLLIN if step == PollingStatus.READING else select.POLLOUT
        poll.register(connection.socket, event)
        left = deadline - system.monotonic()
        if left <= 0 or not poll.poll(1000 * left):
            raise refused(_where(connection), f"it took longer than {patience:.0f} seconds")


def _no_connection(connection: PGconn) -> PostgresError:
    said = connection.get_error_message()
    if connection.password:
        said = said.replace(connection.password.decode("utf-8", "replace"), "***")
    return refused(_where(connection), said)


def _where(connection: PGconn) -> str:
    host = connection.host.decode() or connection.hostaddr.decode() or "the local server"
    port = connection.port.decode()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

"""What a server or libpq says when it refuses, as one line of drkit's and what to do about it."""

import re

from drkit.errors import PostgresError

_LONGEST = 400  # of what the server said

# of the text: libpq gives no SQLSTATE for a connection that failed
_WALSENDERS = (
    "no walsender is free: a backup needs two; set max_wal_senders higher, or end others "
    "(select * from pg_stat_replication)"
)
_FULL = (
    "all connections of the server or the role are taken: set max_connections or the role's "
    "limit higher, or end some"
)
_SLOTS = (
    "set max_replication_slots higher, or drop slots that nobody uses "
    "(select * from pg_replication_slots)"
)
_CREDENTIAL = (
    "put the role's password into ~/.pgpass (mode 0600) or a service file; the database of a "
    "replication connection is `replication` there, or `*`"
)
_RULE = "add a line to pg_hba.conf on the server and reload it: host {} ROLE ADDRESS scram-sha-256"
_RUNNING = "is the server running? `pg_isready` asks it; host and port stand in `dsn:`"
_NAME = "the host in `dsn:` has no address: look for a typing error, or ask the name server"
_WAY = "is the host up, and its port open for this machine? try: psql with the same `dsn:`"
_DOOR = "pg_hba.conf on the server says who may come in, and how; its log names the line it used"
_TLS = "sslmode, sslrootcert, sslcert and sslkey in `dsn:` must fit the server's `ssl` settings"
_CUT = (
    "the server's log says whether it crashed or was stopped; if it runs, look at what lies "
    "between: a firewall, a proxy, and whether the port is a PostgreSQL server's"
)
_UP = "wait until the server is up; its log says what it is doing"

_CONNECTING = (
    (r"connection refused|no such file or directory|is the server running", _RUNNING),
    (r"could not translate host name|name or service not known|name resolution", _NAME),
    (r"timeout expired|timed out|no route to host|is unreachable|took longer than", _WAY),
    (r"password authentication failed|no password supplied", _CREDENTIAL),
    (r"no pg_hba\.conf entry for replication", _RULE.format("replication")),
    (r"no pg_hba\.conf entry", _RULE.format("DATABASE")),
    (r"certificate|ssl|tls", _TLS),
    (r"authentication failed", _DOOR),
    (
        r"start wal sender|replication role|replication attribute",
        "as a superuser: ALTER ROLE that_role REPLICATION",
    ),
    (r"max_wal_senders|standby connections exceeds", _WALSENDERS),
    (r"too many clients|remaining connection slots|too many connections", _FULL),
    (r'database ".*" does not exist', "name one that is there in `dsn:`, as in dbname=postgres"),
    (r'role ".*" does not exist', "make it, or name another user in `dsn:`"),
    (r"not permitted to log in", "as a superuser: ALTER ROLE that_role LOGIN"),
    (r"starting up|shutting down|in recovery mode|not yet accepting|consistent recovery", _UP),
    (r"closed the connection|connection reset|broken pipe", _CUT),
)

_BY_STATE = {
    "42501": "a superuser can grant what is missing; drkit doctor says which rights are needed",
    "53100": "make room on the server's disk",
    "53300": _FULL,
    "53400": _SLOTS,
    "57P01": (
        "the server was shut down, somebody ended the session, or max_slot_wal_keep_size is too "
        "small for the WAL of a backup: the server's log says which"
    ),
    "57P02": "the server crashed: its log says why; run it again when it is up",
    "57P03": _UP,
    "57014": "somebody cancelled it: run it again",
    "58P01": "the server's own files are not as it expects: its log says more",
}
_BY_TEXT = (
    (r"wal.level", "set wal_level = replica on the server, and start it anew"),
    (r"max_replication_slots", _SLOTS),
    (r"max_wal_senders", _WALSENDERS),
    (r"full_page_writes", "set full_page_writes = on on the primary"),
    (r"promoted", "the standby became a primary: run drkit backup again, it takes a full"),
)


# What libpq adds of its own to a lost connection says nothing.
_PADDING = re.compile(
    r"consuming input failed:\s*|could not receive data from server:\s*"
    r"|\s*This probably means the server terminated abnormally\s+"
    r"before or while processing the request\.",
)


def one_line(text: str) -> str:
    """Lower case at its start, no full stop."""
    line = "; ".join(part.strip() for part in text.strip().splitlines() if part.strip())
    line = re.sub(r"(?:FATAL|ERROR|PANIC):\s+", "", line).rstrip(".")
    if len(line) > 1 and line[0].isupper() and not line[1].isupper():
        line = line[0].lower() + line[1:]
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def refused(where: str, said: str) -> PostgresError:
    """A connection did not come about."""
    reason = re.sub(r"connection to server (?:at|on socket) .*? failed:", "", said)
    reason = re.sub(r"\s*Is the server running.*?\?", "", reason, flags=re.DOTALL)
    reason = _PADDING.sub("", reason)
    reason = re.sub(r"(?m)^\s+", "", reason)
    lines = dict.fromkeys(one_line(line) for line in reason.splitlines() if line.strip())
    message = one_line("; ".join(lines)) or "it gave no reason"
    return PostgresError(f"no connection to {where}: {message}", hint=_hint(_CONNECTING, said))


def _hint(table: tuple[tuple[str, str], ...], said: str) -> str | None:
    return next((hint for pattern, hint in table if re.search(pattern, said, re.IGNORECASE)), None)


def complaint(where: str, sqlstate: str, said: str, advice: str | None = None) -> PostgresError:
    """A command failed. `advice`: the server's own hint."""
    hint = _hint(_BY_TEXT, said) or _BY_STATE.get(sqlstate)
    if hint is None and advice:
        hint = one_line(advice)
    return PostgresError(f"{where} says: {one_line(said)}", hint=hint, sqlstate=sqlstate)


def lost(where: str, said: str) -> PostgresError:
    reason = one_line(_PADDING.sub("", said)) or "it ended without a word"
    return PostgresError(
        f"the connection to {where} was lost: {reason}",
        hint="the server's log says whether it stopped; when it is up, run it again",
    )


def silent(where: str, seconds: float) -> PostgresError:
    return PostgresError(
        f"{where} sent nothing for {seconds:.0f} seconds",
        hint="look at the server and at the network between; then run it again",
    )

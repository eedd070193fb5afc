"""What doctor and init say about a server, and the statements that mend it."""

from collections.abc import Iterator

from drkit.model.finding import Finding, Level
from drkit.model.policy import Incremental
from drkit.model.units import size_in_words
from drkit.postgres.limits import unsound
from drkit.postgres.server import NEWEST, OLDEST, Role, ServerFacts, differs, objections, quoted

_MOST_NAMED = 5
_LITTLE = 1 << 30  # bytes of WAL that a slot should be able to hold back


def check(facts: ServerFacts, incremental: Incremental = "auto") -> list[Finding]:
    """What keeps a backup from being made, then what keeps it from being good."""
    found = [_server(facts)]
    failed = {
        what: _finding("fail", what, error.message, error.hint) for what, error in objections(facts)
    }
    if "managed" in failed:
        return [*found, *failed.values()]
    usual = (_role(facts.role), *_rights(facts), *_replication(facts))
    found += [failed.pop(one.what, one) for one in usual]
    return [
        *found,
        *failed.values(),
        *_summaries(facts, incremental),
        _checksums(facts),
        *_settings(facts),
        *_tablespaces(facts),
    ]


def grants(facts: ServerFacts) -> list[str]:
    """What the role lacks, for a superuser in the database that was asked."""
    role = facts.role
    name = quoted(role.name)
    found = [] if role.replication else [f"ALTER ROLE {name} REPLICATION;"]
    if not role.monitor:
        found.append(f"GRANT pg_monitor TO {name};")
    if not role.rules:
        found += _reading_rules(name, facts.version_num)
    closed = [quoted(database) for database in role.closed]
    if closed:
        found.append(f"GRANT CONNECT ON DATABASE {', '.join(closed)} TO {name};")
    return found


def new_role(name: str, version_num: int) -> list[str]:
    """Of one that may back up and nothing else."""
    role = quoted(name)
    return [
        f"CREATE ROLE {role} LOGIN REPLICATION;",
        f"GRANT pg_monitor TO {role};",
        *_reading_rules(role, version_num),
    ]


def _reading_rules(name: str, version_num: int) -> list[str]:
    views = ["pg_hba_file_rules"]
    if differs(version_num).ident_rules:
        views.append("pg_ident_file_mappings")
    functions = ", ".join(f"{view}()" for view in views)
    return [
        f"GRANT SELECT ON {', '.join(views)} TO {name};",
        f"GRANT EXECUTE ON FUNCTION {functions} TO {name};",
    ]


def in_one_line(facts: ServerFacts, statements: list[str]) -> str:
    where = f" in database {facts.database}" if any(" ON pg_" in s for s in statements) else ""
    server = " on the primary" if facts.in_recovery else ""
    return f"as a superuser{where}{server}: {' '.join(statements)}"


def _finding(level: Level, what: str, message: str, hint: str | None = None) -> Finding:
    return Finding(level=level, what=what, message=message, hint=hint)


def described(facts: ServerFacts) -> str:
    kind = "a standby" if facts.in_recovery else "a primary"
    size = "" if facts.size is None else f", {size_in_words(facts.size)}"
    many = f"{facts.databases} databases" if facts.databases != 1 else "1 database"
    return f"{facts.where}, PostgreSQL {facts.version}, {kind}{size}, {many}"


def _server(facts: ServerFacts) -> Finding:
    if facts.major <= NEWEST:
        return _finding("pass", "server", described(facts))
    message = f"{described(facts)}: newer than what this drkit knows"
    hint = f"drkit is tested with {OLDEST} to {NEWEST}: take a newer drkit, or try a restore first"
    return _finding("warn", "server", message, hint)


def _role(role: Role) -> Finding:
    if role.superuser:
        hint = "a role of its own needs REPLICATION and pg_monitor alone: docs/postgres.md"
        return _finding("warn", "role", f"{role.name} is a superuser: far more than needed", hint)
    return _finding("pass", "role", f"{role.name} may replicate")


def _rights(facts: ServerFacts) -> Iterator[Finding]:
    """What a backup's facts are made from: it is good without them, a restore knows less."""
    role = facts.role
    lacking = []
    if not role.monitor:
        lacking.append("all settings and sizes")
    if not role.rules:
        lacking.append("the rules of pg_hba.conf and pg_ident.conf")
    if role.closed:
        lacking.append(f"the extensions in {_some(role.closed)}")
    if not lacking:
        yield _finding("pass", "grants", "all facts can be recorded")
        return
    statements = [one for one in grants(facts) if not one.startswith("ALTER")]
    hint = in_one_line(facts, statements)
    yield _finding("warn", "grants", f"not recorded: {'; '.join(lacking)}", hint)


def _some(names: tuple[str, ...]) -> str:
    more = len(names) - _MOST_NAMED
    named = ", ".join(names[:_MOST_NAMED])
    return f"{named} and {more} more" if more > 0 else named


def _replication(facts: ServerFacts) -> Iterator[Finding]:
    yield _finding("pass", "wal_level", facts.wal_level)
    for what, most, used in (
        ("walsenders", facts.max_walsenders, facts.walsenders),
        ("slots", facts.max_slots, facts.slots),
    ):
        yield _finding("pass", what, f"{max(most - used, 0)} of {most} free")


def _summaries(facts: ServerFacts, incremental: Incremental) -> Iterator[Finding]:
    """The server's own increments, where they are wanted: without them it reads all each time."""
    what = "summarize_wal"
    level: Level = "fail" if incremental == "native" else "warn"
    if incremental == "stream":
        return
    if not facts.differs.summaries:
        if incremental == "native":
            message = f"the policy says native, which takes PostgreSQL 17: this is {facts.major}"
            yield _finding(level, what, message, "incremental: auto, or stream")
    elif not facts.summarize_wal:
        message = "summarize_wal is off: each incremental reads all, and stores what changed"
        hint = "ALTER SYSTEM SET summarize_wal = on; SELECT pg_reload_conf();"
        yield _finding(level, what, message, hint)
    elif reason := unsound(facts.version_num):
        hint = "update the server; until then each incremental reads all, and stores what changed"
        yield _finding(level, what, reason, hint)
    else:
        yield _finding("pass", what, "on: the server knows what changed")


def _checksums(facts: ServerFacts) -> Finding:
    if facts.checksums:
        return _finding("pass", "checksums", "on: each full read finds damaged pages")
    message = "data checksums are off: damage on the server's disk would be backed up unseen"
    return _finding("warn", "checksums", message, "stop the server, pg_checksums --enable -D DATA")


def _settings(facts: ServerFacts) -> Iterator[Finding]:
    for name, on in (("fsync", facts.fsync), ("full_page_writes", facts.full_page_writes)):
        if not on:
            message = f"{name} is off: the server's own data may not survive a power cut"
            hint = f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();"
            yield _finding("warn", name, message, hint)
    if facts.slot_keep is not None and facts.slot_keep < _LITTLE:
        kept = size_in_words(facts.slot_keep)
        message = f"max_slot_wal_keep_size is {kept}: more WAL than that in a slow backup fails it"
        hint = "ALTER SYSTEM SET max_slot_wal_keep_size = '10GB'; SELECT pg_reload_conf();"
        yield _finding("warn", "slot size", message, hint)


def _tablespaces(facts: ServerFacts) -> Iterator[Finding]:
    """A restore puts them below its own folder, unless it is told where."""
    if facts.tablespaces:
        places = _some(tuple(f"{one.name} at {one.location}" for one in facts.tablespaces))
        yield _finding("pass", "tablespaces", f"{len(facts.tablespaces)}: {places}")
    inside = [
        one.location
        for one in facts.tablespaces
        if facts.data_directory and one.location.startswith(f"{facts.data_directory}/")
    ]
    if inside:
        message = f"{inside[0]} lies in the data folder, where the server wants none"
        hint = "move what is in it to a tablespace elsewhere: ALTER TABLE … SET TABLESPACE"
        yield _finding("warn", "tablespaces", message, hint)

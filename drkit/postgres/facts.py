"""What a cluster is, beside its files: recorded with a backup, for those who restore it."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import ProgrammingError

from drkit.errors import PostgresError
from drkit.postgres.server import answer, differs, one, quoted
from drkit.postgres.wire import Wire

MOST = 10_000  # of anything that is listed
MOST_ENTERED = 256  # databases, one after the other
MOST_NAMED = 20
_MOST_REFUSED = 5  # each of them may have been waited for

RECOVERY = (
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
)
_FILES = ("data_directory", "config_file", "hba_file", "ident_file")
_PRELOADED = (
    "shared_preload_libraries",
    "session_preload_libraries",
    "local_preload_libraries",
)
_SECRET_OPTIONS = ("ldapbindpasswd=", "radiussecrets=")
_CONNECTIONS = ("primary_conninfo",)
_MONITOR = "GRANT pg_monitor TO {role};"
_RULES = "GRANT SELECT ON {view} TO {{role}}; GRANT EXECUTE ON FUNCTION {view}() TO {{role}};"
_HIDDEN = "42501"
_PLAIN = re.compile(r"[\w.+/@$=:-]+")

_SUPERUSER = "select min(rolname) from pg_roles where rolsuper and rolcanlogin"


@dataclass(slots=True)
class _Record:
    """Filled part by part; what this role may not read is said instead."""

    sql: Wire
    role: str
    parts: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def part(self, name: str, ask: Callable[[], Any], grant: str = "") -> None:
        try:
            self.parts[name] = ask()
        except PostgresError as error:
            if not _answered(error):
                raise
            hidden = error.sqlstate == _HIDDEN and grant
            self.missing[name] = grant.format(role=self.role) if hidden else error.message

    def listed(self, name: str, source: str, grant: str = "") -> None:
        """`source`: a query, each of its rows an item."""
        self.part(name, lambda: self._items(name, source), grant)

    def _items(self, name: str, source: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = answer(self.sql, _LIST.format(source=source, limit=MOST + 1))
        if len(found) > MOST:
            count = one(self.sql, _COUNT.format(source=source))
            self.missing[name] = f"{int(count) - MOST} of {count}: only the first {MOST} are kept"
        return found[:MOST]


def _answered(error: PostgresError) -> bool:
    """By a server that is still there."""
    return bool(error.sqlstate) and not error.sqlstate.startswith(("08", "57P"))


def record(sql: Wire, connect: Callable[[str], Wire] | None = None) -> dict[str, Any]:
    """`connect` opens another database of the same cluster."""
    made = _Record(sql=sql, role=quoted(one(sql, "select current_user")))
    _identity(made)
    _settings(made)
    _contents(made)
    _rules(made)
    if connect is not None:
        _databases(made, connect)
    return {**made.parts, "missing": made.missing}


def _identity(made: _Record) -> None:
    sql = made.sql
    made.part("version", lambda: one(sql, "show server_version"))
    made.part("version_num", lambda: int(one(sql, "show server_version_num")))
    made.part("superuser", lambda: one(sql, _SUPERUSER))
    made.part("build", lambda: one(sql, "select version()"))  # names the system it was built for
    made.part("collations", lambda: answer(sql, _COLLATIONS))


def _settings(made: _Record) -> None:
    sql = made.sql
    made.part("settings", lambda: _masked(answer(sql, _SETTINGS.format(limit=MOST))))
    if one(sql, "select pg_has_role('pg_read_all_settings', 'usage')") != "t":
        grant = _MONITOR.format(role=made.role)
        made.missing["settings"] = f"those that not everybody may read: {grant}"
    made.part("recovery", lambda: {name: int(_setting(sql, name)) for name in RECOVERY})
    made.part("files", lambda: {name: _setting(sql, name) for name in _FILES}, _MONITOR)
    made.part("preload", lambda: {name: _setting(sql, name) for name in _PRELOADED}, _MONITOR)


def _setting(sql: Wire, name: str) -> str:
    return one(sql, f"select current_setting({sql.literal(name)})")


def _masked(settings: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    for name in _CONNECTIONS:
        if name in settings:
            settings[name] = settings[name] | {"value": _without_password(settings[name]["value"])}
    return settings


def _without_password(text: str) -> str:
    try:
        given = conninfo_to_dict(text)
    except ProgrammingError:
        return "***"
    secrets = {key: "***" for key in given if key.endswith(("password", "secret", "_key"))}
    return make_conninfo("", **given | secrets)


def _contents(made: _Record) -> None:
    made.listed("tablespaces", _TABLESPACES.format(size="pg_tablespace_size(t.oid)"), _MONITOR)
    if "tablespaces" not in made.parts:
        made.listed("tablespaces", _TABLESPACES.format(size="null::bigint"))
    made.listed("databases", _DATABASES)
    _sizes(made)
    made.part("roles", lambda: int(one(made.sql, _ROLES)))


def _sizes(made: _Record) -> None:
    """Each asked for alone: one that is dropped meanwhile is no reason to know none."""
    unknown = 0
    for database in made.parts.get("databases", [])[:MOST_ENTERED]:
        try:
            size = one(made.sql, f"select pg_database_size({database['oid']}::oid)")
            database["size"] = int(size) if size else None
        except PostgresError as error:
            if not _answered(error):
                raise
            unknown += 1
    if unknown:
        grant = _MONITOR.format(role=made.role)
        made.missing["database sizes"] = f"of {unknown} databases: {grant}"


def _rules(made: _Record) -> None:
    views = {"hba": "pg_hba_file_rules"}
    if differs(made.sql.version).ident_rules:
        views["ident"] = "pg_ident_file_mappings"
    else:
        made.missing["ident"] = "this version does not tell"
    shown = {"hba": _hba_line, "ident": _ident_line}
    for name, view in views.items():
        made.listed(name, _ALL_OF.format(view=view), _RULES.format(view=view))
        if name in made.parts:
            made.parts[name] = [shown[name](rule) for rule in made.parts[name]]


def _hba_line(rule: dict[str, Any]) -> str:
    """As pg_hba.conf wants it. What it takes for a password is left out."""
    if rule["error"] or not rule["type"]:
        return _wrong(rule)
    words = [
        rule["type"],
        ",".join(map(_word, rule["database"] or [])),
        ",".join(map(_word, rule["user_name"] or [])),
        rule["address"],
        rule["netmask"],
        rule["auth_method"],
        *map(_word, map(_masked_option, rule["options"] or [])),
    ]
    return " ".join(word for word in words if word)


def _ident_line(rule: dict[str, Any]) -> str:
    if rule["error"] or not rule["map_name"]:
        return _wrong(rule)
    return " ".join(_word(rule[name]) for name in ("map_name", "sys_name", "pg_username"))


def _wrong(rule: dict[str, Any]) -> str:
    why = rule["error"] or "the server does not say why"
    return f"# line {rule['line_number']} is wrong: {why}"


def _word(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else quoted(text)


def _masked_option(option: str) -> str:
    found = next((name for name in _SECRET_OPTIONS if option.startswith(name)), None)
    return option if found is None else f"{found}***"


def _databases(made: _Record, connect: Callable[[str], Wire]) -> None:
    """What is known inside each alone: its extensions, and how many objects it holds."""
    allowed = [d for d in made.parts.get("databases", []) if d["allow"]]
    extensions: dict[str, dict[str, str]] = {}
    objects: dict[str, int] = {}
    unseen: dict[str, str] = {}
    for name in [d["name"] for d in allowed if d["open"]][:MOST_ENTERED]:
        try:
            inside = _inside(connect, name)
        except PostgresError as error:
            unseen[name] = error.message
            if len(unseen) == _MOST_REFUSED:
                break
            continue
        extensions[name] = inside["extensions"]
        for kind, count in inside["objects"].items():
            objects[kind] = objects.get(kind, 0) + count
    made.parts["extensions"] = extensions
    if len(extensions) == len(allowed):
        made.parts["objects"] = objects
    else:  # a sum over some of them could be compared with nothing
        made.missing["extensions"] = made.missing["objects"] = _unseen(made.role, allowed, unseen)


def _inside(connect: Callable[[str], Wire], name: str) -> dict[str, Any]:
    sql = connect(name)
    try:
        inside: dict[str, Any] = answer(sql, _INSIDE)
    finally:
        sql.close()
    return inside


def _unseen(role: str, allowed: list[dict[str, Any]], unseen: dict[str, str]) -> str:
    reasons = []
    closed = [quoted(d["name"]) for d in allowed if not d["open"]]
    if closed:
        names = ", ".join(closed[:MOST_NAMED])
        reasons.append(f"of {len(closed)} databases: GRANT CONNECT ON DATABASE {names} TO {role};")
    for name, reason in list(unseen.items())[:1]:
        reasons.append(f"{len(unseen)} databases could not be entered, the first {name}: {reason}")
    if len(allowed) - len(closed) > MOST_ENTERED:
        reasons.append(f"of {len(allowed)} databases {MOST_ENTERED} were entered")
    return "; ".join(reasons)


_LIST = """
select coalesce(json_agg(to_json(q)), '[]') from (select * from ({source}) q limit {limit}) q"""
_COUNT = "select count(*) from ({source}) q"
_ALL_OF = "select * from pg_catalog.{view}"
_SETTINGS = """
select coalesce(json_object_agg(name, json_build_object(
    'value', current_setting(name), 'source', source)), '{{}}')
  from (select name, source from pg_settings
    where source in ('configuration file', 'command line', 'environment variable', 'global')
    order by name limit {limit}) s"""
_TABLESPACES = """
select oid::bigint, spcname as name, pg_tablespace_location(oid) as location, {size} as size
  from pg_tablespace t where oid >= 16384 order by oid"""
# The columns of pg_database for locales have other names in each version.
_DATABASES = """
select oid::bigint, datname as name, pg_encoding_to_char(encoding) as encoding,
    datcollate as collate, datctype as ctype,
    coalesce(r->>'datlocprovider', 'c') as provider,
    coalesce(r->>'datlocale', r->>'daticulocale') as locale,
    r->>'datcollversion' as collation_version,
    datistemplate as template, datallowconn as allow,
    datallowconn and datconnlimit <> -2 and has_database_privilege(oid, 'connect') as open
  from pg_database d, lateral (select to_jsonb(d) as r) j order by oid"""
_ROLES = "select count(*) from pg_roles where rolname !~ '^pg_'"
# The versions of the C library and of ICU, as one collation of each tells them.
_COLLATIONS = """
select coalesce(json_object_agg(case collprovider when 'c' then 'libc' else 'icu' end, v), '{}')
  from (select collprovider, pg_collation_actual_version(min(oid::bigint)::oid) as v
    from pg_collation where collprovider in ('c', 'i') and collversion is not null
    group by collprovider) c"""
# Counted as a check of a restored copy counts them: the server's own included.
_INSIDE = """
select json_build_object(
  'extensions', (select coalesce(json_object_agg(extname, extversion), '{}') from pg_extension),
  'objects', (select json_build_object(
    'tables', count(*) filter (where relkind in ('r', 'p')),
    'indexes', count(*) filter (where relkind in ('i', 'I')),
    'views', count(*) filter (where relkind = 'v'),
    'sequences', count(*) filter (where relkind = 'S'),
    'matviews', count(*) filter (where relkind = 'm'),
    'functions', (select count(*) from pg_proc)) from pg_class))"""

"""What a live server says about itself, and what of that keeps drkit from backing it up."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from drkit.errors import PostgresError
from drkit.model.lsn import parse_lsn
from drkit.postgres.names import PAGE, SEGMENT_PAGES
from drkit.postgres.wire import Wire

NEEDED = {  # by one backup
    "walsenders": 2,  # for the files, and for the WAL meanwhile
    "slots": 1,  # a temporary one, that holds this WAL
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Major:
    """What differs between versions, as far as drkit has to know it before it asks."""

    backup_options: bool  # BASE_BACKUP (…): one COPY with lettered messages; before: one each
    read_slot: bool  # the command READ_REPLICATION_SLOT
    ident_rules: bool  # the view pg_ident_file_mappings
    in_place: bool  # tablespaces in the data folder are sent, too
    summaries: bool  # summarize_wal, UPLOAD_MANIFEST, BASE_BACKUP (INCREMENTAL)


VERSIONS = {
    13: Major(
        backup_options=False, read_slot=False, ident_rules=False, in_place=False, summaries=False
    ),
    14: Major(
        backup_options=False, read_slot=False, ident_rules=False, in_place=False, summaries=False
    ),
    15: Major(
        backup_options=True, read_slot=True, ident_rules=True, in_place=False, summaries=False
    ),
    16: Major(
        backup_options=True, read_slot=True, ident_rules=True, in_place=True, summaries=False
    ),
    17: Major(backup_options=True, read_slot=True, ident_rules=True, in_place=True, summaries=True),
    18: Major(backup_options=True, read_slot=True, ident_rules=True, in_place=True, summaries=True),
}
_VANISHED = ("42704", "58P01")  # a tablespace, dropped while it was looked at
_ATTEMPTS = 5
OLDEST, NEWEST = min(VERSIONS), max(VERSIONS)


def differs(version_num: int) -> Major:
    """A newer one than those is taken for the newest of them."""
    return VERSIONS[min(version_num // 10000, NEWEST)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tablespace:
    oid: int
    name: str
    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Who asked, and what it may."""

    name: str
    superuser: bool
    replication: bool  # the attribute, or superuser
    monitor: bool  # reads all settings and statistics, as pg_monitor does
    rules: bool  # reads the rules of pg_hba.conf and pg_ident.conf
    closed: tuple[str, ...]  # databases that it may not enter, of those one can enter


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    where: str  # host:port or socket, as people know it
    version: str  # as SHOW server_version says it: "15.18 (Debian 15.18-1)"
    version_num: int
    system_id: str
    timeline: int
    in_recovery: bool
    lsn: int  # written by a primary, replayed by a standby
    checksums: bool
    wal_level: str
    block_size: int
    segment_size: int  # of the WAL
    relation_size: int  # at which a relation goes on in another file
    summarize_wal: bool | None  # None: this version has none
    fsync: bool
    full_page_writes: bool
    max_walsenders: int
    walsenders: int  # in use
    max_slots: int
    slots: int  # in use
    slot_keep: int | None  # bytes of WAL that a slot may hold back; None: no limit
    database: str  # that was asked
    databases: int
    tablespaces: tuple[Tablespace, ...]
    data_directory: str  # '' when the role may not know
    size: int | None  # bytes of all tablespaces; None when the role may not know
    role: Role
    managed: str  # whose service it is: "Cloud SQL"; '' when it is nobody's

    @property
    def major(self) -> int:
        return self.version_num // 10000

    @property
    def differs(self) -> Major:
        return differs(self.version_num)


def look(sql: Wire) -> ServerFacts:
    """Refuses what can't be backed up. To be asked before a backup takes its own walsenders."""
    facts = ask(sql)
    for _, objection in objections(facts):
        raise objection
    return facts


def ask(sql: Wire) -> ServerFacts:
    """Whatever the server and the role are; only one older than 13 is refused."""
    version_num = int(one(sql, "show server_version_num"))
    if version_num // 10000 < OLDEST:
        raise _too_old(one(sql, "show server_version"))
    for _ in range(_ATTEMPTS - 1):
        try:
            return _asked(sql, version_num)
        except PostgresError as error:
            if error.sqlstate not in _VANISHED:
                raise
    return _asked(sql, version_num)


def _asked(sql: Wire, version_num: int) -> ServerFacts:
    rules = ["pg_hba_file_rules"]
    if differs(version_num).ident_rules:
        rules.append("pg_ident_file_mappings")
    said = answer(sql, _SERVER)
    role = _role(answer(sql, _ROLE.format(rules=" and ".join(map(_READS.format, rules)))))
    keep = said.pop("slot_keep")
    tablespaces = tuple(Tablespace(**each) for each in said.pop("tablespaces"))
    markers = said.pop("markers")
    return ServerFacts(
        **said | {"where": sql.where, "lsn": parse_lsn(said["lsn"])},
        slot_keep=None if keep < 0 else keep << 20,
        tablespaces=tablespaces,
        size=_size(sql, role),
        role=role,
        managed="" if role.superuser else _managed(markers),
    )


def objections(facts: ServerFacts) -> list[tuple[str, PostgresError]]:
    """Why it can't be backed up as it is, each with the name of what is wrong."""
    if facts.managed:
        return [("managed", _service(facts.managed))]
    found = [*_built(facts)]
    if facts.wal_level == "minimal":
        problem = "wal_level is minimal: such a server can't be backed up while it runs"
        hint = "ALTER SYSTEM SET wal_level = 'replica', and restart the server"
        found.append(("wal_level", PostgresError(problem, hint=hint)))
    if not facts.role.replication:
        problem = f"role {facts.role.name} may not replicate"
        hint = f"as a superuser: ALTER ROLE {quoted(facts.role.name)} REPLICATION"
        found.append(("role", PostgresError(problem, hint=hint)))
    return [
        *found,
        *_in_place(facts),
        *_taken("walsenders", "max_wal_senders", facts.max_walsenders, facts.walsenders),
        *_taken("slots", "max_replication_slots", facts.max_slots, facts.slots),
    ]


def _service(name: str) -> PostgresError:
    return PostgresError(
        f"this is {name}, which gives nobody physical backups; logical ones come later",
        hint="until then: the provider's own backups, and a restore of one of them as a test",
    )


def _built(facts: ServerFacts) -> Iterator[tuple[str, PostgresError]]:
    for what, own, wanted in (
        ("pages", facts.block_size, PAGE),
        ("relation files", facts.relation_size, PAGE * SEGMENT_PAGES),
    ):
        if own != wanted:
            problem = f"this server was built with {what} of {own} bytes: drkit reads {wanted} only"
            yield what, PostgresError(problem, hint="move it by dump and restore to a usual build")


def _in_place(facts: ServerFacts) -> Iterator[tuple[str, PostgresError]]:
    names = [t.name for t in facts.tablespaces if not t.location.startswith("/")]
    if names and not facts.differs.in_place:
        where = f"tablespace {quoted(names[0])} lies in the data folder"
        problem = f"{where}, and PostgreSQL {facts.major} leaves such out of its backups"
        hint = "move what it holds with ALTER TABLE … SET TABLESPACE pg_default, and drop it"
        yield "tablespaces", PostgresError(problem, hint=hint)


def _taken(what: str, setting: str, most: int, used: int) -> Iterator[tuple[str, PostgresError]]:
    needed = NEEDED[what]
    if most - used >= needed:
        return
    if not most:
        problem = f"{setting} is 0: nothing can be replicated, so nothing backed up"
    else:
        problem = f"{max(most - used, 0)} of {most} {what} are free, a backup takes {needed}"
    hint = f"ALTER SYSTEM SET {setting} = {max(used + needed, 10)}, and restart the server"
    yield what, PostgresError(problem, hint=hint)


def quoted(name: str) -> str:
    """For SQL: a name as it is."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _too_old(version: str) -> PostgresError:
    return PostgresError(
        f"PostgreSQL {version} is too old: drkit backs up {OLDEST} to {NEWEST}",
        hint="pg_dump still reads it; best is to upgrade it",
    )


def one(sql: Wire, question: str) -> str:
    """A single value."""
    ((value,),) = sql.query(question)
    return value or ""


def answer(sql: Wire, question: str) -> Any:  # noqa: ANN401  JSON is anything
    """A single value, which is JSON. A database without an encoding may send what is no text."""
    ((value,),) = sql.raw_query(question)
    return json.loads((value or b"null").decode("utf-8", "replace"))


def _role(said: dict[str, Any]) -> Role:
    return Role(**said | {"closed": tuple(said["closed"])})


def _size(sql: Wire, role: Role) -> int | None:
    if not role.monitor:
        return None
    return int(one(sql, "select coalesce(sum(pg_tablespace_size(oid)), 0) from pg_tablespace"))


def _managed(markers: list[str]) -> str:
    return next((name for marker, name in _SERVICES.items() if marker in markers), "")


# Databases, classes of settings and functions as only these services have them. Roles don't tell:
# a dump that was moved away from there brings them along.
_SERVICES = {
    "database cloudsqladmin": "Cloud SQL",
    "setting cloudsql": "Cloud SQL",
    "database alloydbadmin": "AlloyDB",
    "setting alloydb": "AlloyDB",
    "function aurora_version": "Amazon Aurora",
    "database rdsadmin": "Amazon RDS",
    "setting rds": "Amazon RDS",
    "database azure_maintenance": "Azure Database for PostgreSQL",
    "setting azure": "Azure Database for PostgreSQL",
    "setting neon": "Neon",
}
_SERVER = """
select to_json(q) from (select
  current_setting('server_version') as version,
  current_setting('server_version_num')::int as version_num,
  (select system_identifier::text from pg_control_system()) as system_id,
  case when pg_is_in_recovery() then greatest(
      (select timeline_id from pg_control_checkpoint()),
      (select min_recovery_end_timeline from pg_control_recovery()),
      (select received_tli from pg_stat_wal_receiver))
    else ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int end as timeline,
  pg_is_in_recovery() as in_recovery,
  coalesce(case when pg_is_in_recovery() then pg_last_wal_replay_lsn()
    else pg_current_wal_lsn() end, '0/0')::text as lsn,
  current_setting('data_checksums')::bool as checksums,
  current_setting('wal_level') as wal_level,
  current_setting('block_size')::int as block_size,
  pg_size_bytes(current_setting('wal_segment_size')) as segment_size,
  current_setting('summarize_wal', true)::bool as summarize_wal,
  (select setting::bigint * 8192 from pg_settings where name = 'segment_size') as relation_size,
  current_setting('fsync')::bool as fsync,
  current_setting('full_page_writes')::bool as full_page_writes,
  current_setting('max_wal_senders')::int as max_walsenders,
  (select count(*) from pg_stat_replication) as walsenders,
  current_setting('max_replication_slots')::int as max_slots,
  (select count(*) from pg_replication_slots) as slots,
  (select setting::bigint from pg_settings where name = 'max_slot_wal_keep_size') as slot_keep,
  current_database() as database,
  (select count(*) from pg_database) as databases,
  (select coalesce(json_agg(json_build_object('oid', oid::bigint, 'name', spcname,
      'location', pg_tablespace_location(oid)) order by oid), '[]')
    from pg_tablespace where oid >= 16384) as tablespaces,
  coalesce((select setting from pg_settings where name = 'data_directory'), '') as data_directory,
  (select coalesce(json_agg(marker), '[]') from (
    select 'database ' || datname as marker from pg_database where datname ~ 'admin|azure'
    union select 'setting ' || split_part(name, '.', 1) from pg_settings where name like '%.%'
    union select 'function ' || proname from pg_proc where proname = 'aurora_version') m) as markers
) q"""
_ROLE = """
select to_json(q) from (select
  session_user as name,
  r.rolsuper as superuser,
  r.rolsuper or r.rolreplication as replication,
  pg_has_role('pg_read_all_settings', 'usage') and pg_has_role('pg_read_all_stats', 'usage')
    as monitor,
  {rules} as rules,
  (select coalesce(json_agg(datname order by datname), '[]') from pg_database
    where datallowconn and datconnlimit <> -2
    and not has_database_privilege(oid, 'connect')) as closed
  from pg_roles r where rolname = session_user) q"""
_READS = (
    "has_table_privilege('pg_catalog.{0}', 'select')"
    " and has_function_privilege('pg_catalog.{0}()', 'execute')"
)

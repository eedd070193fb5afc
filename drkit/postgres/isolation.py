"""The settings a copy runs with: nothing in it acts on the original, and all can be looked at."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from drkit.postgres.control import Control

_TARGETS = ("", "_name", "_time", "_xid", "_lsn")  # of recovery_target

# What `postgresql.auto.conf` of the copy says stands below the command line, and only there.
# Beyond what reaches out of the machine: what runs programs, waits for others, or hides damage.
_ISOLATED = {
    "archive_mode": "off",
    "archive_command": "",
    "archive_cleanup_command": "",
    "recovery_end_command": "",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "recovery_min_apply_delay": "0",
    "synchronous_standby_names": "",  # or a commit would wait for ever
    "max_logical_replication_workers": "0",  # or its subscriptions would drain the publisher's slot
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "unix_socket_group": "",
    "ssl": "off",
    "bonjour": "off",
    "external_pid_file": "",
    "session_preload_libraries": "",
    "local_preload_libraries": "",
    "zero_damaged_pages": "off",
    "ignore_checksum_failure": "off",
    "ignore_invalid_pages": "off",
    "ignore_system_indexes": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] ",
    "log_timezone": "UTC",
    "log_error_verbosity": "default",
    "lc_messages": "C",
    "lc_monetary": "C",  # as these three are there, a locale that this host lacks stops no start
    "lc_numeric": "C",
    "lc_time": "C",
    "cluster_name": "drkit",
}
_ISOLATED_SINCE = {
    15: {"archive_library": ""},
    17: {"sync_replication_slots": "off", "summarize_wal": "off"},
}
_ISOLATED_UNTIL = {
    14: {"stats_temp_directory": "pg_stat_tmp"},
    15: {"promote_trigger_file": ""},
}
# The caller may say otherwise. Autovacuum is off: the copy is looked at as it came, nothing of its
# own works on it meanwhile, and times can be compared.
_WORKING = {
    "hot_standby": "on",
    "hot_standby_feedback": "off",
    "max_standby_archive_delay": "-1",  # no question is cancelled by replay
    "autovacuum": "off",
    "jit": "off",
    "restart_after_crash": "off",  # a crash is to be seen
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "default_transaction_read_only": "off",
    "huge_pages": "off",
    "shared_memory_type": "mmap",
    "dynamic_shared_memory_type": "posix",
    "wal_buffers": "-1",
    "max_stack_depth": "2MB",
    "restore_command": "",
    "recovery_target_timeline": "latest",
    "recovery_target_inclusive": "on",
    "recovery_target_action": "pause",
}
_WORKING_SINCE = {
    14: {"idle_session_timeout": "0"},
    15: {"allow_in_place_tablespaces": "on"},  # or a recovery that meets one stops with PANIC
    17: {"transaction_timeout": "0"},
    18: {"io_method": "worker"},
}
# Of roles and databases: these stand above the command line, and below a session's own options.
_SESSION = (
    *("statement_timeout=0", "lock_timeout=0", "idle_in_transaction_session_timeout=0"),
    *("default_transaction_read_only=off", "zero_damaged_pages=off", "ignore_checksum_failure=off"),
    *("session_preload_libraries=", "local_preload_libraries=", "lc_messages=C", "role=none"),
)
_SESSION_SINCE = {
    14: ("idle_session_timeout=0",),
    17: ("transaction_timeout=0", "event_triggers=off"),
}
# What works by itself, and not only on its own cluster.
_NEVER_LOADED = {
    "bdr": "it connects to other servers",
    "citus": "it connects to other servers",
    "pg_cron": "it runs jobs",
    "pg_net": "it sends requests",
    "pg_partman_bgw": "it drops partitions",
    "pgautofailover": "it connects to other servers",
    "pglogical": "it connects to other servers",
    "spock": "it connects to other servers",
    "timescaledb_osm": "it connects to object stores",
}
_LEAST = {"max_connections": 20, "max_wal_senders": 0, "max_replication_slots": 100}
_MIB = 1 << 20


def server_settings(
    major: int,
    control: Control,
    given: Mapping[str, str],
    minimums: Mapping[str, int],
    memory: int,
    *,
    kept: bool,
) -> dict[str, str]:
    """In the order they must be given: of recovery targets, the one that counts comes last."""
    working = _WORKING | _since(_WORKING_SINCE, major) | _sized(control, memory)
    if not kept:
        working |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
    until = {
        k: v for last, more in _ISOLATED_UNTIL.items() if major <= last for k, v in more.items()
    }
    isolated = _ISOLATED | _since(_ISOLATED_SINCE, major) | until
    targets = {f"recovery_target{end}": "" for end in _TARGETS}
    chosen = {name: value for name, value in given.items() if name in targets}
    rest = {name: value for name, value in given.items() if name not in targets}
    cleared = {name: value for name, value in targets.items() if name not in chosen}
    return working | _least(major, control, minimums) | rest | isolated | cleared | chosen


def session_options(major: int) -> str:
    """As libpq's `options` takes them."""
    more = [word for since, words in _SESSION_SINCE.items() if major >= since for word in words]
    return " ".join(f"-c {word}" for word in (*_SESSION, *more))


def loadable(wanted: Iterable[str], libraries: Path | None) -> tuple[list[str], dict[str, str]]:
    """Of `shared_preload_libraries`: what the copy's server loads, and what not and why."""
    kept: list[str] = []
    left_out: dict[str, str] = {}
    for name in wanted:
        plain = name.removeprefix("$libdir/").removesuffix(".so")
        if plain in _NEVER_LOADED:
            left_out[name] = _NEVER_LOADED[plain]
        elif _library(name, libraries).exists():
            kept.append(name)
        else:
            left_out[name] = f"it is not in {libraries or 'any folder known'}"
    return kept, left_out


def _library(name: str, libraries: Path | None) -> Path:
    file = name if name.endswith(".so") else f"{name}.so"
    return (libraries or Path("/nowhere")) / file.removeprefix("$libdir/")  # absolute ones stay


def _since(table: Mapping[int, Mapping[str, str]], major: int) -> dict[str, str]:
    return {k: v for first, more in table.items() if major >= first for k, v in more.items()}


def _least(major: int, control: Control, minimums: Mapping[str, int]) -> dict[str, str]:
    """A standby stops below the values that its primary had."""
    tables = (_LEAST, control.minimums, minimums)
    names = {name for table in tables for name in table}
    most = {name: max(table.get(name, 0) for table in tables) for name in sorted(names)}
    if major >= 18:  # what restores the origins of subscriptions has a setting of its own there
        most.setdefault("max_active_replication_origins", most["max_replication_slots"])
    return {name: str(value) for name, value in most.items()}


def _sized(control: Control, memory: int) -> dict[str, str]:
    segment = control.segment_size
    return {
        "shared_buffers": f"{max(memory // 2, _MIB) // 1024}kB",
        "maintenance_work_mem": f"{max(memory // 8, _MIB) // 1024}kB",
        "work_mem": f"{max(memory // 64, _MIB) // 1024}kB",
        "temp_buffers": "8MB",
        "autovacuum_work_mem": "-1",
        "min_wal_size": f"{max(80 * _MIB, 2 * segment) // _MIB}MB",
        "max_wal_size": f"{max(1024 * _MIB, 4 * segment) // _MIB}MB",
        "wal_level": control.wal_level,
        "track_commit_timestamp": "on" if control.track_commit_timestamp else "off",
    }

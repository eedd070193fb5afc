"""The keys under `source:` of a policy, kind by kind."""

from collections.abc import Iterator

from drkit.config import words
from drkit.config.shapes import Fault, Flag, Key, Many, Section, Word
from drkit.model import policy, units

PATH = Word(says="an absolute path", parse=words.path, pattern="^/")
_PATTERNS = Many(item=Word(says="patterns as in .gitignore", parse=words.pattern))


def _check_source(made: object) -> Iterator[Fault]:
    assert isinstance(made, policy.Source)
    if made.files is None and made.postgres is None:
        yield (), "one of these is missing: files, postgres"
    if made.files is not None and made.postgres is not None:
        yield ("postgres",), "files stands here too: one policy protects one thing"


_FILES = Section(
    make=policy.Files,
    keys=(
        Key(
            name="root",
            shape=PATH,
            says="the folder to protect; all other paths are below it",
        ),
        Key(
            name="include",
            shape=_PATTERNS,
            says="what to take of it, folders with all they hold",
            absent="everything",
        ),
        Key(name="exclude", shape=_PATTERNS, says="what to leave out of that", absent="nothing"),
        Key(name="one_file_system", shape=Flag(), says="stay on the file system the root is on"),
        Key(
            name="unreadable",
            shape=Word(says="fail or warn", choices=("fail", "warn")),
            says="when a file can't be read: the rest is saved either way; `fail` then exits 8",
        ),
        Key(name="xattrs", shape=Flag(), says="save extended attributes and access lists"),
    ),
)
_POSTGRES = Section(
    make=policy.Postgres,
    keys=(
        Key(
            name="dsn",
            shape=Word(says="service=shop, or postgresql://…", parse=words.dsn),
            says="how to reach the server, as psql reads it; a password comes from ~/.pgpass, "
            "a service file or PGPASSWORD, never from here",
        ),
        Key(
            name="method",
            shape=Word(says="physical", choices=("physical",), later=("logical", "both")),
            says="the whole cluster, by the server's own replication protocol",
        ),
        Key(
            name="wal",
            shape=Word(says="none", choices=("none",), later=("stream", "archive")),
            says="none: each backup carries the WAL it needs, and no more",
        ),
        Key(
            name="incremental",
            shape=Word(says="auto, native or stream", choices=("auto", "native", "stream")),
            says="native: the server sends what changed (17 and later, with summarize_wal); "
            "stream: it sends all, and what changed is stored; auto: native where it can be",
        ),
        Key(
            name="max_rate",
            shape=Word(
                says="a rate: 80 MB/s, 100 Mbit/s",
                parse=words.max_rate,
                pattern=units.RATE_PATTERN,
            ),
            says="how fast the server may send a backup at most: 32 KiB/s to 1 GiB/s",
            absent="no limit",
        ),
        Key(
            name="binaries",
            shape=PATH,
            says="the bin folder of a server of the same major version, to open restores with",
            absent="what is installed",
        ),
    ),
    later=frozenset({"databases"}),
)
SOURCE = Section(
    make=policy.Source,
    keys=(
        Key(name="files", shape=_FILES, says="a file tree", absent="no files"),
        Key(name="postgres", shape=_POSTGRES, says="a PostgreSQL cluster", absent="no server"),
    ),
    later=frozenset({"config", "logs", "git", "image", "buckets"}),
    check=_check_source,
)

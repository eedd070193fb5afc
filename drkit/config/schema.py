"""The keys of a policy: the one table that reading, the JSON Schema and docs/policy.md share."""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from drkit.config.shapes import Fault, Flag, Key, Many, Number, Section, Word
from drkit.crypto.recipients import parse_recipient
from drkit.crypto.sign import parse_signer
from drkit.files.patterns import compiled
from drkit.model import policy, retention, schedule, units
from drkit.model.pins import Pins
from drkit.stores import STORES

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_LATER_STORES = frozenset({"s3", "gs"})
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?")
_PASSWORD = re.compile(r"://[^/]*:[^/]*@")


def _version(text: str) -> int:
    if text == str(policy.VERSION):
        return policy.VERSION
    later = text.isascii() and text.isdigit() and text > "0"
    raise ValueError(
        f"{text[:20]!r} is of another drkit: this one reads version {policy.VERSION}"
        if later
        else f"{text[:20]!r} is not a version: write {policy.VERSION}"
    )


def _name(text: str) -> str:
    if NAME.fullmatch(text):
        return text
    rule = "small letters, digits, '.', '_' and '-', 63 at most, the first a letter or a digit"
    raise ValueError(f"{text[:80]!r} is not a name: {rule}")


def _path(text: str) -> Path:
    if not text.startswith("/"):
        raise ValueError(f"{text[:80]!r} is not an absolute path: it must begin with /")
    if ".." in text.split("/"):
        raise ValueError(f"{text[:80]!r} holds '..': write the path it leads to")
    return Path(text)


def _pattern(text: str) -> str:
    compiled([text])
    return text


def _store(text: str) -> str:
    if _PASSWORD.search(text):
        raise ValueError("a password stands in the address of a store: take it out of the file")
    scheme = _SCHEME.match(text)
    if scheme is None:
        return str(_path(text))
    kind = scheme[1].lower()
    if kind in _LATER_STORES and kind not in STORES:
        raise ValueError(f"{kind}:// stores are not in this version of drkit yet")
    if kind not in STORES or not scheme[2]:
        raise ValueError(f"{text[:80]!r} is not a store: write it like file:///srv/backup")
    if kind == "file" and not text[7:].startswith("/"):
        raise ValueError(f"{text[:80]!r} is not absolute: three slashes, like file:///srv/backup")
    return text


def _compression(text: str) -> int:
    found = re.fullmatch(r"zstd:([0-9]{1,2})", text)
    if found is None or not 1 <= int(found[1]) <= 19:
        raise ValueError(f"{text[:20]!r} is not a compression: write zstd:1 to zstd:19")
    return int(found[1])


def zone(text: str) -> tzinfo:
    try:
        return UTC if text == "UTC" else ZoneInfo(text)
    except (OSError, ValueError, LookupError):  # a folder, a path that leads out, no such zone
        raise ValueError(
            f"{text[:60]!r} is not a time zone: write it like Europe/Berlin or UTC"
        ) from None


def _some(parse: Callable[[str], int | timedelta]) -> Callable[[str], int | timedelta]:
    def checked(text: str) -> int | timedelta:
        value = parse(text)
        if not value:
            raise ValueError(f"{text[:40]!r} is nothing: it must be more than that")
        return value

    return checked


def _show_duration(value: object) -> str:
    return units.in_words(value) if isinstance(value, timedelta) else str(value)


_ALONE = (
    "one recipient alone: when its key is lost, so is every backup; "
    "add a second one, or say single_recipient: true"
)


def _check_encryption(made: object) -> Iterator[Fault]:
    assert isinstance(made, policy.Encryption)
    seen: set[str] = set()
    for number, recipient in enumerate(made.recipients):
        if recipient in seen:
            shown = recipient[:20]
            yield ("recipients", str(number)), f"{shown}… stands here twice: that is one key"
        seen.add(recipient)
    if len(made.recipients) == 1 and not made.single_recipient:
        yield ("recipients",), _ALONE


def _check_signers(made: object) -> Iterator[Fault]:
    assert isinstance(made, Pins)
    if not made.writers:
        yield (), "no writers: without them no backup would be believed"


def _check_retention(made: object) -> Iterator[Fault]:
    assert isinstance(made, retention.Rules)
    counts = {"weekly": made.weekly, "monthly": made.monthly, "yearly": made.yearly}
    if made.keep is None and any(counts.values()):
        name = next(name for name, count in counts.items() if count)
        yield (name,), "keep is missing: this thins out only what is older than keep"


_DURATION = Word(
    says="a duration: 30 days, 24h, 15 min",
    parse=_some(units.duration),
    show=_show_duration,
    pattern=units.DURATION_PATTERN,
)
_WHEN = Word(
    says="a time to run at: daily 02:00, hourly :15, every 6h, weekly sat 05:00, monthly 1 03:00",
    parse=schedule.parse_rule,
    pattern=schedule.PATTERN,
)
_NAME_WORD = Word(says="a name", parse=_name, pattern=f"^{NAME.pattern}$")
_PATH_WORD = Word(says="an absolute path", parse=_path, pattern="^/")
_PATTERNS = Many(item=Word(says="patterns as in .gitignore", parse=_pattern))
_RECIPIENT = Word(
    says="age public keys (age1…)",
    parse=lambda text: parse_recipient(text).text,
    pattern="^[aA][gG][eE]1[0-9a-zA-Z]{58}$",
)
_SIGNERS = Many(
    item=Word(
        says="ed25519:… public keys", parse=parse_signer, pattern="^ed25519:[0-9a-fA-F]{64}$"
    ),
    least=1,
    make=frozenset,
)

_FILES = Section(
    make=policy.Files,
    keys=(
        Key(
            name="root",
            shape=_PATH_WORD,
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
_SOURCE = Section(
    make=policy.Source,
    keys=(Key(name="files", shape=_FILES, says="a file tree"),),
    later=frozenset({"postgres", "config", "logs", "git", "image", "buckets"}),
)
_REPOSITORY = Section(
    make=policy.Repository,
    keys=(
        Key(
            name="store",
            shape=Word(says="file:///folder", parse=_store),
            says="where backups go; never with a password in it",
        ),
        Key(
            name="compression",
            shape=Word(
                says="zstd:1 to zstd:19",
                parse=_compression,
                show=lambda level: f"zstd:{level}",
                pattern="^zstd:(1?[1-9]|10)$",
            ),
            says="a higher level is smaller, and slower",
        ),
        Key(
            name="bandwidth",
            shape=Word(
                says="a rate: 80 MB/s, 100 Mbit/s",
                parse=_some(units.rate),
                pattern=units.RATE_PATTERN,
            ),
            says="how fast to write to the store at most",
            absent="no limit",
        ),
        Key(
            name="verify",
            shape=Word(says="all, sampled or none", choices=("all", "sampled", "none")),
            says="which records to open again and compare before they are stored: "
            "the host can never do it later",
        ),
    ),
    later=frozenset({"copies", "durable", "lock"}),
)
_ENCRYPTION = Section(
    make=policy.Encryption,
    keys=(
        Key(
            name="recipients",
            shape=Many(item=_RECIPIENT, least=1),
            says="two at least: the one of operations, and the one in the safe; "
            "another set makes the next backup a full",
        ),
        Key(
            name="single_recipient",
            shape=Flag(),
            says="accept one recipient alone, and that its loss is the loss of all backups",
        ),
        Key(
            name="signers",
            shape=Section(
                make=Pins,
                keys=(
                    Key(
                        name="writers",
                        shape=_SIGNERS,
                        says="whose backups are believed; retired ones stay here",
                        absent="nobody",
                    ),
                    Key(
                        name="maintainers",
                        shape=_SIGNERS,
                        says="who may close, fence and expire",
                        absent="nobody",
                    ),
                    Key(
                        name="verifiers",
                        shape=_SIGNERS,
                        says="whose evidence is believed",
                        absent="nobody",
                    ),
                ),
                check=_check_signers,
            ),
            says="public keys this policy trusts, by what they may say",
            absent="nobody is trusted, and every output says so",
        ),
    ),
    check=_check_encryption,
)
_SCHEDULE = Section(
    make=schedule.Schedule,
    keys=(
        Key(name="full", shape=_WHEN, says="when a new generation begins", absent="when needed"),
        Key(name="incremental", shape=_WHEN, says="when to add to it", absent="never"),
        Key(name="scrub", shape=_WHEN, says="when to read the repository", absent="never"),
        Key(name="forget", shape=_WHEN, says="when to apply the retention", absent="never"),
        Key(
            name="timezone",
            shape=Word(says="a time zone: Europe/Berlin", parse=zone),
            says="whose clock these times are of",
            absent="the machine's own",
        ),
    ),
    later=frozenset({"drill"}),
)


def _count(name: str, period: str) -> Key:
    says = f"how many {period}s keep a backup each, the newest {period}s that have one"
    return Key(name=name, shape=Number(), says=says)


_RETENTION = Section(
    make=retention.Rules,
    keys=(
        Key(
            name="keep",
            shape=_DURATION,
            says="everything younger stays",
            absent="everything stays for ever",
        ),
        _count("weekly", "week"),
        _count("monthly", "month"),
        _count("yearly", "year"),
        Key(
            name="patience",
            shape=_DURATION,
            says="when `forget` may end a run without outcome: longer than any backup takes",
        ),
    ),
    later=frozenset({"lock"}),
    check=_check_retention,
)
_OBJECTIVES = Section(
    make=policy.Objectives,
    keys=(
        Key(name="rpo", shape=_DURATION, says="how much may be lost", absent="no promise"),
        Key(
            name="rto", shape=_DURATION, says="how long it may take to be back", absent="no promise"
        ),
    ),
    later=frozenset({"rta_data", "wal_lag", "class"}),
)
POLICY = Section(
    make=policy.Policy,
    keys=(
        Key(
            name="version",
            shape=Word(says=str(policy.VERSION), parse=_version),
            says="the version of this kind of file",
        ),
        Key(name="name", shape=_NAME_WORD, says="what people and commands call it"),
        Key(
            name="id",
            shape=_NAME_WORD,
            says="keeps the backups found when `name` changes: the name they were begun under",
            absent="the name",
        ),
        Key(name="source", shape=_SOURCE, says="what is protected: one kind"),
        Key(name="repository", shape=_REPOSITORY, says="where it goes"),
        Key(name="encryption", shape=_ENCRYPTION, says="who can read it, and who is believed"),
        Key(
            name="schedule",
            shape=_SCHEDULE,
            says="when what is due; cron calls `drkit backup` at least that often",
            absent="each `drkit backup` takes an incremental, where one is possible",
        ),
        Key(
            name="retention",
            shape=_RETENTION,
            says="what `drkit forget` keeps",
            absent="everything",
        ),
        Key(
            name="objectives",
            shape=_OBJECTIVES,
            says="what you promised; kept with each backup, nothing measures it yet",
            absent="none",
        ),
        Key(
            name="state",
            shape=_PATH_WORD,
            says="the folder for keys and caches of this machine; `DRKIT_STATE` goes before it",
            absent="/var/lib/drkit for root, else below the home folder",
        ),
    ),
    later=frozenset(
        {"allowances", "canary", "contacts", "evidence", "group", "hooks", "notify", "verify"}
    ),
)


def homes(section: Section = POLICY, path: str = "") -> Iterable[tuple[str, str]]:
    """Each key's name with its place: for somebody who wrote it at another."""
    for key in section.keys:
        here = f"{path}.{key.name}" if path else key.name
        yield key.name, here
        if isinstance(key.shape, Section):
            yield from homes(key.shape, here)

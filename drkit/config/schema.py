"""The keys of a policy: the one table that reading, the JSON Schema and docs/policy.md share."""

from collections.abc import Iterable, Iterator

from drkit.config import words
from drkit.config.shapes import Fault, Flag, Key, Many, Number, Section, Word
from drkit.config.source_keys import PATH, SOURCE
from drkit.crypto.recipients import parse_recipient
from drkit.crypto.sign import parse_signer
from drkit.model import policy, retention, schedule, units
from drkit.model.pins import Pins
from drkit.stores import can_lock, plain_url

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


def _check_repository(made: object) -> Iterator[Fault]:
    assert isinstance(made, policy.Repository)
    seen = {plain_url(made.store)}
    for number, copy in enumerate(made.copies):
        if plain_url(copy) in seen:
            yield ("copies", str(number)), f"{plain_url(copy)} stands here twice: that is one store"
        seen.add(plain_url(copy))


def _check_policy(made: object) -> Iterator[Fault]:
    """A lock needs to know when the generation that it protects will have ended."""
    assert isinstance(made, policy.Policy)
    if made.retention.lock is None:
        return
    place = ("retention", "lock")
    if made.schedule.full is None:
        yield place, "schedule: full is missing: it says when a generation ends, and a lock with it"
    if made.retention.keep is None:
        yield place, "retention: keep is missing: without it a lock would have no end"
    if not any(can_lock(url) for url in (made.repository.store, *made.repository.copies)):
        yield place, "none of the stores can lock objects: that takes an s3:// or gs:// store"


_DURATION = Word(
    says="a duration: 30 days, 24h, 15 min",
    parse=words.some(units.duration),
    show=words.show_duration,
    pattern=units.DURATION_PATTERN,
)
_WHEN = Word(
    says="a time to run at: daily 02:00, hourly :15, every 6h, weekly sat 05:00, monthly 1 03:00",
    parse=schedule.parse_rule,
    pattern=schedule.PATTERN,
)
_NAME_WORD = Word(says="a name", parse=words.name, pattern=f"^{words.NAME.pattern}$")
_STORE_WORD = Word(says="file:///folder, s3://bucket/prefix, gs://bucket/prefix", parse=words.store)
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

_REPOSITORY = Section(
    make=policy.Repository,
    keys=(
        Key(
            name="store",
            shape=_STORE_WORD,
            says="where backups go; never with a password in it",
        ),
        Key(
            name="copies",
            shape=Many(item=_STORE_WORD),
            says="second stores that get everything at the end of each backup; "
            "what could not be copied is exit 5, and caught up by the next run",
            absent="no second copy",
        ),
        Key(
            name="compression",
            shape=Word(
                says="zstd:1 to zstd:19",
                parse=words.compression,
                show=lambda level: f"zstd:{level}",
                pattern="^zstd:(1?[1-9]|10)$",
            ),
            says="a higher level is smaller, and slower",
        ),
        Key(
            name="bandwidth",
            shape=Word(
                says="a rate: 80 MB/s, 100 Mbit/s",
                parse=words.some(units.rate),
                pattern=units.RATE_PATTERN,
            ),
            says="how fast to write to each store at most",
            absent="no limit",
        ),
        Key(
            name="connections",
            shape=Number(least=1, most=64),
            says="how many requests at once to a store of the cloud",
            absent="8",
        ),
        Key(
            name="verify",
            shape=Word(says="all, sampled or none", choices=("all", "sampled", "none")),
            says="which records to open again and compare before they are stored: "
            "the host can never do it later",
        ),
    ),
    later=frozenset({"durable"}),
    check=_check_repository,
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
            shape=Word(says="a time zone: Europe/Berlin", parse=words.zone),
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
        Key(
            name="lock",
            shape=Word(
                says="none, governance or compliance",
                choices=("none", "governance", "compliance"),
                parse=lambda text: None if text == "none" else text,
                show=lambda mode: "none" if mode is None else str(mode),
            ),
            says="object lock in stores of the cloud: nobody deletes a backup before its time; "
            "governance: unless specially allowed",
        ),
    ),
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
_SCRATCH = Section(
    make=policy.Scratch,
    keys=(
        Key(
            name="folder",
            shape=PATH,
            says="a folder with room for a whole restore",
            absent="`scratch` in the state folder; for root `/var/tmp/drkit-scratch`",
        ),
        Key(
            name="memory",
            shape=Word(
                says="a size: 256 MiB",
                parse=words.memory,
                show=lambda count: units.size_in_words(int(str(count))),
                pattern=units.SIZE_PATTERN,
            ),
            says="how much a scratch server may take for its buffers",
        ),
        Key(
            name="user",
            shape=Word(says="a user of this machine", parse=words.user),
            says="who runs the server when drkit is run by root",
            absent="postgres, else nobody",
        ),
        Key(
            name="identity",
            shape=PATH,
            says="the file with the private key that opens what is tried: on a drill machine, "
            "not where backups are taken",
            absent="--identity or `DRKIT_IDENTITY_FILE`",
        ),
    ),
)
_VERIFY = Section(
    make=policy.Verification,
    keys=(Key(name="scratch", shape=_SCRATCH, says="where a restore is tried"),),
    later=frozenset({"levels", "checks", "queries", "level", "budget"}),
)
POLICY = Section(
    make=policy.Policy,
    keys=(
        Key(
            name="version",
            shape=Word(says=str(policy.VERSION), parse=words.version),
            says="the version of this kind of file",
        ),
        Key(name="name", shape=_NAME_WORD, says="what people and commands call it"),
        Key(
            name="id",
            shape=_NAME_WORD,
            says="keeps the backups found when `name` changes: the name they were begun under",
            absent="the name",
        ),
        Key(name="source", shape=SOURCE, says="what is protected: one kind"),
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
            says="what you promised; `drkit restore --verify` measures `rto`, nothing `rpo` yet",
            absent="none",
        ),
        Key(
            name="verify",
            shape=_VERIFY,
            says="how `drkit restore --verify` tries a backup",
            absent="as below",
        ),
        Key(
            name="state",
            shape=PATH,
            says="the folder for keys and caches of this machine; `DRKIT_STATE` goes before it",
            absent="/var/lib/drkit for root, else below the home folder",
        ),
    ),
    check=_check_policy,
    later=frozenset({"allowances", "canary", "contacts", "evidence", "group", "hooks", "notify"}),
)


def homes(section: Section = POLICY, path: str = "") -> Iterable[tuple[str, str]]:
    """Each key's name with its place: for somebody who wrote it at another."""
    for key in section.keys:
        here = f"{path}.{key.name}" if path else key.name
        yield key.name, here
        if isinstance(key.shape, Section):
            yield from homes(key.shape, here)

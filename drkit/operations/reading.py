"""What reading commands share: which domain, which snapshot, and opening one."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

from drkit.config import parse_policy
from drkit.crypto.recipients import Identity, open_envelope
from drkit.errors import ConfigError, Damaged, KeyMissing, Tampering, UsageError
from drkit.model.finding import Finding
from drkit.model.pins import Pins
from drkit.model.policy import PARTS, Policy
from drkit.model.snapshot import Snapshot
from drkit.model.units import duration
from drkit.operations.state import known_repository, memory_folder
from drkit.repository.base import known_heads
from drkit.repository.history import History, domains, missing, read_commits
from drkit.repository.manifest import Head
from drkit.repository.reader import SnapshotReader
from drkit.repository.repository import Repository, domain_id
from drkit.system import System

_SHORTEST = 4
_HEX = re.compile(r"[0-9a-f]{1,32}")
_UNPINNED = Finding(
    level="warn",
    what="unpinned",
    message="no signer is pinned: whoever can write to the store could have made these backups",
    hint="give the writer's public key from the key sheet: --signer ed25519:…",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """One protected thing in a repository, as far as the one who looks knows it."""

    repository: Repository
    id: str
    pins: Pins
    name: str | None = None  # known from a policy, or from inside a manifest
    policy: Policy | None = None
    state: Path | None = None  # this machine's memory of it
    odd: Finding | None = None  # of the repository itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    domain: Domain
    history: History
    findings: tuple[Finding, ...]  # tampering, clocks, nothing pinned

    @property
    def snapshots(self) -> list[Snapshot]:
        return self.history.snapshots

    @property
    def tampered(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == "fail"]


def domain_of(repository: Repository, policy: Policy, state: Path | None) -> Domain:
    id = domain_id(repository.id, policy.domain_name, policy.source.part)
    return Domain(
        repository=repository,
        id=id,
        pins=policy.encryption.signers,
        name=policy.name,
        policy=policy,
        state=None if state is None else memory_folder(state, id, repository),
        odd=None if state is None else strange(repository, policy, state),
    )


def strange(repository: Repository, policy: Policy, state: Path) -> Finding | None:
    """Where another repository stands than this machine knows."""
    known = known_repository(state, policy.domain_name)
    if known in (None, repository.id):
        return None
    return Finding(
        level="fail",
        what="tampering",
        message=f"{repository.store.url} holds repository {repository.id}, and this machine's "
        f"backups of {policy.name} are in {known}",
        hint="another disk at that place, or somebody put it there? If you did, on purpose: "
        f"drkit init {policy.name} --yes, with its --files and --store",
    )


def look(domain: Domain) -> Seen:
    """The history with everything odd about it, this machine's own memory included."""
    history = read_commits(with_memory(domain.repository, domain.state), domain.id, domain.pins)
    findings = [*([domain.odd] if domain.odd else []), *history.findings]
    if domain.state is not None:
        findings += missing(history, known_heads(domain.state))
    if not domain.pins.writers:
        findings.append(_UNPINNED)
    return Seen(domain=domain, history=history, findings=tuple(dict.fromkeys(findings)))


def with_memory(repository: Repository, folder: Path | None) -> Repository:
    """`folder`: what this machine remembers of the domain there; none is made for a reader."""
    if folder is None or not folder.is_dir():
        return repository
    return replace(repository, memory=folder / "seen.sqlite")


def all_domains(
    repository: Repository, pins: Pins, identities: Sequence[Identity], system: System
) -> list[Seen]:
    """Every domain of a repository; names stand inside manifests, so they need an identity."""
    seen = (look(Domain(repository=repository, id=id, pins=pins)) for id in domains(repository))
    return [_named(one, identities, system) for one in seen]


def _named(seen: Seen, identities: Sequence[Identity], system: System) -> Seen:
    if not identities or not seen.snapshots:
        return seen
    try:
        policy = policy_of(head_of(seen, seen.snapshots[-1], identities, system))
    except (KeyMissing, Damaged):
        return seen
    if policy is None or not _is_its_own(policy, seen.domain):
        return seen
    domain = Domain(
        repository=seen.domain.repository,
        id=seen.domain.id,
        pins=seen.domain.pins,
        name=policy.name,
        policy=policy,
    )
    return Seen(domain=domain, history=seen.history, findings=seen.findings)


def _is_its_own(policy: Policy, domain: Domain) -> bool:
    return domain_id(domain.repository.id, policy.domain_name, policy.source.part) == domain.id


def policy_of(head: Head) -> Policy | None:
    """The policy as it was; None where this version can't read it."""
    try:
        return parse_policy(head.policy.encode(), "the policy in the manifest")
    except ConfigError:
        return None


def find_domain(seen: Sequence[Seen], word: str | None) -> Seen:
    """By its name, by the name its policy was begun under, or by the beginning of its id."""
    if word is None:
        if len(seen) == 1:
            return seen[0]
        if not seen:
            raise UsageError("this repository holds no backup yet")
        raise UsageError(f"which one? this repository holds {_listed(seen)}")
    for one in seen:
        own = {domain_id(one.domain.repository.id, word, part) for part in PARTS}
        if word == one.domain.name or one.domain.id in own:
            return one
    found = [one for one in seen if len(word) >= _SHORTEST and one.domain.id.startswith(word)]
    if len(found) == 1:
        return found[0]
    raise UsageError(f"nothing here is called {word!r}: there is {_listed(seen) or 'no backup'}")


def _listed(seen: Iterable[Seen]) -> str:
    return ", ".join(one.domain.name or one.domain.id[:8] for one in seen)


def believed(seen: Seen) -> list[Snapshot]:
    """Where there are backups, but none of a signer that is pinned, nobody is told to take one."""
    if not seen.snapshots and seen.tampered:
        raise Tampering(
            f"there are backups, but none that can be believed: {seen.tampered[0].message}",
            hint="compare --signer, or signers: in the policy, with the key sheet; if it is right, "
            "find out who has rights on the store, and restore from a copy",
        )
    return seen.snapshots


def pick(snapshots: Sequence[Snapshot], word: str) -> Snapshot:
    """`latest`, `oldest`, or the beginning of a session's id."""
    if not snapshots:
        raise UsageError("there is no snapshot yet", hint="take one: drkit backup")
    if word in ("latest", "oldest"):
        return snapshots[-1] if word == "latest" else snapshots[0]
    if not _HEX.fullmatch(word) or len(word) < _SHORTEST:
        raise UsageError(
            f"{word!r} names no snapshot: write latest, oldest, or an id's beginning",
            hint=f"drkit list shows the ids; {_SHORTEST} characters are enough",
        )
    found = [snapshot for snapshot in snapshots if snapshot.session.startswith(word)]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(snapshot.session[: len(word) + 4] for snapshot in found[:5])
        raise UsageError(f"{word!r} is the beginning of several: {ids}")
    raise UsageError(f"no snapshot begins with {word!r}", hint="drkit list shows the ids")


def pick_at(snapshots: Sequence[Snapshot], moment: datetime) -> Snapshot:
    """The newest that was complete by then: nothing later is in it."""
    before = [snapshot for snapshot in snapshots if snapshot.ended <= moment]
    if before:
        return before[-1]
    if not snapshots:
        raise UsageError("there is no snapshot yet", hint="take one: drkit backup")
    first = snapshots[0]
    raise UsageError(
        f"nothing was backed up at or before {moment.isoformat(timespec='seconds')}",
        hint=f"the nearest is {first.ended.isoformat(timespec='seconds')}: "
        f"--snapshot {first.session[:8]}",
    )


def moment(text: str, now: datetime, zone: tzinfo = UTC) -> datetime:
    """ISO 8601 with a zone, `now`, `yesterday` (this time, the day before) or `2 hours ago`."""
    words = " ".join(text.lower().split())
    if words in ("now", "yesterday"):
        return now - timedelta(days=words == "yesterday")
    try:
        if words.endswith(" ago"):
            return now - duration(words.removesuffix(" ago"))
        found = datetime.fromisoformat(text.strip())
        if found.tzinfo is not None:
            found.astimezone(UTC), found.astimezone(zone)  # raises where it is out of range
    except (ValueError, OverflowError) as error:
        said = str(error) if words.endswith(" ago") else f"{text!r} is no time"
        raise UsageError(
            said, hint="write it like 2026-03-01T14:30+01:00, '2 hours ago' or yesterday"
        ) from None
    if found.tzinfo is None:
        local = found.replace(tzinfo=zone).isoformat(timespec="minutes")
        raise UsageError(
            f"{text!r} has no time zone", hint=f"if it is this machine's time: --at {local}"
        )
    return found


def unwrapper(identities: Sequence[Identity]) -> Callable[[bytes, Snapshot], bytes]:
    def unwrap(envelope: bytes, snapshot: Snapshot) -> bytes:
        return open_envelope(envelope, identities, sealed_to=snapshot.recipients)

    return unwrap


@contextmanager
def opened(
    domain: Domain, snapshot: Snapshot, identities: Sequence[Identity], system: System
) -> Iterator[SnapshotReader]:
    reader = SnapshotReader(
        store=domain.repository.store,
        repository=domain.repository.raw_id,
        snapshot=snapshot,
        unwrap=unwrapper(identities),
        system=system,
    )
    with reader:
        yield reader


def head_of(seen: Seen, snapshot: Snapshot, identities: Sequence[Identity], system: System) -> Head:
    with opened(seen.domain, snapshot, identities, system) as reader:
        return reader.lines().head

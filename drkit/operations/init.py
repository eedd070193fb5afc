"""From nothing to the first backup: store, repository, keys, and a policy that is ready to run."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from drkit.config import load_policy, parse_policy, policy_schema, words
from drkit.crypto.recipients import Identity, Recipient
from drkit.crypto.sign import SignerKey
from drkit.errors import ConfigError, UsageError
from drkit.model.finding import Finding
from drkit.model.policy import Policy
from drkit.model.retention import LockMode, Rules
from drkit.operations import state
from drkit.operations.copy import fit
from drkit.operations.key import identity_at, write_identity
from drkit.repository.repository import create, join, open_repository, tool
from drkit.stores.base import Store
from drkit.stores.locked import lock_until, locked
from drkit.system import System

SCHEMA = "policy.schema.json"
IDENTITIES = ("operations", "safe")
KEEP = timedelta(days=30)  # as the policy will say


@dataclass(frozen=True, slots=True, kw_only=True)
class InitPlan:
    name: str
    root: Path | None = None  # the folder to protect
    dsn: str | None = None  # or the server
    store: str  # its URL, as the policy says it
    policies: Path  # the folder for the policy
    state: Path
    recipients: tuple[Recipient, ...]  # empty: identities are made
    single_recipient: bool = False
    copies: tuple[str, ...] = ()
    lock: LockMode | None = None
    yes: bool = False  # begin anew, though this machine knows another repository

    @property
    def policy_path(self) -> Path:
        return self.policies / f"{self.name}.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What stands before any key or policy is written."""

    repository: str
    joined: bool  # it was there
    signer: SignerKey
    signer_made: bool
    probed: tuple[Finding, ...]
    restore_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFile:
    name: str
    path: Path
    identity: Identity
    made: bool


def existing(plan: InitPlan) -> Policy | None:
    """The policy, when it is there already: then nothing of it is changed."""
    if not plan.policy_path.exists():
        return None
    policy = load_policy(plan.policy_path)
    if policy.name != plan.name:
        raise ConfigError(f"{plan.policy_path} holds a policy called {policy.name}")
    return policy


def check(plan: InitPlan, stores: tuple[Path, ...] = ()) -> None:
    """All that can be known to be wrong before anything is made."""
    if plan.root is not None:
        _check_root(plan.root, stores)
    if plan.dsn is not None:
        _check_dsn(plan.dsn)
    if len(plan.recipients) == 1 and not plan.single_recipient:
        raise UsageError(
            "one recipient alone: when its key is lost, so is every backup",
            hint="give --recipient twice, or say --single-recipient",
        )
    if not plan.policy_path.exists():
        _check_text(plan)


def _check_root(root: Path, stores: tuple[Path, ...]) -> None:
    if not root.is_dir():
        raise UsageError(f"{root} is no folder", hint="the folder to protect: --files DIR")
    if any(folder.exists() and folder.samefile(root) for folder in stores):
        raise UsageError(f"{root} would be its own store", hint="--store DIR: best on another disk")
    try:
        str(root).encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{str(root)!r} is not UTF-8: a policy can't hold it",
            hint="protect the folder above it, with include patterns",
        ) from None


def _check_dsn(text: str) -> None:
    try:
        words.dsn(text)
    except ValueError as error:
        raise UsageError(f"--postgres: {error}", hint="docs/postgres.md shows both") from None


def _check_text(plan: InitPlan) -> None:
    """With keys that belong to nobody: the policy that will be written can be read."""
    text = policy_text(plan, _NOBODY[: 1 if plan.single_recipient else 2], "ed25519:" + "0" * 64)
    parse_policy(text.encode(), str(plan.policy_path), "UTC")


_NOBODY = (
    Recipient("age1mhexlfzfa3fsmmasx4yam6m84p066qum4f4eku67ulyeh0dsm5hsjm85x5"),
    Recipient("age1hc3e3de0e0ytjhcts9yu0y4wugd8z7w6krpdk6dqpuxtpkxrq3wqkdm9gs"),
)


def prepare(plan: InitPlan, store: Store, copies: Sequence[Store], system: System) -> Ground:
    """Stores, repository and signer; each is joined when it is there."""
    found = [finding for one in (store, *copies) for finding in fit(one, plan.lock, system)]
    joined = _is_there(store)
    if not joined:
        _refuse_lost(plan, copies)
    rules = Rules(keep=KEEP, lock=plan.lock)
    repository = create(locked(store, lock_until(rules, system.now())), system)
    for copy in copies:
        join(locked(copy, lock_until(rules, system.now())), repository, system)
    folder = state.prepare(plan.state)
    if plan.yes or state.known_repository(folder, plan.name) is None:
        state.note_repository(folder, plan.name, repository.id)
    key = state.find_signer(folder)
    return Ground(
        repository=repository.id,
        joined=joined,
        signer=key or state.make_signer(folder, system),
        signer_made=key is None,
        probed=tuple(found),
        restore_sha256=hashlib.sha256(tool("restore.py")).hexdigest(),
    )


def _refuse_lost(plan: InitPlan, copies: Sequence[Store]) -> None:
    """A home that is gone is filled from its copy: a new one would hide every backup there is."""
    for copy, url in zip(copies, plan.copies, strict=True):
        if _is_there(copy):
            raise ConfigError(
                f"{copy.url} holds a repository, and {plan.store} holds none: nothing was made",
                hint=f"a home that was lost is filled from its copy: drkit copy --repository "
                f"{url!r} --to {plan.store!r}",
            )
    known = state.known_repository(plan.state, plan.name)
    if known is not None and not plan.yes:
        raise ConfigError(
            f"this machine's backups of {plan.name} are in repository {known}, which is not at "
            f"{plan.store}: nothing was made",
            hint="mount the right disk, or fill it from a copy; a new beginning takes --yes",
        )


def _is_there(store: Store) -> bool:
    try:
        open_repository(store)
    except ConfigError:
        return False
    return True


def identity_files(folder: Path, count: int) -> list[KeyFile]:
    """Those that are there are used, so that a second init, or a second policy, is no new key."""
    with state.disk("make", folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return [_key_file(name, folder / f"{name}.txt") for name in IDENTITIES[:count]]


def _key_file(name: str, path: Path) -> KeyFile:
    found = identity_at(path)
    if found is not None:
        return KeyFile(name=name, path=path, identity=found, made=False)
    return KeyFile(name=name, path=path, identity=write_identity(path, name), made=True)


def write_policy(plan: InitPlan, recipients: tuple[Recipient, ...], signer: str) -> None:
    """Never over one that is there."""
    with state.disk("make", plan.policies):
        plan.policies.mkdir(mode=0o755, parents=True, exist_ok=True)
    schema = plan.policies / SCHEMA
    if not schema.exists():
        state.write_new(schema, policy_schema().encode(), 0o644)
    state.write_new(plan.policy_path, policy_text(plan, recipients, signer).encode(), 0o644)
    load_policy(plan.policy_path)


def policy_text(plan: InitPlan, recipients: tuple[Recipient, ...], signer: str) -> str:
    notes = ("operations", "in the safe")
    listed = "\n".join(
        f"    - {recipient.text}" + (f"   # {note}" if note else "")
        for recipient, note in zip(recipients, (*notes, *[""] * len(recipients)), strict=False)
    )
    return _TEMPLATE.format(
        name=_quoted(plan.name),
        source=_source(plan),
        store=_quoted(plan.store),
        recipients=listed,
        single="\n  single_recipient: true" if len(recipients) == 1 else "",
        copies=_copies(plan.copies),
        lock=f"\n  lock: {plan.lock}" if plan.lock else "",
        signer=signer,
        full="weekly sat 02:00" if plan.dsn is None else "daily 02:00",
        objectives="" if plan.dsn is None else _OBJECTIVES,
    )


def _source(plan: InitPlan) -> str:
    if plan.dsn is not None:
        return _SERVER.format(dsn=_quoted(plan.dsn))
    return _TREE.format(root=_quoted(str(plan.root)))


def _copies(urls: tuple[str, ...]) -> str:
    """Second stores: each gets everything at the end of each backup."""
    return "".join(["\n  copies:", *(f"\n    - {_quoted(url)}" for url in urls)]) if urls else ""


def _quoted(text: str) -> str:
    """As a JSON string, which YAML reads too, where it is more than plain words."""
    plain = text.isascii() and all(c.isalnum() or c in "/._-" for c in text)
    if plain and text[0] in "/abcdefghijklmnopqrstuvwxyz":
        return text
    return "".join(
        c if c.isprintable() else _escape(c) for c in json.dumps(text, ensure_ascii=False)
    )


def _escape(c: str) -> str:
    """YAML knows no pairs of surrogates."""
    return f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"


_TREE = """\
  files:
    root: {root}
    # exclude: ["*.tmp", /cache/]    # patterns as in .gitignore
    # unreadable: warn               # what can't be read no longer fails the backup (exit 8)
"""
_SERVER = """\
  postgres:
    dsn: {dsn}
    # A password stands in ~/.pgpass or a service file of the user who runs drkit, never here.
    # max_rate: 100 MB/s             # how fast the server may send a backup
    # incremental: stream            # auto: the server tells what changed, where it can (17 on)
"""
_OBJECTIVES = """
objectives:                          # what you promise; a restore that takes longer is exit 9
  rpo: 24h
  rto: 4h
"""
_TEMPLATE = """\
# yaml-language-server: $schema=./policy.schema.json
# Written by drkit init; yours to change. drkit doctor looks at it, docs/policy.md has all keys.
version: 1
name: {name}

source:
{source}
repository:
  store: {store}{copies}
  # bandwidth: 80 MB/s

encryption:
  # Public keys only: with the private half of any one of them a backup opens.
  recipients:
{recipients}{single}
  # Whose backups, deletions and evidence are believed: this machine's, until you split them.
  signers:
    writers: ["{signer}"]
    maintainers: ["{signer}"]
    verifiers: ["{signer}"]

schedule:                            # what `drkit backup` finds due, whenever cron calls it
  full: {full}
  incremental: hourly
  scrub: weekly sun 05:00
  forget: daily 06:00

retention:
  keep: 30 days                      # everything younger stays; beyond that, one in each of
  weekly: 8
  monthly: 12
  yearly: 3{lock}
{objectives}"""

"""Keys: identities to files, what a key sheet says, which identities open, and a new signer."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from drkit.crypto.recipients import (
    LIMIT,
    Identity,
    fingerprint_of,
    new_identity,
    paper_form,
    read_identities,
)
from drkit.crypto.sign import signer_text
from drkit.errors import ConfigError, DrkitError, KeyMissing, StoreError
from drkit.model.policy import Policy
from drkit.model.snapshot import Snapshot
from drkit.operations import state
from drkit.operations.reading import Seen, opened
from drkit.repository import names
from drkit.repository.repository import Repository, domain_id, tool
from drkit.system import System

_SCRIPT_LIMIT = 1 << 20


def read_identity_file(path: Path, passphrase: Callable[[], str] | None = None) -> list[Identity]:
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT + 1)
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        raise KeyMissing(f"the identity file {path} can't be read: {said}") from None
    try:
        return read_identities(data, passphrase)
    except DrkitError as error:
        raise type(error)(f"{path}: {error.message}", hint=error.hint) from None


def identity_at(path: Path) -> Identity | None:
    if not path.exists():
        return None
    found = read_identity_file(path)
    if len(found) != 1:
        raise ConfigError(f"{path} holds {len(found)} identities, one is wanted")
    return found[0]


def write_identity(path: Path, name: str) -> Identity:
    """As age-keygen writes it, with the form to print below."""
    made = new_identity()
    state.write_new(path, identity_text(made, name).encode())
    return made


def identity_text(identity: Identity, name: str) -> str:
    paper = "\n".join(f"# {line}" for line in paper_form(identity).splitlines())
    return (
        f"# drkit identity: {name}. Whoever has it can read the backups; without it nobody can.\n"
        f"# public key: {identity.recipient.text}\n"
        f"{identity.text}\n"
        f"# The same to write down; typed into a file it works as well:\n{paper}\n"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySheet:
    """No secret is on it."""

    policy: str
    store: str
    repository: str
    domain: str
    recipients: tuple[str, ...]
    signers: tuple[tuple[str, str, bool], ...]  # role, public key, whether it is this machine's
    restore_sha256: str  # of this version's
    stored_sha256: str | None  # of the one in the repository


def key_sheet(policy: Policy, repository: Repository, folder: Path) -> KeySheet:
    own = state.find_signer(folder) if folder.is_dir() else None
    pins = policy.encryption.signers
    roles = {"writer": pins.writers, "maintainer": pins.maintainers, "verifier": pins.verifiers}
    return KeySheet(
        policy=policy.name,
        store=policy.repository.store,
        repository=repository.id,
        domain=domain_id(repository.id, policy.domain_name, policy.source.part),
        recipients=policy.encryption.recipients,
        signers=tuple(
            (role, signer_text(key), own is not None and own.public == key)
            for role, keys in roles.items()
            for key in sorted(keys)
        ),
        restore_sha256=hashlib.sha256(tool("restore.py")).hexdigest(),
        stored_sha256=_stored_script(repository),
    )


def _stored_script(repository: Repository) -> str | None:
    try:
        data = repository.store.read(names.RESTORE, _SCRIPT_LIMIT)
    except StoreError:
        return None
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    fingerprint: str
    opens: bool
    message: str


def try_identities(
    seen: Seen, snapshot: Snapshot, identities: Sequence[Identity], system: System
) -> list[Tested]:
    """Each alone on the newest manifest, read to its end."""
    return [_try(seen, snapshot, identity, system) for identity in identities]


def _try(seen: Seen, snapshot: Snapshot, identity: Identity, system: System) -> Tested:
    name = fingerprint_of(identity.recipient.text)
    try:
        with opened(seen.domain, snapshot, [identity], system) as reader:
            count = sum(1 for _ in reader.entries())
    except KeyMissing:
        message = "doesn't open it: it is not one of the recipients"
        return Tested(fingerprint=name, opens=False, message=message)
    return Tested(fingerprint=name, opens=True, message=f"opens it: {count:,} entries")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    old: str | None
    new: str
    kept: Path | None  # where the old key is


def rotate_signer(folder: Path, system: System) -> Rotated:
    """The new key under the usual name, the old one beside it: a crash between leaves both."""
    old = state.find_signer(state.prepare(folder))
    kept = None if old is None else _put_aside(folder, system.now())
    made = state.make_signer(folder, system)
    return Rotated(old=None if old is None else old.public_text, new=made.public_text, kept=kept)


def _put_aside(folder: Path, now: datetime) -> Path:
    path = folder / state.SIGNER
    kept = folder / f"{state.SIGNER}.{now:%Y-%m-%dT%H%M%SZ}"
    with state.disk("rename", path):
        os.link(path, kept, follow_symlinks=False)  # unlike a rename it never replaces one
        path.unlink()
    return kept

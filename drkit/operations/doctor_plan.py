"""What doctor is asked, and what a check of it answers."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from drkit.config import Environment
from drkit.errors import DrkitError, Exit
from drkit.model.finding import Finding, Level
from drkit.model.policy import Policy
from drkit.model.units import size_in_words
from drkit.stores.base import Settings, Store

NO_PROMISE = "promise 1 (a stolen host reads and deletes nothing) does not hold here"
_ROOM_LOW, _ROOM_NONE = 1 << 30, 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One store of the policy: home, or a copy."""

    url: str  # with its options
    open: Callable[[], Store]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorPlan:
    policy: Policy
    state: Path
    env: Environment
    home: Place
    copies: tuple[Place, ...] = ()

    @property
    def settings(self) -> Settings:
        """Of a store that is asked little: nobody waits long for a doctor."""
        return Settings(
            connections=1,
            google_credentials=self.env.google_credentials,
            first_byte=10.0,
            whole=20.0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    finding: Finding
    code: Exit  # of a failure


def asked(what: str, code: Exit, ask: Callable[[], Iterable[Finding]]) -> list[Checked]:
    """What a check can't find out is a failure."""
    try:
        return [Checked(finding=one, code=code) for one in ask()]
    except DrkitError as error:
        failed = finding("fail", what, error.message, error.hint)
        return [Checked(finding=failed, code=Exit(error.exit_code))]
    except OSError as error:
        failed = finding("fail", what, f"{error.filename}: {(error.strerror or '').lower()}")
        return [Checked(finding=failed, code=Exit.STORE)]


def finding(level: Level, what: str, message: str, hint: str | None = None) -> Finding:
    return Finding(level=level, what=what, message=message, hint=hint)


def room(what: str, folder: Path) -> Finding:
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    level: Level = "fail" if free < _ROOM_NONE else "warn" if free < _ROOM_LOW else "pass"
    hint = None if level == "pass" else "make room there"
    return finding(level, what, f"{folder}, {size_in_words(free)} free", hint)


def failed(checks: Iterable[Checked]) -> bool:
    return any(check.finding.level == "fail" for check in checks)

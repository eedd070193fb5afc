"""What a run tells the outside while it goes: the core never prints or logs."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    task: str  # "shop: backup", "shop: restore"
    total_bytes: int | None = None
    total_items: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Advanced:
    """So much more since the last one."""

    task: str
    bytes: int = 0
    items: int = 0
    sent: int = 0  # stored bytes that the store has taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    message: str
    hint: str | None = None


Event = Started | Advanced | Finished | Warned
Listener = Callable[[Event], None]


def nobody(_event: Event) -> None:
    """A listener that listens to nothing."""

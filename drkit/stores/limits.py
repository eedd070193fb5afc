"""How long a request over a network may be silent, and how long it may take in all."""

from collections.abc import Callable
from dataclasses import dataclass

from drkit.stores.base import Settings
from drkit.system import System


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    silence: float  # seconds
    whole: float  # seconds
    monotonic: Callable[[], float]


def limits_of(settings: Settings, system: System) -> Limits:
    return Limits(silence=settings.first_byte, whole=settings.whole, monotonic=system.monotonic)

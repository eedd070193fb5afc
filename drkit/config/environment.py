"""What the environment and the machine say: the only place that asks them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from drkit.errors import ConfigError
from drkit.model.policy import Policy

_ZONEINFO = "/zoneinfo/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    state: Path | None = None  # DRKIT_STATE
    identity_file: str | None = None  # DRKIT_IDENTITY_FILE
    no_color: bool = False
    xdg_state_home: Path | None = None
    home: Path | None = None
    google_credentials: str | None = None  # GOOGLE_APPLICATION_CREDENTIALS
    timezone: str = "UTC"  # the machine's, by its name


def environment(variables: Mapping[str, str] | None = None) -> Environment:
    said = os.environ if variables is None else variables
    state = said.get("DRKIT_STATE")
    if state and not state.startswith("/"):
        raise ConfigError(f"DRKIT_STATE: {state!r} is not an absolute path")
    return Environment(
        state=Path(state) if state else None,
        identity_file=said.get("DRKIT_IDENTITY_FILE") or None,
        no_color=bool(said.get("NO_COLOR")),
        xdg_state_home=_absolute(said.get("XDG_STATE_HOME")),
        home=_absolute(said.get("HOME")),
        google_credentials=said.get("GOOGLE_APPLICATION_CREDENTIALS"),
        timezone=_timezone(said.get("TZ")),
    )


def _absolute(path: str | None) -> Path | None:
    """The XDG rules have relative paths ignored."""
    return Path(path) if path and path.startswith("/") else None


def _timezone(variable: str | None) -> str:
    """A name that zoneinfo knows, as far as the machine tells one: TZ, then /etc."""
    name = (variable or "").removeprefix(":")
    if _ZONEINFO in name:
        name = name.partition(_ZONEINFO)[2]
    return name or _linked_zone() or _written_zone() or "UTC"


def _linked_zone() -> str:
    try:
        return os.readlink("/etc/localtime").partition(_ZONEINFO)[2]
    except OSError:
        return ""


def _written_zone() -> str:
    try:
        return Path("/etc/timezone").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def state_folder(env: Environment, policy: Policy | None, uid: int) -> Path:
    """`DRKIT_STATE`, the policy's `state`, /var/lib/drkit for root, else the user's own."""
    if env.state is not None:
        return env.state
    if policy is not None and policy.state is not None:
        return policy.state
    if uid == 0:
        return Path("/var/lib/drkit")
    if env.xdg_state_home is not None:
        return env.xdg_state_home / "drkit"
    if env.home is None:
        raise ConfigError(
            "no folder for drkit's state: neither DRKIT_STATE nor HOME is set",
            hint="set DRKIT_STATE to a folder of this user",
        )
    return env.home / ".local" / "state" / "drkit"

"""Policy files: one, or a folder of them."""

import difflib
import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from pathlib import Path

from drkit.config.environment import environment
from drkit.config.nodes import LIMIT, Keys, Refused, config_error, decoded, parsed
from drkit.config.schema import POLICY, homes
from drkit.config.shapes import Reading, read
from drkit.config.words import zone
from drkit.errors import ConfigError
from drkit.model.entry import text as shown_text
from drkit.model.policy import Policy

FOLDERS = (Path("policies"), Path("/etc/drkit/policies"))
_ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """What could be read, and what could not: one bad file must not stop the others' backups."""

    policies: tuple[Policy, ...] = ()  # by name
    broken: tuple[ConfigError, ...] = ()
    looked_in: tuple[Path, ...] = ()


def load_policy(path: Path, timezone: str | None = None) -> Policy:
    """`timezone` is for a policy that names none; without it, the machine's."""
    return parse_policy(_bytes(path), _shown(path), timezone)


def parse_policy(data: bytes, origin: str, timezone: str | None = None) -> Policy:
    try:
        text = decoded(data)
        root = parsed(text)
    except Refused as refused:
        raise config_error(origin, [refused.problem]) from None
    reading = Reading(dict(homes()))
    made = read(POLICY, root, "", reading)
    if reading.problems:
        raise config_error(origin, reading.problems)
    assert isinstance(made, Policy)
    if not _names_zone(root):
        local = environment().timezone if timezone is None else timezone
        made = replace(made, schedule=replace(made.schedule, timezone=_machines_zone(local)))
    return replace(made, text=text, origin=origin)


def _names_zone(root: Keys) -> bool:
    pair = root.find("schedule")
    return pair is not None and isinstance(pair[1], Keys) and pair[1].find("timezone") is not None


def _machines_zone(name: str) -> tzinfo:
    """No policy is to blame for it: what zoneinfo doesn't know counts as UTC."""
    try:
        return zone(name)
    except ValueError:
        return UTC


def _bytes(path: Path) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not block
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError:
        raise ConfigError(f"{_shown(path)}: no file can be called that") from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ConfigError(f"{_shown(path)}: not a file")
        return _read(fd)
    except OSError as error:
        raise _unreadable(path, error) from None
    finally:
        os.close(fd)


def _read(fd: int) -> bytes:
    """One byte more than is accepted, so that too much is seen."""
    data = b""
    while len(data) <= LIMIT and (piece := os.read(fd, LIMIT + 1 - len(data))):
        data += piece
    return data


def _unreadable(path: Path, error: OSError) -> ConfigError:
    reason = (error.strerror or "can't be read").lower()
    hint = "drkit init writes one" if isinstance(error, FileNotFoundError) else None
    return ConfigError(f"{_shown(path)}: {reason}", hint=hint)


def _shown(path: Path) -> str:
    name = shown_text(str(path))
    return name if name.isprintable() else repr(name)


def read_folder(dirs: Sequence[Path] = FOLDERS, timezone: str | None = None) -> Folder:
    """The first of these that holds policies, alone: two homes for policies would run samples."""
    for folder in dirs:
        paths = _files(folder)
        if paths:
            return _read_all(paths, tuple(dirs), timezone)
    return Folder(looked_in=tuple(dirs))


def _files(folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unreadable(folder, error) from None
    return [folder / n for n in names if n.endswith(_ENDINGS) and not n.startswith(".")]


def _read_all(paths: Iterable[Path], dirs: tuple[Path, ...], timezone: str | None) -> Folder:
    policies, broken = list[Policy](), list[ConfigError]()
    for path in paths:
        try:
            policies.append(load_policy(path, timezone))
        except ConfigError as error:
            broken.append(error)
    clashes = dict(_clashes(policies))
    broken += sorted(set(clashes.values()), key=lambda error: error.message)
    sound = [policy for policy in policies if policy.origin not in clashes]
    return Folder(
        policies=tuple(sorted(sound, key=lambda policy: policy.name)),
        broken=tuple(broken),
        looked_in=dirs,
    )


def _clashes(policies: Iterable[Policy]) -> Iterable[tuple[str, ConfigError]]:
    """Which of two is meant nobody knows: neither is run."""
    names, domains = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for policy in policies:
        names[f"are both called {policy.name}"].append(policy.origin)
        where = f"{policy.domain_name} in {policy.repository.store}"
        domains[f"are both the domain {where}: give one another id"].append(policy.origin)
    told: set[tuple[str, ...]] = set()
    for what, origins in (*names.items(), *domains.items()):
        if len(origins) > 1 and tuple(origins) not in told:
            told.add(tuple(origins))
            error = ConfigError(f"{' and '.join(origins)} {what}")
            yield from ((origin, error) for origin in origins)


def load_folder(dirs: Sequence[Path] = FOLDERS, timezone: str | None = None) -> list[Policy]:
    """All of them, or an error that tells all that is wrong."""
    folder = read_folder(dirs, timezone)
    if folder.broken:
        hint = next((error.hint for error in folder.broken if error.hint), None)
        raise ConfigError("\n".join(error.message for error in folder.broken), hint=hint)
    if not folder.policies:
        raise _none(folder)
    return list(folder.policies)


def find_policy(
    name_or_path: str, dirs: Sequence[Path] = FOLDERS, timezone: str | None = None
) -> Policy:
    if "/" in name_or_path or name_or_path.endswith(_ENDINGS):
        return load_policy(Path(name_or_path), timezone)
    folder = read_folder(dirs, timezone)
    for policy in folder.policies:
        if policy.name == name_or_path:
            return policy
    if folder.broken:  # it may be one of these
        load_folder(dirs, timezone)
    if not folder.policies:
        raise _none(folder)
    raise _unknown(name_or_path, folder)


def _none(folder: Folder) -> ConfigError:
    where = " and ".join(_shown(path) for path in folder.looked_in)
    return ConfigError(f"no policy: looked for *.yaml in {where}", hint="drkit init writes one")


def _unknown(name: str, folder: Folder) -> ConfigError:
    known = [policy.name for policy in folder.policies]
    near = difflib.get_close_matches(name, known, n=1)
    listed = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    message = f"no policy is called {name[:80]!r}: known are {listed}"
    return ConfigError(message, hint=f"did you mean {near[0]}?" if near else None)

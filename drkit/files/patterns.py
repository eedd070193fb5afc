r"""Include and exclude patterns, read as .gitignore reads them.

`*.tmp`             a name: matches at any depth
`/cache`, `a/b`     a slash at the start or inside: matches from the root of the tree only
`build/`            a slash at the end: folders only
`*` `?` `[a-z]`     anything, one character, one of these (`[!a-z]`: none of these); never a slash
`**/x` `a/**/b` `a/**`   any number of folders between; everything inside `a`
`!keep.tmp`         takes back what an earlier pattern chose; the last pattern that matches decides
`\*` `\!` `\ `      the character itself

What stands in an excluded folder is not looked at, so `!` can't bring it back.
With includes only what matches is taken, folders with all they hold, and the folders on the way.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from drkit.errors import ConfigError

_TOKEN = re.compile(r"\\(.)|(\*)|(\?)|\[([!^]?)(\]?[^\]]*)\]|(.)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pattern:
    takes: bool  # False: `!`
    folders_only: bool
    anchored: bool
    parts: tuple[str, ...]  # a regular expression a part, or "**"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """Neighbouring patterns of one kind, as one expression."""

    takes: bool
    anchored: bool
    match: re.Pattern[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """A compiled list. Paths are native and relative; at `start` the last name begins."""

    files: tuple[_Step, ...]  # the last pattern first
    folders: tuple[_Step, ...]
    leads: re.Pattern[str]  # folders below which something may match

    def match(self, path: str, start: int, *, folder: bool) -> bool:
        for step in self.folders if folder else self.files:
            if step.match.fullmatch(path, 0 if step.anchored else start):
                return step.takes
        return False

    def lead_through(self, folder: str) -> bool:
        return self.leads.fullmatch(folder) is not None


def compiled(patterns: Iterable[str]) -> Rules:
    parsed = [_parsed(pattern) for pattern in patterns]
    return Rules(
        files=_steps([p for p in parsed if not p.folders_only]),
        folders=_steps(parsed),
        leads=_leading([p for p in parsed if p.takes]),
    )


def _parsed(pattern: str) -> _Pattern:
    takes = not pattern.startswith("!")
    body = pattern if takes else pattern[1:]
    folders_only = body.endswith("/")
    parts = body.rstrip("/").removeprefix("/").split("/")
    if not all(parts) or {".", ".."} & set(parts) or "\0" in pattern:
        raise ConfigError(
            f"{pattern!r} matches nothing", hint="patterns are relative to the root of the tree"
        )
    anchored = "/" in body.rstrip("/") and parts[0] != "**"
    if not anchored and len(parts) == 2 and parts[1] != "**":
        parts = parts[1:]  # **/name is a name
    return _Pattern(
        takes=takes,
        folders_only=folders_only,
        anchored=anchored or len(parts) > 1,
        parts=tuple("**" if part == "**" else _expression(part, pattern) for part in parts),
    )


def _expression(part: str, pattern: str) -> str:
    out = []
    for token in _TOKEN.finditer(part):
        escaped, star, one, negated, chosen, plain = token.groups()
        if star:
            out.append("[^/]*+" if token.end() == len(part) else "[^/]*?")
        elif one:
            out.append("[^/]")
        elif chosen is not None:
            out.append(_set(negated, chosen, pattern))
        else:
            out.append(re.escape(escaped or plain))
    return "".join(out)


def _set(negated: str, chosen: str, pattern: str) -> str:
    inside = re.sub(r"([\\\[&~|^])", r"\\\1", chosen.replace("\\", ""))
    inside = "\\]" + inside[1:] if inside.startswith("]") else inside
    inside = inside.replace("--", "-\\-")  # to a later Python that would be a difference of sets
    try:
        re.compile(f"[{inside}]")
    except re.error as wrong:
        raise ConfigError(f"pattern {pattern!r}: {wrong}") from wrong
    return f"(?!/)[{'^' if negated else ''}{inside}]"


def _joined(parts: Sequence[str]) -> str:
    """A pattern's parts as one expression over a whole path."""
    out = ""
    for at, part in enumerate(parts):
        last = at == len(parts) - 1
        if part != "**":
            out += part + ("" if last else "/")
        else:
            out += ".+" if last else "(?:.*/)?"
    return out


def _steps(patterns: Sequence[_Pattern]) -> tuple[_Step, ...]:
    steps: list[tuple[bool, bool, list[str]]] = []
    for pattern in reversed(patterns):
        if not steps or steps[-1][:2] != (pattern.takes, pattern.anchored):
            steps.append((pattern.takes, pattern.anchored, []))
        steps[-1][2].append(_joined(pattern.parts))
    return tuple(
        _Step(takes=takes, anchored=anchored, match=re.compile("|".join(any_of), re.DOTALL))
        for takes, anchored, any_of in steps
    )


def _leading(patterns: Sequence[_Pattern]) -> re.Pattern[str]:
    return re.compile("|".join(_lead(p) for p in patterns) or r"(?!)", re.DOTALL)


def _lead(pattern: _Pattern) -> str:
    """The folders on the way: a, then a/b, … of a/b/c; everything from `**` on."""
    if not pattern.anchored:
        return ".*"
    out = ""
    for part in reversed(pattern.parts[:-1] if pattern.parts[-1] != "**" else pattern.parts):
        if part == "**":
            out = "(?:/.*)?" if part != pattern.parts[0] else ".*"
        else:
            out = f"(?:/{part}{out})?"
    return out if out == ".*" else out.removeprefix("(?:/").removesuffix(")?") or r"(?!)"

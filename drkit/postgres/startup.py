"""Why a server did not come up: the telling line of its log, and what helps."""

import re
from collections.abc import Sequence

_LEVEL = re.compile(r"(?:^|\s)(FATAL|PANIC|ERROR|LOG|DETAIL|HINT):  ?(.*)")
_NOISE = re.compile(r"^the database system is |^terminating |^shutting down$")

_HINTS = (
    (
        r"error while loading shared libraries: (\S+?):",
        "the server's programs need {0}, which this machine lacks: install it",
    ),
    (
        r'could not (?:access file|load library) "([^"]+)"',
        "install the package that holds {0} for this version of PostgreSQL",
    ),
    (
        r"could not (?:create|map|resize) (?:anonymous )?shared memory|[Cc]annot allocate memory",
        "it takes more memory than there is: lower verify.scratch.memory, or free some",
    ),
    (
        r"invalid value for parameter \"lc_|database locale is incompatible|locale .* not",
        "the original's locale is missing on this machine: install it (locale-gen, glibc-langpack)",
    ),
    (
        r"insufficient parameter settings",
        "the original allowed more connections, workers or locks than this copy was started with",
    ),
    (
        r"database files are incompatible with server",
        "it takes a server of the same major version, on the same kind of machine",
    ),
    (r"No space left on device", "make room there, or choose another folder"),
    (
        r"has wrong ownership|has (?:group or world access|invalid permissions)",
        "the data folder must belong to the user who runs the server, with mode 0700",
    ),
    (
        r'lock file "[^"]*" already exists',
        "a server runs on that folder: stop it, or restore into another one",
    ),
    (
        r"could not locate (?:a valid|required) checkpoint|WAL ends before|could not find redo",
        "WAL that the backup needs is not there: drkit scrub",
    ),
    (
        r"directory \"([^\"]+)\" does not exist",
        "a tablespace was made in {0} while the backup ran: make it, empty, or restore another one",
    ),
    (
        r"recovery ended before configured recovery target",
        "the WAL ends before that target: choose an earlier one",
    ),
    (
        r"unrecognized configuration parameter \"([^\"]+)\"",
        "{0} in postgresql.auto.conf is not known to this server",
    ),
)


def reason(lines: Sequence[str]) -> tuple[str, str | None]:
    """One line, and a hint for the usual ones."""
    said = _telling(lines)
    for pattern, hint in _HINTS:
        matched = re.search(pattern, said)
        if matched:
            return said, hint.format(*matched.groups())
    return said, None


def _telling(lines: Sequence[str]) -> str:
    for wanted in (("FATAL", "PANIC"), ("ERROR",)):
        for number in range(len(lines) - 1, -1, -1):
            level, text = _split(lines[number])
            if level in wanted and not _NOISE.search(text):
                return text + _detail(lines[number + 1 :])
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _detail(after: Sequence[str]) -> str:
    level, text = _split(after[0]) if after else ("", "")
    return f" ({text.rstrip('.')})" if level == "DETAIL" else ""


def _split(line: str) -> tuple[str, str]:
    matched = _LEVEL.search(line)
    return (matched[1], matched[2]) if matched else ("", line)

"""An identity on paper: groups to type, and a check on each line that finds typing errors."""

import hashlib
import re
import unicodedata
from typing import Final

from drkit.errors import ConfigError

PREFIX: Final = "AGE-SECRET-KEY-1"

_ALPHABET = "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L"  # Bech32's: it has no 1, B, I, O
_ALIKE = str.maketrans("1BIO", "L8L0")
_PER_LINE = 12
_CHECK = 4
_LENGTH = 58  # of an X25519 identity behind its prefix
_LINES = -(-_LENGTH // _PER_LINE)
_LONG = _PER_LINE + 2 * _CHECK
_NUMBERED = re.compile(r"\s*([1-9])\s*[:.)](.*)")


def to_paper(identity: str) -> str:
    """The letters left of the equals signs, joined to the first line, are the identity itself."""
    body = identity.removeprefix(PREFIX)
    parts = [body[at : at + _PER_LINE] for at in range(0, len(body), _PER_LINE)]
    lines = (f"{n}: {_groups(part)} = {_check(n, part)}" for n, part in enumerate(parts, 1))
    return "\n".join((PREFIX, *lines)) + "\n"


def looks_like_paper(lines: list[str]) -> bool:
    headed = any(_letters(line) == _letters(PREFIX) or _numbered(line)[0] for line in lines)
    return headed or (len(lines) == _LINES and all(len(_letters(x)) < _LONG for x in lines))


def from_paper(lines: list[str]) -> str:
    typed = [line for line in lines if _letters(line) != _letters(PREFIX)]
    if len(typed) > _LINES:
        raise ConfigError(f"the paper form has {len(typed)} lines, not {_LINES}")
    parts = [_line(number, line) for number, line in enumerate(typed, 1)]
    if len(parts) < _LINES:
        raise _wrong(len(parts) + 1, "is missing")
    return PREFIX + "".join(parts)


def _line(number: int, line: str) -> str:
    said, rest = _numbered(line)
    if said is not None and said != number:
        raise _wrong(number, "is missing" if said > number else "stands in the wrong place")
    length = min(_PER_LINE, _LENGTH - (number - 1) * _PER_LINE) + _CHECK
    letters = _letters(rest)
    if len(letters) == length + 1 and letters[0] == str(number):
        letters = letters[1:]
    if len(letters) != length:
        raise _wrong(number, f"has {len(letters)} characters, not {length}")
    letters = letters.translate(_ALIKE)
    part, check = letters[:-_CHECK], letters[-_CHECK:]
    if _check(number, part) != check:
        raise _wrong(number, "has a typing error")
    return part


def _numbered(line: str) -> tuple[int | None, str]:
    found = _NUMBERED.fullmatch(line)
    return (int(found[1]), found[2]) if found else (None, line)


def _letters(line: str) -> str:
    """Upper case and nothing else; NFKC because a Korean keyboard may type full-width letters."""
    plain = unicodedata.normalize("NFKC", line).upper()
    return "".join(c for c in plain if c.isascii() and c.isalnum())


def _groups(part: str) -> str:
    return " ".join(part[at : at + 4] for at in range(0, len(part), 4))


def _check(number: int, part: str) -> str:
    digest = hashlib.sha256(f"drkit paper {number} {part}".encode()).digest()
    return "".join(_ALPHABET[byte & 31] for byte in digest[:_CHECK])


def _wrong(number: int, what: str) -> ConfigError:
    hint = f"compare line {number} with the paper, character by character"
    return ConfigError(f"line {number} of the paper form {what}", hint=hint)

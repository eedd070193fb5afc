"""What is said: results on stdout, as lines or one JSON document; messages on stderr."""

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TextIO

import click

from drkit.errors import DiskError, DrkitError, UsageError

Level = Literal["error", "warning", "hint", "note"]
_COLORS = {"error": "red", "warning": "yellow", "hint": "cyan", "note": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    log_json: bool = False
    color: bool = True

    @property
    def interactive(self) -> bool:
        """Somebody is there to be asked."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def line(self, text: str = "") -> None:
        """A line of the result; nothing when it is to be quiet, or a document."""
        if not (self.quiet or self.json):
            self.always(text)

    def always(self, text: str) -> None:
        """Also when quiet: what was asked for by name."""
        if not self.json:
            _write(sys.stdout, printable(text) if text else "")

    def raw(self, text: str) -> None:
        """As it is, line for line: the text of a file."""
        if not self.json:
            _write(sys.stdout, text.rstrip("\n"))

    def detail(self, text: str) -> None:
        if self.verbose:
            self.line(text)

    def document(self, content: object) -> None:
        if self.json:
            _write(sys.stdout, json.dumps(content, default=_plain, ensure_ascii=False, indent=2))

    def warn(self, message: str, hint: str | None = None) -> None:
        self.tell("warning", message, hint)

    def note(self, message: str) -> None:
        if not self.quiet:
            self.tell("note", message)

    def error(self, error: DrkitError) -> None:
        self.tell("error", error.message, error.hint, code=int(error.exit_code))

    def tell(
        self, level: Level, message: str, hint: str | None = None, code: int | None = None
    ) -> None:
        if self.log_json:
            self._log({"level": level, "message": message, "hint": hint, "exit_code": code})
            return
        for line in message.split("\n"):
            self._said(level, line)
        if hint:
            self._said("hint", hint)

    def _log(self, fields: dict[str, object]) -> None:
        kept = {name: value for name, value in fields.items() if value is not None}
        _write(sys.stderr, json.dumps(kept, ensure_ascii=False))

    def _said(self, level: Level, line: str) -> None:
        word = self.styled(f"{level}:", _COLORS[level], sys.stderr)
        _write(sys.stderr, f"drkit: {word} {printable(line)}")

    def styled(self, text: str, color: str | None, to: TextIO | None = None) -> str:
        wanted = self.color and color is not None and (to or sys.stdout).isatty()
        return click.style(text, fg=color) if wanted else text

    def confirm(self, question: str) -> bool:
        return click.confirm(question, default=False, err=True)


def _write(to: TextIO, text: str) -> None:
    """A reader that went away (`| head`) changes nothing of what is done."""
    try:
        to.write(text + "\n")
        to.flush()
    except BrokenPipeError:
        _to_nowhere(to)
    except OSError as error:
        if to is not sys.stdout:
            raise
        said = (error.strerror or str(error)).lower()
        raise DiskError(
            f"can't write to stdout: {said}",
            hint="what was to be said is lost, what was done is not: drkit list shows it",
        ) from error


def drop_unwritten() -> None:
    """What couldn't be written was told; Python must not try it again when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _to_nowhere(stream)


def _to_nowhere(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def printable(text: str) -> str:
    """On one line, and nothing in it that a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape", "surrogatepass").decode()


def hung(indent: int, text: str) -> list[str]:
    """Wrapped for the terminal, all lines but the first behind the indent; in a pipe one line."""
    if not sys.stdout.isatty():
        return [text]
    room = max(shutil.get_terminal_size().columns - indent, 20)
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
    return [lines[0], *(" " * indent + line for line in lines[1:])]


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: str = "") -> list[str]:
    """Lines; columns named in `right` stand at the right, the last one is wrapped."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(width, column)) for column in zip(head, *cells, strict=True)]
    before = sum(widths[:-1]) + 2 * len(widths[:-1])
    lines: list[str] = []
    for row in [list(head), *cells]:
        placed = [
            pad(cell, size, right=name in right.split())
            for cell, size, name in zip(row, widths, head, strict=True)
        ][:-1]
        first, *rest = hung(before, row[-1])
        lines += ["  ".join([*placed, first]).rstrip(), *rest]
    return lines


def width(text: str) -> int:
    """In columns of a terminal: Korean letters take two."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def pad(text: str, size: int, *, right: bool) -> str:
    blanks = " " * (size - width(text))
    return blanks + text if right else text + blanks


def iso(moment: datetime) -> str:
    """With its zone, in this machine's time."""
    return moment.astimezone().isoformat(timespec="seconds")


def count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number != 1 else f"1 {what.removesuffix('s')}"


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, Path):
        return os.fspath(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return str(value)


def agreed(out: Output, question: str, *, yes: bool, doubts: Sequence[DrkitError] = ()) -> None:
    """Asks when somebody is there; without anybody the first doubt is the error."""
    if yes:
        return
    if not out.interactive or out.json:
        if doubts:
            raise type(doubts[0])(f"{doubts[0].message}: nothing was written", hint=doubts[0].hint)
        raise UsageError(f"{question} nobody is here to answer", hint="add --yes")
    if not out.confirm(question):
        raise click.Abort

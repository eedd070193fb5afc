"""Finds the command, and turns every way to end into a message and an exit code."""

import difflib
import importlib
import os
import signal
import sys
from dataclasses import replace
from typing import NoReturn

import click

from drkit import __version__
from drkit.cli.machine import refused
from drkit.cli.output import Output, drop_unwritten
from drkit.errors import DrkitError, Exit, UsageError

# Each command with the line of `drkit -h`; its module is imported when it is called.
COMMANDS = {
    "init": "Protect a folder or a server: keys, a policy, a repository.",
    "backup": "Take the backups that are due.",
    "list": "Show the snapshots there are.",
    "show": "Show one snapshot: its facts, policy and files.",
    "restore": "Write a snapshot into a new folder.",
    "scrub": "Read the repository and look for damage.",
    "copy": "Copy what is committed to second stores.",
    "repair": "Put back what is missing from another store.",
    "forget": "Show what the retention lets go; delete it with --apply.",
    "key": "Identities, recipients and signers.",
    "report": "Show which restores were tried, how long they took, and what failed.",
    "doctor": "Check now what could fail at night.",
    "completion": "Print the completion script for a shell.",
}
_EPILOG = """\b
Examples:
  drkit init                        protect a folder; asks what it needs
  drkit backup                      what is due, of every policy
  drkit list shop
  drkit restore shop --into /srv/restored --identity operations.txt

Every command explains itself: drkit COMMAND -h
"""
_BUG = "this is a bug in drkit, and no fault of yours: please report it with the lines above"


class Commands(click.Group):
    """Knows its commands by name, and imports the one that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  as above
        if cmd_name not in COMMANDS:
            return None
        found = getattr(importlib.import_module(f"drkit.cli.{cmd_name}"), "command")  # noqa: B009  mypy can't know the module
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            meant = f": did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"no command is called {args[0]!r}{meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  as above
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
    epilog=_EPILOG,
    no_args_is_help=True,
)
@click.version_option(__version__, message="drkit %(version)s")
def cli() -> None:
    """Backups that are proven, measured and signed."""


def main() -> NoReturn:
    _open_missing()
    os.umask(0o077)  # what drkit makes is its user's alone, whatever the caller's mask
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # not under nohup
            signal.signal(number, signal.default_int_handler)
    sys.exit(run(sys.argv[1:]))


def _open_missing() -> None:
    """A standard stream closed by the caller (`>&-`) must not become the number of a data file."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number, this one
        if getattr(sys, name) is None:
            stream = open(number, "w" if number else "r", closefd=False)  # noqa: SIM115  stays open
            setattr(sys, name, stream)


def run(args: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    out = _output(args)
    try:
        code = cli.main(args, prog_name="drkit", standalone_mode=False)
        sys.stdout.flush()
        return int(code or Exit.FINE)
    except BaseException as error:  # noqa: BLE001  the one place where everything ends
        return _ended(error, out)


def _output(args: list[str]) -> Output:
    """For what goes wrong before a command has read its options."""
    given = args[: args.index("--")] if "--" in args else args
    log_json = "--log-format=json" in given or "--log-format json" in " ".join(given)
    return Output(json="--json" in given, log_json=log_json, color="--no-color" not in given)


def _ended(error: BaseException, out: Output) -> int:
    try:
        code = _told(error, replace(out, color=out.color and _colored()))
    except (OSError, DrkitError):  # nobody can be told: the stream is closed, or its disk full
        code = Exit.STORE
    drop_unwritten()
    return int(code)


def _colored() -> bool:
    """Asked only when something went wrong at a terminal: config is slow to import."""
    if not sys.stderr.isatty():
        return False
    from drkit.config import environment

    try:
        return not environment().no_color
    except DrkitError:
        return False


def _told(error: BaseException, out: Output) -> int:
    if isinstance(error, DrkitError):
        return _failed(error, out, error)
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.UsageError):
        return _failed(_misused(error), out, error)
    if isinstance(error, KeyboardInterrupt | click.Abort | EOFError):
        out.tell("error", "interrupted", code=Exit.INTERRUPTED)
        _notes(error.__cause__ or error, out)  # click raises its own from Python's
        return Exit.INTERRUPTED
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else Exit.BUG
    known = refused(error)
    return _bug(error, out) if known is None else _failed(known, out, error)


def _failed(error: DrkitError, out: Output, cause: BaseException) -> int:
    out.error(error)
    _notes(cause, out)
    said = {"message": error.message, "hint": error.hint, "exit_code": int(error.exit_code)}
    out.document({"error": said})
    return int(error.exit_code)


def _notes(error: BaseException, out: Output) -> None:
    for note in getattr(error, "__notes__", ()):
        out.tell("note", note)


def _misused(error: click.UsageError) -> UsageError:
    message = error.format_message().rstrip(".")
    path = "drkit" if error.ctx is None else error.ctx.command_path
    return UsageError(message[:1].lower() + message[1:], hint=f"{path} -h explains it")


def _bug(error: BaseException, out: Output) -> int:
    import traceback

    sys.stderr.write("".join(traceback.format_exception(error)))
    out.tell("error", _BUG, code=Exit.BUG)
    out.document({"error": {"message": _BUG, "hint": None, "exit_code": int(Exit.BUG)}})
    return Exit.BUG

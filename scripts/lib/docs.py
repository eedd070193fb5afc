"""Generates what the code already knows: commands, exit codes, policy keys and their schema."""

import argparse
import importlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from drkit import errors
from drkit.errors import DrkitError, Exit

ROOT = Path(__file__).parents[2]
NOTE = "<!-- Made by scripts/docs, not by hand. -->"

RULE = """\
Every command ends with one of these. 9 never mixes with the others: a backup that fails its check
is not a check that could not run."""

MEANING = {
    Exit.FINE: "all is well",
    Exit.BUG: "a bug in drkit; the traceback says where",
    Exit.USAGE: "the command line makes no sense",
    Exit.CONFIGURATION: "a policy, or what it names, is wrong",
    Exit.POSTGRES: "PostgreSQL refused, or could not be reached",
    Exit.STORE: "a store or the local disk refused, or could not be reached",
    Exit.BUSY: "another run is in the way",
    Exit.KEY: "no key given fits",
    Exit.DAMAGED: "data is damaged, incomplete or tampered with",
    Exit.MISSED: "an objective or a check was missed",
    Exit.INTERRUPTED: "interrupted (Ctrl-C)",
}


class Missing(Exception):
    """A part of drkit that a document is made from is not there."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    check = parser.parse_args().check
    failed = False
    for name, make in DOCUMENTS.items():
        try:
            wanted = make().rstrip("\n") + "\n"
        except Missing as missing:
            print(f"docs: error: {name} can't be made: {missing}", file=sys.stderr)
            failed = True
            continue
        failed |= _settle(ROOT / name, wanted, check=check)
    return int(failed)


def _settle(path: Path, wanted: str, *, check: bool) -> bool:
    """True when the document is stale and stays so."""
    if path.exists() and path.read_text() == wanted:
        return False
    if check:
        name = path.relative_to(ROOT)
        print(f"docs: error: {name} is out of date", file=sys.stderr)
        print("docs: hint: run scripts/docs and look at the difference", file=sys.stderr)
        return True
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(wanted)
    return False


def _from_drkit(module: str, name: str) -> object:
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise Missing(f"no module {error.name}") from error
    except AttributeError as error:
        raise Missing(f"{module} has no {name}") from error


# --- the command line


def cli_markdown() -> str:
    root = _from_drkit("drkit.cli.main", "cli")
    assert isinstance(root, click.Command)
    sections = list(_commands(root, click.Context(root, info_name="drkit")))
    contents = [f"- [`{path}`](#{path.replace(' ', '-')})" for path, _ in sections]
    parts = ["# Commands", NOTE, "\n".join(contents), *(text for _, text in sections)]
    return "\n\n".join(parts)


def _commands(command: click.Command, ctx: click.Context) -> Iterator[tuple[str, str]]:
    yield ctx.command_path, _command(command, ctx)
    if not isinstance(command, click.Group):
        return
    for name in command.list_commands(ctx):
        child = command.get_command(ctx, name)
        if child is not None and not child.hidden:
            yield from _commands(child, click.Context(child, info_name=name, parent=ctx))


def _command(command: click.Command, ctx: click.Context) -> str:
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    parts = [f"## {ctx.command_path}", _prose(command.help or ""), f"```\n{usage}\n```"]
    records = [p.get_help_record(ctx) for p in command.get_params(ctx)]
    options = [(cell(left), cell(right)) for left, right in filter(None, records)]
    if options:
        rows = [f"| `{left}` | {right} |" for left, right in options]
        parts.append("\n".join(["| option | |", "|---|---|", *rows]))
    if command.epilog:
        parts.append(_prose(command.epilog))
    return "\n\n".join(part for part in parts if part)


def _prose(text: str) -> str:
    """Click's help text as Markdown: what click shows as it is (after \\b) stands in a block."""
    blocks = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(
        f"```\n{inspect.cleandoc(block[1:])}\n```" if block.startswith("\b") else block
        for block in blocks
    )


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# --- exit codes


def exit_codes_markdown() -> str:
    rows = [
        f"| {code.value} | {MEANING[code]} | {', '.join(f'`{n}`' for n in _errors(code))} |"
        for code in Exit
    ]
    parts = [
        "# Exit codes",
        NOTE,
        RULE,
        "\n".join(["| code | meaning | errors |", "|---|---|---|", *rows]),
    ]
    return "\n\n".join(parts)


def _errors(code: Exit) -> list[str]:
    return [
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type)
        and issubclass(kind, DrkitError)
        and kind is not DrkitError
        and kind.exit_code == code
    ]


# --- policies


def policy_markdown() -> str:
    make = _from_drkit("drkit.config", "policy_markdown")
    assert callable(make)
    return f"{NOTE}\n\n{make()}"


def policy_schema() -> str:
    make = _from_drkit("drkit.config", "policy_schema")
    assert callable(make)
    schema = make()
    return schema if isinstance(schema, str) else json.dumps(schema, indent=2, ensure_ascii=False)


DOCUMENTS: dict[str, Callable[[], str]] = {
    "docs/cli.md": cli_markdown,
    "docs/exit-codes.md": exit_codes_markdown,
    "docs/policy.md": policy_markdown,
    "policies/policy.schema.json": policy_schema,
}

if __name__ == "__main__":
    sys.exit(main())

"""Every `drkit …` line in a fenced block of README, docs and runbooks is one drkit would take."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(set((ROOT / "docs").rglob("*.md")) - {ROOT / "docs/cli.md"}),  # that one is generated
    *sorted((ROOT / "runbooks").rglob("*.md")),
]
STOPS = {"|", "||", "&&", ";", "&", ">", ">>", "<", "2>", "2>&1", ")"}
BEFORE = {"sudo", "time", "exec", "nice", "env", "$"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    page: str
    number: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}:{self.number}"


def blocks(text: str) -> Iterator[tuple[int, str]]:
    """Lines inside fences, with continued ones joined to their first."""
    fence, begun, joined = "", 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.match(r"\s*(`{3,}|~{3,})", line)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        elif fence:
            begun = begun if joined else number
            joined += line.strip()
            if joined.endswith("\\"):
                joined = joined[:-1]
            else:
                yield begun, joined
                joined = ""


def commands(line: str) -> Iterator[tuple[str, ...]]:
    """The words after each `drkit` that stands where a command stands."""
    if not re.search(r"(^|[\s(;/])drkit(\s|$)", line):
        return
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words = list(lexer)
    first = 0
    for place, word in [*enumerate(words), (len(words), ";")]:
        if word in STOPS:
            yield from command(words[first:place])
            first = place + 1


def command(words: list[str]) -> Iterator[tuple[str, ...]]:
    while words and (words[0] in BEFORE or re.match(r"[A-Z_]+=", words[0])):
        words = words[1:]
    if words and words[0].split("/")[-1] == "drkit":
        yield tuple(words[1:])


def documented(page: Path) -> list[Line]:
    return [
        Line(page=str(page.relative_to(ROOT)), number=number, words=words)
        for number, line in blocks(page.read_text())
        for words in commands(line)
    ]


def check(root: click.Command, words: tuple[str, ...]) -> None:
    """Walk the tree as click would, without converting or running anything."""
    # with drkit's own settings: click keeps the help option that it made first
    ctx = click.Context(root, info_name="drkit", **root.context_settings)
    node, rest = root, list(words)
    while True:
        ctx.allow_interspersed_args = not isinstance(node, click.Group)
        given, rest, _ = node.make_parser(ctx).parse_args(rest)
        for parameter in node.get_params(ctx):
            choose(parameter, given.get(parameter.name or ""), ctx)
        if not isinstance(node, click.Group):
            break
        if not rest:
            return
        name, child, rest = node.resolve_command(ctx, rest)
        assert child is not None
        node, ctx = child, click.Context(child, info_name=name, parent=ctx)
    if rest:
        raise click.UsageError(f"unexpected: {' '.join(rest)}", ctx)


def choose(parameter: click.Parameter, value: object, ctx: click.Context) -> None:
    if isinstance(parameter.type, click.Choice) and isinstance(value, str):
        parameter.type.convert(value, parameter, ctx)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_documented_commands_are_those_that_drkit_takes(page: Path) -> None:
    from drkit.cli.main import cli

    refused = []
    for line in documented(page):
        try:
            check(cli, line.words)
        except click.UsageError as error:
            refused.append(f"{line}: drkit {shlex.join(line.words)}: {error.format_message()}")
    assert refused == []


# --- and the reading itself


def test_lines_are_found_with_their_numbers_and_without_their_surroundings() -> None:
    page = """
drkit outside
```sh
$ drkit backup shop   # every night
sudo DRKIT_STATE=/x .venv/bin/drkit list --json | jq '.[0]' && drkit doctor
drkit restore shop \\
    --into "/tmp/a b"
echo drkit backup
```
~~~
0 2 * * * drkit backup
~~~
"""
    found = [(number, words) for number, line in blocks(page) for words in commands(line)]
    assert found == [
        (4, ("backup", "shop")),
        (5, ("list", "--json")),
        (5, ("doctor",)),
        (6, ("restore", "shop", "--into", "/tmp/a b")),
    ]


@click.group()
def tree() -> None: ...


@tree.command("restore")
@click.argument("policy", required=False)
@click.option("--into")
@click.option("--format", "shape", type=click.Choice(["html", "json"]))
@click.option("--yes", is_flag=True)
def _restore(policy: str, into: str, shape: str, *, yes: bool) -> None: ...


@pytest.mark.parametrize(
    "line",
    ["restore", "restore shop --into x", "restore --into x shop --yes", "restore --format json"],
)
def test_what_the_tree_takes_is_taken(line: str) -> None:
    check(tree, tuple(line.split()))


@pytest.mark.parametrize(
    "line",
    [
        "resotre",
        "restore --too x",
        "restore --into",
        "restore shop other",
        "restore --format pdf",
        "restore --yes=1",
    ],
)
def test_what_the_tree_refuses_is_refused(line: str) -> None:
    with pytest.raises(click.UsageError):
        check(tree, tuple(line.split()))

"""The rules of construction that no linter knows."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STANDALONE = ROOT / "drkit/repository/exit/restore.py"  # lies in every repository, without drkit
MODULES = sorted(set((ROOT / "drkit").rglob("*.py")) - {STANDALONE})
LONGEST_FUNCTION = 60
LONGEST_FILE = 400
MOST_PARAMETERS = 6
DRAWERS = {"utils", "util", "common", "helpers", "helper", "misc"}
LAZY = {"boto3", "botocore", "google", "psycopg", "numpy", "rich", "jinja2"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, Function):
            yield node


def test_there_is_something_to_look_at() -> None:
    assert len(MODULES) > 10


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_file_is_short_enough_to_be_read_in_one_go(path: Path) -> None:
    assert len(path.read_text().splitlines()) < LONGEST_FILE


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_functions_are_short(path: Path) -> None:
    lengths = {f.name: (f.end_lineno or 0) - f.lineno + 1 for f in functions(path)}
    assert {n: length for n, length in lengths.items() if length > LONGEST_FUNCTION} == {}


@pytest.mark.parametrize(
    "path", [p for p in MODULES if p.parent.name != "cli"], ids=name_of
)  # a click command has a parameter an option
def test_functions_take_few_parameters(path: Path) -> None:
    crowded = {f.name: n for f in functions(path) if (n := parameters(f)) > MOST_PARAMETERS}
    assert crowded == {}


def parameters(function: Function) -> int:
    given = function.args
    names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len([n for n in names if n not in {"self", "cls"}])


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_in_one_line_what_it_is_for(path: Path) -> None:
    purpose = ast.get_docstring(ast.parse(path.read_text()))
    assert purpose
    assert len(purpose.split("\n\n")[0].splitlines()) == 1


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_called_after_being_left_over(path: Path) -> None:
    assert DRAWERS.isdisjoint(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_errors_of_drkit_are_raised(path: Path) -> None:
    """Python's own may be raised for a bug, never for what a person or a disk can cause."""
    bad = {"Exception", "RuntimeError", "SystemExit", "KeyboardInterrupt"}
    assert bad.isdisjoint(raised(path))


def raised(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield ast.unparse(node.exc.func)


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=name_of)
def test_tests_use_no_mocks_and_skip_nothing(path: Path) -> None:
    if path == Path(__file__):
        return
    found = re.findall(
        r"unittest\.mock|\bmonkeypatch\b|\bmocker\b|\.(?:skip|skipif|xfail)\(", path.read_text()
    )
    assert found == []


def kept() -> Iterator[Path]:
    """What a commit would hold: all but caches and what a person's tools leave behind."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [
            name
            for name in folders
            if name == ".ci" or (not name.startswith((".", "__")) and name not in {"build", "dist"})
        ]
        yield from (Path(folder) / name for name in files)


def test_nothing_kept_names_a_machine_or_a_registry() -> None:
    places = (
        rb"/(?:work|root|home/\w+)/\w|pypi\.org|pythonhosted|registry\.npmjs|/opt/(?:pypi|wheels)"
    )
    found = [
        (name_of(path), match.decode(errors="replace"))
        for path in kept()
        if path != Path(__file__)
        for match in re.findall(places, path.read_bytes())
    ]
    assert found == []


def imported(statement: str) -> set[str]:
    script = f"{statement}; import sys; print(*sorted(sys.modules), sep='\\n')"
    argv = [sys.executable, "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT)
    return {line.split(".")[0] for line in done.stdout.splitlines()}


def test_the_command_line_starts_without_what_only_some_commands_need() -> None:
    assert imported("import drkit.cli.main") & LAZY == set()

"""What holds for every command: JSON, quiet, help, colors, a fast start."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import click
import pytest

from drkit.cli.main import COMMANDS, cli
from tests.fixtures.command import DRKIT, Site

READING = ("list", "show latest", "scrub", "forget", "key show", "doctor", "completion bash")


def every(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(command, click.Group):
        return [path]
    ctx = click.Context(command)
    names = command.list_commands(ctx)
    found = [(n, command.get_command(ctx, n)) for n in names]
    return [p for n, child in found if child for p in every(child, (*path, n))]


@pytest.mark.parametrize("path", every(cli), ids=" ".join)
def test_help_has_an_example_and_the_options_of_all(done: Site, path: tuple[str, ...]) -> None:
    said = done.ok(*path, "-h").out
    assert f"drkit {' '.join(path)}" in said.split("Example")[1]
    for option in ("--policy-dir", "--json", "--quiet", "--verbose", "--log-format", "--no-color"):
        assert option in said
    assert max(map(len, said.splitlines())) <= 100


def test_the_list_of_commands_says_what_they_say_themselves() -> None:
    ctx = click.Context(cli)
    for name, says in COMMANDS.items():
        command = cli.get_command(ctx, name)
        assert command is not None
        assert command.name == name
        assert (command.help or "").split("\n\n")[0].strip() == says


@pytest.mark.parametrize("words", [*READING, "backup", "restore", "key test", "init"])
def test_json_is_one_document_and_nothing_else(shop: Site, words: str) -> None:
    more: dict[str, tuple[str | Path, ...]] = {
        "restore": ("--into", "out", "-i", shop.identity),
        "key test": ("-i", shop.identity),
        "init": ("shop", "--files", shop.data, "--store", shop.store),
    }
    ran = shop(*words.split(), *more.get(words, ()), "--json")
    assert ran.code == 0, ran
    assert isinstance(ran.document, dict)


@pytest.mark.parametrize("words", ["backup nowhere", "restore --into x", "show zzzz", "nonsense"])
def test_json_tells_failures_too(done: Site, words: str) -> None:
    ran = done(*words.split(), "--json")
    assert ran.document["error"]["exit_code"] == ran.code != 0
    assert ran.document["error"]["message"]
    assert ran.err.startswith("drkit: error: ")


@pytest.mark.parametrize("words", ["backup", "backup --full", "scrub", "forget", "forget --apply"])
def test_quiet_is_silent_when_all_is_well(shop: Site, words: str) -> None:
    ran = shop.ok(*words.split(), "--quiet")
    assert (ran.out, ran.err) == ("", "")


def test_quiet_still_tells_what_is_wrong(shop: Site) -> None:
    (shop.state / "signer.key").unlink()
    ran = shop("backup", "-q")
    assert ran.code == 3
    assert ran.out == ""
    assert "drkit: error: shop: no signing key" in ran.err


def test_nothing_due_says_until_when(fresh: Site) -> None:
    fresh.ok("backup")
    ran = fresh.ok("backup")
    assert ran.out.startswith("shop: nothing is due before 20")
    assert ran.err == ""


def test_log_format_json_is_a_line_an_event(shop: Site) -> None:
    ran = shop.ok("backup", "--full", "--log-format", "json")
    lines = [json.loads(line) for line in ran.err.splitlines()]
    assert lines[0] == {
        "event": "started",
        "task": "shop: backup",
        "total_bytes": lines[0]["total_bytes"],
        "total_items": 20,
    }
    assert lines[-1]["event"] == "finished"
    assert lines[-1]["items"] == 24  # folders, too
    failed = shop("backup", "other", "--log-format=json")
    line = json.loads(failed.err)
    assert (line["level"], line["exit_code"]) == ("error", 3)


def test_nothing_moves_in_a_pipe(shop: Site) -> None:
    ran = shop.ok("backup", "--full")
    assert ran.err == ""
    assert "\x1b" not in ran.out
    assert len(ran.out.splitlines()) == 1


def test_on_a_terminal_a_bar_shows_the_rate(shop: Site) -> None:
    with (shop.data / "big").open("wb") as file:
        for _ in range(16):
            file.write(os.urandom(8 << 20))
    slow = "repository:\n  bandwidth: 80 MB/s\n"  # a bar that ends within a second shows no rate
    shop.policy.write_text(shop.policy.read_text().replace("repository:\n", slow))
    for variables, colored in (({}, True), ({"NO_COLOR": "1"}, False)):
        said = on_terminal(shop, ["backup", "--full"], variables)
        assert "shop: backup" in said
        assert "MiB/s" in said
        assert ("\x1b[3" in said) is colored
        assert "full backup committed" in said


def on_terminal(site: Site, words: list[str], variables: dict[str, str]) -> str:
    import pty

    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [DRKIT, *words],
        cwd=site.home,
        env=site.environment() | {"TERM": "xterm-256color", "COLUMNS": "80"} | variables,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        said = b""
        try:
            while more := os.read(ours, 65536):
                said += more
        except OSError:  # Linux's end of a terminal
            pass
        os.close(ours)
        assert process.wait(20) == 0, said
    return said.decode()


def test_hostile_names_stay_on_their_line(fresh: Site) -> None:
    hostile = "a\x1b[2Jb\nc\u202ed 한글"
    (fresh.data / hostile).write_text("x")
    (fresh.data / os.fsdecode(b"bad\xff")).write_text("x")
    fresh.ok("backup")
    shown = fresh.ok("show", "latest", "--files", "-i", fresh.identity)
    assert "\x1b" not in shown.out
    assert "\u202e" not in shown.out
    assert "a\\x1b[2Jb\\nc\\u202ed 한글" in shown.out
    assert "bad\\xff" in shown.out
    document = fresh.ok("show", "latest", "--files", "-i", fresh.identity, "--json").document
    assert hostile in [entry["path"] for entry in document["files"]]
    fresh.ok("restore", "shop", hostile, "--into", "out", "-i", fresh.identity)
    assert [p.name for p in (fresh.home / "out").iterdir()] == [hostile]


def test_completion_completes(done: Site) -> None:
    assert "_DRKIT_COMPLETE" in done.ok("completion", "bash").out
    words = {"_DRKIT_COMPLETE": "bash_complete", "COMP_WORDS": "drkit back", "COMP_CWORD": "1"}
    ran = subprocess.run(
        [DRKIT], env=done.environment() | words, capture_output=True, check=False, cwd=done.home
    )
    assert ran.stdout == b"plain,backup\n"


def test_the_version() -> None:
    ran = subprocess.run([DRKIT, "--version"], capture_output=True, check=True)
    assert ran.stdout.startswith(b"drkit 0.")


def test_help_starts_within_ten_empty_pythons() -> None:
    def once(argv: list[str | Path]) -> float:
        begun = time.perf_counter()
        subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - begun

    empty: list[str | Path] = [sys.executable, "-c", "pass"]
    own: list[str | Path] = [DRKIT, "--help"]
    once(own)
    pairs = [(once(empty), once(own)) for _ in range(7)]
    assert median(b for _, b in pairs) < 10 * median(a for a, _ in pairs)


@pytest.mark.parametrize("words", ["--help", "backup -h", "list", "nonsense"])
def test_rich_is_not_imported_where_nothing_is_drawn(done: Site, words: str) -> None:
    call = f"import sys; from drkit.cli.main import run; run({words.split()!r})"
    script = f"{call}; print('rich' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=done.home,
        env=done.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines()[-1] == "False"

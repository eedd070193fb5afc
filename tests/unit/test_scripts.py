import os
import re
import subprocess
import time
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(p for p in (ROOT / "scripts").iterdir() if p.is_file())
ROUNDS = sorted((ROOT / "scripts/soak.d").iterdir())
SHELL = [*SCRIPTS, *ROUNDS, ROOT / ".ci/run"]
LOCK = ROOT / "requirements.lock"


def run(*argv: str | Path, path: str | None = None, cwd: Path = ROOT) -> tuple[int, str]:
    env = {**os.environ, "PATH": path or os.environ["PATH"]}
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        cwd=cwd,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_the_scripts_are_those_that_the_readers_are_told_of() -> None:
    wanted = (
        "bench check db-backup.sh demo docs format install lock restore-procedure.sh soak test"
        " test-fast"
    )
    assert [p.name for p in SCRIPTS] == wanted.split()


@pytest.mark.parametrize("script", SHELL, ids=lambda p: p.name)
def test_a_script_is_executable_sound_strict_and_says_its_job(script: Path) -> None:
    lines = script.read_text().splitlines()
    assert os.access(script, os.X_OK)
    assert lines[0] == "#!/usr/bin/env bash"
    assert re.fullmatch(r"# [A-Z].*\.", lines[1])
    assert any(re.fullmatch(r"set -e?uo pipefail", line) for line in lines)
    assert run("bash", "-n", script) == (0, "")


@pytest.mark.parametrize(
    "script",
    [s for s in SCRIPTS if s.name not in {"install", "lock"} and s.suffix != ".sh"],
    ids=lambda p: p.name,
)
def test_each_script_sets_up_by_itself(script: Path) -> None:
    assert re.search(r"^scripts/install( \|\| exit)?$", script.read_text(), re.MULTILINE)


def test_install_is_silent_and_fast_when_nothing_is_to_do() -> None:
    assert run("scripts/install")[0] == 0
    begun = time.monotonic()
    assert run("scripts/install") == (0, "")
    assert time.monotonic() - begun < 1


def fresh(folder: Path) -> Path:
    """A checkout that install has never seen, with nothing in its lock."""
    (folder / "scripts").mkdir(parents=True)
    (folder / "scripts/install").write_bytes((ROOT / "scripts/install").read_bytes())
    (folder / "scripts/install").chmod(0o755)
    (folder / "pyproject.toml").write_text("")
    (folder / "requirements.lock").write_text("")
    return folder


def stand_in(folder: Path, name: str, body: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{body}\n")
    (folder / name).chmod(0o755)


def test_install_without_python_says_what_to_install(tmp_path: Path) -> None:
    checkout, tools = fresh(tmp_path / "checkout"), tmp_path / "tools"
    for name in ("python3", "python3.14", "python3.13", "python3.12", "python3.11"):
        stand_in(tools, name, "exit 1")
    for name in ("bash", "dirname", "mkdir", "flock", "cat", "sha256sum"):
        (tools / name).symlink_to(f"/usr/bin/{name}")
    code, output = run(checkout / "scripts/install", path=str(tools), cwd=tmp_path)
    assert code == 1
    assert "install: error: no Python 3.11 or later on the PATH" in output
    assert "install: hint: apt-get install python3" in output


def test_install_prefers_uv_and_gives_it_the_lock_with_hashes(tmp_path: Path) -> None:
    checkout, tools = fresh(tmp_path / "checkout"), tmp_path / "tools"
    stand_in(tools, "uv", f'echo "$@" >> {tmp_path}/calls; [[ $1 != venv ]] || mkdir -p .venv/bin')
    code, output = run(checkout / "scripts/install", path=f"{tools}:{os.environ['PATH']}")
    assert (code, output) == (0, "install: making .venv with uv\n")
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["venv", "pip", "pip"]
    assert "--require-hashes -r requirements.lock" in calls[1]
    assert "--editable ." in calls[2]


def test_bench_refuses_what_it_does_not_have() -> None:
    code, output = run("scripts/bench", "nothing")
    assert code == 2
    assert (
        "bench: hint: one of: "
        "compression entry files gcs_client kept_alive parts postgres recheck relay startup stores"
        in output
    )


def locked() -> dict[str, str]:
    blocks = re.split(r"\n(?=\S)", LOCK.read_text())
    return {
        re.sub(r"[-_.]+", "-", m[1]).lower(): block
        for block in blocks
        if (m := re.match(r"([A-Za-z0-9._-]+)==", block))
    }


def test_the_lock_names_no_host_and_has_hashes_for_all() -> None:
    text = LOCK.read_text()
    assert not re.search(r"://|index-url|find-links|trusted-host", text)
    assert locked()
    assert all("--hash=sha256:" in block for block in locked().values())


def test_the_lock_covers_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.sub(r"[-_.]+", "-", re.split(r"[\[<>=~! ;]", a)[0]).lower() for a in asked}
    assert names - set(locked()) == set()

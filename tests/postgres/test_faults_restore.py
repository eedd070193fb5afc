"""Restores and drills that go wrong, and what a copy must never do: touch its original."""

import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from drkit.postgres.processes import servers_in
from tests.faults.test_full_disk import disk, on_own_disks, use_for_temporary_files
from tests.fixtures.command import Ran, Site
from tests.fixtures.postgres import Server, own, serving
from tests.fixtures.ready import started_as_told

pytestmark = pytest.mark.pg

ROOT = Path(__file__).parents[2]
_SHORT = Path("/tmp")  # where sockets of copies lie


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A full and an increment of a server that is gone."""
    folder = own(tmp_path_factory.mktemp("made"))
    site = Site(home=folder / "site")
    site.home.mkdir()
    own(site.home)
    with serving(folder / "server", 18, summarize_wal="on") as server:
        server.sql("create table orders as select generate_series(1, 1000) i", "checkpoint")
        where = ("--postgres", server.dsn, "--store", site.store, "--identities-to", "keys")
        site.ok("init", "shop", "--non-interactive", *where)
        site.ok("backup", "shop")
        server.sql("insert into orders select generate_series(1001, 1500)")
        site.ok("backup", "shop", "--incremental")
    scratch = own_folder(folder / "scratch")
    text = site.policy.read_text()
    site.policy.write_text(f"{text}\nverify:\n  scratch:\n    folder: {scratch}\n")
    return site


def own_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    return folder


@pytest.fixture
def site(made: Site, tmp_path: Path) -> Site:
    """One of its own, with the store copied."""
    home = own(tmp_path) / "site"
    shutil.copytree(made.home, home, symlinks=True)
    own(home)
    text = (home / "policies/shop.yaml").read_text().replace(str(made.home.parent), str(tmp_path))
    text = text.replace(str(made.home), str(home))
    (home / "policies/shop.yaml").write_text(text.replace(str(made.store), str(home / "store")))
    own_folder(tmp_path / "scratch")
    return Site(home=home)


def scratch_of(site: Site) -> Path:
    return site.home.parent / "scratch"


def verify(site: Site) -> Ran:
    return site("restore", "shop", "--verify", "--identity", site.identity)


def restore(site: Site, into: Path, *more: str | Path) -> Ran:
    return site("restore", "shop", "--into", into, "--identity", site.identity, *more)


def left(site: Site) -> list[str]:
    """Folders, marks and servers of tries."""
    scratch = scratch_of(site)
    return sorted(path.name for path in scratch.iterdir()) + [
        str(pid) for pid in servers_in(scratch)
    ]


# A copy and its original

_ACTS = {
    "archive_mode": "on",
    "archive_command": "touch {}/archive",
    "archive_cleanup_command": "touch {}/cleanup",
    "recovery_end_command": "touch {}/end",
    "restore_command": "touch {}/restore; false",
    "external_pid_file": "{}/pid",
    "log_directory": "{}/log",
    "logging_collector": "on",
    "primary_slot_name": "mine",
    "synchronous_standby_names": "somebody",
    "cluster_name": "original",
}


@pytest.mark.parametrize("major", [15, 18])
def test_a_copy_never_touches_its_original(tmp_path: Path, major: int) -> None:
    """Whatever ALTER SYSTEM had said there, and whoever starts it."""
    own(tmp_path)
    acts = own(own_folder(tmp_path / "acts"))
    with socket.create_server(("127.0.0.1", 0)) as primary:
        primary.setblocking(False)
        site = _backed_up(tmp_path, major, acts, primary.getsockname()[1])
        into = tmp_path / "into"
        ran = restore(site, into)
        assert ran.code == 0, ran
        assert verify(site).code == 0
        assert list(acts.iterdir()) == []
        prepared = restore(site, tmp_path / "prepared", "--prepare-only")
        assert prepared.code == 0, prepared
        for number, (said, data) in enumerate(((ran, into), (prepared, tmp_path / "prepared"))):
            _work_on(said, data, major, tmp_path / f"socket{number}")
            assert list(acts.iterdir()) == [], said
        with pytest.raises(BlockingIOError):
            primary.accept()


def _backed_up(root: Path, major: int, acts: Path, port: int) -> Site:
    site = Site(home=own(own_folder(root / "site")))
    with serving(root / "server", major) as server:
        server.sql("create table orders as select generate_series(1, 100) i")
        follows = f"host=127.0.0.1 port={port} user=nobody"
        for name, value in (_ACTS | {"primary_conninfo": follows}).items():
            server.sql(f"alter system set {name} = '{value.format(acts)}'")
        where = ("--postgres", server.dsn, "--store", site.store, "--identities-to", "keys")
        site.ok("init", "shop", "--non-interactive", *where)
        site.ok("backup", "shop")
    return site


def _work_on(said: Ran, data: Path, major: int, socket_folder: Path) -> None:
    """Started as it says, written to, and stopped."""
    [start] = [line.partition(": ")[2] for line in said.out.splitlines() if "start it with" in line]
    own_one = str(Server(folder=data, major=major).bin / "pg_ctl")
    start = start.replace(" pg_ctl ", f" {own_one} ", 1)  # --prepare-only looks for no programs
    with started_as_told(start, data, major, socket_folder) as copy:
        copy.ask("insert into orders values (0)")
        assert copy.ask("select count(*) from orders") == "101"
        copy.ask("select pg_switch_wal()")
        time.sleep(0.5)


# Killed


def killed(site: Site, after: float, *words: str | Path) -> None:
    child = site.start(*words)
    time.sleep(after)
    child.send_signal(signal.SIGKILL)
    child.communicate()


def running(folder: Path, child: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 60
    while not servers_in(folder):
        assert child.poll() is None
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.mark.parametrize("count", [2, pytest.param(30, marks=pytest.mark.soak)])
def test_a_drill_killed_while_its_server_runs_and_again(site: Site, count: int) -> None:
    words = ("restore", "shop", "--verify", "--identity", site.identity)
    for number in range(count):
        child = site.start(*words)
        running(scratch_of(site), child)
        time.sleep(0.01 * number)
        child.send_signal(signal.SIGKILL)
        child.communicate()
    ran = verify(site)
    assert (ran.code, "PASS" in ran.out) == (0, True), ran
    assert "was left behind by a killed run" in ran.err
    assert left(site) == []


def test_of_two_drills_at_once_one_is_killed(site: Site) -> None:
    """The other one doesn't notice."""
    words = ("restore", "shop", "--verify", "--identity", site.identity)
    one = site.start(*words)
    running(scratch_of(site), one)
    os.kill(one.pid, signal.SIGSTOP)  # it lives, and its server too
    mine = servers_in(scratch_of(site))
    ran = verify(site)
    assert ran.code == 0, ran
    assert "left behind" not in ran.err
    assert set(mine) <= set(servers_in(scratch_of(site)))
    other = site.start(*words)
    other.send_signal(signal.SIGKILL)
    other.communicate()
    os.kill(one.pid, signal.SIGCONT)
    out, err = one.communicate(timeout=60)
    assert one.returncode == 0, (out, err)
    assert verify(site).code == 0
    assert left(site) == []


def test_a_restore_killed_while_its_server_runs(site: Site, tmp_path: Path) -> None:
    """Its folder says that it is not complete; the next one ends the server."""
    into = tmp_path / "into"
    child = site.start("restore", "shop", "--into", into, "--identity", site.identity)
    running(into, child)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert (into / "DRKIT-INCOMPLETE").exists()
    again = restore(site, into)
    assert again.code == 2, again
    ran = restore(site, tmp_path / "second")
    assert ran.code == 0, ran
    assert servers_in(into) == []
    assert not (tmp_path / "second/DRKIT-INCOMPLETE").exists()


# Disks and places


def over_temporary_files(size: int, kept: Path) -> None:
    """A small disk, on which drkit itself stays where it is if that is its place."""
    kept.mkdir()
    subprocess.run(["mount", "--bind", ROOT, kept], check=True)
    disk(_SHORT, size).chmod(0o1777)
    if ROOT.is_relative_to(_SHORT):
        ROOT.mkdir(parents=True)
        subprocess.run(["mount", "--bind", kept, ROOT], check=True)


def test_scratch_and_sockets_on_full_disks(site: Site) -> None:
    def test() -> None:
        scratch = scratch_of(site)
        disk(scratch, 1000).chmod(0o755)
        ran = verify(site)
        assert (ran.code, "not enough room" in ran.err) == (5, True), ran
        subprocess.run(["umount", scratch], check=True)
        disk(scratch, 60_000).chmod(0o755)  # enough for the files, not for a server at work
        ran = verify(site)
        assert ran.code in (0, 5, 9), ran
        assert "PASS" in ran.out or "hint" in ran.err
        assert left(site) == []
        subprocess.run(["umount", scratch], check=True)
        use_for_temporary_files(site.home)  # of the test itself
        over_temporary_files(16, site.home / "code")
        (_SHORT / "ballast").write_bytes(bytes(16 << 10))
        ran = verify(site)
        assert ran.code != 0, ran
        assert "no space left" in ran.err, ran
        assert left(site) == []

    on_own_disks(test)


def test_odd_places_for_temporary_files(site: Site, tmp_path: Path) -> None:
    place = own_folder(tmp_path / "임시 '파일' \"x")
    ran = verify(replace(site, variables={"TMPDIR": str(place)}))
    assert ran.code == 0, ran
    assert list(place.iterdir()) == []


def test_users_and_folders_that_are_not_there(site: Site) -> None:
    text = site.policy.read_text()
    site.policy.write_text(f"{text}    user: nobody-of-that-name\n")
    if os.geteuid() == 0:
        ran = verify(site)
        assert ran.code == 3, ran
        assert "there is no user nobody-of-that-name" in ran.err
        assert "useradd" in ran.err
    site.policy.write_text(text.replace(str(scratch_of(site)), "/proc/scratch"))
    ran = verify(site)
    assert ran.code in (3, 5), ran
    assert "/proc/scratch" in ran.err


# Stores that were harmed


def files(site: Site, kind: str) -> list[Path]:
    """Of the newest snapshot."""
    [domain] = site.ok("list", "shop", "--json").document["domains"]
    newest = domain["snapshots"][-1]["snapshot"]
    found = sorted(site.store.rglob(f"{kind}/{newest}*"))
    assert found, sorted(site.store.rglob("*"))
    return found


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for at in range(0, len(data), 100):  # one alone may hit a place that holds nothing
        data[at] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


@pytest.mark.parametrize("harm", ["flip packs", "lose packs", "flip manifest", "lose manifest"])
def test_a_harmed_store(site: Site, tmp_path: Path, harm: str) -> None:
    """Never a folder that seems whole, never a drill that passes."""
    how, what = harm.split()
    path = files(site, what)[-1]
    (flip if how == "flip" else Path.unlink)(path)
    into = tmp_path / "into"
    ran = restore(site, into)
    assert ran.code == 8, ran
    assert "hint" in ran.err, ran
    assert not into.exists() or (into / "DRKIT-INCOMPLETE").exists()
    assert not (into / "global/pg_control").exists()
    tried = verify(site)
    assert tried.code in (8, 9), tried
    assert "PASS" not in tried.out
    assert left(site) == []


def test_somebody_elses_signer_and_identity(site: Site, tmp_path: Path) -> None:
    where = ("restore", "--repository", site.store, "--into", tmp_path / "into")
    forged = site(*where, "--identity", site.identity, "--signer", f"ed25519:{'ab' * 32}")
    assert forged.code == 8, forged
    assert "none that can be believed" in forged.err
    assert "key sheet" in forged.err
    other = Site(home=own(own_folder(tmp_path / "other")))
    (other.home / "data").mkdir()
    other.init()
    ran = site("restore", "shop", "--into", tmp_path / "into", "--identity", other.identity)
    assert (ran.code, "doesn't open this" in ran.err) == (7, True), ran
    assert not (tmp_path / "into").exists()

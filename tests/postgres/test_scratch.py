"""Folders for a while: marked, removed whatever happens, and never somebody else's."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from drkit.errors import ConfigError, DiskError
from drkit.events import Event, Warned
from drkit.model import policy
from drkit.postgres.binaries import find_binaries
from drkit.postgres.cluster import ServerPlan, started
from drkit.postgres.processes import Identity, is_alive, myself, servers_in, somebody
from drkit.postgres.scratch import ScratchPlan, scratch, scratch_plan, sweep
from drkit.system import System
from tests.fixtures.postgres import Server, copy_of, own

pytestmark = pytest.mark.pg
NASTY = """a 'quoted" $(touch /tmp/never) 폴더"""
SYSTEM = System()
AS_ROOT = os.geteuid() == 0


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return own(tmp_path) / NASTY / "scratch"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Never started."""
    folder = own(tmp_path_factory.mktemp("made"))
    return Server(folder=folder / "server", major=15).make().data


def content(place: Path) -> list[str]:
    return sorted(os.listdir(place))


def test_it_is_there_and_gone(place: Path) -> None:
    with scratch(ScratchPlan(folder=place), SYSTEM) as folder:
        (folder / "file").write_text("x")
        assert len(content(place)) == 2
        assert folder.stat().st_mode & 0o077 == 0
        who = somebody(None)
        assert folder.stat().st_uid == (who[1] if who else os.geteuid())
    assert content(place) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_it_is_gone_after_a_failure(place: Path, error: type[BaseException]) -> None:
    plan = ScratchPlan(folder=place)
    with suppress(error), scratch(plan, SYSTEM) as folder:
        (folder / "below").mkdir()
        raise error
    assert content(place) == []


def test_a_forgotten_server_goes_with_it(place: Path, cluster: Path) -> None:
    with scratch(ScratchPlan(folder=place), SYSTEM) as folder:
        data = copy_of(cluster, folder / "data")
        server = started(ServerPlan(data=data, binaries=find_binaries(15, SYSTEM)), SYSTEM)
        running = server.__enter__()
        assert servers_in(folder)
    assert content(place) == []
    assert not servers_in(running.data)
    server.__exit__(None, None, None)


def test_two_at_once_leave_each_other_alone(place: Path) -> None:
    told: list[Event] = []
    plan = ScratchPlan(folder=place)
    with scratch(plan, System(tell=told.append)) as one:
        (one / "mine").touch()
        with scratch(plan, System(tell=told.append)) as two:
            assert one != two
            assert (one / "mine").exists()
        assert (one / "mine").exists()
    assert told == []


_KILLED = """
import sys
from pathlib import Path
from drkit.postgres.binaries import find_binaries
from drkit.postgres.cluster import ServerPlan, started
from drkit.postgres.scratch import ScratchPlan, scratch
from drkit.system import System
from tests.fixtures.postgres import copy_of
place, cluster, inside = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "inside"
with scratch(ScratchPlan(folder=place), System()) as folder:
    data = copy_of(cluster, folder / "data" if inside else place.parent / "kept")
    plan = ServerPlan(data=data, binaries=find_binaries(15, System()))
    with started(plan, System()) as running:
        print(folder, running.pid, running.socket_folder, sep="\\n", flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def killed(place: Path, cluster: Path, request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """A run with a server, killed; its folder, its server and that one's folder."""
    argv = [sys.executable, "-c", _KILLED, place, cluster, request.param]
    root = Path(__file__).parents[2]
    with subprocess.Popen(argv, stdin=-1, stdout=-1, cwd=root, text=True) as run:
        assert run.stdout is not None
        said = [run.stdout.readline().strip() for _ in range(3)]
        assert said[2]
        run.kill()
    yield said
    for pid in servers_in(place.parent):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(said[2], ignore_errors=True)


@pytest.mark.parametrize("killed", ["inside"], indirect=True)
def test_what_a_killed_run_left_is_swept(place: Path, killed: list[str]) -> None:
    told: list[Event] = []
    assert alive(int(killed[1]))
    with scratch(ScratchPlan(folder=place), System(tell=told.append)) as folder:
        assert len(content(place)) == 2
        assert str(folder) != killed[0]
        assert not alive(int(killed[1]))
    assert [event.message for event in told if isinstance(event, Warned)] == [
        f"{killed[0]} was left behind by a killed run: its server was stopped and it was removed"
    ]


@pytest.mark.parametrize("killed", ["outside"], indirect=True)
def test_a_server_on_a_kept_folder_is_stopped_and_the_folder_kept(
    place: Path, killed: list[str]
) -> None:
    """Known by the configuration it was started with."""
    told: list[Event] = []
    kept = place.parent / "kept"
    sweep(place, System(tell=told.append))
    assert alive(int(killed[1]))
    sweep(Path(killed[2]).parent, System(tell=told.append))
    assert not alive(int(killed[1]))
    assert (kept / "PG_VERSION").exists()
    assert not Path(killed[2]).exists()
    assert "its server was stopped" in str(told[-1])


def alive(pid: int) -> bool:
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False
        if state != "Z":
            return True
        time.sleep(0.02)
    return False


def test_what_looks_like_ours_is_not_touched(place: Path, tmp_path: Path) -> None:
    """A mark of somebody else, a link, a folder without a mark."""
    place.mkdir(parents=True)
    (place / "drkit-precious").mkdir()
    other = tmp_path / "other"
    other.mkdir()
    (place / "drkit-aa.mark").symlink_to(other / "mark")
    (other / "mark").touch()
    expected = content(place)
    if AS_ROOT:
        (place / "drkit-bb.mark").touch()
        (place / "drkit-bb").mkdir()
        os.chown(place / "drkit-bb.mark", 65534, 65534)
        expected = content(place)
    sweep(place, SYSTEM)
    assert content(place) == expected


def test_a_link_in_the_place_of_a_folder_is_not_followed(place: Path, tmp_path: Path) -> None:
    told: list[Event] = []
    place.mkdir(parents=True)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").touch()
    (place / "drkit-aa").symlink_to(tmp_path / "precious")
    (place / "drkit-aa.mark").touch()
    sweep(place, System(tell=told.append))
    assert (tmp_path / "precious/file").exists()
    assert "cannot call rmtree on a symbolic link" in str(told)


def test_a_mark_speaks_for_a_living_run_where_files_cannot_be_locked(place: Path) -> None:
    place.mkdir(parents=True)
    (place / "drkit-aa").mkdir()
    (place / "drkit-aa.mark").write_bytes(msgspec.json.encode(myself()))
    sweep(place, SYSTEM)
    assert (place / "drkit-aa").exists()
    (place / "drkit-aa.mark").write_bytes(b"torn")
    sweep(place, SYSTEM)
    assert content(place) == []


def test_a_process_is_more_than_its_number() -> None:
    me = myself()
    assert is_alive(me)
    assert not is_alive(Identity(boot=me.boot, pid=me.pid, start=me.start + 1))
    assert not is_alive(Identity(boot="another", pid=me.pid, start=me.start))


def test_too_little_room_is_said_before(place: Path) -> None:
    with (
        pytest.raises(DiskError, match=r"not enough room in .*: it takes .* PiB, .* are free"),
        scratch(ScratchPlan(folder=place, need=1 << 60), SYSTEM),
    ):
        raise AssertionError
    assert content(place) == []


def test_a_closed_way_is_named(tmp_path: Path) -> None:
    closed = own(tmp_path) / "closed"
    closed.mkdir(mode=0o700)
    if not AS_ROOT:
        with suppress(NotADirectoryError):
            _enter(closed / "scratch")
        return
    with pytest.raises(ConfigError, match=rf"can't enter {closed}$") as raised:
        _enter(closed / "scratch")
    assert f"chmod o+x {closed}" in str(raised.value.hint)


def _enter(folder: Path) -> None:
    with scratch(ScratchPlan(folder=folder), SYSTEM):
        raise NotADirectoryError


def test_a_folder_open_to_all_is_refused(place: Path) -> None:
    place.mkdir(parents=True)
    place.chmod(0o777)
    with pytest.raises(ConfigError, match="everybody may write") as raised:
        _enter(place)
    assert str(raised.value.hint) == f"chmod o-w {place}"


@pytest.mark.parametrize("user", ["root", "nobody-of-this-name"])
def test_who_can_run_servers(user: str) -> None:
    if AS_ROOT:
        with pytest.raises(ConfigError, match=user):
            somebody(user)
    else:
        assert somebody(user) is None


def test_where_a_policy_wants_it(tmp_path: Path) -> None:
    default = scratch_plan(policy.Scratch(), tmp_path)
    assert default.folder == (Path("/var/tmp/drkit-scratch") if AS_ROOT else tmp_path / "scratch")
    wanted = scratch_plan(policy.Scratch(folder=tmp_path, memory=5, user="me"), tmp_path, need=7)
    assert wanted == ScratchPlan(folder=tmp_path, memory=5, user="me", need=7)

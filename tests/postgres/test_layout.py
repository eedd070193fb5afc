"""A cluster's snapshot on disk: every part at its place, nothing that must not be there."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from drkit.errors import Damaged, DiskError, DrkitError, UsageError
from drkit.postgres import leftovers
from drkit.postgres.layout import Laid, LayoutPlan, lay_out
from drkit.postgres.tablespaces import enterable
from drkit.system import System
from tests.faults.test_full_disk import disk, on_own_disks
from tests.fixtures.base_copy import OWNER, Sample, changed, sample
from tests.fixtures.command import NOBODY
from tests.fixtures.postgres import own

pytestmark = pytest.mark.pg

RECORDED = {
    "settings": {
        "work_mem": {"value": "8MB", "source": "configuration file"},
        "archive_command": {"value": "cp %p /archive/'%f'", "source": "configuration file"},
        "ssl_cert_file": {"value": "/etc/ssl/its.pem", "source": "configuration file"},
        "shared_preload_libraries": {"value": "pg_cron", "source": "configuration file"},
        "application_name": {"value": "drkit", "source": "client"},
        "odd name\nhere": {"value": "x", "source": "?"},
    },
    "recovery": {"max_connections": 321},
    "hba": ["host all all 10.0.0.0/8 scram-sha-256"],
}


@pytest.fixture(scope="module", params=[15, 18])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    root = tmp_path_factory.mktemp(f"shop{request.param}")
    return sample(root, request.param, recorded=RECORDED)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """For what no version changes."""
    return sample(tmp_path_factory.mktemp("one"), 15, recorded=RECORDED)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return own(tmp_path)


def laid(
    shop: Sample, into: Path, tablespaces: Mapping[str, Path] | None = None, *, pages: bool = False
) -> Laid:
    plan = LayoutPlan(
        into=into,
        tablespaces=tablespaces or {},
        owner=OWNER,
        recorded=shop.source.recorded,
        pages=pages,
    )
    with shop.made.reader(shop.snapshot) as reader:
        return lay_out(reader, shop.snapshot, plan, System())


def files_of(folder: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for top, _, names in os.walk(folder, followlinks=True):
        for name in names:
            path = Path(top) / name
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def test_every_file_is_as_it_was(shop: Sample, place: Path) -> None:
    made = laid(shop, place / "data")
    before, after = files_of(shop.source.data), files_of(place / "data")
    own_files = {"drkit-recorded.conf", "drkit-recorded-hba.conf", "drkit-recorded-ident.conf"}
    added = {name for name in after if name not in before and not name.startswith("tablespaces/")}
    assert added == own_files | {leftovers.MARKER}
    assert {name: after[name] for name in before} == before
    assert made.checked > 900  # compared with the server's own checksums


def test_tablespaces_are_links_to_their_places(shop: Sample, place: Path) -> None:
    made = laid(shop, place / "data")
    [tablespace] = made.tablespaces
    link = place / "data/pg_tblspc" / shop.oid
    assert os.readlink(link) == str(place / "data/tablespaces" / shop.oid)
    assert (tablespace.original, tablespace.bytes > 0) == (str(shop.fast), True)
    assert not (place / "data/tablespace_map").exists()


@pytest.mark.parametrize("word", ["path", "path/", "oid"])
def test_a_tablespace_elsewhere(one: Sample, place: Path, word: str) -> None:
    old = {"path": str(one.fast), "path/": f"{one.fast}/", "oid": one.oid}[word]
    laid(one, place / "data", {old: place / "new/fast"})
    assert os.readlink(place / "data/pg_tblspc" / one.oid) == str(place / "new/fast")
    assert not (place / "data/tablespaces").exists()
    assert list((place / "new/fast").glob("PG_*"))


def test_all_of_it_is_the_servers_and_closed_to_others(shop: Sample, place: Path) -> None:
    laid(shop, place / "data", {shop.oid: place / "fast"})
    uid = os.geteuid() if OWNER is None else OWNER[0]
    found = [place / "data", place / "fast"]
    found += [path for top in tuple(found) for path in top.rglob("*")]
    for path in found:
        st = path.lstat()
        if path.name != leftovers.MARKER:
            assert st.st_uid == uid, path
        if not stat.S_ISLNK(st.st_mode):
            wanted = 0o700 if path.is_dir() else 0o600
            assert st.st_mode & 0o7777 == wanted, path


def test_a_folder_that_its_group_may_read(tmp_path: Path) -> None:
    root = tmp_path / "group"
    root.mkdir()
    shop = sample(root, 15, "--allow-group-access")
    laid(shop, tmp_path / "data")
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "data/PG_VERSION").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "data/drkit-recorded.conf").stat().st_mode & 0o777 == 0o640


def test_pg_control_comes_when_everything_else_is_there(one: Sample, place: Path) -> None:
    """Without it nothing starts, so a half-written folder can't be taken for a whole one."""
    broken = changed(one, place, changed={"base/1/1259": b"\0" * 8192})
    with pytest.raises(Damaged) as refused:
        laid(broken, place / "data")
    assert "base/1/1259" in refused.value.message
    assert not (place / "data/global/pg_control").exists()
    assert "not complete" in (place / "data" / leftovers.MARKER).read_text()


def test_what_the_original_was_set_to(one: Sample, place: Path) -> None:
    laid(one, place / "data")
    lines = (place / "data/drkit-recorded.conf").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["work_mem = '8MB'"]
    assert "# archive_command = 'cp %p /archive/''%f'''" in lines
    assert "# ssl_cert_file = '/etc/ssl/its.pem'" in lines
    assert not [line for line in lines if "application_name" in line or "odd" in line]
    hba = (place / "data/drkit-recorded-hba.conf").read_text()
    assert "host all all 10.0.0.0/8 scram-sha-256\n" in hba
    ident = (place / "data/drkit-recorded-ident.conf").read_text()
    assert "they were not recorded" in ident


def test_settings_that_lay_elsewhere(shop: Sample, place: Path) -> None:
    bare = changed(shop, place, without=("postgresql.conf", "pg_hba.conf", "pg_ident.conf"))
    made = laid(bare, place / "data")
    assert not made.shape.configured
    assert "max_connections = '321'" in (place / "data/postgresql.conf").read_text()
    assert "local all all peer" in (place / "data/pg_hba.conf").read_text()


def test_how_a_standby_followed_is_left_out(one: Sample, place: Path) -> None:
    made = changed(one, place)
    for name in ("standby.signal", "postmaster.pid"):
        (made.source.data / name).write_bytes(b"")
    try:
        made = changed(one, place / "again")
    finally:
        for name in ("standby.signal", "postmaster.pid"):
            (made.source.data / name).unlink()
    laid(made, place / "data")
    assert not (place / "data/standby.signal").exists()
    assert not (place / "data/postmaster.pid").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"without": ("backup_label",)}, "holds no backup_label"),
        ({"without": ("global/pg_control",)}, "holds no global/pg_control"),
        ({"without": ("PG_VERSION",)}, "holds no PG_VERSION"),
        ({"changed": {"PG_VERSION": b"../15\n"}}, "PG_VERSION holds"),
        ({"changed": {"backup_label": b"nothing\n"}}, "names no start"),
        ({"changed": {"global/pg_control": bytes(8192)}}, "pg_control"),
    ],
)
def test_what_could_never_be_a_server(
    one: Sample, place: Path, changes: dict[str, object], said: str
) -> None:
    broken = changed(one, place, **changes)  # type: ignore[arg-type]
    with pytest.raises(DrkitError) as refused:
        laid(broken, place / "data")
    assert said in refused.value.message
    assert not (place / "data").exists()


def test_an_increment_that_is_none(one: Sample, place: Path) -> None:
    label = (one.source.data / "backup_label").read_bytes()
    more = {"backup_label": label + b"INCREMENTAL FROM LSN: 0/2000028\nINCREMENTAL FROM TLI: 1\n"}
    with pytest.raises(Damaged, match="calls it an increment"):
        laid(changed(one, place, changed=more), place / "data")


def test_wal_that_is_not_there(one: Sample, place: Path) -> None:
    segments = [f"pg_wal/{path.name}" for path in (one.source.data / "pg_wal").glob("0*")]
    with pytest.raises(Damaged, match="lacks WAL segment"):
        laid(changed(one, place, without=tuple(segments)), place / "data")
    assert not (place / "data").exists()


@pytest.mark.parametrize(
    ("tablespaces", "said"),
    [
        ({"/nowhere": "free"}, "/nowhere is no tablespace of this snapshot: it has"),
        ({"{fast}": "relative"}, "absolute path"),
        ({"{fast}": "{place}/data"}, "lie in each other"),
        ({"{fast}": "{place}/data/base/x"}, "lie in each other"),
        ({"{fast}": "{place}"}, "lie in each other"),
        ({"{fast}": "{fast}"}, "is not empty"),
        ({"{fast}": "{place}/file"}, "is no folder"),
        ({"{fast}": "{place}/link"}, "link to nothing"),
        ({"{fast}": "{copy}/base/new"}, "the folder of another cluster"),
        ({"{fast}": "{place}/a", "{oid}": "{place}/b"}, "mapped twice"),
    ],
)
def test_maps_that_are_refused(
    one: Sample, place: Path, tablespaces: dict[str, str], said: str
) -> None:
    (place / "file").write_text("")
    (place / "link").symlink_to(place / "nowhere")
    words = {"fast": one.fast, "place": place, "copy": one.source.data, "oid": one.oid}
    given = {old.format(**words): Path(new.format(**words)) for old, new in tablespaces.items()}
    with pytest.raises(UsageError) as refused:
        laid(one, place / "data", given)
    assert said in refused.value.message, refused.value
    assert not (place / "data").exists()


def test_never_into_another_clusters_folder(one: Sample, place: Path) -> None:
    with pytest.raises(UsageError, match="folder of another cluster"):
        laid(one, one.source.data / "base/here")


def test_a_way_that_the_server_could_not_go(tmp_path: Path) -> None:
    """Nobody, who owns nothing here, stands for the server's user."""
    own(tmp_path).chmod(0o711)
    (tmp_path / "closed").mkdir(mode=0o700)
    with pytest.raises(UsageError, match=r"may not enter .*/closed on the way"):
        enterable(tmp_path / "closed/data", (NOBODY, NOBODY))
    (tmp_path / "closed").chmod(0o711)
    enterable(tmp_path / "closed/data", (NOBODY, NOBODY))


@pytest.mark.parametrize("small", ["data", "fast"])
def test_not_enough_room(one: Sample, place: Path, small: str) -> None:
    def run() -> None:
        disk(place / "data", 4000 if small == "data" else 400_000)
        disk(place / "fast", 4 if small == "fast" else 400_000)
        with pytest.raises(DiskError) as refused:
            laid(one, place / "data", {one.oid: place / "fast"})
        assert f"{place / small} has" in refused.value.message
        assert "nothing was written" in refused.value.message
        assert not list((place / "data").iterdir())

    on_own_disks(run)


def test_pages_are_checked_where_no_server_will(shop: Sample, place: Path) -> None:
    """A native increment's relations have no checksum of the whole file."""
    name = next(
        path.relative_to(shop.source.data).as_posix()
        for path in sorted((shop.source.data / "base/1").iterdir())
        if path.name.isdecimal() and path.stat().st_size >= 3 * 8192
    )
    data = bytearray((shop.source.data / name).read_bytes())
    data[2 * 8192 + 5000] ^= 1
    manifest = (
        (shop.source.data / "backup_manifest")
        .read_bytes()
        .replace(f'"{name}"'.encode(), b'"INCREMENTAL.x"')
    )
    broken = changed(shop, place, changed={name: bytes(data), "backup_manifest": manifest})
    with pytest.raises(Damaged) as refused:
        laid(broken, place / "data", pages=True)
    assert f"{name}, block 2" in refused.value.message

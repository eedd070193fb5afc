"""Makes the repositories in `golden_repositories/`; those that are there are never rewritten.

`plain` is whole, the others hold what differs from it, and in `.gone` the names it has and they
have not. The keys here were made for these samples and protect nothing.
"""

import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir
from datetime import timedelta
from pathlib import Path

from drkit.files import FilesPlan, FilesSource
from drkit.model.pins import Pins
from drkit.repository import names, signed
from drkit.repository.base import SessionPlan
from drkit.repository.history import read_history
from drkit.repository.repository import Repository, body, create, open_repository
from drkit.repository.session import back_up
from drkit.repository.signed import Origin, Where
from drkit.stores.local import LocalStore
from drkit.system import System
from tests.fixtures.trees import HOSTILE_NAMES, noise, sparse, write
from tests.format.crafting import (
    AT,
    CRAFTED,
    KEY,
    PINS,
    RECIPIENTS,
    craft,
    domain_of,
    put_wal,
    still,
)

GOLDEN = Path(__file__).parent / "golden_repositories"
SECOND = 1_000_000_000


# what is backed up


def tree(root: Path, version: int) -> Path:
    """As it was in the first, second and third backup."""
    for number, raw in enumerate(HOSTILE_NAMES):
        write(root / "names" / os.fsdecode(raw), b"content %d\n" % number)
    write(root / "서버/설정 파일.conf", "포트=5432\n".encode())
    write(root / "four bytes/\U0001f418\U00020000.txt", b"an elephant\n")
    write(root / "text.log", b"GET /index.html 200\n" * (6000 + 500 * version))
    write(root / "noise.bin", noise(5000 * version, version))
    write(root / "empty")
    (root / "empty folder").mkdir()
    write(root / "bin/run", b"#!/bin/sh\n", mode=0o755)
    os.link(root / "bin/run", root / "bin/z again")
    (root / "current").symlink_to("bin")
    (root / "up and out").symlink_to("../../../../etc/passwd")
    sparse(root / "sparse", 3 << 20, {1 << 20: noise(1000, 7)})
    os.mkfifo(root / "fifo")
    (root / "fifo").chmod(0o620)
    if version == 1:
        write(root / "only in the first", b"gone later\n")
    if version == 3:
        write(root / "only in the last/file", b"new\n", mode=0o400)
    _settle(root)
    return root


def _settle(root: Path) -> None:
    """The same modes and times wherever it is made."""
    for folder, _, _ in os.walk(root, topdown=False):
        for name in os.listdir(folder):
            os.utime(Path(folder, name), ns=_THEN, follow_symlinks=False)
        os.chmod(folder, 0o750)
    os.utime(root, ns=_THEN)


_THEN = (SECOND, 1_700_000_000 * SECOND + 7)


# the real writer


def plain(folder: Path) -> None:
    """A full and two incrementals."""
    store = LocalStore(folder)
    store.prepare()
    repository = create(store, still(1))
    with tempfile.TemporaryDirectory() as made, chdir(made):
        for version in (1, 2, 3):
            tree(Path("source"), version)
            _back_up(repository, Path("state"), still(1 + version))
            shutil.rmtree("source")


def _back_up(repository: Repository, state: Path, system: System) -> None:
    state.mkdir(exist_ok=True)
    plan = SessionPlan(
        repository=repository.id,
        domain=domain_of(repository),
        part="files",
        kind=None,
        recipients=RECIPIENTS,
        signer=KEY,
        pins=PINS,
        policy="name: golden\n",
        state=state,
        origin=Origin(kind="files", system=None),
        verify="all",
    )
    back_up(
        repository, plan, FilesSource(FilesPlan(root=Path("source"), xattrs=False), system), system
    )


def sessions(folder: Path) -> list[tuple[str, str]]:
    """Generation and session of each commit, oldest first."""
    repository = open_repository(LocalStore(folder))
    found = read_history(repository, domain_of(repository), Pins.none()).snapshots
    return [(s.generation, s.session) for s in found]


# what happens to a store


def _expired(folder: Path) -> None:
    """The generation's backups are gone, a newer one is there."""
    repository = open_repository(LocalStore(folder))
    generation, _ = sessions(folder)[0]
    with tempfile.TemporaryDirectory() as made, chdir(made):
        tree(Path("source"), 3)
        _back_up(repository, Path("state"), still(50))
    where = Where(repository=repository.id, domain=domain_of(repository), generation=generation)
    said = dict(by="golden", at=AT + timedelta(days=40), reason="outside retention", plan="keep 30")
    place = names.generation(where.domain, generation)
    for name, obj in (("closed", signed.Closed(**said)), ("expired", signed.Expired(**said))):  # type: ignore[arg-type]
        repository.store.put(place + name, body(signed.encode(obj, where, KEY)))
    for kind in ("packs", "manifest", "packlist"):
        shutil.rmtree(folder / place / kind)


def _fenced(folder: Path) -> None:
    """A session that begun, put a pack, and was fenced."""
    repository = open_repository(LocalStore(folder))
    generation, _ = sessions(folder)[0]
    place = (domain_of(repository), generation, "ab" * 16)
    where = Where(
        repository=repository.id, domain=place[0], generation=generation, session=place[2]
    )
    begin = signed.Begin(kind="incremental", parent=None, begun=AT, start_lsn=None)
    fence = signed.Fence(reason="older than 24 h", by="golden", at=AT + timedelta(days=2))
    repository.store.put(names.begin(*place), body(signed.encode(begin, where, KEY)))
    repository.store.put(names.pack(*place, 0), body(b"half a pack, never finished"))
    repository.store.put(names.outcome(*place), body(signed.encode(fence, where, KEY)))


def _of(folder: Path, kind: str, session: int) -> Path:
    """That session's object."""
    repository = open_repository(LocalStore(folder))
    generation, id = sessions(folder)[session]
    return folder / names.generation(domain_of(repository), generation) / kind / id


def _pack(folder: Path) -> Path:
    """The largest one of the first session, which every backup needs."""
    first = _of(folder, "packs", 0)
    return max(first.parent.glob(first.name + "-*"), key=lambda path: path.stat().st_size)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    replace(path, bytes(data))


def replace(path: Path, data: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(data)


def _behind_head(path: Path, more: int) -> int:
    return 12 + int.from_bytes(path.read_bytes()[8:12], "little") + more


def _flip_records(folder: Path) -> None:
    """Whichever of them are still needed."""
    path = _pack(folder)
    for at in range(_behind_head(path, 40), path.stat().st_size, 100):
        flip(path, at)


def _cut(path: Path) -> None:
    replace(path, path.read_bytes()[: _behind_head(path, 40)])


def _swap(folder: Path) -> None:
    replace(_of(folder, "manifest", 2), _of(folder, "manifest", 1).read_bytes())


def _roll_back(folder: Path) -> None:
    """The newest backup never was."""
    _, session = sessions(folder)[2]
    for path in [path for path in folder.rglob(f"*{session}*") if path.is_file()]:
        path.unlink()


def _need_more(folder: Path) -> None:
    path = folder / names.REPOSITORY
    said = json.loads(path.read_bytes())
    said["features"]["required"] = ["more-than-format-1"]
    replace(path, json.dumps(said).encode())


CHANGES: dict[str, Callable[[Path], None]] = {
    "expired": _expired,
    "fenced": _fenced,
    "wal": put_wal,
    "pack-missing": lambda folder: _pack(folder).unlink(),
    "pack-flipped": _flip_records,
    "pack-truncated": lambda folder: _cut(_pack(folder)),
    "manifest-missing": lambda folder: _of(folder, "manifest", 2).unlink(),
    "manifest-flipped": lambda folder: flip(_of(folder, "manifest", 2), 700),
    "manifest-swapped": _swap,
    "packlist-missing": lambda folder: _of(folder, "packlist", 2).unlink(),
    "outcome-flipped": lambda folder: flip(_of(folder, "outcome", 2), 200),
    "outcome-missing": lambda folder: _of(folder, "outcome", 1).unlink(),
    "rolled-back": _roll_back,
    "unknown-feature": _need_more,
    **{
        name: (lambda folder, crafted=crafted: craft(folder, crafted))  # type: ignore[misc]
        for name, crafted in CRAFTED.items()
    },
}


# the archives


def _objects(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and ".staging" not in path.parts:
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def unpacked(name: str, folder: Path) -> Path:
    """That repository, as an ordinary folder."""
    _extract("plain", folder)
    if name != "plain":
        gone = _extract(name, folder)
        for path in gone:
            (folder / path).unlink()
    return folder


def _extract(name: str, folder: Path) -> list[str]:
    gone: list[str] = []
    with tarfile.open(GOLDEN / f"{name}.tar.xz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            if member.name == ".gone":
                gone = file.read().decode().split()
                continue
            path = folder / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.read())
            os.utime(path, (member.mtime, member.mtime))
    return gone


def _pack_up(name: str, objects: dict[str, bytes]) -> None:
    with tarfile.open(GOLDEN / f"{name}.tar.xz", "x:xz") as archive:
        for path, data in sorted(objects.items()):
            member = tarfile.TarInfo(path)
            member.size, member.mtime = len(data), int(AT.timestamp())
            archive.addfile(member, io.BytesIO(data))


def _make(name: str) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made, "repository")
        if name == "plain":
            plain(folder)
            _pack_up(name, dict(_objects(folder)))
            return
        before = dict(_objects(unpacked("plain", folder)))
        CHANGES[name](folder)
        after = dict(_objects(folder))
        changed = {path: data for path, data in after.items() if before.get(path) != data}
        gone = "".join(f"{path}\n" for path in sorted(before.keys() - after.keys()))
        _pack_up(name, changed | {".gone": gone.encode()})


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for wanted in ("plain", *CHANGES):
        if not (GOLDEN / f"{wanted}.tar.xz").exists():
            _make(wanted)

"""Where tablespaces go in a restore, and whether there is room and a way for the server."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from drkit.errors import DiskError, UsageError
from drkit.postgres.shape import Kept, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Tablespace:
    oid: str
    original: str
    place: Path
    bytes: int
    mtime: int = 0


def below(oid: str) -> str:
    return f"pg_tblspc/{oid}/"


def placed(shape: Shape, wanted: Mapping[str, Path], into: Path) -> tuple[Tablespace, ...]:
    known = shape.tablespaces
    chosen: dict[str, Path] = {}
    for word, place in wanted.items():
        oid = _named(word, known).oid
        if oid in chosen:
            raise UsageError(f"tablespace {word} is mapped twice")
        chosen[oid] = _checked(word, place, into)
    _check_apart(chosen)
    check_no_cluster(into)
    return tuple(
        Tablespace(
            oid=kept.oid,
            original=kept.original,
            place=chosen.get(kept.oid) or into.absolute() / "tablespaces" / kept.oid,
            bytes=kept.bytes,
            mtime=kept.mtime,
        )
        for kept in known
    )


def _named(word: str, known: Iterable[Kept]) -> Kept:
    found = [kept for kept in known if word.rstrip("/") in (kept.oid, kept.original.rstrip("/"))]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{kept.original} ({kept.oid})" for kept in known)
    raise UsageError(
        f"{word} is no tablespace of this snapshot: it has {listed or 'none'}",
        hint="--tablespace OLD=NEW, where OLD is the original path or the number",
    )


def _checked(word: str, place: Path, into: Path) -> Path:
    if not place.is_absolute():
        raise UsageError(f"--tablespace {word}={place}: a tablespace's place is an absolute path")
    resolved, data = place.resolve(), into.resolve()
    if resolved.is_relative_to(data) or data.is_relative_to(resolved):
        raise UsageError(
            f"--tablespace {word}={place}: it and {into} would lie in each other",
            hint="leave the option away: its place is then in the restored folder, in tablespaces",
        )
    check_empty(place)
    check_no_cluster(place)
    return place


def check_empty(place: Path) -> None:
    """A place with anything in it may be a running server's."""
    try:
        with os.scandir(place) as names:
            found = next(names, None)
    except FileNotFoundError:
        if place.is_symlink():
            raise UsageError(f"{place} is a link to nothing") from None
        return
    except NotADirectoryError:
        raise UsageError(f"{place} is no folder") from None
    except OSError as error:
        raise DiskError(f"{place} can't be looked at: {(error.strerror or '').lower()}") from error
    if found is not None:
        raise UsageError(
            f"{place} is not empty: it may be a tablespace that a server uses",
            hint="name a folder that is new or empty",
        )


def check_no_cluster(place: Path) -> None:
    """Nothing is put into a folder that a server calls its own."""
    for above in place.resolve().parents:
        if (above / "PG_VERSION").exists():
            raise UsageError(
                f"{place} lies in {above}, which is the folder of another cluster",
                hint="restore into a folder outside of it",
            )


def _check_apart(chosen: Mapping[str, Path]) -> None:
    places = [(oid, place.resolve()) for oid, place in chosen.items()]
    for number, (oid, place) in enumerate(places):
        for other, there in places[number + 1 :]:
            if place.is_relative_to(there) or there.is_relative_to(place):
                raise UsageError(
                    f"tablespaces {oid} and {other} would lie in each other: {place}, {there}"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """What one file system is to take."""

    path: Path
    needed: int
    free: int


def disks(into: Path, in_data: int, tablespaces: Iterable[Tablespace]) -> list[Disk]:
    needed: dict[int, tuple[Path, int]] = {}
    for path, size in ((into, in_data), *((t.place, t.bytes) for t in tablespaces)):
        try:
            device = _existing(path).stat().st_dev
        except OSError as error:
            raise _unseen(path, error) from error
        first, before = needed.get(device, (path, 0))
        needed[device] = (first, before + size)
    return [Disk(path=path, needed=size, free=_free(path)) for path, size in needed.values()]


def room(into: Path, in_data: int, tablespaces: Iterable[Tablespace]) -> None:
    for disk in disks(into, in_data, tablespaces):
        if disk.needed > disk.free:
            raise DiskError(
                f"{disk.path} has {disk.free >> 20} MiB free, the restore needs "
                f"{-(-disk.needed >> 20)} MiB there; nothing was written",
                hint="make room or restore to another disk; --tablespace OLD=NEW spreads it",
            )


def _free(path: Path) -> int:
    try:
        found = os.statvfs(_existing(path))
    except OSError as error:
        raise _unseen(path, error) from error
    return found.f_bavail * found.f_frsize


def _existing(path: Path) -> Path:
    return next(p for p in (path.absolute(), *path.absolute().parents) if p.is_dir())


def _unseen(path: Path, error: OSError) -> DiskError:
    return DiskError(f"{path} can't be looked at: {(error.strerror or str(error)).lower()}")


def enterable(path: Path, owner: tuple[int, int]) -> None:
    """Whether the server's user gets to where its files will be."""
    uid, gid = owner
    if uid == 0:
        return
    for above in reversed(path.absolute().resolve().parents):
        try:
            st = above.stat()
        except FileNotFoundError:
            return  # made later, open to go through
        bit = 0o100 if st.st_uid == uid else 0o010 if st.st_gid == gid else 0o001
        if not st.st_mode & bit:
            raise UsageError(
                f"user {uid}, who would run the server, may not enter {above} on the way to {path}",
                hint="restore to a place it may enter, like a folder below /srv or /var/lib",
            )

"""What was laid out, read back: the server's own checksums of files, and those in pages."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import google_crc32c
import msgspec

from drkit.errors import Damaged, DiskError
from drkit.model.entry import Entry, shown
from drkit.postgres.checksums import bad_pages
from drkit.postgres.names import PAGE, SEGMENT_PAGES, relation_segment
from drkit.postgres.shape import LEFT_OUT, Shape
from drkit.source import Reader

_PIECE = 256 * PAGE
_NAMED = 5
_OWN = frozenset(("postgresql.conf", "pg_hba.conf", "pg_ident.conf", "global/pg_control"))
_ALMOST = "it stays as it is, to look at, and must not be used; restore an older snapshot or a copy"


class _File(msgspec.Struct, frozen=True):
    path: str = msgspec.field(name="Path", default="")  # absent where it is no UTF-8
    size: int = msgspec.field(name="Size", default=0)
    algorithm: str = msgspec.field(name="Checksum-Algorithm", default="")
    checksum: str = msgspec.field(name="Checksum", default="")


class _Manifest(msgspec.Struct, frozen=True):
    files: list[_File] = msgspec.field(name="Files", default_factory=list)


def check_files(reader: Reader, data: Path, shape: Shape, *, pages: bool) -> int:
    """How many were compared whole; `pages`: of the others, those that have checksums of pages."""
    whole = _expected(reader, shape.manifest)
    bad = [path for path, file in whole.items() if not _as_sent(data / path, file)]
    if pages and shape.about.checksums:
        for entry in reader.entries():
            if entry.type == "file" and entry.path not in whole:
                bad += _page_by_page(data / entry.path, entry.path, shape.start_lsn)
    if bad:
        more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        raise Damaged(
            f"{data}: what was written is not what the server sent: "
            f"{', '.join(map(shown, bad[:_NAMED]))}{more}",
            hint=_ALMOST,
        )
    return len(whole)


def _expected(reader: Reader, manifest: Entry | None) -> dict[str, _File]:
    if manifest is None:
        return {}
    with reader.stream(manifest) as stream:
        try:
            found = msgspec.json.decode(stream.read(), type=_Manifest)
        except msgspec.MsgspecError as error:
            raise Damaged(f"the snapshot's backup_manifest can't be read: {error}") from error
    return {
        file.path: file
        for file in found.files
        if file.algorithm == "CRC32C" and _is_whole(file.path)
    }


def _is_whole(path: str) -> bool:
    """Increments are no files of a data folder, and some of it drkit writes itself."""
    name = path.rpartition("/")[2]
    return bool(path) and path not in LEFT_OUT | _OWN and not name.startswith("INCREMENTAL.")


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        yield fd
    finally:
        os.close(fd)


def _as_sent(path: Path, file: _File) -> bool:
    try:
        with _opened(path) as fd:
            size, crc = 0, 0
            while piece := os.read(fd, _PIECE):
                crc = google_crc32c.extend(crc, piece)
                size += len(piece)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unread(path, error) from error
    # The server writes the four bytes as they lie in memory.
    return (size, crc.to_bytes(4, "little").hex()) == (file.size, file.checksum)


def _page_by_page(path: Path, name: str, start: int) -> list[str]:
    segment = relation_segment(name)
    if segment is None:
        return []
    bad: list[str] = []
    buffer = memoryview(bytearray(_PIECE))
    block = segment * SEGMENT_PAGES
    try:
        with _opened(path) as fd:
            while read := os.readv(fd, [buffer]):
                # Pages written while the backup ran may be torn: replay puts them right.
                numbers = bad_pages(buffer[:read], block, begun=start)
                bad += [f"{name}, block {n}" for n in numbers]
                block += read // PAGE
    except OSError as error:
        raise _unread(path, error) from error
    return bad


def _unread(path: Path, error: OSError) -> DiskError:
    return DiskError(f"can't read back {path}: {(error.strerror or str(error)).lower()}")

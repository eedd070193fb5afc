import io
import tarfile
from dataclasses import dataclass, field

import pytest

from drkit.errors import PostgresError
from drkit.postgres.tar import Member, Sink, Tar


@dataclass(slots=True)
class Kept:
    """Takes every member, and keeps its bytes."""

    members: list[Member] = field(default_factory=list)
    contents: dict[bytes, bytes] = field(default_factory=dict)

    def member(self, member: Member) -> Sink | None:
        self.members.append(member)
        return None if member.folder else _Bytes(self, member)


class _Bytes:
    def __init__(self, kept: Kept, member: Member) -> None:
        self._kept, self._member, self._data = kept, member, b""

    def data(self, view: memoryview) -> None:
        assert view
        self._data += bytes(view)

    def end(self) -> None:
        assert len(self._data) == self._member.size
        self._kept.contents[self._member.name] = self._data


def archive(files: dict[str, bytes | None], form: int = tarfile.USTAR_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.mode, info.mtime = 0o640, 1_700_000_000
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o750
            info.size = len(content or b"")
            tar.addfile(info, io.BytesIO(content or b""))
        end = tar.offset
    return out.getvalue()[:end]  # as servers send it: nothing after the last file


FILES: dict[str, bytes | None] = {
    "backup_label": b"START WAL",
    "base": None,
    "./pg_wal/archive_status": None,
    "base/1/1259": bytes(range(256)) * 100,
    "empty": b"",
    "exact": b"x" * 512,
}


@pytest.mark.parametrize("piece", [1, 7, 511, 512, 513, 4096, 1 << 20])
def test_members_come_out_whatever_the_pieces(piece: int) -> None:
    data, kept = memoryview(archive(FILES)), Kept()
    tar = Tar(kept)
    for start in range(0, len(data), piece):
        tar.data(data[start : start + piece])
    tar.end()
    assert kept.contents == {
        name.encode(): content for name, content in FILES.items() if content is not None
    }
    folders = [(m.name, m.mode) for m in kept.members if m.folder]
    assert folders == [(b"base", 0o750), (b"pg_wal/archive_status", 0o750)]
    assert {m.mode for m in kept.members if not m.folder} == {0o640}
    assert {m.mtime for m in kept.members} == {1_700_000_000}


def test_a_long_name_is_put_together() -> None:
    name = "/".join(["folder" * 5] * 6)
    kept = Kept()
    Tar(kept).data(memoryview(archive({name: b"1"})))
    assert kept.contents == {name.encode(): b"1"}


def test_a_size_beyond_eight_gigabytes_is_binary() -> None:
    info = tarfile.TarInfo("large")
    info.size = 9 << 30
    kept = Kept()
    Tar(kept).data(memoryview(info.tobuf(tarfile.GNU_FORMAT)))
    assert [m.size for m in kept.members] == [9 << 30]


def test_zeros_between_are_passed_over() -> None:
    kept = Kept()
    Tar(kept).data(memoryview(archive({"a": b"1"}) + bytes(1024) + archive({"b": b"2"})))
    assert kept.contents == {b"a": b"1", b"b": b"2"}


@pytest.mark.parametrize("cut", [100, 512, 700, 1023])
def test_what_ends_within_a_file_is_refused(cut: int) -> None:
    tar = Tar(Kept())
    tar.data(memoryview(archive({"a": b"1" * 500}))[:cut])
    with pytest.raises(PostgresError, match="ends within a file"):
        tar.end()


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a//b", "..", "a/./b"])
def test_what_leads_out_of_the_cluster_is_refused(name: str) -> None:
    with pytest.raises(PostgresError, match="a member is called"):
        Tar(Kept()).data(memoryview(archive({name: b"1"})))


def test_a_changed_header_is_refused() -> None:
    data = bytearray(archive({"a": b"1"}))
    data[3] ^= 1
    with pytest.raises(PostgresError, match="checksum is wrong"):
        Tar(Kept()).data(memoryview(data))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.XHDTYPE, tarfile.FIFOTYPE])
def test_other_members_are_refused(kind: bytes) -> None:
    info = tarfile.TarInfo("a")
    info.type, info.linkname = kind, "/etc"
    with pytest.raises(PostgresError, match="is in it"):
        Tar(Kept()).data(memoryview(info.tobuf(tarfile.USTAR_FORMAT)))

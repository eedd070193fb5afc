"""The server's own list of what it sent, against what has come."""

import hashlib
from collections.abc import Mapping

import msgspec

from drkit.errors import PostgresError
from drkit.model.entry import shown, text

_KEY = b'"Manifest-Checksum"'
_AGAIN = "run it again; if it comes back, something between here and the server changes bytes"


class _File(msgspec.Struct, frozen=True):
    size: int = msgspec.field(name="Size")
    path: str | None = msgspec.field(name="Path", default=None)
    encoded: str | None = msgspec.field(name="Encoded-Path", default=None)

    @property
    def name(self) -> bytes:
        return (self.path or "").encode() if self.encoded is None else bytes.fromhex(self.encoded)


class _List(msgspec.Struct, frozen=True):
    files: list[_File] = msgspec.field(name="Files")
    checksum: str = msgspec.field(name="Manifest-Checksum")


def compare(manifest: bytes, came: Mapping[bytes, int]) -> None:
    """`came`: sizes by name, as they came."""
    listed = {file.name: file.size for file in _decoded(manifest).files}
    if listed == came:
        return
    name = min(n for n in {*listed, *came} if listed.get(n) != came.get(n))
    raise PostgresError(
        f"{_path(name)} came with {_said(came.get(name))}, and the server's list has it with "
        f"{_said(listed.get(name))}: nothing was committed",
        hint=_AGAIN,
    )


def _decoded(manifest: bytes) -> _List:
    try:
        listed = msgspec.json.decode(manifest, type=_List)
        covered = manifest[: manifest.rindex(_KEY)]
    except ValueError as error:
        raise PostgresError(
            f"the server's list of files can't be read: {error}", hint=_AGAIN
        ) from error
    if hashlib.sha256(covered).hexdigest() != listed.checksum:
        raise PostgresError("the checksum of the server's list of files is wrong", hint=_AGAIN)
    return listed


def _said(size: int | None) -> str:
    return "nothing" if size is None else f"{size:,} bytes"


def _path(name: bytes) -> str:
    return shown(text(name.decode("utf-8", "surrogateescape")))

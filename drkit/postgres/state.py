"""What is remembered of a cluster's last backup, for the next one to build on."""

from typing import Literal

import msgspec

from drkit.model.lsn import Position

VERSION = 1
Method = Literal["stream", "native"]


class State(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: int = VERSION
    method: Method  # of the whole generation
    system_id: str
    server: int  # its major version
    timeline: int
    start_lsn: int
    damaged: bool = False  # pages with wrong checksums are in it
    manifest: bytes = b""  # the server's own, where its next increment needs it

    @property
    def start(self) -> Position:
        return Position(timeline=self.timeline, lsn=self.start_lsn)


def encode(state: State) -> bytes:
    return msgspec.msgpack.encode(state)


def decode(data: bytes) -> State | None:
    """None: of another drkit, or nothing at all."""
    try:
        state = msgspec.msgpack.decode(data, type=State)
    except msgspec.MsgspecError:
        return None
    return state if state.version == VERSION else None

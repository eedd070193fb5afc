"""Which relation a file of the cluster belongs to, told from its path."""

import re
from dataclasses import dataclass
from enum import IntEnum

PAGE = 8192
SEGMENT_PAGES = 131072  # of a file of 1 GiB; a server built with another size is refused

_DEFAULT_TABLESPACE = 1663
_GLOBAL_TABLESPACE = 1664


class Fork(IntEnum):
    """As the server numbers them."""

    MAIN = 0
    FSM = 1
    VM = 2
    INIT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationFile:
    """One segment of one fork of a relation."""

    tablespace: int
    database: int  # 0: shared by all
    number: int  # its relfilenode
    fork: Fork
    segment: int


_FORKS = {"": Fork.MAIN, "fsm": Fork.FSM, "vm": Fork.VM, "init": Fork.INIT}
_NUMBER = r"([1-9][0-9]{0,9})"
_PATH = re.compile(
    rf"(?:(?P<shared>global)|base/(?P<own>[1-9][0-9]{{0,9}})"
    r"|pg_tblspc/(?P<tablespace>[1-9][0-9]{0,9})/PG_[0-9]+_[0-9]+/(?P<other>[1-9][0-9]{0,9}))"
    rf"/(?P<number>{_NUMBER})(?:_(?P<fork>fsm|vm|init))?(?:\.(?P<segment>{_NUMBER}))?"
)


def relation_file(path: str) -> RelationFile | None:
    """`path` as in the snapshot; None for what holds no pages."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    tablespace, database = _place(found)
    return RelationFile(
        tablespace=tablespace,
        database=database,
        number=int(found["number"]),
        fork=_FORKS[found["fork"] or ""],
        segment=int(found["segment"] or 0),
    )


def _place(found: re.Match[str]) -> tuple[int, int]:
    if found["shared"]:
        return _GLOBAL_TABLESPACE, 0
    if found["own"]:
        return _DEFAULT_TABLESPACE, int(found["own"])
    return int(found["tablespace"]), int(found["other"])


def relation_segment(path: str) -> int | None:
    file = relation_file(path)
    return None if file is None else file.segment

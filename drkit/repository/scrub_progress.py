"""How far a scrub got: when each object was last read; the oldest is the next one's first."""

import os
from datetime import datetime
from pathlib import Path
from typing import Self

import msgspec

from drkit.errors import DiskError
from drkit.system import System

_EVERY = 30.0  # seconds between two saves

Mark = tuple[int, float]  # the round an object was read in, and when; the round alone decides


class _Round(msgspec.Struct, kw_only=True):
    number: int = 0  # 0: none was ever begun
    began: float = 0.0
    finished: bool = True
    read: dict[str, dict[str, Mark]] = {}  # generation → rest of the name


class _File(msgspec.Struct, kw_only=True):
    rounds: dict[str, _Round] = {}


class Progress:
    """One store's and one level's round, in the domain's state folder, or for this run alone.

    Rounds are counted, because a clock that was wrong once must not make an object count as read.
    """

    def __init__(self, state: Path | None, key: str, system: System) -> None:
        self._path = None if state is None else state / "scrub.json"
        self._system = system
        self._file = self._load()
        self._round = self._file.rounds.setdefault(key, _Round())
        if self._round.finished:
            self._round.finished = False
            self._round.number += 1
            self._round.began = system.now().timestamp()
        now = system.now()
        self.began = datetime.fromtimestamp(self._round.began, now.tzinfo)
        self._saved = system.monotonic()

    def last(self, generation: str, name: str) -> Mark:
        return self._round.read.get(generation, {}).get(name, (0, 0.0))

    def done(self, generation: str, name: str) -> bool:
        """In this round."""
        return self.last(generation, name)[0] == self._round.number

    def mark(self, generation: str, name: str) -> None:
        read = self._round.read.setdefault(generation, {})
        read[name] = (self._round.number, self._system.now().timestamp())
        if self._system.monotonic() - self._saved > _EVERY:
            self.save()

    def forget_others(self, generations: set[str]) -> None:
        self._round.read = {g: r for g, r in self._round.read.items() if g in generations}

    def finish(self) -> None:
        self._round.finished = True

    def save(self) -> None:
        self._saved = self._system.monotonic()
        if self._path is not None:
            _write(self._path, msgspec.json.encode(self._file))

    def _load(self) -> _File:
        """Lost or broken memory costs one round from the beginning."""
        try:
            return msgspec.json.decode(self._path.read_bytes() if self._path else b"", type=_File)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return _File()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.save()


def _write(path: Path, data: bytes) -> None:
    new = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise DiskError(
            f"the progress of a scrub could not be kept in {path}: {error.strerror}",
            hint="free some room there; nothing else is lost",
        ) from error

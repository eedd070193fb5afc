"""The same trees on every machine, and the same changes; made in pieces, to need little memory."""

import random
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
BLOCK = 64 << 10
SENTINEL = "zz-newest"

_WORDS = (
    "account amount annual batch billing branch carrier charge client credit customer daily debit"
    " delivery deposit discount due express fee goods invoice item ledger limit line monthly net"
    " note open order overdue packet paid partner payment pending price quantity quarter rate"
    " receipt refund region reserve return sale shipped shop stock store supplier tax term total"
    " transfer unit value vendor warehouse yearly"
).split()


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    size: int  # bytes of the one big file
    files: int  # number of small files
    text: int  # bytes of the tree of text


def rows(rng: random.Random, size: int) -> bytes:
    """Text that compresses like a table's dump: counters, words, numbers, some hex."""
    first, filled = rng.randrange(10**8), 0
    parts: list[bytes] = []
    while filled < size:
        row = b"%d\t%s\t%s %s\t%d.%02d\t2024-%02d-%02d %016x\n" % (
            first + len(parts),
            rng.choice(_WORDS).encode(),
            rng.choice(_WORDS).encode(),
            rng.choice(_WORDS).encode(),
            rng.randrange(5000),
            rng.randrange(100),
            rng.randrange(1, 13),
            rng.randrange(1, 29),
            rng.getrandbits(64),
        )
        parts.append(row)
        filled += len(row)
    return b"".join(parts)[:size]


def mixed(rng: random.Random, size: int) -> bytes:
    return rng.randbytes(size) if rng.random() < 0.5 else rows(rng, size)


def make_big(root: Path, amounts: Amounts) -> None:
    rng = random.Random(1)
    with (root / "big.dat").open("wb") as out:
        for _ in range(amounts.size // MIB):
            out.write(mixed(rng, MIB))


def change_big(root: Path, turn: int) -> None:
    """One in a hundred blocks of 64 KiB, at random places."""
    rng = random.Random(1000 + turn)
    path = root / "big.dat"
    blocks = path.stat().st_size // BLOCK
    with path.open("r+b") as out:
        for block in sorted(rng.sample(range(blocks), max(1, blocks // 100))):
            out.seek(block * BLOCK)
            out.write(mixed(rng, BLOCK))


def make_middle(root: Path, total: int, largest: int) -> None:
    """Files of 1 MiB to that size, in ten folders."""
    rng = random.Random(3)
    for folder in range(10):
        (root / f"{folder}").mkdir()
    number = 0
    while total > 0:
        size = min(total, rng.randrange(MIB, largest + 1))
        with (root / f"{number % 10}" / f"middle-{number}.dat").open("wb") as out:
            for start in range(0, size, MIB):
                out.write(mixed(rng, min(MIB, size - start)))
        total -= size
        number += 1


def change_middle(root: Path, turn: int) -> None:
    """One file in a hundred gets other content of its size."""
    rng = random.Random(3000 + turn)
    every = sorted(root.glob("*/middle-*"))
    for path in rng.sample(every, max(1, len(every) // 100)):
        path.write_bytes(rng.randbytes(path.stat().st_size))


def make_small(root: Path, amounts: Amounts) -> None:
    rng = random.Random(2)
    for folder in range(1000):
        (root / f"{folder:03d}").mkdir()
    for number in range(amounts.files):
        path = root / f"{number % 1000:03d}" / f"note-{number}.txt"
        path.write_bytes(mixed(rng, rng.randrange(1024, 8193)))


def make_text(root: Path, amounts: Amounts) -> None:
    """Python's own sources again and again, each time with other names, so that no file repeats."""
    filled, copy = 0, 0
    while filled < amounts.text:
        for name, content in _sources():
            path = root / f"copy-{copy:02d}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            varied = content.replace(b"self", b"own%d" % copy) + b"# copy %d\n" % copy
            path.write_bytes(varied)
            filled += len(varied)
            if filled >= amounts.text:
                return
        copy += 1


def _sources() -> Iterator[tuple[str, bytes]]:
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py")):
        name = path.relative_to(library)
        if "site-packages" not in name.parts and "dist-packages" not in name.parts:
            yield str(name), path.read_bytes()


def change_files(root: Path, turn: int) -> None:
    """One in a hundred files gets new content of about its size."""
    rng = random.Random(2000 + turn)
    every = sorted(path for path in root.rglob("*") if path.is_file() and path.name != SENTINEL)
    for path in rng.sample(every, max(1, len(every) // 100)):
        path.write_bytes(rows(rng, max(1, path.stat().st_size)))


def settle(root: Path) -> None:
    """A file of its own is the newest: borg reads again whatever shares the newest time."""
    (root / SENTINEL).write_text(f"made by Python {sys.version_info.major}\n")
    time.sleep(2.5)  # drkit reads again what is younger than 2 s


CASES: dict[str, tuple[Callable[[Path, Amounts], None], Callable[[Path, int], None]]] = {
    "big": (make_big, change_big),
    "small": (make_small, change_files),
    "text": (make_text, change_files),
}

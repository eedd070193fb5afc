"""What the size of its tables costs zstd: python -m benchmarks.compression FILES."""

import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import zstandard

from drkit.repository.format import RECORD

_MOST = 256  # records of all files together


def main() -> None:
    records = list(islice(_records(sys.argv[1:]), _MOST))
    whole = zstandard.ZstdCompressor(level=3)
    _told("level 3", whole, records)
    for chain, hashed in ((15, 16), (14, 15)):
        made = zstandard.ZstdCompressionParameters.from_level(
            3, source_size=RECORD, chain_log=chain, hash_log=hashed
        )
        of = zstandard.ZstdCompressor(compression_params=made)
        _told(f"level 3, tables 2^{chain} and 2^{hashed}", of, records)
    _told("level 1", zstandard.ZstdCompressor(level=1), records)


def _records(files: Sequence[str]) -> list[bytes]:
    """As a bundle of small files or the pieces of a large one: their bytes in a row."""
    joined = b"".join(Path(file).read_bytes() for file in files)
    return [joined[i : i + RECORD] for i in range(0, len(joined), RECORD)]


def _told(name: str, of: zstandard.ZstdCompressor, records: Sequence[bytes]) -> None:
    total, best, stored = sum(map(len, records)), float("inf"), 0
    for _ in range(3):
        begun = time.process_time()
        stored = sum(len(of.compress(record)) for record in records)
        best = min(best, time.process_time() - begun)
    print(f"{name:30} {total / best / 1e9:.3f} GB/s, {stored / total:.4f} of its size")


if __name__ == "__main__":
    main()

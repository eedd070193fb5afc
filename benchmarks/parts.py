"""What each part of a restore costs a GiB: unpacking, hashing, deciphering, writing; one thread."""

import mmap
import os
import random
import tempfile
import time
from collections.abc import Callable

import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks import data

_PIECE = 352 << 10  # about a chunk's length, a multiple of 4 KiB
_PIECES = 700
_KEY = bytes(32)


def main() -> None:
    rng = random.Random(3)
    plain = [data.mixed(rng, _PIECE)[:_PIECE] for _ in range(64)]
    packed = [zstandard.ZstdCompressor(level=3).compress(p) for p in plain]
    cipher, unpack = AESGCM(_KEY), zstandard.ZstdDecompressor()
    sealed = [cipher.encrypt(bytes(12), p, None) for p in packed]
    _tell("zstd, unpack", lambda i: unpack.decompress(packed[i % 64], max_output_size=_PIECE))
    _tell("BLAKE3", lambda i: blake3(plain[i % 64], key=_KEY).digest(16))
    _tell("AES-GCM, open", lambda i: cipher.decrypt(bytes(12), sealed[i % 64], None))
    _write("write through the page cache, and fsync", 0)
    _write("write past the page cache, and fsync", os.O_DIRECT)


def _write(what: str, flags: int) -> None:
    piece = mmap.mmap(-1, _PIECE)  # aligned
    piece[:] = random.Random(4).randbytes(_PIECE)
    with tempfile.NamedTemporaryFile(dir=os.environ.get("TMPDIR", "/var/tmp")) as named:
        fd = os.open(named.name, os.O_WRONLY | flags)

        def one(i: int) -> None:
            os.pwrite(fd, piece, i * _PIECE)
            if i == _PIECES - 1:
                os.fsync(fd)

        _tell(what, one)
        os.close(fd)


def _tell(what: str, one: Callable[[int], object]) -> None:
    scale = (1 << 30) / (_PIECE * _PIECES)
    wall, cpu = time.perf_counter(), time.process_time()
    for i in range(_PIECES):
        one(i)
    wall, cpu = (time.perf_counter() - wall) * scale, (time.process_time() - cpu) * scale
    print(f"{what}: {wall:.2f} s a GiB, {cpu:.2f} s of CPU")


if __name__ == "__main__":
    main()

"""What opening every sealed record again costs, as a part of sealing it: CPU time, one thread."""

import random
import time

import zstandard

from benchmarks import data
from drkit.crypto.seal import DATA, Opener, Sealer, record_id
from drkit.repository.format import RECORD, RECORD_STORED

_RECORDS = 96
_IDS = (bytes(16), bytes(16))


def main() -> None:
    key, id_key = bytes(range(32)), bytes(32)
    sealer, opener = Sealer(key, *_IDS), Opener(key, *_IDS)
    packer, unpacker = zstandard.ZstdCompressor(level=3), zstandard.ZstdDecompressor()
    sealed, plain = memoryview(bytearray(RECORD_STORED)), memoryview(bytearray(RECORD_STORED))
    out = memoryview(bytearray(RECORD))
    rng = random.Random(7)
    seal = again = 0.0
    for _ in range(_RECORDS):
        record = data.mixed(rng, RECORD)[:RECORD]
        begun = time.process_time()
        id = record_id(id_key, record)
        stored = sealer.seal_into(DATA, id, bytes(12), packer.compress(record), sealed)
        between = time.process_time()
        got = opener.open_into(DATA, id, sealed[:stored], plain)
        n = unpacker.stream_reader(plain[:got]).readinto(out)
        if record_id(id_key, out[:n]) != id:
            raise SystemExit("a record did not come back")
        seal += between - begun
        again += time.process_time() - between
    print(f"{_RECORDS} records of 1 MiB: sealing {seal:.2f} s, opening again {again:.2f} s")
    print(f"opening all costs {again / seal:.0%} more, one in sixteen {again / seal / 16:.1%}")


if __name__ == "__main__":
    main()

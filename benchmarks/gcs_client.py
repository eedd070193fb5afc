"""drkit's own way to Google Cloud Storage beside Google's library: time, CPU, memory, import.

Both put and read the same objects in turn, in processes of their own, at the double of the tests.
"""

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from tests.fixtures.gcs_double import gcs_double

_COUNT = 12


def _drkit(url: str, _bucket: str, data: bytes) -> Callable[[int], None]:
    from drkit.stores import open_store  # noqa: PLC0415  an import is measured
    from drkit.stores.base import Body  # noqa: PLC0415

    store = open_store(url)
    fd = os.memfd_create("object")
    os.write(fd, data)
    body = Body(size=len(data), sha256=hashlib.sha256(data).digest(), fd=fd)  # known by then
    view = memoryview(bytearray(len(data)))
    list(store.list(""))

    def once(number: int) -> None:
        store.put(f"drkit-{number}-{os.getpid()}", body)
        list(store.list(""))
        store.read_into(f"drkit-{number}-{os.getpid()}", 0, view)

    return once


def _google(url: str, bucket: str, data: bytes) -> Callable[[int], None]:
    from google.cloud.storage import Client  # type: ignore[import-untyped]  # noqa: PLC0415

    from tests.fixtures.gcs_double.client import credentials  # noqa: PLC0415

    endpoint, _, identity = url.partition("endpoint=")[2].partition("&credentials=")
    client = Client(
        project="bench",
        credentials=credentials(Path(identity)),
        client_options={"api_endpoint": endpoint},
    )
    client._bucket_metadata_cache = None  # noqa: SLF001  it would ask for the bucket, in a thread
    held = client.bucket(bucket)
    list(client.list_blobs(bucket))

    def once(number: int) -> None:
        blob = held.blob(f"google-{number}-{os.getpid()}")
        source = io.BytesIO(data)
        blob.upload_from_file(source, size=len(data), if_generation_match=0, checksum="crc32c")
        list(client.list_blobs(bucket))
        blob.download_as_bytes(raw_download=True)

    return once


def _child(kind: str, url: str, bucket: str, size: int) -> None:
    data = os.urandom(size)
    begun = time.perf_counter()
    once = {"drkit": _drkit, "google": _google}[kind](url, bucket, data)
    opened = time.perf_counter() - begun
    begun, spent = time.perf_counter(), time.process_time()
    for number in range(_COUNT):
        once(number)
    status = Path("/proc/self/status").read_text()  # what rusage says includes the parent's
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    said = {
        "open": opened,
        "wall": (time.perf_counter() - begun) / _COUNT,
        "cpu": (time.process_time() - spent) / _COUNT,
        "peak": peak - 2 * size,  # without the object itself, and what is read of it
    }
    sys.stdout.write(json.dumps(said))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=32 << 20, help="of an object, in bytes")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--child", nargs=3, metavar=("KIND", "URL", "BUCKET"))
    args = parser.parse_args()
    if args.child:
        kind, url, bucket = args.child
        _child(kind, url, bucket, args.size)
        return
    figures: dict[str, list[dict[str, float]]] = {"drkit": [], "google": []}
    with gcs_double() as double, tempfile.TemporaryDirectory():
        double.world.md5 = False
        bucket = double.bucket()
        url = double.url(bucket, "b", double.identity())
        for _ in range(args.turns):
            for kind, found in figures.items():
                argv = [sys.executable, "-m", "benchmarks.gcs_client", "--size", str(args.size)]
                ran = subprocess.run(
                    [*argv, "--child", kind, url, bucket], capture_output=True, check=True
                )
                found.append(json.loads(ran.stdout))
                double.held(bucket).clear()
    print(f"{_COUNT} objects of {args.size >> 20} MiB put, listed and read; {args.turns} turns")
    print(f"{'':8} {'drkit':>9} {'google':>9} {'ratio':>6}")
    for name, scale, unit in (("open", 1e3, "ms"), ("wall", 1e3, "ms"), ("cpu", 1e3, "ms"),
                              ("peak", 2**-20, "MiB")):  # fmt: skip
        ours, theirs = (median(f[name] for f in figures[k]) * scale for k in figures)
        print(f"{name:8} {ours:6.0f} {unit:>3} {theirs:6.0f} {unit:>3} {ours / theirs:6.2f}")


if __name__ == "__main__":
    main()

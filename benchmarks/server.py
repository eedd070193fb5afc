"""An S3 server on this machine, and a longer way to it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import boto3

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

BUCKET = "bench"
KEYS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench-secret"}
REGION = "us-east-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    pid: int
    own: int  # its port
    port: int  # where clients go: its own, or that of a relay

    def client(self) -> "S3Client":
        client: S3Client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.own}",
            region_name=REGION,
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        )
        return client

    def names(self, prefix: str) -> dict[str, int]:
        pages = self.client().get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
        return {o["Key"]: o["Size"] for page in found for o in page.get("Contents", ())}

    def stored(self, prefix: str) -> int:
        return sum(self.names(prefix).values())

    def read(self, name: str) -> bytes:
        return bytes(self.client().get_object(Bucket=BUCKET, Key=name)["Body"].read())

    def put(self, objects: Iterable[tuple[str, bytes]]) -> None:
        client = self.client()
        with ThreadPoolExecutor(4) as pool:
            for done in [
                pool.submit(client.put_object, Bucket=BUCKET, Key=name, Body=data)
                for name, data in objects
            ]:
                done.result()

    def spent(self) -> float:
        """CPU seconds so far."""
        words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(argv: tuple[str, ...], port: int, log: Path) -> Iterator[int]:
    with log.open("ab") as out:
        env = {**os.environ, "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": str(128 << 20)}
        process = subprocess.Popen(argv, stdout=out, stderr=out, env=env)
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    break
            time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


@contextmanager
def serving(work: Path) -> Iterator[Server]:
    port = _free_port()
    argv = (sys.executable, "-m", "benchmarks.kept_alive", str(port))
    with _running(argv, port, work / "server.log") as pid:
        server = Server(pid=pid, own=port, port=port)
        server.client().create_bucket(Bucket=BUCKET)
        yield server


@contextmanager
def lengthened(server: Server, latency: int) -> Iterator[Server]:
    if not latency:
        yield server
        return
    port = _free_port()
    ways = (str(port), str(server.own), str(latency))
    argv = (sys.executable, "-m", "benchmarks.relay", *ways)
    with _running(argv, port, Path(os.devnull)):
        yield replace(server, port=port)

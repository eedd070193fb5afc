"""Checksums of pages, against the server's own."""

import os
import random
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from drkit.postgres.checksums import bad_pages
from drkit.postgres.names import PAGE, SEGMENT_PAGES, relation_segment
from tests.fixtures.postgres import Server, run, serving

pytestmark = pytest.mark.pg

BASIS = struct.unpack(
    ">32I",
    bytes.fromhex(
        "5b1f36e9b852596002ab50aa1de66d2a79ff467a9bb9f8a3217e7cd283e13d2c"
        "f8d4474fe39eb97042c6ae16993216fa7b093b5d98daff3cf718902a0b1c9cdb"
        "e58f764b187636bc5d7b3bb1e73de7de92bec979cca6c0b2304a097985aa43d4"
        "783125bb6ca8eaa2e407eac64b5cfc3e9fbf8c7615ca20bef2ca9fd3959bd756"
    ),
)


def checksum(page: bytes, block: int) -> int:
    """The same word by word, to be compared with."""
    words = struct.unpack("<2048I", page[:8] + b"\0\0" + page[10:])
    sums = list(BASIS)
    for i, word in enumerate((*words, *([0] * 64))):
        mixed = sums[i % 32] ^ word
        sums[i % 32] = (mixed * 16777619 & 0xFFFFFFFF) ^ (mixed >> 17)
    whole = block
    for one in sums:
        whole ^= one
    return whole % 65535 + 1


def written(block: int, seed: int = 0) -> bytes:
    """A page as a server leaves it."""
    page = bytearray(random.Random(f"{block} {seed}").randbytes(PAGE))
    page[:8] = struct.pack("<II", 0, 0x1000)
    page[14:16] = b"\x00\x20"
    page[8:10] = struct.pack("<H", checksum(bytes(page), block))
    return bytes(page)


def found(data: bytes, first: int = 0, begun: int | None = None) -> list[int]:
    return bad_pages(memoryview(data), first, begun=begun)


@pytest.mark.parametrize("first", [0, 1, 255, SEGMENT_PAGES, 0xFFFFFFF0])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_good_pages_are_good_at_their_place_only(first: int, count: int) -> None:
    data = b"".join(written(first + n) for n in range(count))
    assert found(data, first) == []
    assert found(data, first ^ 1 << 20) == [n + (first ^ 1 << 20) for n in range(count)]


@pytest.mark.parametrize("at", [0, 4, 7, 8, 9, 10, 12, 16, 20, 23, 24, 127, 128, 4095, 8191])
@pytest.mark.parametrize("bit", [0, 7])
def test_a_flipped_bit_is_seen_wherever_it_is(at: int, bit: int) -> None:
    data = bytearray(b"".join(written(n) for n in range(3)))
    data[PAGE + at] ^= 1 << bit
    assert found(bytes(data)) == [1]


def test_groups_of_pages_and_what_is_left_of_them() -> None:
    pages = [bytearray(written(n)) for n in range(600)]
    for bad in (0, 255, 256, 511, 512, 599):
        pages[bad][bad + 30] ^= 4
    data = b"".join(pages)
    assert found(data) == [0, 255, 256, 511, 512, 599]
    assert found(data + b"a rest") == [0, 255, 256, 511, 512, 599]
    assert found(data[: 300 * PAGE]) == [0, 255, 256]  # buffers still hold what was there before


def test_a_new_page_is_all_zeros() -> None:
    empty = bytes(PAGE)
    assert found(written(0) + empty + written(2)) == []
    for at in (0, 8, 17, 8191):
        torn = bytearray(empty)
        torn[at] = 1
        assert found(written(0) + torn) == [1]
        assert found(written(0) + torn, begun=1 << 60) == []  # being written for the first time


def test_what_was_written_since_the_backup_began_is_not_judged() -> None:
    page = bytearray(written(0))
    page[100] ^= 1
    page[:8] = struct.pack("<II", 0x2, 0x5000)
    assert found(bytes(page), begun=0x2_0000_5000) == []
    assert found(bytes(page), begun=0x2_0000_4FFF) == []
    assert found(bytes(page), begun=0x2_0000_5001) == [0]
    assert found(bytes(page)) == [0]


# Servers.


def relations(server: Server) -> Iterator[tuple[Path, int]]:
    for path in sorted(server.data.rglob("*")):
        segment = relation_segment(str(path.relative_to(server.data)))
        if segment is not None and path.stat().st_size:
            yield path, segment


def all_bad(server: Server) -> tuple[set[tuple[str, int]], int]:
    """Path and block, and how many pages there are."""
    bad, pages = set(), 0
    for path, segment in relations(server):
        data = path.read_bytes()
        pages += len(data) // PAGE
        first = segment * SEGMENT_PAGES
        bad |= {(path.name, block) for block in found(data, first)}
    return bad, pages


def judged(server: Server) -> tuple[set[tuple[str, int]], int]:
    """The same by the server's tool, which counts blocks within the segment and skips new ones."""
    done = run(server.bin / "pg_checksums", "--check", "-D", server.data, check=False)
    bad = {
        (Path(path).name, int(block))
        for path, block in re.findall(r'in file "(.*)", block (\d+)', done.stderr)
    }
    scanned = re.search(r"Blocks scanned: +(\d+)", done.stdout)
    assert scanned is not None
    return bad, int(scanned[1])


@pytest.mark.parametrize("major", [15, 18])
def test_a_cluster_is_judged_as_by_its_server(major: int, tmp_path: Path) -> None:
    with serving(tmp_path / "server", major) as server:
        server.sql(
            "create table t as select g, repeat('x', g % 900) p from generate_series(1, 30000) g",
            "create index on t using gin (string_to_array(p, ' '))",
            "create index on t (g)",
            "create table b as select g, random() from generate_series(1, 5000) g",
            "create index on b using brin (g)",
            "create index on b using hash (g)",
            "create unlogged table u as select * from b",
            "create index on u using spgist (int4range(g, g))",
            "create sequence s",
            "delete from t where g % 7 = 0",
            "vacuum",
        )
        server.stop()
        ours, pages = all_bad(server)
        theirs, scanned = judged(server)
        assert ours == theirs == set()
        assert pages == scanned > 3000
        damaged = damage(server)
        ours, _ = all_bad(server)
        theirs, _ = judged(server)
        assert ours == theirs == damaged


def damage(server: Server) -> set[tuple[str, int]]:
    """A bit in each place of a page that means something, each in a page of its own."""
    random_ = random.Random(os.fspath(server.folder))
    places = (0, 4, 8, 9, 10, 12, 16, 18, 20, 24, 30, 4096, 8184, 8191)
    files = [path for path, _ in relations(server) if path.stat().st_size > 20 * PAGE]
    done = set()
    for place in places:
        path = random_.choice(files)
        block = random_.randrange(path.stat().st_size // PAGE)
        with path.open("r+b") as file:
            file.seek(block * PAGE)
            page = bytearray(file.read(PAGE))
            if page[14:16] == b"\0\0" or (path.name, block) in done:
                continue
            page[place] ^= 1 << random_.randrange(8)
            file.seek(block * PAGE)
            file.write(page)
        done.add((path.name, block))
    assert len(done) > 8
    return done

"""Packs written and read back: limits, edges of the staging buffer, file systems that refuse."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from blake3 import blake3

from drkit.crypto.seal import DATA, Opener, Sealer
from drkit.errors import Damaged, DiskError, KeyMissing, NotFound, StoreError
from drkit.repository.cache import Pack
from drkit.repository.fetch import Fetcher, Opening
from drkit.repository.format import (
    HEAD,
    PACK_MAGIC,
    PACK_TARGET,
    RECORD,
    RECORD_STORED,
    SEALED_MORE,
    padme,
)
from drkit.repository.frame import rows_of
from drkit.repository.lines import Places
from drkit.repository.pack import PackWriter, discard, nameless, staging_buffer
from drkit.stores.memory import MemoryStore
from drkit.system import System
from tests.fixtures.kinds import body
from tests.fixtures.trees import noise

KEY, ID_KEY, REPOSITORY, DOMAIN = b"k" * 32, b"i" * 32, b"r" * 16, b"d" * 16
SESSION = "5" * 32
ENVELOPE = b"an envelope"
OPENER = Opener(KEY, REPOSITORY, DOMAIN)
STAGE = 1 << 20


def writer(folder: Path, limit: int | None = PACK_TARGET, envelope: bytes = ENVELOPE) -> PackWriter:
    return PackWriter(
        session=SESSION,
        magic=PACK_MAGIC,
        envelope=envelope,
        sealer=Sealer(KEY, REPOSITORY, DOMAIN),
        folder=folder,
        compressor=zstandard.ZstdCompressor(level=1),
        staging=staging_buffer(),
        limit=limit,
    )


def id_of(data: bytes) -> bytes:
    return blake3(data, key=ID_KEY).digest(16)


def add(pack: PackWriter, data: bytes) -> None:
    number = len(pack._rows) + 1
    pack.add(number, DATA, id_of(data), number.to_bytes(12), data)


def finished(pack: PackWriter) -> bytes:
    done = pack.finish(b"\xff" * 12)
    data = b"".join(done.body.pieces())
    assert hashlib.sha256(data).digest() == done.body.sha256
    assert len(data) == done.body.size
    rows = rows_of(data, SESSION, OPENER)
    assert [(n, r.offset, r.stored) for n, r in enumerate(rows, 1)] == list(done.records)
    discard(done)
    return data


def records(data: bytes) -> list[bytes]:
    found = []
    for row in rows_of(data, SESSION, OPENER):
        out = bytearray(RECORD_STORED)
        sealed = memoryview(data)[row.offset : row.offset + row.stored]
        got = OPENER.open_into(DATA, row.id, sealed, memoryview(out))
        plain = zstandard.ZstdDecompressor().decompress(bytes(out[:got]))
        assert (len(plain), id_of(plain)) == (row.raw, row.id)
        found.append(plain)
    return found


@pytest.fixture(params=["disk", "tmpfs"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """With O_DIRECT where the disk takes it, and where a file system may refuse it."""
    if request.param == "disk":
        yield tmp_path
    else:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as path:
            yield Path(path)


# Each is one record's plaintext, incompressible: what is staged ends around these places.
AROUND = [
    edge - HEAD.size - len(ENVELOPE) - SEALED_MORE - 12 + by
    for edge in (4096, 8192, STAGE - 4096, STAGE)
    for by in (-1, 0, 1, 2, 3)
]


@pytest.mark.parametrize("size", [0, 1, 100, *AROUND])
def test_a_record_ends_around_a_block_or_the_staging_buffer(size: int, tmp_path: Path) -> None:
    pack = writer(tmp_path)
    contents = [noise(size, 1), noise(4096, 2), b"last"]
    for content in contents:
        add(pack, content)
    assert records(finished(pack)) == contents


def test_packs_are_the_same_on_every_file_system(folder: Path) -> None:
    sizes = [RECORD, 1, RECORD, 4096, RECORD - 1, 65_536, 8191, RECORD, 3, 700_000]
    contents = [noise(size, n) for n, size in enumerate(sizes)]
    pack = writer(folder)
    for content in contents:
        add(pack, content)
    data = finished(pack)
    assert records(data) == contents
    assert padme(len(data)) == len(data)


def test_a_disk_that_refuses_direct_writes_is_written_through_the_page_cache(
    tmp_path: Path,
) -> None:
    """A buffer that is not aligned is what O_DIRECT refuses; later blocks take the other way."""
    contents = [noise(RECORD, n) for n in range(4)]
    pack = writer(tmp_path)
    add(pack, contents[0])
    held = bytes(pack._view[: pack._fill])
    pack._view = memoryview(staging_buffer())[1:]
    pack._view[: len(held)] = held
    for content in contents[1:]:
        add(pack, content)
    assert records(finished(pack)) == contents


@pytest.mark.parametrize("size", [1, 1000, 65_536, 300_001, RECORD])
def test_a_pack_closes_before_it_would_pass_its_target(size: int, tmp_path: Path) -> None:
    pack = writer(tmp_path)
    count = 0
    content = noise(size)
    while count < 20_000 and pack.takes(size):
        count += 1
        pack.add(count, DATA, count.to_bytes(16), count.to_bytes(12), content)
    data = finished(pack)
    assert len(data) <= PACK_TARGET
    assert len(rows_of(data, SESSION, OPENER)) == count
    if size >= 65_536:
        assert len(data) > PACK_TARGET * 0.94


@pytest.mark.parametrize("limit", [100_000, 262_144, 3_000_000])
def test_takes_is_right_to_the_byte(limit: int, tmp_path: Path) -> None:
    """A limit that is no padded size: what `takes` promised fits before the padding."""
    pack = writer(tmp_path, limit=limit)
    content = noise(97)
    count = 0
    while pack.takes(len(content)):
        count += 1
        pack.add(count, DATA, noise(16, count), count.to_bytes(12), content)
    last = max(raw for raw in range(97) if raw == 0 or pack.takes(raw))
    if pack.takes(last):
        count += 1
        pack.add(count, DATA, noise(16, count), count.to_bytes(12), content[:last])
    assert len(finished(pack)) <= padme(limit)


def test_a_manifest_has_no_limit(tmp_path: Path) -> None:
    pack = writer(tmp_path, limit=None)
    assert pack.takes(RECORD)
    count = 60_000  # their contents alone pass the staging buffer
    for n in range(1, count + 1):
        pack.add(n, DATA, noise(16, n), n.to_bytes(12), b"")
    assert len(rows_of(finished(pack), SESSION, OPENER)) == count


def test_an_envelope_of_the_largest_size(tmp_path: Path) -> None:
    pack = writer(tmp_path, envelope=noise(64 << 10))
    add(pack, noise(RECORD))
    add(pack, noise(RECORD, 1))
    assert len(records(finished(pack))) == 2


def test_the_last_record_can_be_looked_at(tmp_path: Path) -> None:
    pack = writer(tmp_path)
    for n in range(12):
        content = noise(300_000, n)
        add(pack, content)
        sealed, row = pack.last()
        out = bytearray(RECORD_STORED)
        got = OPENER.open_into(DATA, row.id, sealed, memoryview(out))
        assert zstandard.ZstdDecompressor().decompress(bytes(out[:got])) == content
    pack.close()


def test_a_dropped_pack_leaves_no_descriptor(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    pack = writer(tmp_path)
    add(pack, noise(RECORD))
    pack.close()
    pack.close()
    assert os.listdir("/proc/self/fd") == before
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_no_file_is_told(tmp_path: Path) -> None:
    for missing in (tmp_path / "not there", Path("/proc")):
        with pytest.raises(DiskError, match="no temporary file") as caught:
            nameless(missing)
        assert caught.value.hint


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    pack = writer(tmp_path)
    os.close(pack._fd)
    pack._fd = os.open("/dev/full", os.O_RDWR)
    if pack._direct >= 0:
        os.close(pack._direct)
        pack._direct = -1
    add(pack, noise(RECORD))
    with pytest.raises(DiskError, match="No space left") as caught:
        add(pack, noise(RECORD, 1))
    assert caught.value.hint
    pack.close()


# Records fetched by ranges.


class Counting(MemoryStore):
    def __init__(self) -> None:
        super().__init__(System().now)
        self.ranges: list[tuple[int, int]] = []

    def read_into(self, name: str, offset: int, view: memoryview) -> None:
        self.ranges.append((offset, len(view)))
        super().read_into(name, offset, view)


def opening(store: MemoryStore, data: bytes, raws: list[int] | None = None) -> Opening:
    places = Places()
    places.packs[7] = Pack(id=7, session=SESSION, number=0, size=len(data), sha256=b"")
    for number, row in enumerate(rows_of(data, SESSION, OPENER), 1):
        places.numbers.append(number)
        places.raw.append(row.raw if raws is None else raws[number - 1])
        places.pack.append(7)
        places.at.append(row.offset)
        places.stored.append(row.stored)
        places.ids += row.id
    store.put("pack", body(data))
    return Opening(
        store=store,
        places=places,
        id_key=ID_KEY,
        name_of=lambda _pack: "pack",
        unwrap=lambda envelope: KEY + ID_KEY if envelope == ENVELOPE else b"",
        opener=lambda key: Opener(key, REPOSITORY, DOMAIN),
    )


def packed(folder: Path, sizes: list[int]) -> tuple[bytes, list[bytes]]:
    contents = [noise(size, n) for n, size in enumerate(sizes)]
    pack = writer(folder)
    for content in contents:
        add(pack, content)
    return finished(pack), contents


def test_near_records_are_one_request_and_far_ones_two(tmp_path: Path) -> None:
    data, contents = packed(tmp_path, [1000, 30_000, 1000, 100_000, 1000])
    store = Counting()
    found = opening(store, data)
    fetcher = Fetcher(found)
    got = {
        i: bytes(view)
        for i, view in fetcher.records(found.places.packs[7], [0, 2, 4])
        if not isinstance(view, Damaged)
    }
    assert got == {i: contents[i] for i in (0, 2, 4)}
    head, first, second = store.ranges
    assert head == (0, 4096)
    assert (first[0], sum(first)) == (
        found.places.at[0],
        found.places.at[2] + found.places.stored[2],
    )
    assert second == (found.places.at[4], found.places.stored[4])
    assert bytes(fetcher.one(3)) == contents[3]
    assert len(store.ranges) == 4  # the head is not asked for again


def test_a_request_is_never_longer_than_its_buffer(tmp_path: Path) -> None:
    data, contents = packed(tmp_path, [RECORD] * 9)
    store = Counting()
    found = opening(store, data)
    results = [
        (i, bytes(view))
        for i, view in Fetcher(found).records(found.places.packs[7], range(9))
        if not isinstance(view, Damaged)
    ]
    assert results == list(enumerate(contents))
    assert max(length for _, length in store.ranges) <= 4 << 20
    assert len(store.ranges) == 1 + 3


def test_a_tiny_pack_and_a_long_envelope(tmp_path: Path) -> None:
    pack = writer(tmp_path, envelope=b"e" * 20_000)
    add(pack, b"x")
    data = finished(pack)
    store = Counting()
    found = opening(store, data)
    accepting = Opening(
        store=store,
        places=found.places,
        id_key=ID_KEY,
        name_of=found.name_of,
        unwrap=lambda envelope: KEY + ID_KEY if envelope == b"e" * 20_000 else b"",
        opener=found.opener,
    )
    assert bytes(Fetcher(accepting).one(0)) == b"x"


def test_one_bad_record_hurts_no_other(tmp_path: Path) -> None:
    data, contents = packed(tmp_path, [1000, 1000, 1000])
    broken = bytearray(data)
    broken[rows_of(data, SESSION, OPENER)[1].offset + 50] ^= 1
    found = opening(Counting(), bytes(broken))
    results = dict(Fetcher(found).records(found.places.packs[7], [1]))
    assert isinstance(results[1], Damaged)
    got = {}
    for i, view in Fetcher(found).records(found.places.packs[7], [0, 1, 2]):
        got[i] = None if isinstance(view, Damaged) else bytes(view)
    assert got == {0: contents[0], 1: None, 2: contents[2]}
    with pytest.raises(Damaged, match="record 2 in pack"):
        Fetcher(found).one(1)


@pytest.mark.parametrize("by", [-1, 1])
def test_a_record_of_another_length_is_damage(by: int, tmp_path: Path) -> None:
    data, _ = packed(tmp_path, [1000, 2000])
    found = opening(Counting(), data, raws=[1000 + by, 2000])
    with pytest.raises(Damaged, match="not what was sealed"):
        Fetcher(found).one(0)


def test_a_record_that_is_a_bomb_does_not_unfold(tmp_path: Path) -> None:
    pack = writer(tmp_path)
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 30))
    pack._rows.clear()
    pack.compressor = Already()  # type: ignore[assignment]
    add(pack, bomb)
    pack.compressor = zstandard.ZstdCompressor()
    found = opening(Counting(), finished(pack))
    with pytest.raises(Damaged, match="not what was sealed"):
        Fetcher(found).one(0)


@pytest.mark.parametrize("more", [b"", zstandard.ZstdCompressor().compress(b"behind")])
def test_a_frame_that_hides_its_size_is_damage(more: bytes, tmp_path: Path) -> None:
    """Its content is right; but a reader must know the length before it unfolds anything."""
    plain = noise(1000)
    pack = writer(tmp_path)
    pack.compressor = Already()  # type: ignore[assignment]
    silent = zstandard.ZstdCompressor(write_content_size=False).compress(plain)
    pack.add(1, DATA, id_of(plain), bytes(12), silent + more)
    pack.compressor = zstandard.ZstdCompressor()
    found = opening(Counting(), finished(pack), raws=[len(plain)])
    with pytest.raises(Damaged, match="not what was sealed"):
        Fetcher(found).one(0)


class Already:
    def compress(self, data: bytes) -> bytes:
        return data


@pytest.mark.parametrize("size", [0, 5, 3000, 5000, 10_000])
def test_a_pack_that_was_cut_is_damage_that_names_it(size: int, tmp_path: Path) -> None:
    data, _ = packed(tmp_path, [10_000, 10_000])
    store = Counting()
    found = opening(store, data)
    store.delete("pack")
    store.put("pack", body(data[:size]))
    with pytest.raises(Damaged, match=f"pack has {size} bytes, not {len(data)}"):
        Fetcher(found).one(1)


def test_a_missing_pack_is_damage_and_a_refusing_store_is_not(tmp_path: Path) -> None:
    data, _ = packed(tmp_path, [1000])
    store = Counting()
    found = opening(store, data)
    store.delete("pack")
    with pytest.raises(Damaged, match="it is missing"):
        Fetcher(found).one(0)
    refusing = Refusing()
    with pytest.raises(StoreError, match="permission") as caught:
        Fetcher(opening(refusing, data)).one(0)
    assert not isinstance(caught.value, NotFound)


class Refusing(MemoryStore):
    def __init__(self) -> None:
        super().__init__(System().now)

    def read_into(self, name: str, offset: int, view: memoryview) -> None:
        raise StoreError("permission denied")


def test_an_envelope_that_does_not_open_is_damage(tmp_path: Path) -> None:
    """The same key has opened the manifest: this is no question of keys any more."""
    data, _ = packed(tmp_path, [1000])
    found = opening(Counting(), data)

    def unwrap(_envelope: bytes) -> bytes:
        raise KeyMissing("the identity given doesn't open this")

    locked = Opening(
        store=found.store,
        places=found.places,
        id_key=ID_KEY,
        name_of=found.name_of,
        unwrap=unwrap,
        opener=found.opener,
    )
    with pytest.raises(Damaged, match="the head of pack"):
        Fetcher(locked).one(0)
    broken = opening(Counting(), b"X" + data[1:])
    with pytest.raises(Damaged, match="the head of pack"):
        Fetcher(broken).one(0)

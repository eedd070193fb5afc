"""Lines of a manifest, written and read back."""

import itertools
import mmap
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from drkit.crypto.seal import Opener, Sealer
from drkit.errors import ConfigError, SourceError
from drkit.model.entry import Entry
from drkit.repository.cache import Pack, Record
from drkit.repository.format import LINE_LIMIT, MANIFEST_MAGIC, RECORD
from drkit.repository.frame import blocks, rows_of
from drkit.repository.lines import Lines, split_lines
from drkit.repository.manifest import (
    End,
    Head,
    ManifestWriter,
    decode_file,
    encode_file,
    write_lines,
)
from drkit.repository.pack import PackWriter, discard, staging_buffer

KEY, ID_KEY, REPOSITORY, DOMAIN = b"k" * 32, b"i" * 32, b"r" * 16, b"d" * 16
SESSION = "5" * 32
HEAD = Head(
    manifest=1,
    draft=True,
    repository="0" * 32,
    domain="1" * 32,
    generation="2" * 32,
    session=SESSION,
    kind="full",
    label="shop",
    files=0,
    bytes=0,
    policy="name: shop\n",
)

words = st.text(st.characters(codec="utf-8"), max_size=20)
numbers = st.integers(0, (1 << 62) - 1)
entries = st.builds(
    Entry,
    path=words,
    type=st.sampled_from(["file", "dir", "link", "hardlink", "fifo"]),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, (1 << 32) - 2),
    gid=st.integers(0, (1 << 32) - 2),
    user=words,
    group=words,
    mtime=st.integers(-(1 << 63), (1 << 63) - 1),
    size=numbers,
    target=words,
    xattrs=st.dictionaries(words, words, max_size=3),
    facts=st.dictionaries(words, words | st.integers(0, 1 << 40), max_size=3),
)
extents = st.lists(st.tuples(numbers, numbers, numbers), max_size=5).map(
    lambda rows: tuple(itertools.chain.from_iterable(rows))
)


@given(entries, extents)
def test_a_line_holds_the_entry_and_its_extents(entry: Entry, found: tuple[int, ...]) -> None:
    line = encode_file(entry, found)
    assert b"\n" not in line
    assert decode_file(line) == msgspec.structs.replace(entry, extents=found)


@given(entries, extents, extents, numbers)
def test_old_extents_are_not_kept_and_the_size_counts(
    entry: Entry, old: tuple[int, ...], new: tuple[int, ...], size: int
) -> None:
    before = msgspec.structs.replace(entry, extents=old)
    after = decode_file(encode_file(before, new, size))
    assert after == msgspec.structs.replace(entry, extents=new, size=size)


@pytest.mark.parametrize("count", [7_999, 8_000, 8_001, 16_000, 16_001, 100_000])
@pytest.mark.parametrize("largest", [9, (1 << 62) - 1])
def test_many_extents_take_several_lines_none_over_the_limit(count: int, largest: int) -> None:
    found = (largest, largest - 1, largest - 2) * count
    line = encode_file(Entry(path="p" * 4000), found)
    parts = line.split(b"\n")
    assert len(parts) == -(-count // 8_000)
    assert max(map(len, parts)) < LINE_LIMIT
    assert decode_file(line).extents == found


def test_a_name_with_its_attributes_and_extents_stays_under_the_limit() -> None:
    most = Entry(path="p", xattrs={"user.x": "A" * (LINE_LIMIT // 2 - 100)})
    line = encode_file(most, ((1 << 62) - 1,) * 3 * 8000)
    assert len(line) < LINE_LIMIT
    more = Entry(path="p", xattrs={"user.x": "A" * (LINE_LIMIT // 2)})
    with pytest.raises(SourceError, match="512 KiB") as caught:
        encode_file(more, ())
    assert caught.value.hint


def manifest(
    folder: Path,
    files: Iterable[bytes],
    *,
    head: Head = HEAD,
    packs: Iterable[Pack] = (),
    records: Iterable[Record] = (),
) -> tuple[End, bytes]:
    pack = PackWriter(
        session=SESSION,
        magic=MANIFEST_MAGIC,
        envelope=b"an envelope",
        sealer=Sealer(KEY, REPOSITORY, DOMAIN),
        folder=folder,
        compressor=zstandard.ZstdCompressor(level=3),
        staging=staging_buffer(),
        limit=None,
    )
    counter = itertools.count()
    writer = ManifestWriter(pack, ID_KEY, lambda: next(counter).to_bytes(12))
    try:
        end = write_lines(writer, head, packs, records, files)
    except BaseException:
        pack.close()
        raise
    finished = pack.finish(bytes(12))
    data = b"".join(finished.body.pieces())
    discard(finished)
    return end, data


def lines_of(data: bytes) -> Lines:
    opener = Opener(KEY, REPOSITORY, DOMAIN)
    rows = rows_of(data, SESSION, opener)
    held = mmap.mmap(-1, len(data))
    held[:] = data
    return Lines(split_lines(blocks(held, rows, opener, ID_KEY)))


def test_a_manifest_of_many_blocks_reads_as_it_was_written(tmp_path: Path) -> None:
    packs = [
        Pack(id=n, session="a" * 32, number=n - 1, size=1 << 25, sha256=bytes([n]) * 32)
        for n in (1, 2)
    ]
    records = [
        Record(n=n, id=n.to_bytes(16), raw=1000, pack=1 + n % 2, at=n * 500, stored=500)
        for n in range(1, 9_001)
    ]
    expected = [
        Entry(path=f"{n:06d}", size=100, extents=(n % 9000 + 1, 0, 100)) for n in range(20_000)
    ]
    many = tuple(itertools.chain.from_iterable((n % 9000 + 1, 0, 1) for n in range(30_000)))
    expected.append(Entry(path="long", size=30_000, extents=many))
    files = [encode_file(e, e.extents) for e in expected]
    head = msgspec.structs.replace(HEAD, files=20_001, bytes=2_030_000)
    end, data = manifest(tmp_path, files, packs=packs, records=records, head=head)
    assert end == End(packs=2, records=9000, lines=20_001)
    lines = lines_of(data)
    assert lines.head == head
    assert lines.places.packs == {1: packs[0], 2: packs[1]}
    assert list(lines.places.numbers) == [r.n for r in records]
    assert [lines.places.id(i) for i in (0, 8999)] == [records[0].id, records[-1].id]
    assert lines.places.index(9000) == 8999
    assert list(lines.entries()) == expected


def test_an_empty_manifest_has_a_head_and_an_end(tmp_path: Path) -> None:
    end, data = manifest(tmp_path, [])
    assert end == End(packs=0, records=0, lines=0)
    assert list(lines_of(data).entries()) == []


def test_a_policy_too_long_for_a_line_is_told(tmp_path: Path) -> None:
    head = msgspec.structs.replace(HEAD, policy="x" * RECORD)
    with pytest.raises(ConfigError, match="the policy takes 1024 KiB"):
        manifest(tmp_path, [], head=head)

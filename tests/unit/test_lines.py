"""Nothing in a manifest is believed unchecked."""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drkit.errors import Damaged
from drkit.model.entry import Entry
from drkit.repository.format import LINE_LIMIT, RECORD, RECORD_STORED
from drkit.repository.lines import Lines, split_lines

Line = Mapping[str, object]
HEAD: Line = {
    "manifest": 1, "draft": True, "repository": "0" * 32, "domain": "1" * 32,
    "generation": "2" * 32, "session": "3" * 32, "kind": "full", "label": "x",
    "files": 3, "bytes": 1307, "policy": "", "notes": [],
}  # fmt: skip
EMPTY: Line = {**HEAD, "bytes": 0}
SHA = "ab" * 32
ID = "cd" * 16
PACK: Line = {"pack": [1, "3" * 32, 0, 5000, SHA]}
RECORDS: list[Line] = [{"record": [n, ID, 1000, 1, n * 100, 90]} for n in (1, 2, 5)]
FILES: list[Line] = [
    {"path": "a", "type": "dir"},
    {"path": "a/b", "size": 1300, "extents": [1, 0, 1000, 5, 700, 300]},
    {"path": "a/c", "type": "link", "target": "../../anywhere"},
    {"path": "a/d", "type": "hardlink", "target": "a/b"},
    {"path": "a/e", "size": 7, "extents": [0, 0, 4]},
    {"more": [2, 0, 3]},
    {"path": "a/f", "type": "fifo"},
    {"path": "a/g"},
]
END: Line = {"end": {"packs": 1, "records": 3, "lines": 7}}
WHOLE = [HEAD, PACK, *RECORDS, *FILES, END]


def encoded(lines: Iterable[Line | bytes]) -> list[bytes]:
    return [
        x if isinstance(x, bytes) else json.dumps(x, separators=(",", ":")).encode() for x in lines
    ]


def read(lines: Iterable[Line | bytes]) -> list[Entry]:
    return list(Lines(iter(encoded(lines))).entries())


def with_line(at: int, *instead: Line | bytes) -> list[Line | bytes]:
    return [*WHOLE[:at], *instead, *WHOLE[at + 1 :]]


def test_a_sound_manifest_reads() -> None:
    entries = read(WHOLE)
    assert [e.path for e in entries] == ["a", "a/b", "a/c", "a/d", "a/e", "a/f", "a/g"]
    assert entries[4].extents == (0, 0, 4, 2, 0, 3)


def test_files_that_are_not_what_the_head_says() -> None:
    with pytest.raises(Damaged, match="1307 bytes of files, its head says 1306"):
        read([{**HEAD, "bytes": 1306}, *WHOLE[1:]])


@pytest.mark.parametrize("count", range(len(WHOLE)))
def test_a_manifest_cut_anywhere_is_damaged(count: int) -> None:
    with pytest.raises(Damaged, match="no end line"):
        read(WHOLE[:count])


@pytest.mark.parametrize("at", range(len(WHOLE)))
def test_no_line_may_be_missing(at: int) -> None:
    with pytest.raises(Damaged):
        read(with_line(at))


@pytest.mark.parametrize("at", range(len(WHOLE)))
def test_no_line_may_be_doubled(at: int) -> None:
    with pytest.raises(Damaged):
        read(with_line(at, WHOLE[at], WHOLE[at]))


@pytest.mark.parametrize("at", range(len(WHOLE) - 1))
def test_no_two_neighbours_may_be_swapped(at: int) -> None:
    with pytest.raises(Damaged):
        read([*WHOLE[:at], WHOLE[at + 1], WHOLE[at], *WHOLE[at + 2 :]])


@pytest.mark.parametrize("at", range(len(WHOLE)))
def test_no_line_has_a_key_that_format_1_does_not_know(at: int) -> None:
    with pytest.raises(Damaged):
        read(with_line(at, {**WHOLE[at], "surprise": 1}))
    with pytest.raises(Damaged):
        read(with_line(at, {"surprise": 1, **WHOLE[at]}))


@pytest.mark.parametrize("at", range(len(WHOLE)))
@pytest.mark.parametrize("line", [b"", b"{", b"\xff", b"[]", b"null", b'{"path":"\xc3"}', b"{}"])
def test_what_is_no_json_of_ours_is_damage(at: int, line: bytes) -> None:
    with pytest.raises(Damaged):
        read(with_line(at, line))


@pytest.mark.parametrize("at", range(len(WHOLE)))
def test_json_that_nests_without_end_is_damage(at: int) -> None:
    start = encoded(WHOLE)[at].split(b":")[0] + b":"
    with pytest.raises(Damaged):
        read(with_line(at, start + b"[" * 100_000))


UNSAFE = [
    "", "/", "/a", "/etc/passwd", ".", "..", "./a", "../a", "a/..", "a/../b", "a/./b", "a//b",
    "b/", "b\0c", "\0", "..//", "a/b/../../..", "b/\0",
]  # fmt: skip


@pytest.mark.parametrize("path", UNSAFE, ids=repr)
def test_an_unsafe_path_is_refused_as_name_and_as_target(path: str) -> None:
    with pytest.raises(Damaged, match=r"unsafe|no hardlink"):
        read([HEAD, {"path": path}, {"end": {"packs": 0, "records": 0, "lines": 1}}])
    for target in ({"target": path}, {}):
        with pytest.raises(Damaged, match=r"unsafe|no hardlink"):
            read(with_line(8, {"path": "a/d", "type": "hardlink", **target}))


@pytest.mark.parametrize(
    "path", ["...", "a/...", "..a", "a..", " ", "\\", "\\x2e\\x2e", "한국어", "\n", "a" * 5000]
)
def test_an_odd_path_is_no_unsafe_one(path: str) -> None:
    lines: list[Line | bytes] = [
        EMPTY,
        {"path": path},
        {"end": {"packs": 0, "records": 0, "lines": 1}},
    ]
    assert read(lines)[0].path == path


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=2, max_size=2))
def test_paths_come_in_the_order_of_their_bytes(paths: list[str]) -> None:
    lines: list[Line | bytes] = [EMPTY, *({"path": f"x{p}"} for p in paths)]
    lines.append({"end": {"packs": 0, "records": 0, "lines": 2}})
    one, two = (f"x{p}".encode() for p in paths)
    safe = not any(set(f"x{p}".split("/")) & {"", ".", ".."} or "\0" in p for p in paths)
    if one < two and safe:
        assert len(read(lines)) == 2
    else:
        with pytest.raises(Damaged):
            read(lines)


EXTENTS = {
    "not in threes": ([1, 0], 0),
    "shorter than the file": ([1, 0, 999], 1000),
    "longer than the file": ([1, 0, 1000, 2, 0, 1], 1000),
    "of no length": ([1, 0, 0, 2, 0, 1000], 1000),
    "negative, with a right sum": ([1, 0, -1, 2, 0, 1001], 1000),
    "negative offset": ([1, -1, 1000], 1000),
    "beyond its record": ([1, 1, 1000], 1000),
    "far beyond its record": ([1, 1 << 61, 1000], 1000),
    "of a record that is not described": ([3, 0, 10], 10),
    "of a negative record": ([-1, 0, 10], 10),
    "of a record past the last": ([6, 0, 10], 10),
    "of a record with a huge number": ([1 << 61, 0, 10], 10),
    "huge": ([0, 0, 1 << 62], 1 << 62),
    "huge in sum": ([0, 0, (1 << 62) - 1] * 5, 5 * ((1 << 62) - 1)),
    "no numbers": ([1, 0, "1000"], 1000),
    "fractions": ([1, 0, 10.0], 10),
    "missing": ([], 10),
    "null": (None, 0),
}


@pytest.mark.parametrize("case", EXTENTS)
def test_extents_lie_within_records_and_make_up_the_file(case: str) -> None:
    extents, size = EXTENTS[case]
    with pytest.raises(Damaged):
        read(with_line(6, {"path": "a/b", "size": size, "extents": extents}))


OTHERS: dict[str, Line] = {
    "folder with bytes": {"type": "dir", "size": 10, "extents": [1, 0, 10]},
    "link with bytes": {"type": "link", "target": "x", "size": 10, "extents": [1, 0, 10]},
    "hard link with bytes": {"type": "hardlink", "target": "a/b", "size": 4, "extents": [0, 0, 4]},
    "folder with a size": {"type": "dir", "size": 10},
    "link to nothing": {"type": "link"},
    "link through NUL": {"type": "link", "target": "a\0b"},
    "folder to NUL": {"type": "dir", "target": "\0"},
    "unknown type": {"type": "device"},
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_is_no_file_has_no_bytes(case: str) -> None:
    with pytest.raises(Damaged):
        read(with_line(7, {"path": "a/c", **OTHERS[case]}))


def test_more_extents_belong_to_files_only() -> None:
    with pytest.raises(Damaged):
        read(with_line(5, FILES[0], {"more": [1, 0, 10]}))


PACKS: dict[str, list[object]] = {
    "no hex session": [1, "3" * 31 + "g", 0, 5000, SHA],
    "upper case": [1, "A" * 32, 0, 5000, SHA],
    "short session": [1, "3" * 31, 0, 5000, SHA],
    "long hash": [1, "3" * 32, 0, 5000, SHA + "0"],
    "session with a path": [1, "../" + "3" * 29, 0, 5000, SHA],
    "digits of another script": [1, "٣" * 32, 0, 5000, SHA],
    "negative id": [-1, "3" * 32, 0, 5000, SHA],
    "huge id": [1 << 64, "3" * 32, 0, 5000, SHA],
    "negative number": [1, "3" * 32, -1, 5000, SHA],
    "number of seven digits": [1, "3" * 32, 1_000_000, 5000, SHA],
    "negative size": [1, "3" * 32, 0, -1, SHA],
    "huge size": [1, "3" * 32, 0, 1 << 64, SHA],
    "too few": [1, "3" * 32, 0, 5000],
    "too many": [1, "3" * 32, 0, 5000, SHA, 1],
}


@pytest.mark.parametrize("case", PACKS)
def test_a_pack_is_described_once_and_well(case: str) -> None:
    with pytest.raises(Damaged):
        read(with_line(1, {"pack": PACKS[case]}))


RECORD_LINES: dict[str, list[object]] = {
    "negative number": [-2, ID, 1000, 1, 200, 90],
    "number of zeros": [0, ID, 1000, 1, 200, 90],
    "huge number": [1 << 63, ID, 1000, 1, 200, 90],
    "number before the last": [1, ID, 1000, 1, 200, 90],
    "no hex": [2, "x" * 32, 1000, 1, 200, 90],
    "short id": [2, "cd" * 15, 1000, 1, 200, 90],
    "empty": [2, ID, 0, 1, 200, 90],
    "longer than a record": [2, ID, RECORD + 1, 1, 200, 90],
    "negative length": [2, ID, -1, 1, 200, 90],
    "unknown pack": [2, ID, 1000, 2, 200, 90],
    "negative pack": [2, ID, 1000, -1, 200, 90],
    "negative offset": [2, ID, 1000, 1, -1, 90],
    "negative stored": [2, ID, 1000, 1, 200, -90],
    "beyond its pack": [2, ID, 1000, 1, 4911, 90],
    "far beyond": [2, ID, 1000, 1, 1 << 61, 90],
    "overflow": [2, ID, 1000, 1, (1 << 64) - 45, 90],
    "stored too long": [2, ID, 1000, 1, 0, RECORD_STORED + 1],
}


@pytest.mark.parametrize("case", RECORD_LINES)
def test_a_record_lies_within_its_pack_and_limits(case: str) -> None:
    big: Line = {"pack": [1, "3" * 32, 0, 5000 if "too long" not in case else 1 << 30, SHA]}
    lines = [HEAD, big, RECORDS[0], {"record": RECORD_LINES[case]}, RECORDS[2], *FILES, END]
    with pytest.raises(Damaged):
        read(lines)


@pytest.mark.parametrize("key", ["packs", "records", "lines"])
@pytest.mark.parametrize("by", [-1, 1, 1000])
def test_the_end_line_counts(key: str, by: int) -> None:
    counts = {"packs": 1, "records": 3, "lines": 7}
    with pytest.raises(Damaged):
        read(with_line(-1, {"end": {**counts, key: counts[key] + by}})[: len(WHOLE)])


def test_nothing_stands_behind_the_end() -> None:
    for more in (END, {"path": "z"}, b"", HEAD):
        with pytest.raises(Damaged):
            read([*WHOLE, more])


@pytest.mark.parametrize(
    "change",
    [{"manifest": 2}, {"manifest": "1"}, {"files": "many"}, {"draft": 1}, {"policy": None}],
    ids=repr,
)
def test_a_head_of_another_format_is_refused(change: Line) -> None:
    with pytest.raises(Damaged):
        read(with_line(0, {**HEAD, **change}))


# Lines out of blocks.


@given(st.lists(st.binary(max_size=30).filter(lambda x: b"\n" not in x)), st.data())
def test_blocks_may_be_cut_anywhere(lines: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    edges = [0, *cuts, len(whole)]
    parts = [whole[a:b] for a, b in itertools.pairwise(edges)]
    assert list(split_lines(parts)) == lines


def test_the_last_line_has_its_end() -> None:
    with pytest.raises(Damaged, match="middle of a line"):
        list(split_lines([b"one\ntw"]))


LONG: dict[str, Callable[[], list[bytes]]] = {
    "in one block": lambda: [b"x" * (LINE_LIMIT + 1) + b"\n"],
    "over two blocks": lambda: [b"x" * LINE_LIMIT, b"x\n"],
    "over many blocks, without end": lambda: [b"x" * (LINE_LIMIT // 2)] * 4,
    "behind another": lambda: [b"short\n" + b"x" * LINE_LIMIT, b"xx\nshort\n"],
}


@pytest.mark.parametrize("case", LONG)
def test_a_line_over_the_limit_is_refused(case: str) -> None:
    with pytest.raises(Damaged, match="beyond its limit"):
        list(split_lines(LONG[case]()))


def test_a_line_at_the_limit_is_not() -> None:
    assert list(split_lines([b"x" * (LINE_LIMIT - 1), b"x\n"])) == [b"x" * LINE_LIMIT]

"""Paths as text and back."""

import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drkit.model.entry import Entry, native, text
from tests.fixtures.trees import HOSTILE_NAMES

any_path = st.binary().map(os.fsdecode)
awkward = st.text("\\x8fé한\udcff\udc80ab0/ ").map(os.fsencode).map(os.fsdecode)


@given(any_path | awkward)
def test_text_of_a_path_leads_back_to_it(path: str) -> None:
    assert native(text(path)) == path


@given(any_path | awkward)
def test_text_of_a_path_is_text(path: str) -> None:
    assert text(path).encode().decode() == text(path)


@given(any_path | awkward, any_path | awkward)
def test_two_paths_never_have_one_text(one: str, other: str) -> None:
    assert (text(one) == text(other)) == (one == other)


@given(st.lists(any_path.filter(lambda p: "/" not in p)))
def test_parts_stay_parts(parts: list[str]) -> None:
    assert text("/".join(parts)) == "/".join(text(part) for part in parts)


@pytest.mark.parametrize("raw", HOSTILE_NAMES, ids=repr)
def test_names_that_have_broken_other_tools(raw: bytes) -> None:
    assert native(text(os.fsdecode(raw))) == os.fsdecode(raw)


@pytest.mark.parametrize("crafted", ["\\x2f", "\\x2e\\x2e", "\\x00", "a\\x5cb", "\\", "\\u002f"])
def test_no_text_leads_to_a_slash_a_dot_or_nul_that_is_not_in_it(crafted: str) -> None:
    assert native(crafted) == crafted


FIELDS: dict[str, list[object]] = {
    "mode": [-1, 0o10000],
    "uid": [-1, (1 << 32) - 1, 1 << 80],
    "gid": [-1, (1 << 32) - 1],
    "mtime": [1 << 63, -(1 << 63) - 1, 1 << 80],
    "size": [-1, 1 << 62, 1 << 80],
    "type": ["socket", ""],
    "more": [0],
}


@pytest.mark.parametrize(
    ("field", "value"), [(f, v) for f, values in FIELDS.items() for v in values]
)
def test_what_no_disk_can_hold_is_no_entry(field: str, value: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode({"path": "a", field: value}), type=Entry)


def test_times_and_owners_at_their_limits() -> None:
    entry = Entry(path="a", mode=0o7777, uid=(1 << 32) - 2, mtime=-(1 << 63), size=(1 << 62) - 1)
    assert msgspec.json.decode(msgspec.json.encode(entry), type=Entry) == entry

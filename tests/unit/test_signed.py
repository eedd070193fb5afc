from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drkit.crypto.sign import canonical, new_signer, parse_canonical, sign_object
from drkit.errors import Damaged, UsageError
from drkit.model.pins import Pins
from drkit.model.snapshot import Facts
from drkit.repository.signed import (
    SMALL,
    Begin,
    Closed,
    Commit,
    Expired,
    Fence,
    Floor,
    Object,
    Open,
    Origin,
    Where,
    decode,
    decode_outcome,
    encode,
    is_pinned,
)

KEY = new_signer(b"s" * 32)
AT = datetime(2026, 11, 21, 2, 0, 0, 123456, UTC)
R, D, G, S = (c * 32 for c in "abcd")
GENERATION = Where(repository=R, domain=D, generation=G)
SESSION = replace(GENERATION, session=S)
FLOOR = Where(repository=R, domain=D, lsn=77)

FACTS = Facts(kind="files", label="/srv", files=3, bytes=10, notes=("a", "b"), details={"x": 1})
COMMIT = Commit(
    kind="incremental",
    parent="e" * 32,
    begun=AT,
    ended=AT + timedelta(minutes=3),
    heads=((G, "1" * 64),),
    facts=FACTS,
    packlist=(100, "2" * 64),
    manifest=(200, "3" * 64),
    tools={"restore.py": "4" * 64},
    added=12345,
)
EVERY: list[tuple[Object, Where]] = [
    (
        Open(
            kind="files",
            part="files",
            writer=KEY.public_text,
            recipients=("age1aaaa", "age1bbbb"),
            source=Origin(kind="files", system=None),
            created=AT,
            expected_end=None,
        ),
        GENERATION,
    ),
    (Begin(kind="full", parent=None, begun=AT, start_lsn=5), SESSION),
    (COMMIT, SESSION),
    (Fence(reason="patience", by="keeper", at=AT, scope=None), SESSION),
    (Fence(reason="patience", by="keeper", at=AT, scope="9" * 32), SESSION),
    (Closed(by="keeper", at=AT, reason="expiry", plan="5" * 64), GENERATION),
    (Expired(by="keeper", at=AT, reason="expiry", plan="5" * 64), GENERATION),
    (Floor(lsn=77, at=AT), FLOOR),
]
IDS = [f"{n} {type(obj).__name__}" for n, (obj, _) in enumerate(EVERY)]


def fields_of(data: bytes) -> dict[str, object]:
    return parse_canonical(data[96:])


def forged(data: bytes, kind: str, /, **changes: object) -> bytes:
    return sign_object(KEY, kind, canonical(fields_of(data) | changes))


@pytest.mark.parametrize(("obj", "where"), EVERY, ids=IDS)
def test_what_was_signed_is_read_back(obj: Object, where: Where) -> None:
    data = encode(obj, where, KEY)
    assert decode(type(obj), data, where) == (obj, KEY.public)
    assert encode(obj, where, KEY) == data


@pytest.mark.parametrize(("obj", "where"), EVERY, ids=IDS)
def test_it_says_where_it_belongs(obj: Object, where: Where) -> None:
    fields = fields_of(encode(obj, where, KEY))
    assert fields["type"] == type(obj).__name__.lower()
    assert (fields["repository"], fields["domain"]) == (R, D)
    assert fields.get("generation") == where.generation
    assert fields.get("session") == where.session


@pytest.mark.parametrize(("obj", "where"), EVERY, ids=IDS)
def test_at_another_place_it_is_swapped(obj: Object, where: Where) -> None:
    data = encode(obj, where, KEY)
    for name in ("repository", "domain", "generation", "session"):
        elsewhere = replace(where, **{name: "f" * 32})  # type: ignore[arg-type]
        with pytest.raises(Damaged, match=f"swapped: .* another {name}"):
            decode(type(obj), data, elsewhere)


def test_a_floor_under_another_number_is_swapped() -> None:
    data = encode(Floor(lsn=77, at=AT), FLOOR, KEY)
    for lsn in (78, None):
        with pytest.raises(Damaged, match=r"swapped: .* another LSN"):
            decode(Floor, data, replace(FLOOR, lsn=lsn))


@pytest.mark.parametrize(("obj", "where"), EVERY, ids=IDS)
def test_every_flip_and_cut_is_damage(obj: Object, where: Where) -> None:
    data = encode(obj, where, KEY)
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 0x21
        for wrong in (bytes(flipped), data[:at]):
            with pytest.raises(Damaged):
                decode(type(obj), wrong, where)
            if isinstance(obj, Commit | Fence):
                with pytest.raises(Damaged):
                    decode_outcome(wrong, where)


@pytest.mark.parametrize(("obj", "where"), EVERY, ids=IDS)
def test_one_type_is_never_taken_for_another(obj: Object, where: Where) -> None:
    data = encode(obj, where, KEY)
    for other in {type(obj) for obj, _ in EVERY} - {type(obj)}:
        with pytest.raises(Damaged):
            decode(other, data, where)
        wrong = forged(data, other.__name__.lower(), type=other.__name__.lower())
        if {type(obj), other} != {Closed, Expired}:
            with pytest.raises(Damaged):
                decode(other, wrong, where)


@pytest.mark.parametrize(("obj", "where"), EVERY, ids=IDS)
def test_fields_left_out_added_or_of_another_kind_are_damage(obj: Object, where: Where) -> None:
    data, kind = encode(obj, where, KEY), type(obj).__name__.lower()
    with pytest.raises(Damaged, match="fields of format 1"):
        decode(type(obj), forged(data, kind, surprise=1), where)
    for name in fields_of(data):
        rest = {key: value for key, value in fields_of(data).items() if key != name}
        with pytest.raises(Damaged):
            decode(type(obj), sign_object(KEY, kind, canonical(rest)), where)
        values: tuple[object, ...] = (None, 99, True, "x", [], {"a": 1}, -1)
        for value in values:
            if fields_of(data)[name] == value and type(fields_of(data)[name]) is type(value):
                continue
            try:
                got, _ = decode(type(obj), forged(data, kind, **{name: value}), where)
            except Damaged:
                continue
            assert fields_of(encode(got, where, KEY))[name] == value


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T02:00:00.123456",
        "2026-11-21T02:00:00.123456+00:00",
        "2026-11-21T03:00:00.123456+01:00",
        "2026-11-21T02:00:00Z",
        "2026-11-21 02:00:00.123456Z",
        "2026-13-21T02:00:00.123456Z",
        "0001-01-01T00:00:00.000000+23:59",
        "now",
    ],
)
def test_times_have_one_spelling(text: str) -> None:
    data = encode(Floor(lsn=77, at=AT), FLOOR, KEY)
    assert fields_of(data)["at"] == "2026-11-21T02:00:00.123456Z"
    with pytest.raises(Damaged):
        decode(Floor, forged(data, "floor", at=text), FLOOR)


def test_times_of_other_zones_are_written_in_utc() -> None:
    seoul = AT.astimezone(timezone(timedelta(hours=9)))
    assert encode(Floor(lsn=77, at=seoul), FLOOR, KEY) == encode(Floor(lsn=77, at=AT), FLOOR, KEY)
    with pytest.raises(ValueError, match="zone"):
        encode(Floor(lsn=77, at=AT.replace(tzinfo=None)), FLOOR, KEY)


def test_an_outcome_is_a_commit_or_a_fence() -> None:
    fence = EVERY[3][0]
    assert decode_outcome(encode(COMMIT, SESSION, KEY), SESSION) == (COMMIT, KEY.public)
    assert decode_outcome(encode(fence, SESSION, KEY), SESSION) == (fence, KEY.public)
    with pytest.raises(Damaged, match="neither a commit nor a fence"):
        decode_outcome(encode(EVERY[1][0], SESSION, KEY), SESSION)
    for noise in (b"", b"x" * 50, b"x" * 200):
        with pytest.raises(Damaged):
            decode_outcome(noise, SESSION)


def test_an_open_names_its_signer() -> None:
    other = new_signer(b"t" * 32)
    opened = EVERY[0][0]
    with pytest.raises(ValueError, match="signed by the writer"):
        encode(opened, GENERATION, other)
    data = encode(opened, GENERATION, KEY)
    with pytest.raises(Damaged, match="names another writer"):
        decode(Open, sign_object(other, "open", data[96:]), GENERATION)


def test_begin_is_small() -> None:
    long = Begin(kind="full", parent="p" * 5000, begun=AT, start_lsn=None)
    with pytest.raises(UsageError, match="more than 4096"):
        encode(long, SESSION, KEY)
    payload = canonical({"a": "x" * SMALL})
    with pytest.raises(Damaged, match="not 97 to 4096"):
        decode(Begin, sign_object(KEY, "begin", payload), SESSION)


@pytest.mark.parametrize(
    "changes",
    [
        {"parent": "../../../etc"},
        {"parent": "E" * 32},
        {"parent": "e" * 32 + "\n"},
        {"packlist": [-1, "2" * 64]},
        {"packlist": [1, "2" * 63]},
        {"packlist": [1, "2" * 64, 3]},
        {"manifest": [1]},
        {"added": -1},
        {"heads": [[G, "x"]]},
        {"heads": [["x", "1" * 64]]},
        {"tools": {"restore.py": "x"}},
        {"kind": "differential"},
    ],
)
def test_a_commit_that_no_drkit_writes_is_damage(changes: dict[str, object]) -> None:
    data = forged(encode(COMMIT, SESSION, KEY), "commit", **changes)
    with pytest.raises(Damaged, match="fields of format 1"):
        decode(Commit, data, SESSION)


# a commit always fits


def stored(commit: Commit) -> Commit:
    data = encode(commit, SESSION, KEY)
    assert len(data) <= SMALL
    got, _ = decode(Commit, data, SESSION)
    assert replace(got, facts=FACTS, heads=()) == replace(commit, facts=FACTS, heads=())
    assert (got.facts.files, got.facts.bytes) == (commit.facts.files, commit.facts.bytes)
    return got


def test_long_notes_are_shortened_before_they_are_dropped() -> None:
    notes = tuple(f"unreadable: {n} " + "x" * 2000 for n in range(4))
    got = stored(replace(COMMIT, facts=replace(FACTS, notes=notes))).facts
    assert len(got.notes) == 4
    assert all(note.endswith("…") and note.startswith("unreadable: ") for note in got.notes)
    assert got.details == FACTS.details


def test_many_notes_are_counted() -> None:
    notes = tuple(f"unreadable: file {n}" for n in range(1000))
    got = stored(replace(COMMIT, facts=replace(FACTS, notes=notes)))
    *kept, more = got.facts.notes
    assert more == f"… and {1000 - len(kept)} more"
    assert tuple(kept) == notes[: len(kept)]
    assert len(kept) > 10
    assert got.heads == COMMIT.heads
    assert got.facts.details == FACTS.details


def test_details_and_heads_give_way_last() -> None:
    details: dict[str, str | int] = {"start_lsn": 5} | {f"k{n}": "v" * 300 for n in range(30)}
    heads = tuple((f"{n:032x}", f"{n:064x}") for n in range(9))
    got = stored(replace(COMMIT, facts=replace(FACTS, details=details), heads=heads))
    assert got.facts.details.keys() == details.keys()
    assert got.facts.details["start_lsn"] == 5
    assert got.heads == heads
    many = tuple((f"{n:032x}", f"{n:064x}") for n in range(100))
    got = stored(replace(COMMIT, heads=many))
    assert got.heads == many[: len(got.heads)]
    assert len(got.heads) > 10


@given(
    st.lists(st.text(max_size=3000), max_size=30),
    st.dictionaries(
        st.text("abc", min_size=1), st.text(max_size=2000) | st.integers(0, 2**53 - 1), max_size=40
    ),
    st.integers(0, 200),
    st.text(max_size=6000),
)
@settings(max_examples=60, deadline=None)
def test_any_facts_fit(
    notes: list[str], details: dict[str, str | int], heads: int, label: str
) -> None:
    facts = replace(FACTS, notes=tuple(notes), details=details, label=label)
    stored(replace(COMMIT, facts=facts, heads=(("a" * 32, "b" * 64),) * heads))


def test_a_name_that_is_no_text_does_not_stop_a_commit() -> None:
    odd = b"caf\xe9".decode("utf-8", "surrogateescape")
    data = encode(replace(COMMIT, facts=replace(FACTS, notes=(odd,))), SESSION, KEY)
    got, _ = decode(Commit, data, SESSION)
    assert got.facts.notes == ("caf\\udce9",)


def test_pins() -> None:
    pins = Pins(writers=frozenset([KEY.public]))
    assert is_pinned(KEY.public, pins.writers)
    assert not is_pinned(KEY.public, pins.maintainers)
    assert not is_pinned(KEY.public, Pins.none().writers)

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drkit.crypto.sign import SignerKey, canonical, new_signer, parse_canonical, sign_object
from drkit.errors import Damaged, UsageError
from drkit.model.evidence import FIRST, ChainHead, CommitHead, Link, Record
from drkit.model.pins import Pins
from drkit.repository.evidence import decode, encode, hash_of, name_of, verify_chain

KEY, OTHER = new_signer(b"v" * 32), new_signer(b"w" * 32)
PINS = Pins(verifiers=frozenset([KEY.public, OTHER.public]))
AT = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
RECORD = Record(
    signer=KEY.public_text,
    seq=1,
    prev=FIRST,
    at=AT,
    kind="drill_run",
    subject="shop",
    heads=(ChainHead(signer=OTHER.public_text, seq=3, hash="a" * 64),),
    commits=(CommitHead(domain="d" * 32, generation="e" * 32, hash="b" * 64),),
    body={"verdict": "PASS", "phases": [{"p": "P4", "ms": 1400}], "escrow": None, "cold": True},
)


def chain(
    length: int, key: SignerKey = KEY, heads: tuple[ChainHead, ...] = (), start: str = FIRST
) -> list[Link]:
    links: list[Link] = []
    for seq in range(1, length + 1):
        record = Record(
            signer=key.public_text,
            seq=seq,
            prev=links[-1].hash if links else start,
            at=AT + timedelta(days=seq),
            kind="slot",
            subject="shop",
            heads=heads,
        )
        links.append(read(record, key))
    return links


def read(record: Record, key: SignerKey = KEY) -> Link:
    return decode(encode(record, key), name_of(record))


def findings(links: Sequence[Link], pins: Pins = PINS) -> str:
    return "\n".join(verify_chain(links, pins))


def test_a_record_is_read_back() -> None:
    data = encode(RECORD, KEY)
    link = decode(data, f"evidence/{KEY.public.hex()}/00000001")
    assert link == Link(record=RECORD, hash=hash_of(data))
    assert encode(RECORD, KEY) == data


@given(
    st.dictionaries(
        st.text("abc_"),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
            max_leaves=6,
        ),
    )
)
@settings(max_examples=50)
def test_any_body_is_read_back(body: dict[str, object]) -> None:
    record = replace(RECORD, body=body)
    assert read(record).record == record


def test_a_body_has_no_floats_and_its_limit() -> None:
    with pytest.raises(TypeError, match="float"):
        encode(replace(RECORD, body={"rta": 1.5}), KEY)
    with pytest.raises(UsageError, match="more than 65536"):
        encode(replace(RECORD, body={"log": "x" * 70000}), KEY)


def test_a_record_belongs_to_its_signer_and_place() -> None:
    data = encode(RECORD, KEY)
    with pytest.raises(ValueError, match="signed by the signer"):
        encode(RECORD, OTHER)
    with pytest.raises(Damaged, match="names another signer"):
        decode(sign_object(OTHER, "evidence", data[96:]), name_of(RECORD))
    with pytest.raises(Damaged, match="swapped"):
        decode(data, name_of(replace(RECORD, seq=2)))
    with pytest.raises(Damaged, match="swapped"):
        decode(data, name_of(replace(RECORD, signer=OTHER.public_text)))


def test_every_flip_and_cut_is_damage() -> None:
    data = encode(RECORD, KEY)
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 0x21
        for wrong in (bytes(flipped), data[:at]):
            with pytest.raises(Damaged):
                decode(wrong, name_of(RECORD))


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "fence"},
        {"extra": 1},
        {"seq": "1"},
        {"seq": 0},
        {"prev": "x"},
        {"body": []},
        {"heads": [{"signer": "x", "seq": 1}]},
        {"at": "yesterday"},
    ],
)
def test_other_fields_are_damage(changes: dict[str, object]) -> None:
    fields = parse_canonical(encode(RECORD, KEY)[96:]) | changes
    with pytest.raises(Damaged):
        decode(sign_object(KEY, "evidence", canonical(fields)), name_of(RECORD))


def test_a_whole_chain_has_no_findings() -> None:
    assert findings(chain(5)) == ""
    assert findings([*chain(5), *reversed(chain(3, OTHER))]) == ""
    assert findings([*chain(5), *chain(5)]) == ""
    assert findings([]) == ""


def test_a_gap_and_a_missing_beginning() -> None:
    links = chain(9)
    assert findings([*links[:4], *links[5:]]).endswith("number 5 is missing")
    assert findings([*links[:4], *links[7:]]).endswith("numbers 5 to 7 are missing")
    assert findings(links[2:]).endswith("numbers 1 to 2 are missing")


def test_a_fork() -> None:
    links = chain(3)
    forked = read(replace(links[2].record, kind="another"))
    assert findings([*links, forked]).endswith(
        "forked: number 3 stands 2 times with different bytes"
    )


def test_a_record_put_in_the_place_of_another() -> None:
    links = chain(3)
    other = read(replace(links[1].record, kind="nicer"))
    said = findings([links[0], other, links[2]])
    assert said.endswith("number 3 doesn't follow number 2: it names another one before it")
    assert "number 1 doesn't follow number 0" in findings(chain(1, start="f" * 64))


def test_unpinned_signers() -> None:
    assert "isn't pinned as a verifier" in findings(chain(1), Pins.none())
    assert "isn't pinned" in findings(chain(1), Pins(writers=frozenset([KEY.public])))


def test_a_chain_cut_at_its_end_is_seen_by_others() -> None:
    others = chain(3, OTHER)
    seen = ChainHead(signer=OTHER.public_text, seq=3, hash=others[2].hash)
    links = chain(1, heads=(seen,))
    assert findings([*links, *others]) == ""
    assert findings([*links, *others[:2]]).endswith("which isn't here")
    wrong = read(replace(others[2].record, kind="nicer"), OTHER)
    assert "holds other bytes now" in findings([*links, *others[:2], wrong])
    assert findings(links).endswith("which isn't here")

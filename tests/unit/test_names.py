import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drkit.repository import names
from drkit.repository.names import Name

D, G, S = "d" * 32, "e" * 32, "f" * 32
TAG, SIGNER, SEGMENT = "a" * 32, "b" * 64, "00000001000000000000000A"

EVERY = {
    "repository.json": Name(kind="repository"),
    "store.json": Name(kind="store"),
    "FORMAT.md": Name(kind="format"),
    "restore.py": Name(kind="restore"),
    names.opened(D, G): Name(kind="open", domain=D, generation=G),
    names.closed(D, G): Name(kind="closed", domain=D, generation=G),
    names.expired(D, G): Name(kind="expired", domain=D, generation=G),
    names.begin(D, G, S): Name(kind="begin", domain=D, generation=G, session=S),
    names.manifest(D, G, S): Name(kind="manifest", domain=D, generation=G, session=S),
    names.packlist(D, G, S): Name(kind="packlist", domain=D, generation=G, session=S),
    names.outcome(D, G, S): Name(kind="outcome", domain=D, generation=G, session=S),
    names.pack(D, G, S, 42): Name(kind="pack", domain=D, generation=G, session=S, number=42),
    names.wal_file(D, SEGMENT): Name(kind="wal", domain=D, file=SEGMENT),
    names.wal_file(D, SEGMENT, TAG): Name(kind="wal", domain=D, file=SEGMENT, tag=TAG),
    names.wal_file(D, SEGMENT + ".partial"): Name(kind="wal", domain=D, file=SEGMENT + ".partial"),
    names.wal_file(D, SEGMENT + ".00000028.backup"): Name(
        kind="wal", domain=D, file=SEGMENT + ".00000028.backup"
    ),
    names.wal_file(D, "00000002.history"): Name(kind="wal", domain=D, file="00000002.history"),
    names.wal_piece(D, SEGMENT, 0, 8192): Name(
        kind="piece", domain=D, file=SEGMENT, start=0, end=8192
    ),
    names.wal_piece(D, SEGMENT, 1, 2, TAG): Name(
        kind="piece", domain=D, file=SEGMENT, start=1, end=2, tag=TAG
    ),
    names.wal_conflict(D, SEGMENT, TAG): Name(kind="conflict", domain=D, file=SEGMENT, tag=TAG),
    names.floor(D, 0x5A000028): Name(kind="floor", domain=D, lsn=0x5A000028),
    names.evidence(SIGNER, 42): Name(kind="evidence", signer=SIGNER, number=42),
}


def test_the_layout() -> None:
    assert names.pack(D, G, S, 7) == f"domains/{D}/generations/{G}/packs/{S}-000007"
    assert names.wal_piece(D, SEGMENT, 0, 8192) == (
        f"domains/{D}/wal/00000001/{SEGMENT}.d/00000000-00002000"
    )
    assert names.floor(D, 0x5A000028) == f"domains/{D}/wal/floor/000000005A000028"
    assert names.evidence(SIGNER, 42) == f"evidence/{SIGNER}/00000042"
    assert len({name.kind for name in EVERY.values()}) == 17


@pytest.mark.parametrize(("name", "means"), EVERY.items())
def test_every_name_is_read_back(name: str, means: Name) -> None:
    assert names.parse(name) == means
    assert re.fullmatch(r"[A-Za-z0-9._+-]+(/[A-Za-z0-9._+-]+)*", name)


@pytest.mark.parametrize("name", EVERY)
def test_what_is_nearly_a_name_is_none(name: str) -> None:
    for odd in (name + "/", "/" + name, name + "x", name[:-1], name.swapcase(), name + "\n", ""):
        assert names.parse(odd) is None


def test_names_that_contradict_themselves() -> None:
    assert names.parse(f"domains/{D}/wal/00000002/{SEGMENT}") is None
    assert names.parse(names.wal_piece(D, SEGMENT, 5, 5)) is None
    assert names.parse(names.wal_piece(D, SEGMENT, 6, 5)) is None


@given(
    st.lists(st.sampled_from(["domains", D, "wal", "..", "", "open", SEGMENT, "floor", "packs"]))
)
def test_any_listing_is_answered(parts: list[str]) -> None:
    found = names.parse("/".join(parts))
    assert found is None or found.domain == D


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        (names.DOMAINS, names.domain(D)),
        (names.domain(D), names.generations(D)),
        (names.generations(D), names.generation(D, G)),
        (names.generation(D, G), names.opened(D, G)),
        (names.begins(D, G), names.begin(D, G, S)),
        (names.packs(D, G), names.pack(D, G, S, 1)),
        (names.manifests(D, G), names.manifest(D, G, S)),
        (names.packlists(D, G), names.packlist(D, G, S)),
        (names.outcomes(D, G), names.outcome(D, G, S)),
        (names.wal(D), names.wal_file(D, SEGMENT)),
        (names.wal_pieces(D, SEGMENT), names.wal_piece(D, SEGMENT, 0, 1)),
        (names.floors(D), names.floor(D, 1)),
        (names.EVIDENCE, names.evidences(SIGNER)),
        (names.evidences(SIGNER), names.evidence(SIGNER, 1)),
    ],
)
def test_prefixes_list_their_names(prefix: str, name: str) -> None:
    assert name.startswith(prefix)
    assert prefix.endswith("/")

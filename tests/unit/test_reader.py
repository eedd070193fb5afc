"""One snapshot, opened: streams, trees, and what is left out when something is damaged."""

import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from drkit.crypto.recipients import new_identity
from drkit.errors import Damaged, DiskError, DrkitError, KeyMissing
from drkit.events import Advanced, Event, Finished, Started
from drkit.model.entry import Entry
from drkit.repository import names
from drkit.repository.format import MANIFEST_MAGIC
from drkit.source import Cut, Save
from drkit.stores.memory import MemoryStore
from drkit.system import System
from tests.fixtures.host import Host, new_host
from tests.fixtures.kinds import body
from tests.fixtures.trees import noise

LARGE = noise(3_000_000, 1)


def tree(save: Save) -> None:
    save.put(Entry(path="d", type="dir", mode=0o750))
    for n in range(20):
        content = noise(1000, n + 10)
        save.whole(Entry(path=f"d/small {n:02d}", size=1000, mode=0o600), content)
    writer = save.write(Entry(path="large", size=len(LARGE)), Cut.CONTENT)
    writer.write(LARGE)
    writer.close()
    holed = save.splice(Entry(path="holed", size=10 << 20), 10 << 20)
    holed.at(5 << 20, b"in the middle")
    holed.close()
    save.put(Entry(path="large 2", type="hardlink", target="large"))
    save.put(Entry(path="link", type="link", target="d/small 00"))


EXPECTED = {f"d/small {n:02d}": noise(1000, n + 10) for n in range(20)} | {
    "large": LARGE,
    "large 2": LARGE,
    "holed": bytes(5 << 20) + b"in the middle" + bytes((5 << 20) - 13),
}


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def host(tmp_path: Path, told: list[Event]) -> Host:
    store = MemoryStore(System().now)
    host = new_host(store, tmp_path / "state", system=System(tell=told.append))
    host.back_up(tree)
    told.clear()
    return host


def test_a_tree_comes_back(host: Host, tmp_path: Path, told: list[Event]) -> None:
    assert host.written(tmp_path / "out") == EXPECTED
    out = tmp_path / "out"
    assert (out / "d").stat().st_mode & 0o777 == 0o750
    assert (out / "large").samefile(out / "large 2")
    assert (out / "link").readlink() == Path("d/small 00")
    assert (out / "holed").stat().st_blocks < 100
    started, *middle, finished = told
    assert isinstance(started, Started)
    assert isinstance(finished, Finished)
    done = [event for event in middle if isinstance(event, Advanced)]
    assert sum(event.bytes for event in done) == started.total_bytes
    assert started.total_items == 22


@pytest.mark.parametrize("size", [1, 999, 65_536, 1 << 20, (1 << 20) + 1, -1])
def test_a_stream_may_be_read_in_any_steps(host: Host, size: int) -> None:
    with host.opened() as reader:
        for entry in reader.entries():
            if entry.path in ("holed", "d/small 03", "large") and (size > 900 or size < 0):
                parts = []
                with reader.stream(entry) as stream:
                    assert stream.readable()
                    while part := stream.read(size):
                        parts.append(part)
                assert b"".join(parts) == EXPECTED[entry.path]
            elif entry.path == "d/small 03":
                with reader.stream(entry) as stream:
                    assert b"".join(iter(lambda: stream.read(size), b"")) == EXPECTED[entry.path]


def test_a_stream_reads_into_what_it_is_given(host: Host) -> None:
    buffer = bytearray(4 << 20)
    with host.opened() as reader:
        large = next(e for e in reader.entries() if e.path == "large")
        with reader.stream(large) as stream:
            assert cast("io.BufferedReader", stream).readinto(buffer) == len(LARGE)
            assert stream.read(1) == b""
    assert buffer[: len(LARGE)] == LARGE


def test_chosen_entries_alone(host: Host, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with host.opened() as reader:
        chosen = [e for e in reader.entries() if e.path in ("d", "d/small 07")]
        reader.tree(chosen, tmp_path / "out")
        assert len(list(reader.entries())) == 25
    assert os.listdir(tmp_path / "out/d") == ["small 07"]


def test_entries_come_sorted_however_they_were_saved(host: Host) -> None:
    with host.opened() as reader:
        paths = [e.path for e in reader.entries()]
    assert paths == sorted(paths)


# Damage.


def packs(host: Host) -> list[str]:
    return [s.name for s in host.listed("packs")]


def instead(host: Host, name: str, change: Callable[[bytearray], object]) -> None:
    data = bytearray(host.store.read(name, 1 << 30))
    change(data)
    host.store.delete(name)
    host.store.put(name, body(bytes(data)))


def flip(data: bytearray) -> None:
    for at in range(2000, len(data) - 3000, 1000):
        data[at] ^= 1


def cut(data: bytearray) -> None:
    del data[5000:]


@pytest.mark.parametrize("change", [flip, cut, bytearray.clear], ids=["flip", "cut", "empty"])
def test_what_a_damaged_pack_holds_is_left_out_and_said(
    change: Callable[[bytearray], object], host: Host, tmp_path: Path
) -> None:
    for name in packs(host):
        instead(host, name, change)
    (tmp_path / "out").mkdir()
    with host.opened() as reader, pytest.raises(Damaged, match="could not be restored") as caught:
        reader.tree(reader.entries(), tmp_path / "out")
    assert caught.value.hint
    left = {p.name for p in (tmp_path / "out").iterdir()}
    assert left == {"d", "link"}
    assert "23 files" in caught.value.message or "22 files" in caught.value.message


@pytest.mark.parametrize("at", range(2))
def test_one_missing_pack_takes_nothing_else_along(at: int, host: Host, tmp_path: Path) -> None:
    names_of_packs = packs(host)
    if at >= len(names_of_packs):
        return
    host.store.delete(names_of_packs[at])
    (tmp_path / "out").mkdir()
    with host.opened() as reader, pytest.raises(Damaged, match="it is missing"):
        reader.tree(reader.entries(), tmp_path / "out")
    left = {
        os.fspath(p.relative_to(tmp_path / "out")): p.read_bytes()
        for p in (tmp_path / "out").rglob("*")
        if p.is_file()
    }
    assert left.items() <= (EXPECTED | {"link": EXPECTED["d/small 00"]}).items()


def test_a_damaged_file_takes_its_hard_links_along(host: Host, tmp_path: Path) -> None:
    with host.opened() as reader:
        places = reader.places()
        large = next(e for e in reader.entries() if e.path == "large")
        i = places.index(large.extents[0])
        pack, at = places.packs[places.pack[i]], places.at[i] + 100
        snapshot = host.newest()
        name = names.pack(snapshot.domain, snapshot.generation, pack.session, pack.number)
        host.store.read(name, 1 << 30)
        instead(host, name, lambda data: data.__setitem__(at, data[at] ^ 1))
        (tmp_path / "out").mkdir()
        with pytest.raises(Damaged, match=r"2 files could not be restored .* large, large 2: "):
            reader.tree(reader.entries(), tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == ["d", "holed", "link"]


def test_a_damaged_stream_ends_with_an_error_and_no_wrong_byte(host: Host) -> None:
    for name in packs(host):
        instead(host, name, flip)
    with host.opened() as reader:
        large = next(e for e in reader.entries() if e.path == "large")
        with reader.stream(large) as stream, pytest.raises(Damaged):
            stream.read()


def manifest_name(host: Host) -> str:
    snapshot = host.newest()
    return names.manifest(snapshot.domain, snapshot.generation, snapshot.session)


MANIFESTS: dict[str, Callable[[bytearray], object]] = {
    "flipped": lambda data: data.__setitem__(len(data) // 2, data[len(data) // 2] ^ 1),
    "flipped in its head": lambda data: data.__setitem__(0, data[0] ^ 1),
    "flipped at its end": lambda data: data.__setitem__(-1, data[-1] ^ 1),
    "cut": lambda data: data.__delitem__(slice(-1, None)),
    "empty": lambda data: data.clear(),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_that_is_not_the_signed_one_is_never_parsed(case: str, host: Host) -> None:
    snapshot = host.newest()
    instead(host, manifest_name(host), MANIFESTS[case])
    with pytest.raises(DrkitError) as caught, host.opened(snapshot):
        pass
    assert caught.value.exit_code in (5, 8)


def test_more_bytes_behind_a_manifest_are_not_looked_at(host: Host) -> None:
    instead(host, manifest_name(host), lambda data: data.extend(b"more"))
    assert host.streamed() == EXPECTED


@pytest.mark.parametrize("size", [0, 1, 23])
def test_a_commit_with_an_impossible_manifest_is_refused(size: int, host: Host) -> None:
    crafted = replace(host.newest(), manifest=(size, "0" * 64))
    with pytest.raises(Damaged, match="can't be a manifest"), host.opened(crafted):
        pass


def test_a_pack_is_no_manifest(host: Host) -> None:
    """A forged commit that names other bytes of the same keys."""
    name = packs(host)[0]
    data = host.store.read(name, 1 << 30)
    assert not data.startswith(MANIFEST_MAGIC)
    digest = body(data).sha256.hex()
    crafted = replace(host.newest(), manifest=(len(data), digest))
    target = manifest_name(host)
    host.store.delete(target)
    host.store.put(target, body(data))
    with pytest.raises(Damaged, match="no valid head"), host.opened(crafted):
        pass


def test_without_a_fitting_identity_the_recipients_are_named(host: Host) -> None:
    other = replace(host, identities=(new_identity(),))
    with pytest.raises(KeyMissing) as caught, other.opened():
        pass
    for recipient in host.plan.recipients:
        assert recipient.fingerprint in caught.value.message


def test_a_restore_that_does_not_fit_writes_nothing(host: Host, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with host.opened() as reader:
        large = next(e for e in reader.entries() if e.path == "large")
        many = Entry(path="x", size=1 << 60, extents=(large.extents[0], 0, 1 << 60))
        with pytest.raises(DiskError, match="nothing was written"):
            reader.tree([many], tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []

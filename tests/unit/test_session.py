"""The commit protocol: its order, and what stops it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from drkit.errors import Busy, Damaged, DiskError, DrkitError, NotFound, StoreError
from drkit.model.entry import Entry
from drkit.model.snapshot import Facts
from drkit.repository import names
from drkit.repository.repository import tool
from drkit.repository.signed import Begin, Closed, Commit, Fence, Open, Where, decode, encode
from drkit.source import Save
from drkit.stores.base import Body
from drkit.stores.memory import MemoryStore
from drkit.system import System
from tests.fixtures.host import Host, Scripted, new_host
from tests.fixtures.kinds import body
from tests.fixtures.trees import noise


@dataclass(slots=True)
class Watched:
    """A store that calls back around every put and listing, and may change what is read."""

    inner: MemoryStore
    url: str = "memory://watched"
    lanes: int = 2
    locks: bool = False
    calls: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda _call: None
    after: Callable[[str], None] = lambda _call: None
    seen: Callable[[str, memoryview], None] = lambda _name, _view: None

    def prepare(self) -> None: ...
    def close(self) -> None: ...
    def staging(self) -> Path | None:
        return None

    def _call(self, what: str, name: str) -> str:
        call = f"{what} {''.join(name.split('/')[4:5])}".strip()
        self.calls.append(call)
        self.before(call)
        return call

    def put(self, name: str, body: Body) -> None:
        call = self._call("put", name)
        self.inner.put(name, body)
        self.after(call)

    def list(self, prefix: str):  # type: ignore[no-untyped-def]
        call = self._call("list", prefix)
        yield from self.inner.list(prefix)
        self.after(call)

    def level(self, prefix: str):  # type: ignore[no-untyped-def]
        call = self._call("list", prefix)
        yield from self.inner.level(prefix)
        self.after(call)

    def read(self, name: str, limit: int) -> bytes:
        return self.inner.read(name, limit)

    def read_into(self, name: str, offset: int, view: memoryview) -> None:
        self._call("look at", name)
        self.inner.read_into(name, offset, view)
        self.seen(name, view)

    def size(self, name: str) -> int:
        return self.inner.size(name)

    def delete(self, name: str) -> None:
        self.inner.delete(name)


@pytest.fixture
def watched() -> Watched:
    return Watched(MemoryStore(System().now))


@pytest.fixture
def host(watched: Watched, tmp_path: Path) -> Host:
    host = new_host(watched, tmp_path / "state")
    watched.calls.clear()
    return host


def one(save: Save) -> None:
    content = noise(100_000)
    save.whole(Entry(path="x", size=len(content)), content)


def puts(watched: Watched) -> list[str]:
    return [call.removeprefix("put ") for call in watched.calls if call.startswith("put ")]


def test_the_order_is_the_contract(host: Host, watched: Watched) -> None:
    host.back_up(one)
    calls = [c for i, c in enumerate(watched.calls) if [c] != watched.calls[i - 1 : i]]
    assert calls == [
        "list",  # what there is
        "put open",
        "put begin",
        "list",  # closed, or the parent gone?
        "put packs",
        "put packlist",
        "put manifest",
        "list",  # everything there, and not closed?
        "look at packlist",
        "look at manifest",
        "put outcome",
    ]
    watched.calls.clear()
    host.back_up(one)
    assert puts(watched) == ["begin", "packlist", "manifest", "outcome"]


def test_what_is_signed_is_what_was_done(host: Host, watched: Watched) -> None:
    first = host.back_up(one)
    second = host.back_up(one)
    plan = host.plan
    gen = Where(repository=host.repository.id, domain=plan.domain, generation=first.generation)
    where = replace(gen, session=second.session)
    opened, public = decode(
        Open, host.store.read(names.opened(plan.domain, first.generation), 1 << 16), gen
    )
    assert public == plan.signer.public
    assert opened.recipients == tuple(r.fingerprint for r in plan.recipients)
    assert opened.source == plan.origin
    name = names.begin(plan.domain, first.generation, second.session)
    begin, _ = decode(Begin, host.store.read(name, 4096), where)
    assert (begin.kind, begin.parent) == ("incremental", first.session)
    name = names.outcome(plan.domain, first.generation, second.session)
    data = host.store.read(name, 4096)
    commit, _ = decode(Commit, data, where)
    assert (commit.kind, commit.parent) == ("incremental", first.session)
    assert commit.heads == ((first.generation, first.hash),)
    assert commit.tools == {"restore.py": hashlib.sha256(tool("restore.py")).hexdigest()}
    assert commit.begun <= commit.ended
    assert commit.added == second.added
    assert second.hash == hashlib.sha256(data).hexdigest()
    name = names.packlist(plan.domain, first.generation, second.session)
    packlist = host.store.read(name, 1 << 20)
    assert commit.packlist == (len(packlist), hashlib.sha256(packlist).hexdigest())
    assert msgspec.json.decode(packlist) == {"packs": [], "uses": [first.session]}


def test_names_stand_in_the_manifest_only(host: Host) -> None:
    class Noted(Scripted):
        def capture(self, save: Save) -> Facts:
            facts = super().capture(save)
            return replace(facts, notes=("secret/name: permission denied",), damaged=True)

    done = host.back_up(Noted(one))
    assert done.facts.notes == ("secret/name: permission denied",)
    assert host.newest().facts.notes == ()
    assert host.newest().facts.damaged
    with host.opened() as reader:
        assert reader.lines().head.notes == done.facts.notes
        assert reader.lines().head.policy == host.plan.policy


def where(host: Host, watched: Watched) -> Where:
    (begin,) = [
        s.name
        for s in watched.inner.list("domains/")
        if "/begin/" in s.name and not watched_has(watched, s.name.replace("/begin/", "/outcome/"))
    ]
    _, domain, _, generation, _, session = begin.split("/")
    return Where(
        repository=host.repository.id, domain=domain, generation=generation, session=session
    )


def watched_has(watched: Watched, name: str) -> bool:
    try:
        watched.inner.size(name)
    except NotFound:
        return False
    return True


def close_it(host: Host, watched: Watched) -> None:
    at = where(host, watched)
    said = Closed(by="keeper", at=datetime.now(UTC), reason="old", plan="x")
    data = encode(said, replace(at, session=None), host.plan.signer)
    watched.inner.put(names.closed(at.domain, at.generation or ""), body(data))


def fence_it(host: Host, watched: Watched) -> None:
    at = where(host, watched)
    said = Fence(reason="too old", by="keeper", at=datetime.now(UTC))
    data = encode(said, at, host.plan.signer)
    watched.inner.put(names.outcome(at.domain, at.generation or "", at.session or ""), body(data))


MEDDLING = {
    "closed after begin": ("put begin", close_it, "closed the generation just now"),
    "closed while packs go": ("put packs", close_it, "fenced by a forget|closed"),
    "closed before the check": ("put manifest", close_it, "fenced by a forget|closed"),
    "fenced while packs go": ("put packs", fence_it, "fenced by a forget"),
    "fenced at the last moment": ("look at manifest", fence_it, "fenced by a forget"),
}


@pytest.mark.parametrize("case", MEDDLING)
def test_a_forget_that_gets_in_between_stops_it(case: str, host: Host, watched: Watched) -> None:
    moment, act, match = MEDDLING[case]
    host.back_up(one)

    def meddle(call: str) -> None:
        if call == moment:
            watched.after = watched.before = lambda _call: None
            act(host, watched)

    def changed(save: Save) -> None:
        save.whole(Entry(path="y", size=70_000), noise(70_000, 9))

    if moment.startswith("put"):
        watched.after = meddle
    else:
        watched.before = meddle
    with pytest.raises(Busy, match=match) as caught:
        host.back_up(changed)
    assert "drkit backup" in (caught.value.hint or "")
    assert len(host.history().snapshots) == 1
    done = host.back_up(changed)
    assert done.kind == ("full" if "closed" in case else "incremental")
    assert host.streamed() == {"y": noise(70_000, 9)}


def test_a_pack_name_that_is_taken_is_left_to_whoever_took_it(host: Host, watched: Watched) -> None:
    def take(call: str) -> None:
        if call == "put begin":
            at = where(host, watched)
            for number in (0, 1):
                name = names.pack(at.domain, at.generation or "", at.session or "", number)
                watched.inner.put(name, body(b"foreign"))

    watched.after = take
    host.back_up(one)
    taken = [s.name[-6:] for s in host.listed("packs") if s.size != 7]
    assert min(taken) == "000002"
    assert host.streamed() == {"x": noise(100_000)}


def test_a_pack_that_vanishes_before_the_commit_stops_it(host: Host, watched: Watched) -> None:
    def lose(call: str) -> None:
        if call == "put manifest":
            for stored in host.listed("packs"):
                watched.inner.delete(stored.name)

    watched.after = lose
    with pytest.raises(Damaged, match="is not there; nothing was committed"):
        host.back_up(one)


def test_a_pack_of_another_size_stops_it(host: Host, watched: Watched) -> None:
    def shorten(call: str) -> None:
        if call == "put manifest":
            for stored in host.listed("packs"):
                watched.inner.delete(stored.name)
                watched.inner.put(stored.name, body(b"short"))

    watched.after = shorten
    with pytest.raises(Damaged, match="is 5 bytes; nothing was committed"):
        host.back_up(one)


def test_a_used_pack_of_an_older_session_that_is_gone_stops_it(
    host: Host, watched: Watched
) -> None:
    def lose(call: str) -> None:
        if call == "put manifest":
            for stored in host.listed("packs"):
                watched.inner.delete(stored.name)

    host.back_up(one)
    watched.after = lose
    with pytest.raises(Damaged, match=r"should have .* and is not there"):
        host.back_up(one)


def test_after_a_pack_was_lost_or_cut_a_full_is_taken_and_says_so(
    host: Host, watched: Watched
) -> None:
    host.back_up(one)
    for stored in host.listed("packs"):
        watched.inner.delete(stored.name)
    done = host.back_up(one)
    assert done.kind == "full"
    assert "is missing or cut" in done.why
    assert [f.what for f in done.findings] == ["damage"]
    assert host.streamed() == {"x": noise(100_000)}
    assert host.back_up(one).kind == "incremental"


@pytest.mark.parametrize("part", ["manifest", "packlist"])
def test_a_store_that_gives_other_bytes_back_stops_it(
    part: str, host: Host, watched: Watched
) -> None:
    def lie(name: str, view: memoryview) -> None:
        if f"/{part}/" in name:
            view[len(view) // 2] ^= 1

    watched.seen = lie
    with pytest.raises(StoreError, match=r"other bytes .* nothing was committed"):
        host.back_up(one)
    watched.seen = lambda _name, _view: None
    assert host.history().snapshots == []


def test_a_parent_that_vanishes_after_begin_stops_it(host: Host, watched: Watched) -> None:
    first = host.back_up(one)

    def lose(call: str) -> None:
        if call == "put begin":
            name = names.outcome(host.plan.domain, first.generation, first.session)
            watched.inner.delete(name)

    watched.after = lose
    with pytest.raises(Damaged, match="on which this backup builds, is gone"):
        host.back_up(one)


@pytest.mark.parametrize("lost", ["before", "after"])
def test_an_outcome_without_an_answer_is_looked_for(
    lost: str, host: Host, watched: Watched
) -> None:
    """Sent and there: a success, whatever was answered. Not there: unknown, never 'failed'."""

    def drop(call: str) -> None:
        if call == "put outcome":
            raise StoreError("connection lost", transient=True)

    if lost == "after":
        watched.after = drop
        done = host.back_up(one)
        assert host.newest().session == done.session
        return
    watched.before = drop
    with pytest.raises(StoreError, match="outcome unknown") as caught:
        host.back_up(one)
    assert caught.value.exit_code == 5
    assert "drkit list" in (caught.value.hint or "")


def test_a_state_folder_that_refuses_is_told(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for state in (tmp_path / "gone", tmp_path / "file"):
        with pytest.raises(DiskError) as caught:
            host.back_up(one, plan=replace(host.plan, state=state))
        assert isinstance(caught.value, DrkitError)
    (host.plan.state / "spool").write_bytes(b"in the way")
    with pytest.raises(DiskError, match="no folder"):
        host.back_up(one)


@pytest.mark.parametrize("level", ["all", "sampled", "none"])
def test_every_level_of_looking_again_backs_up(level: str, host: Host) -> None:
    host.back_up(one, plan=replace(host.plan, verify=level))
    assert host.streamed() == {"x": noise(100_000)}


@pytest.mark.parametrize("level", [1, 3, 19])
def test_every_level_of_compression_restores(level: int, host: Host) -> None:
    host.back_up(one, plan=replace(host.plan, compression=level))
    assert host.streamed() == {"x": noise(100_000)}

"""From a folder to its copy: the whole way, as a person goes it."""

from datetime import datetime
from pathlib import Path

from tests.fixtures import trees
from tests.fixtures.command import Site


def test_what_was_lost_comes_back_the_same(bare: Site, tmp_path: Path) -> None:
    trees.hostile(bare.data)
    bare.init()
    bare.ok("backup")
    trees.write(bare.data / "new/이름 \n.txt", b"later\n")
    (bare.data / "file").unlink()
    said = bare.ok("backup", "--incremental").out
    assert said.startswith("shop: incremental backup committed: ")
    bare.ok("restore", "--into", "out", "-i", bare.identity, "--as-root")
    assert trees.compare(bare.data, tmp_path / "out") == []


def test_repository_and_identity_alone_are_enough(done: Site, tmp_path: Path) -> None:
    away = Site(home=tmp_path)
    where = ("--repository", done.store, "-i", done.identity)
    listed = away.ok("list", *where)
    assert "shop: file://" in listed.out
    assert "no signer is pinned" in listed.err
    away.ok("restore", *where, "--into", "out")
    assert trees.compare(done.data, tmp_path / "out", owners=False) == []
    policy = away.ok("show", "latest", "--policy", *where).out
    assert policy == done.policy.read_text()
    assert not away.state.exists()


def test_pinned_by_hand_nothing_is_warned_of(done: Site) -> None:
    signer = done.ok("key", "show", "--json").document["signers"][0][1]
    assert done.ok("list", "--repository", done.store, "--signer", signer).err == ""
    other = "ed25519:" + "00" * 32
    refused = done("list", "--repository", done.store, "--signer", other)
    assert refused.code == 8
    assert "does not pin" in refused.err


def test_without_an_identity_domains_have_ids_for_names(done: Site) -> None:
    document = done.ok("list", "--repository", done.store, "--json").document
    (domain,) = document["domains"]
    assert domain["name"] is None
    assert len(domain["domain"]) == 32
    assert len(domain["snapshots"]) == 2


def test_chosen_paths_come_back_alone(done: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    whole = str(done.data / "folder 2")
    done.ok("restore", "shop", "later.txt", whole, "--into", out, "-i", done.identity)
    assert sorted(p.name for p in out.iterdir()) == ["folder 2", "later.txt"]
    assert trees.compare(done.data, out, below="folder 2") == []
    missing = done("restore", "shop", "latr.txt", "--into", tmp_path / "x", "-i", done.identity)
    assert missing.code == 2
    assert "did you mean later.txt?" in missing.err
    assert f"nothing was written to {tmp_path / 'x'}" in missing.err
    assert not (tmp_path / "x").exists()


def test_a_time_chooses_the_newest_before_it(done: Site, tmp_path: Path) -> None:
    first, second = done.ok("list", "--json").document["domains"][0]["snapshots"]
    between = datetime.fromisoformat(first["ended"]).isoformat()
    chosen = done.ok(
        "restore", "--into", tmp_path / "a", "-i", done.identity, "--at", between, "--json"
    )
    assert chosen.document["snapshot"]["snapshot"] == first["snapshot"]
    assert not (tmp_path / "a/later.txt").exists()
    now = done.ok("restore", "--into", tmp_path / "b", "-i", done.identity, "--at", "now", "--json")
    assert now.document["snapshot"]["snapshot"] == second["snapshot"]


def test_a_time_before_everything_names_the_nearest(done: Site, tmp_path: Path) -> None:
    ran = done("restore", "--into", tmp_path / "a", "-i", done.identity, "--at", "2 hours ago")
    first = done.ok("list", "--json").document["domains"][0]["snapshots"][0]
    assert ran.code == 2
    assert f"--snapshot {first['snapshot'][:8]}" in ran.err


def test_a_time_without_a_zone_is_not_guessed(done: Site, tmp_path: Path) -> None:
    ran = done("restore", "--into", tmp_path / "a", "-i", done.identity, "--at", "2026-01-02T03:04")
    assert ran.code == 2
    assert "has no time zone" in ran.err
    assert "--at 2026-01-02T03:04+00:00" in ran.err


def test_a_restore_is_never_mixed_with_what_is_there(done: Site, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("mine")
    ran = done("restore", "--into", tmp_path / "out", "-i", done.identity)
    assert ran.code == 2
    assert "is not empty" in ran.err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine"]


def test_a_dry_run_says_and_does_nothing(done: Site, tmp_path: Path) -> None:
    into = tmp_path / "out"
    ran = done.ok("restore", "--into", into, "-i", done.identity, "--dry-run", "--json")
    assert ran.document["dry_run"] is True
    assert ran.document["bytes"] == sum(
        p.stat().st_size for p in done.data.rglob("*") if p.is_file()
    )
    assert not into.exists()


def test_show_tells_facts_to_anybody_and_names_to_a_key(done: Site) -> None:
    facts = done.ok("show", "latest").out
    assert "kind        incremental" in facts
    assert "later.txt" not in facts
    sealed = done("show", "latest", "--files")
    assert sealed.code == 7
    files = done.ok("show", "latest", "--files", "-i", done.identity).out
    assert "later.txt" in files
    below = done.ok("show", "latest", "folder 1", "-i", done.identity, "--json").document
    assert all(entry["path"].startswith("folder 1") for entry in below["files"])


def test_a_snapshot_has_several_names(done: Site) -> None:
    first, second = done.ok("list", "--json").document["domains"][0]["snapshots"]
    for word, wanted in [
        ("oldest", first),
        ("latest", second),
        (first["snapshot"][:4], first),
        (second["snapshot"], second),
    ]:
        shown = done.ok("show", word, "--json").document
        assert shown["snapshot"] == wanted["snapshot"]
    assert done("show", "abc").code == 2
    assert done("show", "00000000").code == 2


def test_the_identity_may_be_typed_from_paper(done: Site, tmp_path: Path) -> None:
    lines = done.identity.read_text().splitlines()
    paper = "\n".join(line.removeprefix("# ") for line in lines if line.startswith("# ")) + "\n"
    typed = paper[paper.index("AGE-SECRET-KEY-1\n") :]
    done.ok("restore", "--into", tmp_path / "out", "-i", "-", stdin=typed)
    away = Site(home=done.home, variables={"DRKIT_IDENTITY_FILE": str(done.identity)})
    away.ok("restore", "--into", tmp_path / "second")

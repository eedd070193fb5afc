"""drkit init: what it makes, what it leaves alone, and what it says."""

import os
import stat
from pathlib import Path

import pytest

from drkit.config import load_policy
from drkit.crypto.recipients import new_identity
from tests.fixtures.command import Site
from tests.fixtures.terminal import talk


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_it_makes(bare: Site) -> None:
    ran = bare.init("--json")
    document = ran.document
    assert mode(bare.state) == 0o700
    assert mode(bare.state / "signer.key") == 0o600
    assert mode(bare.identity) == mode(bare.home / "keys/safe.txt") == 0o600
    policy = load_policy(bare.policy)
    public = [made["public"] for made in document["identities"]]
    assert list(policy.encryption.recipients) == public
    assert len(set(public)) == 2
    signer = document["signer"]["public"].removeprefix("ed25519:")
    assert policy.encryption.signers.writers == {bytes.fromhex(signer)}
    assert policy.schedule.full is not None
    assert policy.retention.keep is not None
    assert bare.policy.read_text().startswith("# yaml-language-server: $schema=")
    assert (bare.home / "policies/policy.schema.json").exists()
    assert len(document["restore_py_sha256"]) == 64
    assert any("backup -q" in line for line in document["cron"])
    assert "AGE-SECRET-KEY" not in ran.out + ran.err
    assert b"AGE-SECRET-KEY" not in b"".join(
        p.read_bytes() for p in bare.state.rglob("*") if p.is_file()
    )


def test_twice_changes_nothing(bare: Site) -> None:
    bare.init()
    kept = {p: p.read_bytes() for p in bare.home.rglob("*") if p.is_file()}
    again = bare.init()
    assert "exists and is left as it is" in again.out
    assert "joined" in again.out
    assert "signer.key: exists, and is used" in again.out
    assert {p: p.read_bytes() for p in bare.home.rglob("*") if p.is_file()} == kept


def test_a_second_policy_shares_repository_and_keys(bare: Site) -> None:
    bare.init()
    where = ("--files", bare.data, "--store", bare.store, "--identities-to", "keys")
    bare.ok("init", "other", "--non-interactive", *where)
    one, two = (load_policy(bare.home / f"policies/{n}.yaml") for n in ("shop", "other"))
    assert one.encryption == two.encryption
    bare.ok("backup")
    document = bare.ok("list", "--json").document
    assert [len(domain["snapshots"]) for domain in document["domains"]] == [1, 1]


def test_a_machine_without_its_key_is_told_what_to_pin(shop: Site) -> None:
    (shop.state / "signer.key").unlink()
    assert shop("backup").code == 3
    ran = shop.init()
    assert "doesn't pin this machine's key" in ran.err
    refused = shop("backup", "--full")
    assert refused.code == 3
    assert "is not among its writers" in refused.err


def test_given_recipients_make_no_identity(bare: Site) -> None:
    ours, safe = (new_identity().recipient.text for _ in range(2))
    words = ("init", "shop", "--non-interactive", "--files", bare.data, "--store", bare.store)
    bare.ok(*words, "-r", ours, "-r", safe)
    assert load_policy(bare.policy).encryption.recipients == (ours, safe)
    assert not (bare.home / "keys").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nobody is here to write down identities"),
        (("-r", "OURS"), "one recipient alone"),
        (("-r", "age1nonsense", "-r", "OURS"), "is no age recipient"),
        (("--identities-to", "keys", "--store", "/"), "can't be a store"),
        (("--identities-to", "keys", "--files", "nowhere"), "is no folder"),
        (("--identities-to", "keys", "Shop Ä"), "is not a name"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_made(
    bare: Site, words: tuple[str, ...], said: str
) -> None:
    ours = new_identity().recipient.text
    given = [word.replace("OURS", ours) for word in words]
    base: list[str | Path] = ["init", "--non-interactive"]
    if "--store" not in given:
        base += ["--store", bare.store]
    if "--files" not in given:
        base += ["--files", bare.data]
    if "Shop Ä" not in given:
        base.insert(1, "shop")
    ran = bare(*base, *given)
    assert ran.code in (2, 3)
    assert said in ran.err
    assert sorted(p.name for p in bare.home.iterdir()) == ["data"]


def test_one_recipient_is_possible_when_said(bare: Site) -> None:
    ours = new_identity().recipient.text
    words = ("init", "shop", "--non-interactive", "--files", bare.data, "--store", bare.store)
    bare.ok(*words, "-r", ours, "--single-recipient")
    assert load_policy(bare.policy).encryption.single_recipient
    bare.ok("backup")


def test_a_root_with_quotes_and_korean_is_written_so_that_it_reads(bare: Site) -> None:
    root = bare.home / "a \"quoted\": 'name' # 고객 \\"
    root.mkdir()
    (root / "file").write_text("x")
    words = ("--store", bare.store, "--identities-to", "keys")
    bare.ok("init", "shop", "--non-interactive", "--files", root, *words)
    files = load_policy(bare.policy).source.files
    assert files is not None
    assert files.root == root
    bare.ok("backup")


def test_a_root_that_is_no_text_is_refused(bare: Site) -> None:
    root = os.fsencode(bare.home) + b"/b\xff"
    os.mkdir(root)
    words = ("--store", bare.store, "--identities-to", "keys")
    ran = bare("init", "shop", "--non-interactive", "--files", os.fsdecode(root), *words)
    assert ran.code == 2
    assert "is not UTF-8" in ran.err


def test_on_a_terminal_it_asks_and_prints_the_keys_once(bare: Site) -> None:
    said = talk(
        bare,
        ["init"],
        ["policy [shop]:", "\n"],
        ["folder, postgres) [folder]:", "\n"],
        ["to protect:", f"{bare.data}\n"],
        ["another disk):", f"{bare.store}\n"],
        ["[y/N]:", "y\n"],
    )
    assert said.count("  AGE-SECRET-KEY-1") == 4  # two, each once more above its paper form
    assert said.count("on paper:") == 2
    assert load_policy(bare.policy).name == "shop"
    bare.ok("backup")
    kept = [*(bare.home / "policies").iterdir(), *bare.state.rglob("*")]
    assert not any(b"AGE-SECRET-KEY" in p.read_bytes() for p in kept if p.is_file())


def test_keys_that_nobody_kept_protect_nothing(bare: Site) -> None:
    """A policy with them would lose every backup."""
    where = ["--files", str(bare.data), "--store", str(bare.store)]
    talk(bare, ["init", "shop", *where], ["[y/N]:", "n\n"], code=130)
    assert not bare.policy.exists()

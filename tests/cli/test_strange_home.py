"""Another repository where home was: said, refused, and never filled by mistake."""

from pathlib import Path

import pytest

from tests.fixtures.command import Site


@pytest.fixture
def pair(shop: Site, tmp_path: Path) -> Site:
    text = shop.policy.read_text()
    shop.policy.write_text(
        text.replace("  # bandwidth: 80 MB/s", f"  copies: [{tmp_path / 'second'}]")
    )
    shop.ok("backup")
    return shop


def init(site: Site, *words: str | Path) -> tuple[str | Path, ...]:
    where = ("--files", site.data, "--store", site.store, "--identities-to", "keys")
    return ("init", "shop", "--non-interactive", *where, *words)


def test_a_home_that_was_lost_is_not_made_anew(pair: Site, tmp_path: Path) -> None:
    pair.store.rename(tmp_path / "away")
    second = tmp_path / "second"
    for words in ((), ("--copy", second), ("--copy", second, "--yes")):
        refused = pair(*init(pair, *words))
        assert refused.code == 3, refused
        assert "nothing was made" in refused.err
        assert not (pair.store / "repository.json").exists()
        assert not words or f"drkit copy --repository '{second}'" in refused.err
    pair.ok("copy", "--repository", second, "--to", pair.store)
    pair.ok("backup", "--incremental")


def test_another_repository_there_is_not_taken_for_home(shop: Site, tmp_path: Path) -> None:
    shop.store.rename(tmp_path / "away")
    other = Site(home=tmp_path / "other")
    other.data.mkdir(parents=True)
    other.init()
    other.store.rename(shop.store)
    for words in (("backup",), ("list",), ("doctor",)):
        found = shop(*words)
        assert found.code == 8, found
        assert "holds repository" in found.out + found.err
    assert not list(shop.store.glob("domains/*"))
    shop.ok(*init(shop, "--yes"))
    assert shop.ok("backup").out.startswith("shop: full backup committed")


def test_home_in_another_spelling_is_home(pair: Site) -> None:
    """What this machine has seen there counts for it, too."""
    spelled = ("list", "--store", f"{pair.store}/.")
    assert pair.ok(*spelled).out.startswith("shop: file://")
    newest = max(
        pair.store.glob("domains/*/generations/*/outcome/*"), key=lambda p: p.stat().st_mtime
    )
    newest.unlink()
    found = pair(*spelled)
    assert found.code == 8, found
    assert "this machine has seen" in found.err


def test_a_copy_whose_outcome_was_changed_is_said(pair: Site, tmp_path: Path) -> None:
    outcome = next((tmp_path / "second").glob("domains/*/generations/*/outcome/*"))
    data = bytearray(outcome.read_bytes())
    data[-2] ^= 1
    outcome.chmod(0o600)
    outcome.write_bytes(data)
    for words in (("copy",), ("backup", "--incremental")):
        found = pair(*words)
        assert found.code == 8, found
        assert outcome.name in found.err

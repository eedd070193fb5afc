"""From a flipped byte to the next sound backup: what is told, and what drkit does itself."""

from pathlib import Path

from tests.fixtures import trees
from tests.fixtures.command import Site


def test_a_scrub_finds_it_and_the_next_backup_is_a_full(shop: Site, tmp_path: Path) -> None:
    pack = next(Path(shop.store).glob("domains/*/generations/*/packs/*"))
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(data)

    assert shop.ok("backup", "--incremental").out.startswith("shop: incremental")
    found = shop("scrub")
    assert found.code == 8
    assert pack.name in found.out + found.err

    after = shop("backup", "--incremental")
    assert after.code == 8, "committed, and says that the older ones are hit"
    assert "full backup committed" in after.out
    assert "found the last backups damaged" in after.out + after.err

    assert shop.ok("backup", "--incremental").out.startswith("shop: incremental")
    shop.ok("restore", "--into", "out", "-i", shop.identity)
    assert trees.compare(shop.data, tmp_path / "out", owners=False) == []


def test_a_pack_that_is_gone(shop: Site, tmp_path: Path) -> None:
    pack = next(Path(shop.store).glob("domains/*/generations/*/packs/*"))
    pack.unlink()
    refused = shop("restore", "--into", "out", "-i", shop.identity)
    assert refused.code == 8
    assert "it is missing" in refused.err
    after = shop("backup", "--incremental")
    assert after.code == 8
    assert "full backup committed" in after.out
    shop.ok("restore", "--into", "again", "-i", shop.identity)
    assert trees.compare(shop.data, tmp_path / "again", owners=False) == []


def test_a_begin_that_was_changed_is_found(shop: Site) -> None:
    begin = next(Path(shop.store).glob("domains/*/generations/*/begin/*"))
    data = bytearray(begin.read_bytes())
    data[70] ^= 1
    begin.write_bytes(data)
    found = shop("scrub", "--level", "0")
    assert found.code == 8
    assert begin.name in found.out + found.err

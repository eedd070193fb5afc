"""One domain holds one cluster: another one at its place is refused, and what to do is said."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.command import Ran, Site
from tests.fixtures.postgres import Server, own, serving

pytestmark = pytest.mark.pg

REFUSED = "this policy's backups are of postgres-physical "
HINT = "set a new `id:` in the policy; the old backups stay readable"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(home=own(tmp_path))


@pytest.fixture
def first(tmp_path: Path) -> Iterator[Server]:
    with serving(own(tmp_path) / "first", 18) as server:
        server.sql("create table orders as select generate_series(1, 100) i")
        yield server


def init(site: Site, server: Server) -> None:
    where = ("--store", site.store, "--identities-to", "keys", "--non-interactive")
    site.ok("init", "shop", "--postgres", server.dsn, *where)


def system_of(server: Server) -> str:
    ((found,),) = server.sql("select system_identifier::text from pg_control_system()")
    return str(found)


def is_refused(ran: Ran, ours: str, theirs: str) -> None:
    assert ran.code == 3, ran
    assert f"{REFUSED}{ours}, not of postgres-physical {theirs}" in ran.err
    assert HINT in ran.err


def snapshots(site: Site) -> list[str]:
    (domain,) = site.ok("list", "shop", "--json").document["domains"]
    return [str(one["snapshot"]) for one in domain["snapshots"]]


def with_words(site: Site, old: str, new: str) -> None:
    text = site.policy.read_text()
    assert old in text
    site.policy.write_text(text.replace(old, new))


def test_a_policy_that_is_pointed_at_another(site: Site, first: Server, tmp_path: Path) -> None:
    init(site, first)
    site.ok("backup", "shop")
    before = snapshots(site)
    with serving(tmp_path / "second", 18) as second:
        with_words(site, str(first.folder), str(second.folder))
        is_refused(site("backup", "shop", "--incremental"), system_of(first), system_of(second))
        is_refused(site("backup", "shop", "--full"), system_of(first), system_of(second))
        assert snapshots(site) == before
        with_words(site, str(second.folder), str(first.folder))
        site.ok("backup", "shop", "--incremental")
        assert len(snapshots(site)) == 2


def test_a_cluster_that_was_made_anew_at_its_place(site: Site, tmp_path: Path) -> None:
    """As pg_upgrade does it: the address stays, the system identifier is a new one."""
    with serving(tmp_path / "server", 15) as old:
        init(site, old)
        site.ok("backup", "shop")
        ours = system_of(old)
    with serving(tmp_path / "server", 18) as new:
        new.sql("create table since as select 1 as n")
        is_refused(site("backup", "shop", "--incremental"), ours, system_of(new))
        with_words(site, "\nname: shop\n", "\nname: shop\nid: shop-18\n")
        site.ok("backup", "shop")
        assert len(snapshots(site)) == 1
        site.ok("restore", "shop", "-i", site.identity, "--into", tmp_path / "copy")
    with_words(site, "\nid: shop-18\n", "\n")
    assert len(snapshots(site)) == 1
    site.ok("restore", "shop", "-i", site.identity, "--into", tmp_path / "old copy", "--yes")
    assert (tmp_path / "old copy/PG_VERSION").read_text() == "15\n"
    assert (tmp_path / "copy/PG_VERSION").read_text() == "18\n"


def writer(site: Site) -> str:
    found = re.search(r'writers: \["(.+)"\]', site.policy.read_text())
    assert found is not None
    return found[1]


def test_two_hosts_that_give_it_the_same_name(site: Site, first: Server, tmp_path: Path) -> None:
    """Known to each other: refused. Strangers: told as what it may be, and not built upon."""
    init(site, first)
    site.ok("backup", "shop")
    (tmp_path / "other").mkdir()
    other = Site(home=own(tmp_path / "other"))
    with serving(tmp_path / "second", 18) as second:
        where = ("--store", site.store, "--identities-to", "keys", "--non-interactive")
        other.ok("init", "shop", "--postgres", second.dsn, *where)
        own_key, ours = writer(other), writer(site)
        with_words(other, f'writers: ["{own_key}"]', f'writers: ["{own_key}", "{ours}"]')
        is_refused(other("backup", "shop", "--full"), system_of(first), system_of(second))
        with_words(other, f'writers: ["{own_key}", "{ours}"]', f'writers: ["{own_key}"]')
        ran = other("backup", "shop")
    assert ran.code == 8, ran
    assert f"signed by {ours}, which the policy does not pin" in ran.err
    (one,) = site("list", "shop", "--json").document["domains"]
    assert len(one["snapshots"]) == 1

"""drkit key and drkit doctor, and the doubts of a restore, with a clock of their own."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drkit.config import Environment, load_policy
from drkit.errors import DrkitError, Exit
from drkit.operations import doctor, reading, restore
from drkit.operations.doctor_plan import DoctorPlan, Place
from drkit.repository.repository import open_repository
from drkit.stores import open_store
from drkit.system import System
from tests.fixtures.command import Site


def checks(site: Site, *words: str) -> dict[str, dict[str, object]]:
    ran = site("doctor", "--json", *words)
    (policy,) = ran.document["policies"]
    return {check["what"]: check for check in policy["checks"]}


def test_a_new_identity_is_written_once(done: Site, tmp_path: Path) -> None:
    to = tmp_path / "new.txt"
    public = done.ok("key", "new", "--to", to, "--json").document["public"]
    assert to.stat().st_mode & 0o777 == 0o600
    assert public in to.read_text()
    kept = to.read_bytes()
    again = done("key", "new", "--to", to)
    assert again.code == 5
    assert "file exists" in again.err
    assert to.read_bytes() == kept
    assert "AGE-SECRET-KEY-1" in done.ok("key", "new").out


def test_the_key_sheet_holds_no_secret(done: Site) -> None:
    said = done.ok("key", "show", "shop").out
    policy = load_policy(done.policy)
    for text in policy.encryption.recipients:
        assert text in said
    assert "SECRET" not in said
    assert "DRKIT-SIGNER" not in said
    assert "(this machine's)" in said


def test_each_identity_is_tested_alone(done: Site, tmp_path: Path) -> None:
    both = ("-i", done.identity, "-i", done.home / "keys/safe.txt")
    document = done.ok("key", "test", *both, "--json").document
    assert [one["opens"] for one in document["tested"]] == [True, True]
    assert document["recipients_not_tested"] == []
    done.ok("key", "new", "--to", tmp_path / "other.txt")
    ran = done("key", "test", "-i", done.identity, "-i", tmp_path / "other.txt")
    assert ran.code == 7
    assert "it is not one of the recipients" in ran.out
    assert "not tested here" in ran.out


def test_a_rotated_signer_must_be_pinned_and_the_old_stays_believed(shop: Site) -> None:
    document = shop.ok("key", "rotate", "shop", "--signer", "--json").document
    kept = Path(document["old_kept_at"])
    assert kept.parent == shop.state
    assert kept.stat().st_mode & 0o777 == 0o600
    refused = shop("backup", "--full")
    assert refused.code == 3
    assert document["new"] in refused.err
    text = shop.policy.read_text()
    pair = f'["{document["old"]}", "{document["new"]}"]'
    shop.policy.write_text(text.replace(f'["{document["old"]}"]', pair))
    said = shop.ok("backup", "--incremental")
    assert "the signing key changed" in said.err
    assert len(shop.ok("list", "--json").document["domains"][0]["snapshots"]) == 2
    shop.ok("restore", "--into", "out", "-i", shop.identity, "--snapshot", "oldest")


def test_doctor_finds_nothing_to_fail(done: Site) -> None:
    found = checks(done)
    assert "fail" not in {check["level"] for check in found.values()}
    assert found["rights"]["level"] == "warn"
    assert "does not hold here" in str(found["rights"]["message"])
    assert found["last full"]["level"] == "pass"
    assert not list((done.store / "probe").rglob("*"))


def test_doctor_warns_of_identities_on_the_host(shop: Site) -> None:
    assert checks(shop)["identities"]["level"] == "pass"
    here = replace(shop, variables={"DRKIT_IDENTITY_FILE": str(shop.identity)})
    assert checks(here)["identities"]["level"] == "warn"
    (shop.state / "forgotten.txt").write_bytes(shop.identity.read_bytes())
    found = checks(shop)["identities"]
    assert found["level"] == "warn"
    assert "forgotten.txt" in str(found["message"])


def _unpinned(site: Site) -> None:
    text = site.policy.read_text()
    start, end = text.index("  # Whose backups"), text.index("schedule:")
    site.policy.write_text(text[:start] + "\n" + text[end:])


@pytest.mark.parametrize(
    ("harm", "what", "level", "code"),
    [
        (lambda s: (s.store / "restore.py").write_text("evil"), "restore.py", "fail", 8),
        (lambda s: (s.store / "FORMAT.md").unlink(), "exit path", "fail", 5),
        (lambda s: s.store.rename(s.home / "x"), "store", "fail", 5),
        (lambda s: (s.state / "signer.key").unlink(), "signer", "fail", 3),
        (lambda s: s.state.chmod(0o750), "state folder", "fail", 3),
        (lambda s: s.data.rename(s.home / "x"), "source", "fail", 3),
        (_unpinned, "pins", "warn", 0),
        (
            lambda s: next(s.store.glob("domains/*/generations/*/outcome/*")).write_bytes(b"x"),
            "tampering",
            "fail",
            8,
        ),
    ],
)
def test_doctor_sees(
    shop: Site, harm: Callable[[Site], object], what: str, level: str, code: int
) -> None:
    harm(shop)
    assert checks(shop)[what]["level"] == level
    ran = shop("doctor", "--quiet")
    assert ran.code == code
    assert f"  {level}  " in ran.out
    assert "  pass  " not in ran.out


def test_doctor_tells_broken_policies(shop: Site) -> None:
    (shop.home / "policies/broken.yaml").write_text("version: 1\nnme: x\n")
    ran = shop("doctor")
    assert ran.code == 3
    assert "policies/broken.yaml:2:" in ran.err
    assert "shop:" in ran.out


# --- with another clock


def later(by: timedelta) -> System:
    return System(now=lambda: datetime.now(UTC) + by)


def test_doctor_counts_missed_slots_as_9(done: Site) -> None:
    policy = load_policy(done.policy)
    store = policy.repository.store
    plan = DoctorPlan(
        policy=policy,
        state=done.state,
        env=Environment(),
        home=Place(url=store, open=lambda: open_store(store)),
    )
    found = {c.finding.what: c for c in doctor.examine(plan, later(timedelta(hours=5)))}
    assert found["last backup"].finding.level == "fail"
    assert found["last backup"].code == Exit.MISSED
    assert found["last full"].finding.level == "pass"
    assert found["clock"].finding.level == "fail"


def doubts(site: Site, by: timedelta) -> list[DrkitError]:
    policy = load_policy(site.policy)
    repository = open_repository(open_store(policy.repository.store))
    seen = reading.look(reading.domain_of(repository, policy, site.state))
    plan = restore.RestorePlan(
        seen=seen, snapshot=seen.snapshots[-1], identities=(), into=site.home / "out"
    )
    return restore.doubts(plan, policy, later(by).now())


def test_a_restore_doubts_a_newest_older_than_the_schedule(done: Site) -> None:
    assert doubts(done, timedelta(hours=1)) == []
    (doubt,) = doubts(done, timedelta(hours=5))
    assert doubt.message.startswith("the newest snapshot is 5 h")
    assert "--yes" in (doubt.hint or "")


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("now", timedelta()),
        ("yesterday", timedelta(days=1)),
        ("2 hours ago", timedelta(hours=2)),
        ("1h 30min ago", timedelta(minutes=90)),
    ],
)
def test_times_as_people_say_them(text: str, ago: timedelta) -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert reading.moment(text, now) == now - ago


@pytest.mark.parametrize("text", ["", "tomorrow", "2 ago", "2026-13-01T00:00Z", "1 month ago"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(DrkitError) as caught:
        reading.moment(text, datetime(2026, 3, 1, tzinfo=UTC))
    assert caught.value.exit_code == Exit.USAGE

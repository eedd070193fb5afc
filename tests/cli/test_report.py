"""drkit restore --verify leaves records; drkit report tells of them."""

import os
from pathlib import Path

import pytest

from tests.fixtures.command import Ran, Site, site


@pytest.fixture
def shop(tmp_path: Path) -> Site:
    return site(tmp_path)


def policy(at: Site, *lines: str) -> None:
    at.policy.write_text(at.policy.read_text() + "\n" + "\n".join(lines) + "\n")


def verify(at: Site, *words: str | Path) -> Ran:
    return at("restore", "shop", "--verify", "-i", at.identity, *words)


def records(at: Site) -> list[Path]:
    return sorted((at.store / "evidence").glob("*/*"))


def test_never_tried(shop: Site) -> None:
    ran = shop.ok("report")
    assert ran.out == "shop: no restore was ever tried: drkit restore shop --verify\n"
    assert shop.ok("report", "--json").document["stories"][0]["drills"] == []


def test_tried_and_told(shop: Site) -> None:
    policy(shop, "objectives: {rto: 4h, rpo: 1 day}")
    before = sorted(shop.home.iterdir())
    ran = verify(shop, "-v")
    assert ran.code == 0, ran
    assert ran.err == ""
    for said in ("L1 opens: ok", "L3 sizes: ok", "P4 restore", "not checked: ", "PASS at level 3"):
        assert said in ran.out
    assert "(rto 4 h; class C: indicative)" in ran.out
    assert sorted(shop.home.iterdir()) == before
    assert len(records(shop)) == 1
    told = shop.ok("report").out.splitlines()
    assert told[0].startswith("shop: proven ")
    assert "(objective 4 h; level 3, class C), losing at most " in told[0]
    assert "(objective 1 day)" in told[0]
    assert told[2].split() == "policy when snapshot verdict RTA RTO level what failed".split()
    assert told[3].startswith("shop ")
    assert " PASS " in told[3]


def test_quiet_under_cron(shop: Site) -> None:
    ran = verify(shop, "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_the_identity_of_the_policy(shop: Site) -> None:
    policy(shop, f"verify: {{scratch: {{identity: {shop.identity}, folder: {shop.home}/try}}}}")
    assert shop.ok("restore", "--verify").out.rstrip().endswith("class C: indicative)")
    assert list((shop.home / "try").iterdir()) == []


def test_as_json(shop: Site) -> None:
    ran = verify(shop, "--json")
    (drill,) = ran.document["drills"]
    assert drill["policy"] == "shop"
    assert drill["drill"]["verdict"] == "PASS"
    assert drill["evidence"] == str(records(shop)[0].relative_to(shop.store))
    (story,) = shop.ok("report", "--json").document["stories"]
    assert story["drills"][0]["drill"] == drill["drill"]
    assert story["drills"][0]["pinned"] is True


def test_a_missed_objective_is_exit_9_and_the_newest_line(shop: Site) -> None:
    assert verify(shop).code == 0
    policy(shop, "objectives: {rto: 1 ms}")
    ran = verify(shop)
    assert ran.code == 9
    assert "shop: FAIL: rto missed: " in ran.err
    told = shop.ok("report").out.splitlines()
    assert "; but the last try, " in told[0]
    assert told[0].endswith("ended in FAIL")
    assert "FAIL" in told[3]
    assert "rto missed" in told[3]
    assert " PASS " in told[4]


def test_damage_is_exit_9_and_the_next_backup_a_full(shop: Site) -> None:
    next(shop.store.glob("domains/*/generations/*/packs/*")).unlink()
    ran = verify(shop)
    assert ran.code == 9
    assert "what is stored is not what was sealed" in ran.err
    record = records(shop)[0].read_bytes()
    assert b"folder" not in record.replace(b"folder_gone", b"")
    assert b".txt" not in record
    report = shop.ok("report")
    assert report.out.startswith("shop: never proven; the last try, ")
    after = shop("backup", "--incremental")
    assert "full backup committed" in after.out
    assert verify(shop).code == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("-i", "nowhere.txt"), 7),
        ((), 7),
        (("-i", "keys/operations.txt", "--snapshot", "ffff"), 2),
    ],
)
def test_what_could_not_run_has_its_own_code_and_a_record(
    shop: Site, words: tuple[str, ...], code: int
) -> None:
    ran = shop("restore", "shop", "--verify", *words)
    assert ran.code == code
    assert "NOT_RUN at level 0" in ran.out
    assert len(records(shop)) == 1
    assert "NOT_RUN" in shop.ok("report").out


def test_a_store_that_is_gone(shop: Site) -> None:
    shop.store.rename(shop.home / "elsewhere")
    ran = verify(shop)
    assert ran.code == 5
    assert "NOT_RUN at level 0" in ran.out
    assert "there is no record" in ran.err
    assert shop("report").code == 5


def test_a_store_that_takes_no_record_is_exit_5_with_the_verdict(shop: Site) -> None:
    (shop.store / "evidence").write_text("in the way")
    ran = verify(shop)
    assert ran.code == 5, ran
    assert "shop: PASS, but no evidence of it could be put: " in ran.err


@pytest.mark.parametrize("words", [("--into", "out"), ("some/path",), ("--dry-run",)])
def test_a_try_keeps_nothing(shop: Site, words: tuple[str, ...]) -> None:
    ran = verify(shop, *words)
    assert ran.code == 2
    assert "keeps nothing of it" in ran.err
    assert records(shop) == []


def test_without_the_policy_there_is_no_record(shop: Site) -> None:
    ran = shop("restore", "--repository", shop.store, "--verify", "-i", shop.identity)
    assert ran.code == 0, ran
    assert "there is no record" in ran.err
    assert records(shop) == []


def test_the_report_without_the_policy(shop: Site) -> None:
    assert verify(shop).code == 0
    ran = shop.ok("report", "--repository", shop.store, "-i", shop.identity)
    assert ran.out.startswith("shop: proven ")
    assert "PASS (unpinned)" in ran.out
    assert "no verifier is pinned" in ran.err


def test_a_verifier_that_is_not_pinned_is_marked(shop: Site) -> None:
    assert verify(shop).code == 0
    other = "ed25519:" + "ab" * 32
    text = shop.policy.read_text()
    pinned = next(line for line in text.splitlines() if "verifiers:" in line)
    shop.policy.write_text(text.replace(pinned, f'    verifiers: ["{other}"]'))
    ran = shop("report")
    assert ran.code == 8
    assert "PASS (unpinned)" in ran.out
    assert ran.out.startswith("shop: no restore was ever tried")
    assert "isn't pinned as a verifier" in ran.err


def test_a_chain_with_a_hole_is_told(shop: Site) -> None:
    for _ in range(3):
        assert verify(shop).code == 0
    records(shop)[1].unlink()
    ran = shop("report")
    assert ran.code == 8
    assert "number 2 is missing" in ran.err
    assert ran.out.count(" PASS ") == 2


def test_ctrl_c_ends_in_130_and_a_record(shop: Site) -> None:
    scratch = shop.home / "try"
    policy(shop, f"verify: {{scratch: {{folder: {scratch}}}}}")
    (shop.data / "more").write_bytes(os.urandom(64 << 20))
    shop.ok("backup", "--full")
    running = shop.start("restore", "shop", "--verify", "-i", shop.identity)
    while not any(scratch.glob("*/tree")):
        assert running.poll() is None, running.communicate()
    running.terminate()
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert list(scratch.iterdir()) == []
    assert "NOT_RUN" in shop.ok("report").out

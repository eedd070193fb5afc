"""What is said of copies: by doctor, scrub, repair, forget, and of an address that is wrong."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from drkit.cli.forget import say_done as said
from drkit.cli.output import Output
from drkit.errors import StoreError
from drkit.events import Event, Warned
from drkit.operations.forget import locked_away
from tests.fixtures.command import Ran, Site
from tests.fixtures.faulty_store import Call, Fault, FaultyStore, on, refused
from tests.fixtures.forgets import apply, daily
from tests.fixtures.repo import DAY, Repo, repo


@pytest.fixture
def pair(fresh: Site, tmp_path: Path) -> Site:
    """A policy with a copy; nothing backed up yet."""
    copies(fresh, tmp_path / "second")
    (tmp_path / "second").mkdir()
    return fresh


def copies(site: Site, *places: Path | str) -> None:
    listed = ", ".join(f"{place}" for place in places)
    lines = site.policy.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("  copies: ")]
    at = next(i for i, line in enumerate(kept) if line.startswith("  # bandwidth"))
    site.policy.write_text("".join([*kept[:at], f"  copies: [{listed}]\n", *kept[at:]]))


def checks(ran: Ran, what: str, level: str) -> list[tuple[str, str]]:
    """Messages and hints."""
    found = ran.document["policies"][0]["checks"]
    return [
        (c["message"], c["hint"] or "") for c in found if (c["what"], c["level"]) == (what, level)
    ]


# --- doctor


def test_doctor_says_nothing_bad_of_a_good_copy(pair: Site, tmp_path: Path) -> None:
    before = pair.ok("doctor", "--json")
    ((message, hint),) = checks(before, "copy", "warn")
    assert "holds no repository yet" in message
    assert "drkit copy shop" in hint
    pair.ok("backup")
    after = pair.ok("doctor", "--json")
    for what in ("copy", "copy history", "copy room"):
        assert checks(after, what, "pass"), what
    assert checks(after, "room", "pass")
    assert not checks(after, "copy place", "warn")


def test_doctor_tells_a_copy_never_filled_from_one_that_is_gone(pair: Site, tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.rmdir()
    never = pair.ok("doctor", "--json")
    ((_, hint),) = checks(never, "copy", "warn")
    assert hint.startswith("mount its disk, if it has one; then drkit copy shop")
    pair.ok("copy")
    second.rename(tmp_path / "away")
    gone = pair("doctor", "--json")
    second.mkdir()
    empty = pair("doctor", "--json")
    for told in (gone, empty):
        assert told.code == 5
        ((message, hint),) = checks(told, "copy", "fail")
        assert "this machine has filled it before" in message
        assert hint.startswith("if its disk is only not mounted: mount it; ")
        assert f"drkit copy shop --to {second} makes it anew" in hint
    assert list(second.iterdir()) == []


def test_what_doctor_advises_for_a_lost_copy_works(pair: Site, tmp_path: Path) -> None:
    second = tmp_path / "second"
    pair.ok("backup")
    for there in (False, True):
        shutil.rmtree(second)
        if there:
            second.mkdir()
        failed = pair("copy")
        assert failed.code == 3
        assert f"drkit copy shop --to {second} makes it anew" in failed.err
        assert "copied to" in pair.ok("copy", "shop", "--to", second).out
        pair.ok("doctor")
        assert "up to date" in pair.ok("copy").out


def test_doctor_reads_the_history_of_a_copy(pair: Site, tmp_path: Path) -> None:
    pair.ok("backup")
    (outcome,) = (tmp_path / "second").glob("domains/*/generations/*/outcome/*")
    outcome.unlink()
    found = pair("doctor", "--json")
    assert found.code == 8
    assert checks(found, "copy tampering", "fail")
    assert not checks(found, "tampering", "fail")


def test_a_copy_that_is_home_by_another_path(pair: Site, tmp_path: Path) -> None:
    pair.ok("backup")
    (tmp_path / "link").symlink_to(pair.store)
    copies(pair, tmp_path / "link")
    found = pair("doctor", "--json")
    assert found.code == 5
    ((message, _),) = checks(found, "copy", "fail")
    assert "is home itself by another path" in message


def test_places_that_are_none_of_their_own(fresh: Site, tmp_path: Path) -> None:
    def told(place: Path, level: str) -> str:
        copies(fresh, place)
        ((message, hint),) = checks(fresh("doctor", "--json"), "copy place", level)
        assert hint
        return message

    assert "lies inside the home store" in told(fresh.store / "second", "fail")
    assert "lies in what is backed up" in told(fresh.data / "second", "warn")
    assert "lies inside the copy's folder" in told(fresh.data, "fail")
    copies(fresh, tmp_path)
    above = checks(fresh("doctor", "--json"), "copy place", "fail")
    assert len(above) == 2, "home and the data"


# --- scrub, repair


def test_damage_names_repair_where_there_are_copies(pair: Site, tmp_path: Path) -> None:
    pair.ok("backup")
    next(pair.store.glob("domains/*/generations/*/packs/*")).unlink()
    found = pair("scrub", "--level", "0", "--json")
    assert found.code == 8
    assert "drkit repair shop puts back what is missing" in found.err
    (one,) = found.document["scrubs"]
    assert one["store"] == f"file://{pair.store}"
    assert one["copies"][0]["store"] == f"file://{tmp_path / 'second'}"
    pair.ok("repair")
    pair.ok("scrub")


def test_without_copies_damage_does_not(shop: Site) -> None:
    next(shop.store.glob("domains/*/generations/*/packs/*")).unlink()
    found = shop("scrub", "--level", "0")
    assert found.code == 8
    assert "drkit repair" not in found.err
    assert "drkit backup --full" in found.err


@pytest.mark.parametrize("away", ["home", "copy"])
def test_repair_says_once_that_a_store_is_away(pair: Site, tmp_path: Path, away: str) -> None:
    pair.ok("backup")
    store = pair.store if away == "home" else tmp_path / "second"
    store.rename(tmp_path / "away")
    found = pair("repair")
    assert found.code == 5
    assert found.err.count("no repository folder there") == 1
    told = pair("repair", "--json").document["repairs"][0]
    assert told["error"]["exit_code"] == 5
    alone = pair("repair", "--store", tmp_path / "second" if away == "home" else pair.store)
    assert alone.err.count("no repository folder there") == 1


# --- forget under a lock


def heard(root: Path) -> tuple[Repo, list[Event]]:
    made, told = repo(root), list[Event]()
    return replace(made, system=replace(made.system, tell=told.append)), told


def warnings(told: list[Event]) -> list[str]:
    return [event.message for event in told if isinstance(event, Warned)]


def test_what_is_only_locked_is_no_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    m, told = heard(tmp_path)
    ids = daily(m, 10)
    apply(m)
    m.clock.move(2 * DAY)

    def held(call: Call) -> None:
        end = "2026-05-0" + ("2" if "manifest" in call.name else "1")
        raise StoreError(f"delete {call.name}: locked until {end}T00:00:00Z")

    fault = Fault(before=on(lambda call: call.verb == "delete", held))
    done = apply(m, store=FaultyStore(m.store, fault))
    assert warnings(told) == []
    kept = locked_away(done)
    assert {one.generation for one in kept} == set(ids[:3])
    assert {(one.objects, one.until) for one in kept} == {(7, "2026-05-02T00:00:00Z")}
    assert len(done.refused) == 3 * 7
    said(Output(quiet=True), "shop", done)
    assert capsys.readouterr() == ("", "")
    said(Output(), "shop", done)
    out, err = capsys.readouterr()
    assert err == ""
    assert [line for line in out.splitlines() if "locked" in line] == [
        f"shop: 7 objects of generation {one.generation[:8]} are locked until "
        "2026-05-02T00:00:00Z; the next forget tries again"
        for one in kept
        if one.generation is not None
    ]


def test_other_refusals_are_warned_of_and_not_without_end(tmp_path: Path) -> None:
    m, told = heard(tmp_path)
    daily(m, 10)
    apply(m)
    m.clock.move(2 * DAY)
    fault = Fault(before=on(lambda call: call.verb == "delete", refused))
    done = apply(m, store=FaultyStore(m.store, fault))
    assert locked_away(done) == ()
    assert len(done.refused) == 21
    *each, last = warnings(told)
    assert len(each) == 20
    assert all("could not be deleted: delete" in message for message in each)
    assert last == "and 1 more could not be deleted"


# --- addresses


def test_the_disk_is_asked_about_only_where_there_is_one(fresh: Site) -> None:
    pair = fresh
    (pair.home / "empty").mkdir()
    assert "is the disk mounted?" in pair("list", "--repository", pair.home / "empty").err
    other = pair("list", "--repository", "memory://nothing")
    assert "holds no drkit repository" in other.err
    assert "disk" not in other.err


def test_a_bucket_with_too_short_a_name(bare: Site) -> None:
    told = bare("list", "--repository", "gs://bb/x")
    assert told.code == 3
    assert "'gs://bb/x' has a bucket's name of 2: it has 3 to 222 characters" in told.err

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from drkit.crypto.sign import canonical, parse_canonical
from drkit.errors import (
    Busy,
    ConfigError,
    Damaged,
    DiskError,
    DrkitError,
    KeyMissing,
    PostgresError,
    StoreError,
    Tampering,
    UsageError,
)
from drkit.model import drill
from drkit.model.drill import Aims, Cause, Checked, Drill, Failure, PhaseId, Result
from drkit.operations.verify import body, cause_of
from drkit.repository.evidence_chain import DAMAGED, PROVEN
from drkit.repository.signed import plain
from tests.fixtures.repo import HOUR, START

MEASURED: dict[PhaseId, int] = {"P2": 200, "P3": 10, "P4": 1000, "P5": 300, "P6": 50, "P7": 400}
AIMS = Aims(rto_ms=10_000, level=3)


def check(
    id: str = "opens", level: int = 1, result: Result = "pass", *, required: bool = True
) -> Checked:
    return Checked(id=id, level=level, required=required, result=result, message="as it is")


ALL = [check(), check("shape", 2), check("rows", 3)]


def judged(
    checks: list[Checked],
    failure: Failure | None = None,
    measured: dict[PhaseId, int] | None = None,
    aims: Aims = AIMS,
) -> drill.Judged:
    took = drill.times(drill.phases(MEASURED if measured is None else measured, {}))
    return drill.judge(failure, took, checks, aims)


# --- times


def test_the_sums() -> None:
    took = drill.times(drill.phases(MEASURED, {}))
    assert (took.open_ms, took.data_ms, took.service_ms) == (1360, 1760, 1960)
    assert took.measured_permille == 1000


def test_allowances_count_and_are_told_apart() -> None:
    allowed = {"detect": 5_000, "provision": 150, "reopen": 2_000}
    phases = {p.id: p for p in drill.phases(MEASURED, allowed)}
    assert (phases["P0"].how, phases["P0"].ms) == ("allowance", 5_000)
    assert (phases["P1"].how, phases["P1"].ms) == ("absent", 0)
    assert (phases["P2"].how, phases["P2"].ms) == ("measured", 200)
    assert phases["P2"].allowance_ms == 150
    took = drill.times(list(phases.values()))
    assert took.service_ms == 1960 + 7_000
    assert took.measured_permille == 1960 * 1000 // 8960


def test_provisioning_counts_the_larger_of_both() -> None:
    phases = {p.id: p for p in drill.phases(MEASURED, {"provision": 600})}
    assert (phases["P2"].how, phases["P2"].ms, phases["P2"].measured_ms) == ("allowance", 600, 200)
    assert drill.times(list(phases.values())).service_ms == 1960 + 400


@pytest.mark.parametrize("lost", ["P3", "P4", "P5", "P6", "P7"])
def test_nothing_is_summed_over_what_was_not_measured(lost: PhaseId) -> None:
    measured = {id: ms for id, ms in MEASURED.items() if id != lost}
    took = drill.times(drill.phases(measured, {}))
    assert took.service_ms is None
    assert took.data_ms is None
    assert (took.open_ms is None) == (lost != "P7")
    assert judged(ALL, measured=measured).verdict == "INCONCLUSIVE"


def test_a_tree_has_nothing_to_replay() -> None:
    measured: dict[PhaseId, int] = {"P2": 1, "P3": 2, "P4": 4, "P7": 8}
    phases = drill.phases(measured, {}, ("P5", "P6"))
    assert drill.times(phases).service_ms == 15
    assert [p.id for p in phases if p.how == "not applicable"] == ["P5", "P6", "P8"]


# --- levels and verdicts


@pytest.mark.parametrize(
    ("checks", "level"),
    [
        (ALL, 3),
        ([], 0),
        ([check("shape", 2)], 0),
        ([check(), check("log", 1, "fail"), check("shape", 2)], 0),
        ([check(), check("shape", 2, "fail"), check("rows", 3)], 1),
        ([check(), check("shape", 2, "warn"), check("rows", 3, "not run")], 2),
        ([check(), check("host", 2, "not run", required=False), check("shape", 2)], 2),
        ([check(), check("host", 2, "fail", required=False), check("shape", 2)], 1),
    ],
)
def test_a_level_is_reached_with_all_below_it(checks: list[Checked], level: int) -> None:
    assert drill.level_reached(checks) == level


def test_passed() -> None:
    found = judged(ALL)
    assert (found.verdict, found.exit, found.reasons) == ("PASS", 0, ())


def test_a_failed_check() -> None:
    found = judged([*ALL, check("log", 1, "fail")])
    assert (found.verdict, found.exit) == ("FAIL", 9)
    assert found.reasons == ("check log: as it is",)


def test_an_optional_check_that_fails_lowers_the_level_alone() -> None:
    found = judged([*ALL, check("host", 2, "fail", required=False)])
    assert (found.verdict, found.exit) == ("INCONCLUSIVE", 9)
    assert "level 1 was reached, 3 is required" in found.reasons


def test_a_check_that_did_not_run() -> None:
    found = judged([check(), check("shape", 2), check("rows", 3, "not run")])
    assert (found.verdict, found.exit) == ("INCONCLUSIVE", 9)
    assert "check rows did not run" in found.reasons


def test_a_missed_rto_and_one_that_was_just_met() -> None:
    assert judged(ALL, aims=Aims(rto_ms=1960)).verdict == "PASS"
    found = judged(ALL, aims=Aims(rto_ms=1959))
    assert (found.verdict, found.exit) == ("FAIL", 9)
    assert found.reasons == ("rto missed: 1960 ms, 1959 ms were promised",)


def test_without_an_objective_nothing_is_missed() -> None:
    assert judged(ALL, aims=Aims()).verdict == "PASS"


@pytest.mark.parametrize(
    ("cause", "verdict", "code"),
    [
        ("damage", "FAIL", 9),
        ("server", "FAIL", 9),
        ("key", "FAIL", 9),
        ("no key", "NOT_RUN", 7),
        ("postgres", "NOT_RUN", 4),
        ("configuration", "NOT_RUN", 3),
        ("store", "NOT_RUN", 5),
        ("busy", "NOT_RUN", 6),
        ("interrupted", "NOT_RUN", 130),
    ],
)
def test_the_copy_or_the_day(cause: Cause, verdict: str, code: int) -> None:
    found = judged([], Failure(phase="P4", cause=cause), {"P2": 1})
    assert (found.verdict, found.exit) == (verdict, code)
    assert len(found.reasons) == 1


def test_what_was_shown_to_be_bad_stays_bad_whatever_came_after() -> None:
    found = judged([check("rows", 3, "fail")], Failure(phase="P7", cause="store"))
    assert found.verdict == "FAIL"


@pytest.mark.parametrize(
    ("error", "phase", "cause"),
    [
        (Damaged("x"), "P4", "damage"),
        (Tampering("x"), "P3", "damage"),
        (PostgresError("x"), "P5", "server"),
        (PostgresError("x"), "P6", "server"),
        (PostgresError("x"), "P2", "postgres"),
        (KeyMissing("x"), "P2", "no key"),
        (KeyMissing("x"), "P3", "key"),
        (ConfigError("x"), "P2", "configuration"),
        (StoreError("x"), "P3", "store"),
        (DiskError("x"), "P4", "store"),
        (OSError(28, "no space"), "P4", "store"),
        (Busy("x"), "P2", "busy"),
        (UsageError("x"), "P3", "usage"),
        (KeyboardInterrupt(), "P4", "interrupted"),
        (ZeroDivisionError(), "P4", "bug"),
    ],
)
def test_causes(error: BaseException, phase: PhaseId, cause: Cause) -> None:
    assert cause_of(error, phase) == cause
    if isinstance(error, DrkitError):
        found = judged([], Failure(phase=phase, cause=cause), {})
        assert found.exit in (9, int(error.exit_code))


def test_ages() -> None:
    lost = drill.loss(START, START + HOUR, START + 3 * HOUR)
    hour = drill.milliseconds(timedelta(hours=1))
    assert (lost.at_most_ms, lost.at_least_ms) == (3 * hour, 2 * hour)
    ahead = drill.loss(START, START + HOUR, START - HOUR)
    assert (ahead.at_most_ms, ahead.at_least_ms) == (0, 0), "a clock that was ahead"


# --- the record's body


def made(checks: list[Checked], failure: Failure | None = None) -> Drill:
    phases = drill.phases(MEASURED, {}, bytes={"P4": {"fetched": 10}})
    took = drill.times(phases)
    found = drill.judge(failure, took, checks, AIMS)
    return Drill(
        domain="d" * 32,
        store="5" * 32,
        target="latest",
        began=START,
        snapshot=drill.Taken(
            generation="a" * 32, session="b" * 32, hash="c" * 64, kind="full", source="files"
        ),
        phases=phases,
        times=took,
        loss=drill.loss(START, START, START),
        aims=AIMS,
        checks=tuple(checks),
        level=drill.level_reached(checks),
        not_checked=("L4",),
        verdict=found.verdict,
        exit=found.exit,
        reasons=found.reasons,
        failure=failure,
    )


ABOUT = [{"domain": "d" * 32, "generation": "a" * 32, "store": "5" * 32}]


def test_a_body_is_canonical_json_and_comes_back() -> None:
    one = made(ALL, Failure(phase="P4", cause="store"))
    fields = body(one, newest=True)
    again = parse_canonical(canonical(fields))
    assert again == fields
    back = msgspec.convert(again, Drill)
    assert plain(back) == plain(one)
    assert back.phase("P4").bytes == {"fetched": 10}


def test_what_a_body_says_of_the_generation() -> None:
    good = made(ALL)
    assert body(good, newest=True)[PROVEN] == ABOUT
    assert PROVEN not in body(good, newest=False), "the next one is not built on it"
    late = replace(good, verdict="FAIL", reasons=("rto missed",))
    assert body(late, newest=True)[PROVEN] == ABOUT, "proven, however long it took"
    bad = made([*ALL, check("log", 1, "fail")])
    assert body(bad, newest=True)[DAMAGED] == ABOUT
    hurt = made([], Failure(phase="P4", cause="damage"))
    assert body(hurt, newest=True)[DAMAGED] == ABOUT


@pytest.mark.parametrize(
    "one",
    [
        made([], Failure(phase="P3", cause="key")),
        made([], Failure(phase="P4", cause="store")),
        made([check(), check("shape", 2)]),
        made([*ALL, check("history", 0, "fail")]),
        replace(made(ALL[:2]), snapshot=None),
    ],
)
def test_a_body_that_proves_neither(one: Drill) -> None:
    fields = body(one, newest=True)
    assert DAMAGED not in fields
    assert PROVEN not in fields

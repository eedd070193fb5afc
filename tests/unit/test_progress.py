"""What a person and a log see of a run: what was read, and what the store has taken."""

import io
import json
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from drkit.cli.bars import Bars, numbers
from drkit.cli.output import Output
from drkit.cli.progress import Lines
from drkit.events import Advanced, Event, Finished, Started

if TYPE_CHECKING:
    from rich.progress import Task

MIB = 1 << 20
RUN: list[Event] = [
    Started(task="shop: backup"),
    Advanced(task="shop: backup", bytes=64 * MIB, items=10),
    Advanced(task="shop: backup", sent=32 * MIB),
    Advanced(task="shop: backup", bytes=64 * MIB, items=5),
    Advanced(task="shop: backup", sent=8 * MIB),
    Finished(task="shop: backup"),
]


def plain() -> Output:
    return Output(json=False, quiet=False, verbose=False, log_json=True, color=False)


def lines(events: list[Event], capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    with Lines(plain(), iter(range(100)).__next__) as heard:
        for event in events:
            heard(event)
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_log_lines_hold_the_sums_of_both(capsys: pytest.CaptureFixture[str]) -> None:
    started, *progress, finished = lines(RUN, capsys)
    assert started == {"event": "started", "task": "shop: backup"}
    assert [line.get("sent") for line in progress] == [None, 32 * MIB, 32 * MIB, 40 * MIB]
    assert finished == {
        "event": "finished",
        "task": "shop: backup",
        "bytes": 128 * MIB,
        "items": 15,
        "sent": 40 * MIB,
    }


def test_a_restore_sends_nothing_and_says_nothing_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = "shop: restore"
    events: list[Event] = [
        Started(task=task, total_bytes=5),
        Advanced(task=task, bytes=5),
        Finished(task=task),
    ]
    assert all("sent" not in line for line in lines(events, capsys))


def test_the_numbers_of_a_bar() -> None:
    def shown(total: int | None, sent: int) -> str:
        task = SimpleNamespace(
            completed=300 * MIB,
            total=total,
            time_remaining=5 if total else None,
            speed=100 * MIB,
            fields={"items": 4202, "sent": sent},
        )
        return numbers(cast("Task", task))

    assert shown(None, 0) == "300 MiB, 4,202 items, 100 MiB/s"
    assert shown(None, 120 * MIB) == "read 300 MiB, sent 120 MiB, 4,202 items, 100 MiB/s"
    assert shown(600 * MIB, 0) == "300 MiB of 600 MiB, 100 MiB/s, 5 s left"


def test_bars_take_what_comes_before_and_after_their_task() -> None:
    """Packs are still sent when a source has been read."""
    with Bars(plain()) as heard:
        for event in (RUN[2], *RUN, RUN[2], Finished(task="another")):
            heard(event)
    assert isinstance(sys.stderr, io.TextIOBase)

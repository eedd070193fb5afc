"""Many small requests side by side: answers in order, the first error, no thread left."""

import itertools
import signal
import threading
import time

import pytest

from drkit.errors import Damaged, StoreError
from drkit.repository.transfer import RESTORERS, askers, gathered, readers

THREADS = [1, 2, 5, 200]


def working() -> list[str]:
    """Other tests' servers may have threads of their own."""
    return [thread.name for thread in threading.enumerate() if "(work)" in thread.name]


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_answers_come_in_the_order_of_the_items(count: int, threads: int) -> None:
    def ask(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        return item * item

    assert gathered(range(count), ask, threads) == [n * n for n in range(count)]
    assert not working()


@pytest.mark.parametrize(("count", "threads"), [(1, 16), (0, 16), (50, 1)])
def test_no_thread_is_started_for_nothing(count: int, threads: int) -> None:
    asked = gathered(range(count), lambda _: threading.current_thread(), threads)
    assert set(asked) <= {threading.main_thread()}


def test_as_many_wait_at_once_as_there_are_threads() -> None:
    together = threading.Barrier(8, timeout=10)
    assert len(gathered(range(16), lambda _: together.wait(), 8)) == 16


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("error", [StoreError("no"), Damaged("bad"), KeyboardInterrupt()], ids=repr)
def test_the_first_error_is_raised_once_all_have_stopped(
    error: BaseException, threads: int
) -> None:
    asked = itertools.count()

    def ask(item: int) -> int:
        next(asked)
        if item == 20:
            raise error
        time.sleep(0.001)
        return item

    with pytest.raises(type(error)) as caught:
        gathered(range(10_000), ask, threads)
    assert caught.value is error
    assert not working()
    assert next(asked) < 500


def test_a_signal_ends_all_of_it() -> None:
    asked = itertools.count()

    def ask(item: int) -> None:
        if item == 7:
            signal.raise_signal(signal.SIGINT)
        next(asked)
        time.sleep(0.001)

    with pytest.raises(KeyboardInterrupt):
        gathered(range(10_000), ask, 4)
    assert not working()
    assert next(asked) < 500


def test_a_near_store_is_asked_without_threads_and_read_by_some_more_than_cores() -> None:
    assert (askers(1), askers(2), askers(16)) == (1, 1, 16)
    assert (readers(1), readers(2)) == (RESTORERS, RESTORERS)
    assert readers(RESTORERS + 8) == RESTORERS + 8

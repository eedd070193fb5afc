"""What a long generation costs at a restore: as much as a full, or nearly."""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from drkit.model.snapshot import Snapshot
from drkit.stores.around import Around
from drkit.stores.base import Store
from tests.fixtures.captures import Captures
from tests.fixtures.pg_rounds import Way, restored, shop_of, words
from tests.fixtures.postgres import own

pytestmark = pytest.mark.pg

WAYS: list[Way] = [(15, "stream"), (18, "native")]


class Counting(Around):
    """Threads read: appending needs no lock."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.reads: list[int] = []

    def read(self, name: str, limit: int) -> bytes:
        data = super().read(name, limit)
        self.reads.append(len(data))
        return data

    def read_into(self, name: str, offset: int, view: memoryview) -> None:
        super().read_into(name, offset, view)
        self.reads.append(len(view))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    bytes: int
    requests: int
    seconds: float


def cost(shop: Captures, snapshot: Snapshot, into: Path) -> Cost:
    store = Counting(shop.host.store)
    begun = time.monotonic()
    restored(shop, snapshot, into, store)
    took = time.monotonic() - begun
    return Cost(bytes=sum(store.reads), requests=len(store.reads), seconds=took)


@contextmanager
def generation(
    way: Way, root: Path, increments: int, rows: int, every: int = 0
) -> Iterator[Captures]:
    """Each increment after one percent of the rows changed, which lie together, or are one in
    `every`, and some came; then another full."""
    with shop_of(way, root) as shop:
        text = "(select string_agg(md5(random()::text), '') from generate_series(1, 6) where i = i)"
        new = f"insert into orders select i, {text} from generate_series"
        table = "create table orders (id int primary key, what text)"
        # frozen, or the first question asked would change every page
        shop.server.sql(table, f"{new}(1, {rows}) i", "vacuum (freeze) orders")
        shop.back_up()
        for number in range(increments):
            begin = rows * number // 100
            lying = f"id > {begin} and id <= {begin + rows // 100}"
            which = f"id % {every} = {number}" if every else lying
            begin = rows * (number + 2)
            shop.server.sql(
                f"update orders set what = reverse(what) where {which}",
                f"{new}({begin}, {begin + rows // 500}) i",
                "checkpoint",
            )
            assert shop.back_up().kind == "incremental"
        shop.back_up("full")
        yield shop


@pytest.mark.parametrize("way", WAYS, ids=words)
def test_a_restore_after_twelve_increments(way: Way, tmp_path: Path) -> None:
    """Against a full of the same hour."""
    with generation(way, tmp_path, 12, 60_000) as shop:
        *_, last, full = shop.host.history().snapshots
        assert (last.kind, full.kind) == ("incremental", "full")
        place = own(tmp_path)
        after, fresh = (cost(shop, snapshot, place / snapshot.session) for snapshot in (last, full))
        assert after.bytes <= fresh.bytes * 1.15
        assert after.requests <= fresh.requests + 12 * 12


def told(way: Way, root: Path, rows: int, every: int) -> tuple[float, float]:
    """After 48 increments against a full of the same hour: bytes, and the median time of five."""
    with generation(way, root, 48, rows, every) as shop:
        *_, last, full = shop.host.history().snapshots
        place = own(root)
        runs = [
            (cost(shop, last, place / f"last {n}"), cost(shop, full, place / f"full {n}"))
            for n in range(5)
        ]
    after, fresh = runs[0]
    late, soon = (statistics.median(run[which].seconds for run in runs) for which in (0, 1))
    figures = f"{after.bytes:,} bytes in {after.requests} requests, {late:.2f} s after 48; "
    figures += f"{fresh.bytes:,} in {fresh.requests}, {soon:.2f} s from a full"
    ratios = after.bytes / fresh.bytes, late / soon
    kind = f"one row in {every}" if every else "a hundredth that lies together"
    shown = f"{words(way)}, {kind}: {figures}: {ratios[0]:.2f} of bytes, {ratios[1]:.2f} of time"
    print(f"\nsoak: {shown}")  # noqa: T201  the round's figures
    return ratios


@pytest.mark.soak
@pytest.mark.parametrize("way", WAYS, ids=words)
def test_a_restore_after_two_days_of_hours(way: Way, tmp_path: Path) -> None:
    of_bytes, of_time = told(way, tmp_path, 2_000_000, 0)
    assert of_bytes <= 1.15
    assert of_time <= 1.3


@pytest.mark.soak
@pytest.mark.parametrize("way", WAYS, ids=words)
def test_where_a_quarter_of_all_pages_changes_each_hour(way: Way, tmp_path: Path) -> None:
    """A record is fetched for a single page of it that is still needed."""
    of_bytes, _ = told(way, tmp_path, 600_000, 100)
    assert of_bytes <= 6

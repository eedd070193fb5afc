"""A cluster tried: by the very steps of a restore, then started as a person would start it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from drkit.check import Restored
from drkit.operations.stopwatch import Stopwatch
from drkit.operations.trial import Stage, Tried, Way
from drkit.postgres.binaries import Binaries, find_binaries
from drkit.postgres.checks import NOT_CHECKED, QUESTIONS, remarks
from drkit.postgres.cluster import started
from drkit.postgres.layout import Laid, LayoutPlan, Prepared, lay_out, prepare
from drkit.postgres.leftovers import remove_marker
from drkit.postgres.processes import ids, somebody
from drkit.postgres.recovery import Opened, OpenPlan, open_copy, server_plan
from drkit.postgres.scratch import scratch


@contextmanager
def cluster_trial(stage: Stage) -> Iterator[Tried]:
    who = somebody(stage.scratch.user)
    user = None if who is None else who[0]
    layout = LayoutPlan(into=stage.folder / "data", owner=ids(who), recorded=stage.recorded)
    with stage.watch.at("P3"):
        prepared = prepare(stage.reader, stage.snapshot, layout)
    with stage.watch.at("P2"):
        major = prepared.shape.major
        binaries = find_binaries(major, stage.system, stage.binaries, user)
    laid = _laid_out(stage, layout, prepared, binaries)
    plan = OpenPlan(laid=laid, binaries=binaries, user=user)
    opened = _opened(stage, plan)
    with ExitStack() as stack:
        with stage.watch.at("P6"):
            remove_marker(laid.data)
            again = replace(server_plan(plan), settings={}, kept=False, memory=stage.scratch.memory)
            server = stack.enter_context(started(again, stage.system))
        yield Tried(
            restored=Restored(
                folder=laid.data,
                facts=stage.snapshot.facts,
                recorded=stage.recorded,
                server=server,
            ),
            questions=(remarks(opened.findings), *QUESTIONS),
            not_checked=_not_checked(opened),
            versions={"server": prepared.shape.version, "binaries": binaries.version},
        )


def _laid_out(stage: Stage, layout: LayoutPlan, prepared: Prepared, binaries: Binaries) -> Laid:
    pages = not binaries.has("pg_checksums")
    with stage.watch.at("P4"):
        laid = lay_out(
            stage.reader, stage.snapshot, replace(layout, pages=pages), stage.system, prepared
        )
    stage.watch.count("P4", written=prepared.shape.total, files=prepared.shape.files)
    return laid


def _opened(stage: Stage, plan: OpenPlan) -> Opened:
    """Until it is out of recovery it replays; what comes then opens it for good."""
    watch: Stopwatch = stage.watch
    with watch.at("P5"):
        opened = open_copy(plan, stage.system)
    watch.divide("P5", opened.seconds, "P6")
    wal = stage.snapshot.facts.details.get("wal_bytes")
    if isinstance(wal, int):
        watch.count("P5", wal=wal)
    return opened


def _not_checked(opened: Opened) -> tuple[str, ...]:
    if not opened.pages:
        return NOT_CHECKED
    return ("L4: every TOAST value (every page's checksum was checked)", *NOT_CHECKED[1:])


CLUSTER = Way(room=scratch, trial=cluster_trial)

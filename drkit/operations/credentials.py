"""Whether each store's credentials are whole, told offline; then whether they are accepted."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from drkit.errors import Exit
from drkit.model.finding import Finding
from drkit.operations.doctor_plan import Checked, DoctorPlan, Place, asked, failed, finding
from drkit.stores import examine_credentials, needs_credentials, open_store
from drkit.stores.retry import Patience, Retrying
from drkit.system import System

_WHAT, _LIVE = "credentials", "access"
_BRIEF = Patience(deadline=15.0, first=0.5, longest=2.0, tries=2)


def examine_all(plan: DoctorPlan, system: System) -> list[Checked]:
    """Of every store; one whose credentials are sound is asked a little."""
    found: list[Checked] = []
    for place in (plan.home, *plan.copies):
        offline = examine_offline(plan, place, system)
        found += offline
        if needs_credentials(place.url) and not failed(offline):
            found += asked(_LIVE, Exit.STORE, partial(_live, plan, place, system))
    return found


def examine_offline(plan: DoctorPlan, place: Place, system: System) -> list[Checked]:
    def ask() -> Iterator[Finding]:
        found = examine_credentials(place.url, system, plan.settings)
        if not found:
            yield finding("pass", _WHAT, f"{bare(place.url)} needs none")
        for one in found:
            yield replace(one, message=f"{bare(place.url)}: {one.message}")

    return asked(_WHAT, Exit.CONFIGURATION, ask)


def bare(url: str) -> str:
    """Without its options: somebody may have put a secret there."""
    return url.partition("?")[0]


def _live(plan: DoctorPlan, place: Place, system: System) -> Iterator[Finding]:
    """A token, and the first page of a listing: nothing is written."""
    store = Retrying(open_store(place.url, system, plan.settings), system, _BRIEF)
    try:
        first = next(iter(store.list("")), None)
    finally:
        store.close()
    holds = "it is empty" if first is None else "it holds objects"
    yield finding("pass", _LIVE, f"{bare(place.url)} was listed: {holds}")

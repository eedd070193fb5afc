"""A copy's place: whether it is one of its own, and whether what was there is there still."""

from collections.abc import Iterator
from pathlib import Path

from drkit.model.finding import Finding
from drkit.operations.copy import gone_hint, holds_nothing, job_of, known_copies
from drkit.operations.doctor_plan import DoctorPlan, Place, finding
from drkit.repository.repository import Repository
from drkit.stores import folder_of, plain_url
from drkit.stores.base import Store

_OWN_PLACE = "give the copy an empty place of its own"


def missing(
    plan: DoctorPlan, place: Place, store: Store, home: Repository | None
) -> Finding | None:
    """None where a repository is."""
    if not holds_nothing(store, place.url):
        return None
    name = plan.policy.name
    if home is not None and _was_filled(plan, place, home):
        said = f"{store.url} is empty or gone, and this machine has filled it before"
        return finding("fail", "copy", said, gone_hint(name, place.url))
    disk = "" if folder_of(place.url) is None else "mount its disk, if it has one; then "
    hint = f"{disk}drkit copy {name}; the next backup does it, too"
    return finding("warn", "copy", f"{store.url} holds no repository yet", hint)


def _was_filled(plan: DoctorPlan, place: Place, home: Repository) -> bool:
    known = known_copies(job_of(plan.policy, home, plan.state))
    return plain_url(place.url) in {plain_url(url) for url in known}


def same(copy: Repository, home: Repository | None) -> Finding:
    url = copy.store.url
    if home is not None and copy.id != home.id:
        message = f"{url} holds another repository: {copy.id[:8]}, not {home.id[:8]}"
        return finding("fail", "copy", message, _OWN_PLACE)
    if home is not None and copy.store_id and copy.store_id == home.store_id:
        message = f"{url} is home itself by another path, or a plain copy of home's files"
        return finding("fail", "copy", message, f"{_OWN_PLACE}: drkit fills it")
    return finding("pass", "copy", f"{url}, repository {copy.id[:8]}")


def placed(plan: DoctorPlan, place: Place) -> Iterator[Finding]:
    """Folders alone: what lies inside what. Nothing is said of a place that is fine."""
    folder = folder_of(place.url)
    if folder is None:
        return
    copy = folder.resolve()
    home_folder = folder_of(plan.home.url)
    if home_folder is not None and home_folder.resolve() != copy:
        yield from _beside_home(copy, home_folder.resolve())
    files = plan.policy.source.files
    if files is None:
        return
    root = files.root.resolve()
    if _inside(root, copy):
        said = f"what is backed up, {root}, lies inside the copy's folder {copy}"
        yield finding("fail", "copy place", said, _OWN_PLACE)
    elif _inside(copy, root):
        said = f"{copy} lies in what is backed up, {root}: both are lost at once"
        yield finding("warn", "copy place", said, "put the copy on another disk, or elsewhere")


def _beside_home(copy: Path, home: Path) -> Iterator[Finding]:
    if _inside(copy, home):
        said = f"{copy} lies inside the home store {home}"
    elif _inside(home, copy):
        said = f"the home store {home} lies inside the copy's folder {copy}"
    else:
        return
    yield finding("fail", "copy place", f"{said}: both are lost at once", _OWN_PLACE)


def _inside(inner: Path, outer: Path) -> bool:
    return inner.is_relative_to(outer)

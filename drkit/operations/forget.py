"""What may be forgotten, shown first and then done."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

from drkit.crypto.sign import SignerKey
from drkit.errors import DrkitError, Tampering
from drkit.events import Warned
from drkit.model.finding import Finding
from drkit.repository import names
from drkit.repository.expiry import ForgetPlan, Forgetting, look, planned
from drkit.repository.forgetter import ForgetDone, forget
from drkit.repository.repository import Repository
from drkit.stores.locked import lock_until, locked
from drkit.system import System

# In a copy all comes later than it was made, and a first copy all at once.
_OF_ARRIVAL = frozenset({"clocks", "surplus"})
_LOCKED = "locked until "  # what a store says of an object that may go later
_MOST = 20  # refusals told one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedAway:
    """What may go and can't yet: nothing is wrong with it."""

    generation: str | None  # None: no generation's, WAL
    objects: int
    until: str  # of the last of them, as the store says it


def plan_forget(repository: Repository, ask: Forgetting, system: System) -> ForgetPlan:
    """Reads, decides, puts nothing. `ForgetPlan` says what goes and why each kept one is kept."""
    plan = planned(look(repository, ask), ask, system.now())
    if not repository.copy:
        return plan
    told = tuple(finding for finding in plan.findings if finding.what not in _OF_ARRIVAL)
    return replace(plan, findings=told)


def apply_forget(
    repository: Repository, plan: ForgetPlan, ask: Forgetting, signer: SignerKey, system: System
) -> ForgetDone:
    """At most what the plan lets go, and only what a second and a third look still let go.

    `signer` must be pinned as a maintainer, where anybody is. A refused delete does not stop it: it
    is in `ForgetDone.refused`, told as a warning unless it is only locked, and tried again by the
    next forget.
    """
    lock = lock_until(ask.rules, system.now())
    held = replace(repository, store=locked(repository.store, lock))
    done = forget(held, plan, ask, signer, system)
    odd = [one for one in done.refused if _LOCKED not in one[1]]
    for name, message in odd[:_MOST]:
        system.tell(Warned(message=f"{name} could not be deleted: {message}"))
    if len(odd) > _MOST:
        system.tell(Warned(message=f"and {len(odd) - _MOST:,} more could not be deleted"))
    return done


def locked_away(done: ForgetDone) -> tuple[LockedAway, ...]:
    """Of each generation, in the order of names."""
    ends: dict[str | None, list[str]] = defaultdict(list)
    for name, message in done.refused:
        if _LOCKED in message:
            parsed = names.parse(name)
            generation = None if parsed is None else parsed.generation
            ends[generation].append(message.partition(_LOCKED)[2])
    return tuple(
        LockedAway(generation=generation, objects=len(found), until=max(found))
        for generation, found in ends.items()
    )


def trouble(findings: tuple[Finding, ...]) -> DrkitError | None:
    """What to raise (exit 8) once plan or result was shown: a person must look at it."""
    bad = [finding for finding in findings if finding.level == "fail"]
    if not bad:
        return None
    more = f" (and {len(bad) - 1} more findings)" if len(bad) > 1 else ""
    return Tampering(f"{bad[0].message}{more}", hint=bad[0].hint)


Show = Callable[[ForgetPlan], None]


def plan_and_apply(
    repository: Repository, ask: Forgetting, signer: SignerKey, system: System, show: Show
) -> ForgetDone:
    """What cron runs: `drkit forget --apply`. The plan is shown before anything is put."""
    plan = plan_forget(repository, ask, system)
    show(plan)
    done = apply_forget(repository, plan, ask, signer, system)
    return replace(done, findings=tuple(dict.fromkeys((*plan.findings, *done.findings))))

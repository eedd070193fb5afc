"""Reading the repository for damage, at three depths; what is hit is told, and becomes evidence."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from drkit.crypto.sign import SignerKey
from drkit.errors import Damaged, DrkitError, Tampering
from drkit.model.retention import Rules
from drkit.repository.evidence_chain import Chain, may_testify
from drkit.repository.repository import Repository
from drkit.repository.scrub import Scrub, ScrubResult, run, testimony
from drkit.stores.locked import evidence_lock, locked
from drkit.system import System


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """Who signs what a scrub finds, and where the chain's memory is kept."""

    signer: SignerKey
    state: Path  # drkit's state folder (not a domain's)
    subject: str  # policy/part
    rules: Rules = field(default_factory=Rules)


def scrub(
    repository: Repository,
    ask: Scrub,
    system: System,
    report: Callable[[ScrubResult], None],
    witness: Witness | None = None,
    mended_by: str = "",
) -> ScrubResult:
    """Level 0, 1 or 2 as `ask` says; `report` gets the result before damage is raised (exit 8).

    Writes nothing to the repository but one evidence record, and that only for damage, and only
    when the witness's key is pinned as a verifier (or nobody is). An interrupted or budgeted run
    goes on where it was: progress is in `ask.state`/scrub.json. `mended_by`: a policy whose other
    stores may still hold what is damaged here.
    """
    result = _testified(repository, ask, run(repository, ask, system), system, witness)
    report(result)
    if (error := verdict(result, mended_by)) is not None:
        raise error
    return result


def verdict(result: ScrubResult, mended_by: str = "") -> DrkitError | None:
    """None when all that was read is as it was sealed."""
    if result.faults:
        hurt = f"{len(result.hits)} of {result.snapshots} snapshots are hit"
        more = f" (and {len(result.faults) - 1} more)" if len(result.faults) > 1 else ""
        return Damaged(
            f"{result.faults[0].message}{more}; {hurt}",
            hint=_way_out(mended_by),
        )
    bad = [finding for finding in result.findings if finding.level == "fail"]
    return Tampering(bad[0].message, hint=bad[0].hint) if bad else None


def _way_out(mended_by: str) -> str:
    if not mended_by:
        return "take a new one with drkit backup --full; restore from a snapshot that is not hit"
    return (
        f"drkit repair {mended_by} puts back what is missing, from another store (what is wrong in "
        "its place must be taken away there first)"
    )


def _testified(
    repository: Repository, ask: Scrub, result: ScrubResult, system: System, by: Witness | None
) -> ScrubResult:
    if not result.faults or by is None or not may_testify(by.signer, ask.pins):
        return result
    store = locked(repository.store, evidence_lock(by.rules, system.now()))
    chain = Chain(store, by.state, by.signer, system)
    said = testimony(result, repository.store_id)
    record = chain.append("scrub", by.subject, said, result.heads)
    return replace(result, evidence=record)

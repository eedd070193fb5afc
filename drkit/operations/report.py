"""What drills have left in the stores: read, never judged again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from drkit.crypto.sign import parse_signer
from drkit.model.drill import KIND, Drill
from drkit.model.evidence import Link, Record
from drkit.model.finding import Finding
from drkit.operations.reading import Domain, with_memory
from drkit.repository.evidence_chain import Links, read_proofs


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One drill as its record tells it."""

    at: datetime  # as its signer says
    signer: str
    seq: int
    pinned: bool  # False: nobody pins who signed it
    subject: str
    drill: Drill | None  # None: another version wrote it in a form this one can't read
    said: str  # the verdict, in any form


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Of one domain, newest first."""

    name: str
    domain: Domain
    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]

    @property
    def believed(self) -> Sequence[Row]:
        """By a pinned verifier; where nobody is pinned, all, and every output says so."""
        return self.rows if not self.domain.pins.verifiers else [r for r in self.rows if r.pinned]


def story(domain: Domain) -> Story:
    links: Links = {}
    repository = with_memory(domain.repository, domain.state)
    proofs = read_proofs(repository, domain.id, domain.pins, links)
    rows = [_row(link, domain) for link in links.values() if _is_its(link.record, domain)]
    rows.sort(key=lambda row: (row.at, row.signer, row.seq), reverse=True)
    unread = sum(row.drill is None for row in rows)
    findings = list(proofs.findings)
    if unread:
        findings.append(_unread(unread))
    if not domain.pins.verifiers:
        findings.append(_UNPINNED)
    return Story(
        name=domain.name or domain.id,
        domain=domain,
        rows=tuple(rows),
        findings=tuple(findings),
    )


def _is_its(record: Record, domain: Domain) -> bool:
    return record.kind == KIND and record.body.get("domain") == domain.id


def _row(link: Link, domain: Domain) -> Row:
    record = link.record
    try:
        drill = msgspec.convert(record.body, Drill)
    except msgspec.ValidationError:
        drill = None
    return Row(
        at=record.at,
        signer=record.signer,
        seq=record.seq,
        pinned=parse_signer(record.signer) in domain.pins.verifiers,
        subject=record.subject,
        drill=drill,
        said=str(record.body.get("verdict", "unknown"))[:20],
    )


def _unread(number: int) -> Finding:
    return Finding(
        level="warn",
        what="form",
        message=f"{number} records are of a form that this drkit does not read",
        hint="a newer drkit wrote them: upgrade this one",
    )


_UNPINNED = Finding(
    level="warn",
    what="unpinned",
    message="no verifier is pinned: whoever can write to the store could have made these records",
    hint="pin the keys of the machines that try restores: encryption.signers.verifiers",
)

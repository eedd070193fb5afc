"""A server that is to be protected: what is said of it before the first backup."""

from dataclasses import dataclass

from drkit.model.finding import Finding
from drkit.operations.doctor_postgres import meet
from drkit.postgres import advice
from drkit.postgres.server import ServerFacts, objections
from drkit.system import System

_FOR_GOOD = ("managed", "pages", "relation files")  # nothing that a person sets changes them
_IN_STATEMENTS = ("role", "grants")


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduced:
    facts: ServerFacts
    findings: tuple[Finding, ...]  # what should be mended, but for the statements
    purpose: str
    statements: tuple[str, ...]

    @property
    def described(self) -> str:
        return advice.described(self.facts)

    def document(self) -> dict[str, object]:
        return {
            "where": self.facts.where,
            "version": self.facts.version,
            "system": self.facts.system_id,
            "bytes": self.facts.size,
            "findings": list(self.findings),
            "statements": list(self.statements),
        }


def introduced(dsn: str, system: System) -> Introduced:
    """Refuses what can never be backed up by drkit as it is."""
    facts = meet(dsn, system)
    for what, error in objections(facts):
        if what in _FOR_GOOD:
            raise error
    odd = [one for one in advice.check(facts) if one.level != "pass"]
    purpose, statements = _statements(facts)
    return Introduced(
        facts=facts,
        findings=tuple(one for one in odd if one.what not in _IN_STATEMENTS),
        purpose=purpose,
        statements=tuple(statements),
    )


def _statements(facts: ServerFacts) -> tuple[str, list[str]]:
    name = facts.role.name
    if facts.role.superuser:
        made = advice.new_role("drkit", facts.version_num)
        return f"{name} is a superuser, where a role of its own is enough", made
    return f"{name} lacks rights", advice.grants(facts)

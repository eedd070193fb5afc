"""What there is: the snapshots of policies, or of a whole repository."""

from collections.abc import Sequence

from drkit.crypto.recipients import Identity
from drkit.model.pins import Pins
from drkit.operations.reading import Domain, Seen, all_domains, look
from drkit.repository.repository import Repository
from drkit.system import System


def of_policies(domains: Sequence[Domain]) -> list[Seen]:
    """No identity is needed: what is listed stands in clear, and signed."""
    return [look(domain) for domain in domains]


def of_repository(
    repository: Repository, pins: Pins, identities: Sequence[Identity], system: System
) -> list[Seen]:
    return sorted(
        all_domains(repository, pins, identities, system),
        key=lambda seen: (seen.domain.name is None, seen.domain.name or seen.domain.id),
    )

"""The public keys a policy trusts, by what they may say."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """Ed25519 public keys of 32 bytes. An empty set pins nobody: then nothing counts as pinned."""

    writers: frozenset[bytes] = frozenset()  # open, begin, commit, WAL
    maintainers: frozenset[bytes] = frozenset()  # closed, expired, fence, floor
    verifiers: frozenset[bytes] = frozenset()  # evidence

    @classmethod
    def none(cls) -> Self:
        return cls()

"""Records: AES-256-GCM under keys of their own, and ids that are keyed hashes of the plaintext."""

import hmac
from typing import Final

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from drkit.errors import Damaged

Bytes = bytes | bytearray | memoryview

DATA: Final = 1
CONTENTS: Final = 2
MANIFEST: Final = 3
WAL: Final = 4
KINDS: Final = (DATA, CONTENTS, MANIFEST, WAL)

MAGIC: Final = b"DRKIT1"
KEY: Final = 32
ID: Final = 16
NONCE: Final = 12
MORE: Final = NONCE + 16  # what sealing adds: nonce and tag

_KIND: Final = tuple(bytes([kind]) for kind in range(max(KINDS) + 1))


def record_id(id_key: bytes, view: Bytes) -> bytes:
    return blake3(view, key=id_key).digest(ID)


def record_key(session_key: bytes, kind: int, id: bytes) -> bytes:
    return hmac.digest(session_key, _KIND[kind] + id, "sha256")


def aad(repository: bytes, domain: bytes, kind: int, id: bytes) -> bytes:
    return MAGIC + repository + domain + _KIND[kind] + id


class _Keys:
    """A session key, ready to give each record its key and its authenticated words."""

    __slots__ = ("_aads", "_hmac", "_more")

    def __init__(
        self, session_key: bytes, repository: bytes, domain: bytes, more: bytes = b""
    ) -> None:
        if (len(session_key), len(repository), len(domain)) != (KEY, ID, ID):
            raise ValueError("a session key has 32 bytes, the ids of repository and domain 16")
        # copying a keyed state takes 0.9 µs, hmac.digest 2.6: it fetches the algorithm each time
        self._hmac = HMAC(session_key, SHA256())
        self._aads = tuple(aad(repository, domain, kind, b"") for kind in range(len(_KIND)))
        self._more = more

    def _cipher(self, kind: int, id: bytes) -> AESGCM:
        state = self._hmac.copy()
        state.update(_KIND[kind] + id)
        return AESGCM(state.finalize())


class Sealer(_Keys):
    """Seals records under one session key; `more` is authenticated after the id (WAL's place)."""

    __slots__ = ()

    def seal_into(self, kind: int, id: bytes, nonce: bytes, data: Bytes, out: memoryview) -> int:
        """Writes nonce, ciphertext, tag; answers how many bytes that were."""
        end = len(data) + MORE
        words = self._aads[kind] + id + self._more
        out[:NONCE] = nonce
        self._cipher(kind, id).encrypt_into(nonce, data, words, out[NONCE:end])
        return end


class Opener(_Keys):
    """Opens what a Sealer with the same session key sealed."""

    __slots__ = ()

    def open_into(self, kind: int, id: bytes, sealed: memoryview, out: memoryview) -> int:
        """Writes what was sealed; answers how many bytes that were."""
        size = len(sealed) - MORE
        if not 0 <= size <= len(out):
            raise Damaged(f"a sealed record of {len(sealed)} bytes has no length that can be")
        words = self._aads[kind] + id + self._more
        try:
            return self._cipher(kind, id).decrypt_into(
                sealed[:NONCE], sealed[NONCE:], words, out[:size]
            )
        except InvalidTag:
            raise Damaged(
                "a record doesn't open: its bytes are not those that were sealed"
            ) from None

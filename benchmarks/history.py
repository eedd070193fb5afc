"""A long history without taking the backups: signed and sealed as each tool would, in seconds."""

import hashlib
import json
import os
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import zstandard
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

from benchmarks.server import Server
from benchmarks.tools import Place, Tool
from drkit.crypto.sign import signer_from_text
from drkit.repository import names
from drkit.repository.signed import Begin, Commit, Where, decode, encode

COUNT = 10_000
OBJECTS, AGAIN = "10k new", "10k again"  # what stands in the table
SESSIONS = COUNT // 6  # begin, two packs, manifest, packlist, outcome


def make_history(server: Server, tool: Tool, place: Place) -> None:
    """So many small objects behind one backup; nobody has them in a cache."""
    if tool.name == "drkit":
        server.put(_drkit(server, place))
    else:
        server.put(_restic(server, place))


def _drkit(server: Server, place: Place) -> Iterator[tuple[str, bytes]]:
    prefix = place.store.name
    every = server.names(prefix)
    outcomes = sorted(name for name in every if "/outcome/" in name)
    name = outcomes[-1].removeprefix(f"{prefix}/")
    _, domain, _, generation, _, session = name.split("/")
    repository = json.loads(server.read(f"{prefix}/repository.json"))["id"]
    signer = signer_from_text((place.home / "state" / "signer.key").read_text())
    where = Where(repository=repository, domain=domain, generation=generation, session=session)
    first, _ = decode(Commit, server.read(outcomes[-1]), where)
    head = hashlib.sha256(server.read(outcomes[-1])).hexdigest()
    begin = Begin(kind="incremental", parent=session, begun=first.begun, start_lsn=None)
    small = os.urandom(2000)
    for _ in range((COUNT - len(every)) // 6):
        new = replace(where, session=os.urandom(16).hex())
        own = (domain, generation, new.session or "")
        commit = replace(first, kind="incremental", parent=session, heads=((generation, head),))
        data = encode(commit, new, signer)
        head, session = hashlib.sha256(data).hexdigest(), own[2]
        yield f"{prefix}/{names.begin(*own)}", encode(begin, new, signer)
        yield f"{prefix}/{names.outcome(*own)}", data
        for part in (names.manifest(*own), names.packlist(*own)):
            yield f"{prefix}/{part}", small
        for number in range(2):
            yield f"{prefix}/{names.pack(*own, number)}", small


def _restic(server: Server, place: Place) -> Iterator[tuple[str, bytes]]:
    prefix = place.store.name
    every = list(server.names(prefix))
    sealed = next(name for name in every if name.startswith(f"{prefix}/snapshots/"))
    keys = next(name for name in every if name.startswith(f"{prefix}/keys/"))
    master = _master(json.loads(server.read(keys)), b"benchmark")
    plain = _opened(master, server.read(sealed))
    snapshot = _snapshot(plain)
    begun = datetime.now(UTC) - timedelta(days=400)
    count = (COUNT - len(every)) // 6
    for number in range(count):
        time = (begun + timedelta(minutes=number)).isoformat()
        data = _sealed(master, json.dumps({**snapshot, "time": time}).encode())
        yield f"{prefix}/snapshots/{hashlib.sha256(data).hexdigest()}", data
    for _ in range(5 * count):
        name = os.urandom(32).hex()
        yield f"{prefix}/data/{name[:2]}/{name}", os.urandom(2000)


def _snapshot(plain: bytes) -> dict[str, Any]:
    if plain[:1] == b"\x02":  # repository version 2: compressed
        plain = zstandard.ZstdDecompressor().decompressobj().decompress(plain[1:])
    found: dict[str, Any] = json.loads(plain)
    return found


# --- restic's published format: AES-256-CTR and Poly1305-AES, keys from scrypt

_Keys = tuple[bytes, bytes, bytes]  # encrypt, k, r


def _master(file: dict[str, Any], password: bytes) -> _Keys:
    n, r, p = file["N"], file["r"], file["p"]
    salt = b64decode(file["salt"])
    derived = hashlib.scrypt(
        password, salt=salt, n=n, r=r, p=p, maxmem=(n * r + r * p) * 256, dklen=64
    )
    said = json.loads(
        _opened((derived[:32], derived[32:48], derived[48:]), b64decode(file["data"]))
    )
    return b64decode(said["encrypt"]), b64decode(said["mac"]["k"]), b64decode(said["mac"]["r"])


def _ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor().update(data)


def _tag(keys: _Keys, iv: bytes, data: bytes) -> bytes:
    _, k, r = keys
    pad = Cipher(algorithms.AES(k), modes.ECB()).encryptor().update(iv)
    return Poly1305.generate_tag(r + pad, data)


def _sealed(keys: _Keys, plain: bytes) -> bytes:
    iv = os.urandom(16)
    body = _ctr(keys[0], iv, plain)
    return iv + body + _tag(keys, iv, body)


def _opened(keys: _Keys, data: bytes) -> bytes:
    iv, body, tag = data[:16], data[16:-16], data[-16:]
    if _tag(keys, iv, body) != tag:
        raise ValueError("restic's key file is not what its format says")
    return _ctr(keys[0], iv, body)

"""Evidence: one hash chain a signer, of signed canonical JSON, and what doesn't fit in a chain."""

import hashlib
from collections.abc import Iterable, Iterator

from drkit.crypto.sign import (
    SignerKey,
    canonical,
    open_signed,
    parse_canonical,
    parse_signer,
    sign_object,
)
from drkit.errors import Damaged
from drkit.model.evidence import FIRST, Link, Record
from drkit.model.pins import Pins
from drkit.repository import names
from drkit.repository.signed import built, plain

_TYPE = "evidence"
_SHOWN = 24  # of a signer's text in a finding: enough to be found again


def encode(record: Record, key: SignerKey) -> bytes:
    if record.signer != key.public_text:
        raise ValueError("a record is signed by the signer it names")
    return sign_object(key, _TYPE, _payload(record))


def name_of(record: Record) -> str:
    return names.evidence(parse_signer(record.signer).hex(), record.seq)


def decode(data: bytes, name: str) -> Link:
    """`name` is where it was found: a record belongs to exactly one place."""
    public, payload = open_signed(_TYPE, data)
    fields = parse_canonical(payload)
    record = built(Record, fields)
    if record is None or _payload(record) != payload:
        raise Damaged(f"the evidence at {name} hasn't the fields of format 1")
    if record.signer != f"ed25519:{public.hex()}":
        raise Damaged(f"the evidence at {name} names another signer than the one who signed it")
    if name_of(record) != name:
        raise Damaged(f"swapped: the evidence at {name} says another place of itself")
    return Link(record=record, hash=hash_of(data))


def hash_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def verify_chain(links: Iterable[Link], pins: Pins) -> list[str]:
    """What doesn't fit, a line each; nothing means: complete from number 1, unforked, pinned."""
    chains: _Chains = {}
    for link in links:
        chain = chains.setdefault(link.record.signer, {})
        chain.setdefault(link.record.seq, {})[link.hash] = link.record
    findings: list[str] = []
    for signer, chain in sorted(chains.items()):
        if parse_signer(signer) not in pins.verifiers:
            findings.append(f"{_chain(signer)}: its signer isn't pinned as a verifier")
        findings += (f"{_chain(signer)}: {what}" for what in _follow(chain))
        findings += (f"{_chain(signer)}: {what}" for what in _unseen(chain, chains))
    return findings


_Chain = dict[int, dict[str, Record]]  # number → hash → record; two hashes are a fork
_Chains = dict[str, _Chain]


def _payload(record: Record) -> bytes:
    fields = plain(record)
    assert isinstance(fields, dict)
    return canonical(fields | {"type": _TYPE})


def _chain(signer: str) -> str:
    return f"evidence of {signer[:_SHOWN]}…"


def _follow(chain: _Chain) -> Iterator[str]:
    """Gaps, forks, and records that don't follow the one before."""
    expected, before = 1, {FIRST}
    for seq in sorted(chain):
        if seq > expected:
            yield f"{_span(expected, seq - 1)} missing"
        if len(chain[seq]) > 1:
            yield f"forked: number {seq} stands {len(chain[seq])} times with different bytes"
        if seq == expected and any(r.prev not in before for r in chain[seq].values()):
            yield f"number {seq} doesn't follow number {seq - 1}: it names another one before it"
        expected, before = seq + 1, set(chain[seq])


def _span(first: int, last: int) -> str:
    return f"number {first} is" if first == last else f"numbers {first} to {last} are"


def _unseen(chain: _Chain, chains: _Chains) -> Iterator[str]:
    """Records of other chains that these have seen: a chain cut at its end shows here."""
    for seq, records in sorted(chain.items()):
        for head in (head for record in records.values() for head in record.heads):
            known = chains.get(head.signer, {}).get(head.seq, {})
            if head.hash not in known:
                what = "holds other bytes now" if known else "isn't here"
                other = f"number {head.seq} of {head.signer[:_SHOWN]}…"
                yield f"number {seq} has seen {other}, which {what}"

"""Records out of packs: ranged reads, decryption, decompression and the check of every id."""

import mmap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import zstandard
from blake3 import blake3

from drkit.crypto.seal import DATA, Opener
from drkit.errors import Damaged, KeyMissing, NotFound, StoreError
from drkit.repository.cache import Pack
from drkit.repository.format import HEAD, PACK_MAGIC, RECORD, RECORD_STORED
from drkit.repository.frame import envelope_of, split_keys
from drkit.repository.lines import Places
from drkit.stores.base import Store

_GAP = 64 << 10  # reading over it is cheaper than a request more
_RANGE = 4 << 20
_HEAD_GUESS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What is needed to open the packs of one snapshot."""

    store: Store
    places: Places
    id_key: bytes
    name_of: Callable[[Pack], str]
    unwrap: Callable[[bytes], bytes]  # envelope → its payload
    opener: Callable[[bytes], Opener]  # session key → opener


class Fetcher:
    """Owned by one thread: its own buffers and decompressor."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._range = memoryview(mmap.mmap(-1, _RANGE))
        self._packed = memoryview(mmap.mmap(-1, RECORD_STORED))
        self._out = memoryview(mmap.mmap(-1, RECORD))
        self._zstd = zstandard.ZstdDecompressor()
        self._openers: dict[str, Opener] = {}

    def records(
        self, pack: Pack, indexes: Sequence[int]
    ) -> Iterator[tuple[int, memoryview | Damaged]]:
        """Plaintexts in the order of their place in the pack; each view is valid until the next."""
        try:
            opener = self._opener(pack)
        except Damaged as damage:
            yield from ((i, damage) for i in indexes)
            return
        for start, end, group in self._ranges(indexes):
            view = self._range[: end - start]
            try:
                self._read(pack, start, view)
            except Damaged as damage:
                yield from ((i, damage) for i in group)
                continue
            for i in group:
                yield i, self._open(opener, pack, i, view, start)

    def one(self, i: int) -> memoryview:
        places = self._opening.places
        pack = places.packs[places.pack[i]]
        for _, got in self.records(pack, [i]):
            if isinstance(got, Damaged):
                raise got
            return got
        raise AssertionError

    def _ranges(self, indexes: Iterable[int]) -> Iterator[tuple[int, int, list[int]]]:
        places = self._opening.places
        group: list[int] = []
        start = end = 0
        for i in indexes:
            at, stored = places.at[i], places.stored[i]
            if group and (at - end > _GAP or at + stored - start > _RANGE):
                yield start, end, group
                group = []
            if not group:
                start = at
            group.append(i)
            end = at + stored
        if group:
            yield start, end, group

    def _opener(self, pack: Pack) -> Opener:
        """One envelope a session, as its packs all carry the same."""
        known = self._openers.get(pack.session)
        if known is not None:
            return known
        head = bytearray(min(_HEAD_GUESS, pack.size))
        self._read(pack, 0, memoryview(head))
        if len(head) >= HEAD.size:
            length = HEAD.unpack_from(head)[1]
            if HEAD.size + length > len(head) and HEAD.size + length <= min(pack.size, 1 << 17):
                head = bytearray(HEAD.size + length)
                self._read(pack, 0, memoryview(head))
        try:
            keys = split_keys(self._opening.unwrap(envelope_of(bytes(head), PACK_MAGIC)))
        except (Damaged, KeyMissing) as error:  # the same key has opened the manifest
            name = self._opening.name_of(pack)
            raise Damaged(f"the head of {name} is not what was sealed: {error}") from error
        opener = self._openers[pack.session] = self._opening.opener(keys.session_key)
        return opener

    def _read(self, pack: Pack, start: int, view: memoryview) -> None:
        part_of(self._opening.store, self._opening.name_of(pack), pack.size, start, view)

    def _open(
        self, opener: Opener, pack: Pack, i: int, view: memoryview, start: int
    ) -> memoryview | Damaged:
        places = self._opening.places
        at, stored, raw, id = places.at[i] - start, places.stored[i], places.raw[i], places.id(i)
        try:
            got = opener.open_into(DATA, id, view[at : at + stored], self._packed)
            packed = self._packed[:got]
            declared = zstandard.frame_content_size(packed)
            n = self._zstd.stream_reader(packed).readinto(self._out[:raw])
        except (Damaged, zstandard.ZstdError):
            declared = n = -1
        plain = self._out[:raw]
        if not declared == n == raw or blake3(plain, key=self._opening.id_key).digest(16) != id:
            return Damaged(
                f"record {places.numbers[i]} in {self._opening.name_of(pack)} "
                "is not what was sealed"
            )
        return plain


def part_of(store: Store, name: str, size: int, start: int, view: memoryview) -> None:
    """Of an object that must have that size. Missing or cut is damage; a refusal is not."""
    try:
        store.read_into(name, start, view)
    except NotFound as error:
        raise Damaged(f"{error} (it is missing)") from error
    except StoreError as error:
        if error.transient or (found := store.size(name)) == size:
            raise
        raise Damaged(f"{name} has {found} bytes, not {size}") from error

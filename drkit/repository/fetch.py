"""Records out of packs: ranged reads, decryption, decompression and the check of every id."""

import mmap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import zstandard
from blake3 import blake3

from drkit.crypto.seal import DATA, Opener
from drkit.errors import Damaged, KeyMissing, NotFound, StoreError
from drkit.repository.cache import Pack
from drkit.repository.format import HEAD, PACK_MAGIC, RECORD, RECORD_STORED
from drkit.repository.frame import envelope_of, split_keys
from drkit.repository.lines import Places
from drkit.repository.transfer import askers, gathered, is_far
from drkit.stores.base import Store

_GAP = 64 << 10  # reading over it is cheaper than a request more
_FAR_GAP = 1 << 20  # the same where a request waits for a network
_RANGE = 4 << 20
_HEAD_GUESS = 4096
_MANY = 8  # packs of a session that cost more one by one than in a listing
_HEADS = 3  # packs of a session that are asked for its envelope before its records are lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What is needed to open the packs of one snapshot."""

    store: Store
    places: Places
    id_key: bytes
    name_of: Callable[[Pack], str]
    unwrap: Callable[[bytes], bytes]  # envelope → its payload
    opener: Callable[[bytes], Opener]  # session key → opener
    openers: dict[str, Opener] = field(default_factory=dict)  # by session, for all threads

    def prepare(self, packs: Iterable[Pack]) -> None:
        """Each session's envelope once, before many threads ask for it at the same time."""
        asked: dict[str, list[Pack]] = {}
        for pack in packs:
            asked.setdefault(pack.session, []).append(pack)
        gathered(list(asked.values()), self._prepare, askers(self.store.lanes))

    def _prepare(self, packs: Sequence[Pack]) -> None:
        """Where versions are kept, one page vouches for what else is looked up pack by pack."""
        if is_far(self.store.lanes) and len(packs) > _MANY:
            for _ in self.store.list(self.name_of(packs[0]).rpartition("-")[0]):
                pass
        for pack in packs[:_HEADS]:
            with suppress(Damaged):  # told with the files that it hits
                self.opener_of(pack)
                return

    def opener_of(self, pack: Pack) -> Opener:
        """One envelope a session, as its packs all carry the same."""
        known = self.openers.get(pack.session)
        if known is not None:
            return known
        head = bytearray(min(_HEAD_GUESS, pack.size))
        self.read(pack, 0, memoryview(head))
        if len(head) >= HEAD.size:
            length = HEAD.unpack_from(head)[1]
            if HEAD.size + length > len(head) and HEAD.size + length <= min(pack.size, 1 << 17):
                head = bytearray(HEAD.size + length)
                self.read(pack, 0, memoryview(head))
        try:
            keys = split_keys(self.unwrap(envelope_of(bytes(head), PACK_MAGIC)))
        except (Damaged, KeyMissing) as error:  # the same key has opened the manifest
            name = self.name_of(pack)
            raise Damaged(f"the head of {name} is not what was sealed: {error}") from error
        opener = self.openers[pack.session] = self.opener(keys.session_key)
        return opener

    def read(self, pack: Pack, start: int, view: memoryview) -> None:
        part_of(self.store, self.name_of(pack), pack.size, start, view)


class Fetcher:
    """Owned by one thread: its own buffers and decompressor."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._range = memoryview(mmap.mmap(-1, _RANGE))
        self._packed = memoryview(mmap.mmap(-1, RECORD_STORED))
        self._out = memoryview(mmap.mmap(-1, RECORD))
        self._zstd = zstandard.ZstdDecompressor()
        self._gap = _FAR_GAP if is_far(opening.store.lanes) else _GAP

    def records(
        self, pack: Pack, indexes: Sequence[int]
    ) -> Iterator[tuple[int, memoryview | Damaged]]:
        """Plaintexts in the order of their place in the pack; each view is valid until the next."""
        try:
            opener = self._opening.opener_of(pack)
        except Damaged as damage:
            yield from ((i, damage) for i in indexes)
            return
        for start, end, group in self._ranges(indexes):
            view = self._range[: end - start]
            try:
                self._opening.read(pack, start, view)
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
            if group and (at - end > self._gap or at + stored - start > _RANGE):
                yield start, end, group
                group = []
            if not group:
                start = at
            group.append(i)
            end = at + stored
        if group:
            yield start, end, group

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

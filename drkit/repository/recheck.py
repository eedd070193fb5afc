"""A sealed record opened again before it is put, and compared with what was read."""

import zstandard

from drkit.crypto.seal import Opener, record_id
from drkit.errors import Damaged
from drkit.repository.format import RECORD, RECORD_STORED
from drkit.repository.pack import PackWriter
from drkit.repository.transfer import Job

_SAMPLED = 16  # one record in so many


class Recheck:
    """The host can never do it later: it has no key."""

    def __init__(self, level: str, opener: Opener, id_key: bytes) -> None:
        self._every = {"all": 1, "sampled": _SAMPLED, "none": 0}[level]
        self._opener = opener
        self._id_key = id_key
        self._count = 0
        self._plain = memoryview(bytearray(RECORD_STORED))
        self._out = memoryview(bytearray(RECORD))
        self._zstd = zstandard.ZstdDecompressor()

    def __call__(self, job: Job, pack: PackWriter) -> None:
        self._count += 1
        if not self._every or self._count % self._every != 1 % self._every:
            return
        sealed, row = pack.last()
        got = self._opener.open_into(row.kind, row.id, sealed, self._plain)
        n = self._zstd.stream_reader(self._plain[:got]).readinto(self._out)
        if n != job.length or record_id(self._id_key, self._out[:n]) != job.id:
            raise Damaged(
                "a record just sealed does not open to what was read; nothing was committed",
                hint="this machine's memory or processor is not sound: test them",
            )

"""Where content is cut: a keyed FastCDC, so that equal files cut alike within a generation only."""

from pyfastcdc import FastCDC

from drkit.repository.format import RECORD

MINIMUM = 128 << 10
AVERAGE = 256 << 10  # on top of the minimum; the largest chunk is a whole record


class Chunker:
    def __init__(self, id_key: bytes) -> None:
        self._cdc = FastCDC(
            AVERAGE,
            min_size=MINIMUM,
            max_size=RECORD,
            seed=(int.from_bytes(id_key[:8], "little") >> 2) or 1,
        )

    def first(self, view: memoryview) -> int:
        """Length of the first chunk; the view holds a whole record's worth or the file's end."""
        if len(view) <= MINIMUM:
            return len(view)
        return int(next(iter(self._cdc.cut_buf(view))).length)

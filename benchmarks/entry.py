"""What a manifest line costs as a frozen dataclass and as a msgspec struct."""

import dataclasses
import timeit
from collections.abc import Callable
from functools import partial

import msgspec

from drkit.model.entry import Entry

_N = 200_000
_FIELDS = {"path": "a/b/c.txt", "mode": 0o644, "user": "root", "group": "root"}
_TIMES = {"mtime": 1_763_700_000_000_000_000, "size": 4096}


def _as_dataclass() -> type:
    fields = [
        (name, kind, dataclasses.field(default="" if kind is str else 0))
        for name, kind in (
            ("path", str),
            ("type", str),
            ("mode", int),
            ("uid", int),
            ("gid", int),
            ("user", str),
            ("group", str),
            ("mtime", int),
            ("size", int),
            ("target", str),
        )
    ]
    return dataclasses.make_dataclass("Line", fields, frozen=True, slots=True, kw_only=True)


def _micros(call: Callable[[], object]) -> float:
    return timeit.timeit(call, number=_N) / _N * 1e6


def main() -> None:
    encode = msgspec.json.Encoder().encode
    for kind in (_as_dataclass(), Entry):
        one = kind(**_FIELDS, **_TIMES)
        decode: Callable[[bytes], object] = msgspec.json.Decoder(kind).decode
        line = encode(one)
        make = _micros(partial(kind, **_FIELDS, **_TIMES))
        out = _micros(partial(encode, one))
        back = _micros(partial(decode, line))
        print(f"{kind.__name__}: make {make:.2f} µs, encode {out:.2f}, decode {back:.2f}")


if __name__ == "__main__":
    main()

"""What a manifest line costs as a frozen dataclass and as a msgspec struct."""

import dataclasses
import timeit

import msgspec

from drkit.model.entry import Entry

_N = 200_000
_FIELDS = {"path": "a/b/c.txt", "mode": 0o644, "user": "root", "group": "root"}
_TIMES = {"mtime": 1_763_700_000_000_000_000, "size": 4096}


def _as_dataclass() -> type:
    fields = [
        (name, kind, dataclasses.field(default="" if kind is str else 0))
        for name, kind in (
            ("path", str), ("type", str), ("mode", int), ("uid", int), ("gid", int),
            ("user", str), ("group", str), ("mtime", int), ("size", int), ("target", str),
        )  # fmt: skip
    ]
    return dataclasses.make_dataclass("Line", fields, frozen=True, slots=True, kw_only=True)


def main() -> None:
    encode = msgspec.json.Encoder().encode
    for kind in (_as_dataclass(), Entry):
        one = kind(**_FIELDS, **_TIMES)
        decode = msgspec.json.Decoder(kind).decode
        line = encode(one)
        make = timeit.timeit(lambda k=kind: k(**_FIELDS, **_TIMES), number=_N) / _N * 1e6
        out = timeit.timeit(lambda o=one: encode(o), number=_N) / _N * 1e6
        back = timeit.timeit(lambda d=decode, b=line: d(b), number=_N) / _N * 1e6
        print(f"{kind.__name__}: make {make:.2f} µs, encode {out:.2f}, decode {back:.2f}")


if __name__ == "__main__":
    main()

"""How long `drkit --help` takes, as a multiple of an empty Python."""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

LIMIT = 10.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench startup", description=__doc__)
    parser.add_argument("-n", default=15, type=int, help="turns; medians are compared")
    turns = parser.parse_args().n
    empty, own = measure(turns)
    ratio = own / empty
    print(f"python -c pass {empty * 1000:.1f} ms, drkit --help {own * 1000:.1f} ms", end="; ")
    print(f"ratio {ratio:.1f}, at most {LIMIT:.0f}")
    return int(ratio > LIMIT)


def measure(turns: int) -> tuple[float, float]:
    """In turns, after one of each that only warms the caches."""
    drkit = Path(sys.executable).with_name("drkit")
    empty, own = [sys.executable, "-c", "pass"], [str(drkit), "--help"]
    pairs = [(_time(empty), _time(own)) for _ in range(turns + 1)][1:]
    return median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)


def _time(argv: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())

"""What the benchmarks' options mean."""

import argparse
import os
import re
import sys
from pathlib import Path

_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def size(text: str) -> int:
    match = re.fullmatch(r"(\d+)([KMG]iB)?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 512MiB")
    return int(match[1]) * _UNITS[match[2] or ""]


def path_with_drkit() -> str:
    """drkit is the one beside this Python."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

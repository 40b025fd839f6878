"""The floor of a pull: all bytes of a model received by four connections and thrown away.

`python -m benchmarks.floor HUB ORG/NAME PATH...`
"""

from __future__ import annotations

import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor


def _receive(url: str) -> int:
    buffer, total = memoryview(bytearray(256 << 10)), 0
    with urllib.request.urlopen(url) as answer:
        while count := answer.readinto(buffer):
            total += count
    return total


def main(hub: str, model: str, *paths: str) -> None:
    """Print how many bytes came."""
    with ThreadPoolExecutor(4) as pool:
        print(sum(pool.map(_receive, [f"{hub}/{model}/resolve/main/{path}" for path in paths])))


if __name__ == "__main__":
    main(*sys.argv[1:])

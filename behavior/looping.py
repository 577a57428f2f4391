"""Whether a response ends in a loop: the same text again and again until it was cut or gave up.

Covers one cheap rule on the end of the text, equal for every language. Does not look for loops that a
response got out of.
"""

from __future__ import annotations

import numpy as np

TAIL = 3000
"""Characters at the end that are looked at."""

WINDOW = 32
"""Characters that count as the same text again."""

LEAST = 200
"""Characters below which nothing is called a loop."""

DISTINCT = 0.5
"""Share of distinct windows below which a tail is a loop: each window was seen twice on average."""


_ODD = 0x9E3779B97F4A7C15
_UP = np.cumprod(np.full(TAIL + 1, _ODD, dtype=np.uint64))
_DOWN = np.cumprod(np.full(TAIL + 1, pow(_ODD, -1, 1 << 64), dtype=np.uint64))


def is_looping(text: str) -> bool:
    """Whether fewer than half of the windows of 32 characters in the last 3,000 are distinct.

    A text that repeats one block of any length up to about 1,500 characters to its end falls below; a
    response of fewer than 200 characters never does.
    """
    tail = text[-TAIL:]
    if len(tail) < LEAST:
        return False
    # Rabin-Karp, modulo 2^64: one hash per window, ten times faster than a set of slices.
    points = np.frombuffer(tail.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(points * _UP[: len(points)])])
    hashes = np.sort((sums[WINDOW:] - sums[:-WINDOW]) * _DOWN[: len(points) - WINDOW + 1])
    return bool(1 + np.count_nonzero(np.diff(hashes)) < DISTINCT * len(hashes))

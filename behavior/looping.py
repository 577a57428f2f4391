"""Whether a response ends in a loop: the same text again and again until it was cut or gave up.

Covers one cheap rule on the end of the text, equal for every language. Does not look for loops that a
response got out of.
"""

from __future__ import annotations

TAIL = 3000
"""Characters at the end that are looked at."""

WINDOW = 32
"""Characters that count as the same text again."""

LEAST = 200
"""Characters below which nothing is called a loop."""

DISTINCT = 0.5
"""Share of distinct windows below which a tail is a loop: each window was seen twice on average."""


def is_looping(text: str) -> bool:
    """Whether fewer than half of the windows of 32 characters in the last 3,000 are distinct.

    A text that repeats one block of any length up to about 1,500 characters to its end falls below; a
    response of fewer than 200 characters never does.
    """
    tail = text[-TAIL:]
    windows = len(tail) - WINDOW + 1
    if len(tail) < LEAST:
        return False
    return len({tail[start : start + WINDOW] for start in range(windows)}) < DISTINCT * windows

"""Long traces in parts that overlap, cut where a step ends.

Covers offsets only. A step ends at a blank line; where there is none near enough, at a line break,
a sentence, a blank, and at last anywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

CHUNK_CHARS = 12_000
"""Characters of trace per request, about 4,000 tokens: one request for most traces."""

OVERLAP_CHARS = 1_000
"""What two neighbours share at most: several times the length of a quote, so that none is split."""

_ENDS = tuple(re.compile(pattern) for pattern in (r"\n[^\S\n]*\n\s*", r"\n\s*", r"[.!?。！？]\s*", r"\s+"))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Characters start..end (end exclusive) of a trace; part `index` of `count`, from 0."""

    index: int
    count: int
    start: int
    end: int


def split(text: str, size: int = CHUNK_CHARS, overlap: int = OVERLAP_CHARS) -> tuple[Chunk, ...]:
    """Chunks of at most `size` characters that cover `text`; () for a text without any sign.

    size > overlap >= 0. Neighbours share at most `overlap` characters: the whole steps that fit.
    """
    if not 0 <= overlap < size:
        raise ValueError("an overlap is at least 0 and shorter than a chunk")
    spans, start = [], 0
    while len(text) - start > size:
        # The later half: a chunk of a few words costs a whole prompt.
        end = _last_end(text, start + max(size // 2, overlap) + 1, start + size)
        spans.append((start, end))
        start = _first_end(text, end - overlap, end)
    spans.append((start, len(text)))
    if not text.strip():
        return ()
    return tuple(Chunk(index, len(spans), *span) for index, span in enumerate(spans))


def _last_end(text: str, low: int, high: int) -> int:
    """The last end of a step within low..high, both included."""
    for pattern in _ENDS:
        ends = [match.end() for match in pattern.finditer(text, low, high) if match.end() > low]
        if ends:
            return ends[-1]
    return high


def _first_end(text: str, low: int, high: int) -> int:
    """The first end of a step from low on, before high."""
    for pattern in _ENDS:
        # A step may end with signs that stand before `low`.
        for match in pattern.finditer(text, max(0, low - 100), high):
            if low <= match.end() < high:
                return match.end()
    return low

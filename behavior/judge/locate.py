"""Quotes to offsets: where the trace says what the judge claims that it says.

Covers the search in one chunk (exact first, then normalised) and the removal of what two chunks, or
two findings, tell twice. A quote that is not found is dropped and counted, never moved to a similar
place: similar is what a fabricated quote is, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from behavior.judge.chunks import Chunk
from behavior.judge.schema import Finding
from behavior.text import Folded, normalise

MIN_LETTERS = 3
"""Letters and digits of a quote. "8" is found in any trace and proves nothing."""

_ESCAPES = {"\b": r"\b", "\f": r"\f", "\t": r"\t", "\r": r"\r"}
r"""What `\beta`, `\frac`, `\times`, `\rho` become where a judge forgets to double the backslash in JSON."""


@dataclass(frozen=True, slots=True)
class Located:
    """A finding in its place: `quote` is start..end (end exclusive) of the raw completion, in characters."""

    label: str
    start: int
    end: int
    quote: str


def locate(findings: Sequence[Finding], text: str, chunk: Chunk) -> tuple[list[Located], list[Finding]]:
    """(found, lost): each finding's place in the chunk, and the findings that have none.

    A quote that occurs several times takes, for each label, the next place that no earlier finding
    of this label took; one claimed more often than it occurs is neither found again nor lost.
    """
    segment = Segment(text, chunk)
    taken: set[tuple[str, int, int]] = set()
    found, lost = [], []
    for finding in findings:
        places = segment.places(finding.quote)
        free = [place for place in places if (finding.label, *place) not in taken]
        if free:
            start, end = free[0]
            taken.add((finding.label, start, end))
            found.append(Located(finding.label, start, end, text[start:end]))
        elif not places:
            lost.append(finding)
    return found, lost


def without_repeats(found: Iterable[Located]) -> list[Located]:
    """In order of place, each occurrence once.

    Two findings of one label are the same occurrence where they share more than half of the shorter:
    neighbouring chunks both show their overlap, and quote it a little differently. The longer stays.
    """
    kept: list[Located] = []
    for mark in sorted(found, key=lambda mark: (mark.start - mark.end, mark.start)):
        if not any(mark.label == other.label and _same_place(mark, other) for other in kept):
            kept.append(mark)
    return sorted(kept, key=lambda mark: (mark.start, mark.end, mark.label))


def _same_place(one: Located, other: Located) -> bool:
    shared = min(one.end, other.end) - max(one.start, other.start)
    return 2 * shared > min(one.end - one.start, other.end - other.start)


class Segment:
    """One chunk of a trace, searched for many quotes; folded only when a quote needs it."""

    def __init__(self, text: str, chunk: Chunk):
        self._text = text
        self._chunk = chunk
        self._folded: Folded | None = None

    def places(self, quote: str) -> list[tuple[int, int]]:
        """All places of a quote as (start, end) in the trace: exact ones, else those under folding."""
        quote = quote.strip()
        if sum(sign.isalnum() for sign in quote) < MIN_LETTERS:
            return []
        exact = [(at, at + len(quote)) for at in _all(self._text, quote, self._chunk.start, self._chunk.end)]
        repaired = re.sub("[\b\f\t\r]", lambda sign: _ESCAPES[sign[0]], quote)
        return (
            exact
            or self._folded_places(quote)
            or (self._folded_places(repaired) if repaired != quote else [])
        )

    def _folded_places(self, quote: str) -> list[tuple[int, int]]:
        if self._folded is None:
            self._folded = normalise(self._text[self._chunk.start : self._chunk.end])
        wanted, first = normalise(quote).text.strip(), self._chunk.start
        spans = (self._folded.raw_span(at, at + len(wanted)) for at in _all(self._folded.text, wanted))
        return [(first + start, first + end) for start, end in spans]


def _all(text: str, wanted: str, start: int = 0, end: int | None = None) -> Iterator[int]:
    """Where `wanted` stands between start and end, not inside a longer word or number."""
    at = text.find(wanted, start, end)
    while wanted and at >= 0:
        if not (_joined(text, at) or _joined(text, at + len(wanted))):
            yield at
        at = text.find(wanted, at + 1, end)


def _joined(text: str, at: int) -> bool:
    """Whether the signs on both sides of a place belong to one word; other scripts have no such boundary."""
    around = text[at - 1 : at + 1] if at else ""
    return len(around) == 2 and around.isascii() and around.isalnum()

"""Thoughts: a response split at blank lines, each with at most one label.

The unit of SEAL (arXiv 2504.07986). Covers splitting and labelling; which words were found where is
given (behavior.finding).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_BREAK = re.compile(r"\n\s*\n[^\S\n]*")
_TAGS = re.compile(r"(?:<\|?/?\w+\|?>|[^\w<]|<(?!\|?/?\w+\|?>))*")
"""What may stand before the first word of a thought: tags such as <think>, punctuation, Markdown."""


class Thought(NamedTuple):
    """One thought. start, end: code points of the raw text, end exclusive, without white space around.

    label: what it was labelled, None where nothing was found in it (SEAL's execution).
    """

    start: int
    end: int
    label: str | None


class Cue(NamedTuple):
    """One found phrase, as far as thoughts care. start: its raw offset. rank: place of its label."""

    start: int
    rank: int
    starts_only: bool


def split_thoughts(text: str) -> list[tuple[int, int]]:
    """Raw start and end of every thought: the text between blank lines; pieces of white space are none."""
    start, last = len(text) - len(text.lstrip()), len(text.rstrip())
    spans = []
    for gap in _BREAK.finditer(text, start, last):
        end = gap.start()
        spans.append((start, end if not text[end - 1].isspace() else start + len(text[start:end].rstrip())))
        start = gap.end()
    return [*spans, (start, last)] if start < last else spans


def label_thoughts(text: str, cues: Iterable[Cue], labels: Sequence[str]) -> list[Thought]:
    """The thoughts of a text, each with the first of `labels` that a cue in it speaks for.

    A cue that `starts_only` speaks only as the first word of a thought; tags and punctuation before it
    do not matter.
    """
    spans = split_thoughts(text)
    starts = [start for start, _ in spans]
    best: dict[int, int] = {}
    for cue in cues:
        thought = bisect_right(starts, cue.start) - 1
        if cue.rank < best.get(thought, len(labels)) and (
            not cue.starts_only or cue.start == _first_word(text, *spans[thought])
        ):
            best[thought] = cue.rank
    thoughts = [Thought(start, end, None) for start, end in spans]
    for at, rank in best.items():
        thoughts[at] = thoughts[at]._replace(label=labels[rank])
    return thoughts


def _first_word(text: str, start: int, end: int) -> int:
    match = _TAGS.match(text, start, end)
    return match.end() if match else start

"""Thoughts: a response split at blank lines, each with at most one label.

The unit of SEAL (arXiv 2504.07986). Covers splitting and labelling; which words were found where is
given (behavior.finding).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_BREAK = re.compile(r"\n\s*\n[^\S\n]*")
_TAGS = re.compile(r"(?:<\|?/?\w+\|?>|[^\w<]|<(?!\|?/?\w+\|?>))*")
"""What may stand before the first word of a thought: tags such as <think>, punctuation, Markdown."""


@dataclass(frozen=True, slots=True)
class Thought:
    """One thought. start, end: code points of the raw text, end exclusive, without white space around.

    label: what it was labelled, None where nothing was found in it (SEAL's execution).
    """

    start: int
    end: int
    label: str | None


@dataclass(frozen=True, slots=True)
class Cue:
    """One found phrase, as far as thoughts care. start: its raw offset. rank: place of its label."""

    start: int
    rank: int
    starts_only: bool


def split_thoughts(text: str) -> list[tuple[int, int]]:
    """Raw start and end of every thought: the text between blank lines; pieces of white space are none."""
    start, last = len(text) - len(text.lstrip()), len(text.rstrip())
    spans = []
    for gap in _BREAK.finditer(text, start, last):
        spans.append((start, start + len(text[start : gap.start()].rstrip())))
        start = gap.end()
    return [*spans, (start, last)] if start < last else spans


def label_thoughts(text: str, cues: Iterable[Cue], labels: Sequence[str]) -> list[Thought]:
    """The thoughts of a text, each with the first of `labels` that a cue in it speaks for.

    cues: ordered by start. A cue that `starts_only` speaks only as the first word of a thought; tags
    and punctuation before it do not matter.
    """
    thoughts = []
    waiting = list(cues)
    at = 0
    for start, end in split_thoughts(text):
        best = len(labels)
        first_word = -1
        while at < len(waiting) and waiting[at].start < end:
            cue = waiting[at]
            at += 1
            if cue.starts_only and cue.rank < best:
                first_word = first_word if first_word >= 0 else _first_word(text, start, end)
            if cue.rank < best and (not cue.starts_only or cue.start == first_word):
                best = cue.rank
        thoughts.append(Thought(start, end, labels[best] if best < len(labels) else None))
    return thoughts


def _first_word(text: str, start: int, end: int) -> int:
    match = _TAGS.match(text, start, end)
    return match.end() if match else start

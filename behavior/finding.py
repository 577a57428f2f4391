"""What a lexicon finds in one response: marks with raw offsets, counts, labelled thoughts.

Covers putting together occurrences (behavior.automaton), masks (behavior.masks) and thoughts
(behavior.thoughts). Does not cover rates, tokens or files (behavior.count), nor whether words are
behaviour: they are not, see docs/lexicons.md.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from behavior.automaton import Automaton
from behavior.lexicon import Lexicon
from behavior.masks import Span, mask_spans
from behavior.text import fold, spell
from behavior.thoughts import Cue, Thought, label_thoughts


class Mark(NamedTuple):
    """One occurrence of a phrase. start, end: code points of the raw text, end exclusive.

    phrase: in the lexicon's (normalised) spelling. masked: whether it touches text copied from the
    prompt, code or mathematics.
    """

    label: str
    phrase: str
    start: int
    end: int
    masked: bool


@dataclass(frozen=True, slots=True)
class Found:
    """All that a lexicon finds in one response.

    marks: every occurrence between word boundaries, ordered by start. phrases: phrase -> occurrences,
    every phrase of the lexicon, masked ones included. thoughts: split at blank lines, labelled by the
    marks that are not masked. masked_share: masked characters over all; 0 without masking.
    """

    marks: list[Mark]
    phrases: dict[str, int]
    thoughts: list[Thought]
    masked_share: float

    def labels(self) -> Counter[str]:
        """Label -> occurrences that are not masked."""
        return Counter(mark.label for mark in self.marks if not mark.masked)


class Finder:
    """Finds the phrases of one lexicon; build it once, then use it for any number of responses."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self._entries = lexicon.entries()
        self._ranks = {label: rank for rank, label in enumerate(lexicon.labels)}
        self._automaton = Automaton([phrase for _, phrase in self._entries])

    def find(self, text: str, prompt: str = "", mask: bool = True) -> Found:
        """Everything found in a response.

        prompt: what the model was given, by which copies are known; "" for none. mask: whether copies,
        code and mathematics are told apart; without it no mark is masked, and all marks label thoughts.
        """
        folded = fold(text)
        spans = mask_spans(text, folded, prompt) if mask else []
        marks, cues = [], []
        for number, start, end in sorted(self._automaton.hits(folded.text), key=lambda hit: (hit[1], hit[0])):
            label, phrase = self._entries[number]
            start, end = folded.raw_span(start, end)
            masked = _touches(spans, start, end)
            marks.append(Mark(label, phrase.text, start, end, masked))
            if not masked:
                cues.append(Cue(start, self._ranks[label], phrase.at == "start"))
        occurrences = Counter(mark.phrase for mark in marks)
        return Found(
            marks=marks,
            phrases={phrase.text: occurrences[phrase.text] for _, phrase in self._entries},
            thoughts=label_thoughts(text, cues, list(self._ranks)),
            masked_share=sum(end - start for start, end in spans) / len(text) if text else 0.0,
        )

    def count(self, text: str) -> dict[str, int]:
        """`find(text).phrases` alone, many times faster."""
        return self.count_many([text])

    def count_many(self, texts: Iterable[str]) -> dict[str, int]:
        """Phrase -> occurrences in all texts together. Texts are taken one at a time, none is kept."""
        counts = [0] * len(self._entries)
        for text in texts:
            for number, _, _ in self._automaton.hits(spell(text)[0]):
                counts[number] += 1
        return {phrase.text: count for (_, phrase), count in zip(self._entries, counts, strict=True)}


def _touches(spans: Sequence[Span], start: int, end: int) -> bool:
    """Whether start:end shares a character with one of the ordered spans."""
    at = bisect_right(spans, (start, end)) - 1
    return (at >= 0 and spans[at][1] > start) or (at + 1 < len(spans) and spans[at + 1][0] < end)

"""All phrases of a lexicon in one pass: an Aho-Corasick automaton, and word boundaries at its hits.

The result is that of one `re` pass per phrase over `behavior.text.normalise(text)`, each phrase on its
own, so that phrases which overlap each count; the tests compare the two. Covers occurrences in a folded
text. Does not cover raw offsets, masks or labels (behavior.finding).

A word boundary is where the neighbour is no letter, digit or underscore of any script (Python's \\w):
"waiting", "wait_" and "wait了" do not hold the word "wait". behavior.lexicon.Phrase says at which end of
a phrase it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ahocorasick_rs import AhoCorasick, BytesAhoCorasick, Implementation

from behavior.lexicon import Phrase
from behavior.text import ASCII_TABLE, fold_ascii

Hit = tuple[int, int, int]
"""Number of the phrase, start and end (exclusive) in the folded text."""

_ELSEWHERE = "?"
"""What str.encode puts in a byte image for a character outside ASCII; stands for itself too."""

_SURROGATES = re.compile("[\ud800-\udfff]")
"""Unpaired surrogates, which the automaton cannot take: they have no UTF-8."""

_LETTER, _LOOK = 1, 2
_KINDS = bytes(
    _LETTER if chr(i).isalnum() or chr(i) == "_" else _LOOK if chr(i) == _ELSEWHERE else 0 for i in range(128)
)


class Automaton:
    """Finds phrases between word boundaries; build it once, then use it for any number of texts.

    phrases: normalised, none empty, no two the same. Where all are ASCII the text is searched as bytes,
    one per code point (characters outside ASCII cannot be part of a hit), which is twice as fast.
    """

    def __init__(self, phrases: Sequence[Phrase]) -> None:
        self._phrases = phrases
        self._repeating = {number for number, phrase in enumerate(phrases) if _overlaps_itself(phrase.text)}
        self._as_bytes = all(phrase.text.isascii() and _ELSEWHERE not in phrase.text for phrase in phrases)
        patterns: list[str] = []
        self._rules: list[tuple[int, bool, bool, re.Pattern[str] | None]] = []
        self._byte_rules: list[tuple[int, bool, bool, re.Pattern[bytes] | None]] = []
        for number, phrase in enumerate(phrases):
            for text, spread in _patterns(phrase.text):
                patterns.append(text)
                ends = (number, phrase.before, phrase.after)
                self._rules.append((*ends, re.compile(spread) if spread else None))
                self._byte_rules.append((*ends, re.compile(spread.encode()) if spread else None))
        self._bytes = BytesAhoCorasick([p.encode() for p in patterns], implementation=Implementation.DFA)
        self._text = AhoCorasick(patterns, implementation=Implementation.DFA)

    def hits(self, text: str) -> list[Hit]:
        """Every occurrence between boundaries, unordered.

        text: spelled or folded (behavior.text.spell, fold). Offsets are those of the folded text, in
        which the two agree.
        """
        hits = self._hits_in_bytes(text) if self._as_bytes else self._hits_in_text(fold_ascii(text))
        return self._without_repeats(hits) if self._repeating else hits

    def _hits_in_bytes(self, text: str) -> list[Hit]:
        # The space at the end is the neighbour of a phrase at either end of the text.
        image = text.encode("ascii", "replace").translate(ASCII_TABLE) + b" "
        hits = []
        for pattern, start, end in self._bytes.find_matches_as_indexes(image, overlapping=True):
            number, before, after, spread = self._byte_rules[pattern]
            if spread is not None:
                match = spread.match(image, start)
                if match is None:
                    continue
                end = match.end()
            kind = _KINDS[image[start - 1]] if before else 0
            if kind == _LETTER or (kind == _LOOK and text[start - 1].isalnum()):
                continue
            kind = _KINDS[image[end]] if after else 0
            if kind == _LETTER or (kind == _LOOK and text[end].isalnum()):
                continue
            hits.append((number, start, end))
        return hits

    def _hits_in_text(self, text: str) -> list[Hit]:
        # Unpaired surrogates have no UTF-8; U+FFFF is no character, so that no phrase holds it.
        text = _SURROGATES.sub("\uffff", text) + " "
        hits = []
        for pattern, start, end in self._text.find_matches_as_indexes(text, overlapping=True):
            number, before, after, spread = self._rules[pattern]
            if spread is not None:
                match = spread.match(text, start)
                if match is None:
                    continue
                end = match.end()
            if not (before and _is_word(text[start - 1])) and not (after and _is_word(text[end])):
                hits.append((number, start, end))
        return hits

    def _without_repeats(self, hits: Iterable[Hit]) -> list[Hit]:
        """Drops a hit that begins inside the last kept one of its phrase, as re.finditer does."""
        kept, ends = [], dict.fromkeys(self._repeating, 0)
        for number, start, end in sorted(hits, key=lambda hit: hit[1]):
            if number in ends:
                if start < ends[number]:
                    continue
                ends[number] = end
            kept.append((number, start, end))
        return kept


def _patterns(phrase: str) -> list[tuple[str, str]]:
    """What to search for a phrase: it, and its beginnings up to a gap that is wider than one space.

    A folded text keeps runs of white space, so "think again" is searched as itself and as "think  ";
    where the latter is found, the phrase is matched with gaps of any width (second item, a regular
    expression). Of an occurrence, exactly one of these is found.
    """
    spread = " +".join(map(re.escape, phrase.split(" ")))
    return [(phrase, ""), *((phrase[: gap.start()] + "  ", spread) for gap in re.finditer(" ", phrase))]


def _overlaps_itself(phrase: str) -> bool:
    """Whether two occurrences of a phrase can overlap: it ends as it begins."""
    return any(phrase.startswith(phrase[shift:]) for shift in range(1, len(phrase)))


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"

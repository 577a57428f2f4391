"""One spelling for text that means the same, and the way back to the raw characters.

`fold` makes text comparable: NFKC, case folding, one kind of quote, hyphen and space, invisible
characters gone. `normalise` also joins every run of white space to one space. Both remember where
each character came from, so that whatever is found is reported in code points of the raw text.
Does not cover what a word is (behavior.finding) or which parts of a text do not count
(behavior.masks).

Most characters keep their place, so only places where the length changes are remembered, and text
in ASCII is folded by one table.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache

QUOTES = {"'": "‘’‚‛ʼ´", '"': "“”„‟«»"}
HYPHENS = "‐‑‒–−﹣－"
"""Joined to "-". The em dash is not: it parts clauses, not the halves of a word."""
INVISIBLE = "\u00ad\u200b\u200c\u200d\u2060\ufeff" + "".join(map(chr, range(0xFE00, 0xFE10)))
"""Soft hyphen, zero-width characters, variation selectors: dropped."""

_SPELLING = (
    {ord(c): plain for plain, odd in QUOTES.items() for c in odd}
    | dict.fromkeys(map(ord, HYPHENS), "-")
    | dict.fromkeys(map(ord, INVISIBLE))
)
_ASCII = bytes(range(128))
ASCII_TABLE = bytes(32 if chr(i).isspace() else ord(chr(i).lower()) for i in range(128)) + bytes(
    range(128, 256)
)
"""Lower case and plain spaces for the ASCII bytes of a text in UTF-8; other bytes stay."""

_SPACES = re.compile(" {2,}")


class OffsetMap:
    """Where the pieces of a changed text stood before: the way from new offsets to old ones.

    Between two pieces the texts agree character by character; inside a piece any offset maps to the
    whole piece that was replaced.
    """

    __slots__ = ("_new_ends", "_new_starts", "_old_ends", "_old_starts")

    def __init__(self) -> None:
        self._new_starts: list[int] = []
        self._new_ends: list[int] = []
        self._old_starts: list[int] = []
        self._old_ends: list[int] = []

    def add(self, new: tuple[int, int], old: tuple[int, int]) -> None:
        """Record that old[0]:old[1] became new[0]:new[1]; pieces come in order."""
        self._new_starts.append(new[0])
        self._new_ends.append(new[1])
        self._old_starts.append(old[0])
        self._old_ends.append(old[1])

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The old start and end (exclusive) of new[start:end]."""
        first = self._at(start)[0]
        return first, (self._at(end - 1)[1] if end > start else first)

    def _at(self, offset: int) -> tuple[int, int]:
        piece = bisect_right(self._new_starts, offset) - 1
        if piece < 0:
            return offset, offset + 1
        if offset < self._new_ends[piece]:
            return self._old_starts[piece], self._old_ends[piece]
        old = self._old_ends[piece] + offset - self._new_ends[piece]
        return old, old + 1


@dataclass(frozen=True, slots=True)
class Folded:
    """A text made comparable. text: the new spelling. maps: the way back, first change first."""

    text: str
    maps: tuple[OffsetMap, ...] = ()

    def raw_span(self, start: int, end: int) -> tuple[int, int]:
        """Start and end (exclusive) in code points of the raw text of what is text[start:end]."""
        for offsets in reversed(self.maps):
            start, end = offsets.span(start, end)
        return start, end


def fold(text: str) -> Folded:
    """Text in one spelling; every white space is a space, runs of them stay as long as they are.

    NFKC, then case folding, then NFKC again (case folding can undo it), applied to each character
    together with the marks that combine with it: the same as applied to the whole text. Unpaired
    surrogates stay as they are.
    """
    spelled, maps = spell(text)
    return Folded(fold_ascii(spelled), maps)


def normalise(text: str) -> Folded:
    """`fold`, with every run of white space joined to one space: what phrases are compared on."""
    folded = fold(text)
    joined, offsets = _replace(folded.text, _SPACES, lambda _: " ")
    return Folded(joined, (*folded.maps, offsets)) if offsets else folded


def spell(text: str) -> tuple[str, tuple[OffsetMap, ...]]:
    """The part of `fold` that concerns characters outside ASCII: ASCII keeps its case and spaces."""
    if text.isascii():
        return text, ()
    swaps, breaks, joins = [], [], []
    for char in foreign_characters(text):
        spelling, kind = _spelling(char)
        if kind == "joins":
            joins.append(char)
        elif len(spelling) != 1:
            breaks.append(char)
        elif spelling != char:
            swaps.append((char, spelling))
    maps: tuple[OffsetMap, ...] = ()
    if breaks or joins:
        text, offsets = _replace(text, _pieces("".join(sorted(breaks)), "".join(sorted(joins))), _spell_piece)
        maps = (offsets,) if offsets else ()
    for char, spelling in swaps:
        text = text.replace(char, spelling)
    return text, maps


def foreign_characters(text: str) -> set[str]:
    """The distinct characters outside ASCII, about ten times faster than set(text)."""
    return set(text.encode("utf-8", "surrogatepass").translate(None, _ASCII).decode("utf-8", "surrogatepass"))


def fold_ascii(text: str) -> str:
    """The part of `fold` that concerns ASCII: lower case, and every white space a space."""
    # By way of bytes: str.translate takes 50 times as long where a text is not all ASCII.
    return text.encode("utf-8", "surrogatepass").translate(ASCII_TABLE).decode("utf-8", "surrogatepass")


@cache
def _spelling(char: str) -> tuple[str, str]:
    """The folded character, and whether it "joins" the one before it or stands "alone"."""
    first = unicodedata.normalize("NFKD", char)[0]
    # Vowels and finals of Hangul combine too, though Unicode calls them letters.
    joins = char in INVISIBLE or unicodedata.category(first)[0] == "M" or 0x1160 <= ord(first) <= 0x11FF
    return _spell_all(char), "joins" if joins else "alone"


def _spell_piece(match: re.Match[str]) -> str:
    return _spell_all(match[0])


def _spell_all(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text.translate(_SPELLING)).casefold()
    plain = unicodedata.normalize("NFKC", plain).translate(_SPELLING)
    return "".join(" " if char.isspace() else char for char in plain)


@lru_cache(maxsize=256)
def _pieces(breaks: str, joins: str) -> re.Pattern[str]:
    """What has to be replaced as a whole: a character with all that join it, or one that changes length."""
    parts = [f".[{re.escape(joins)}]+"] if joins else []
    if joins:
        parts.append(f"^[{re.escape(joins)}]+")
    if breaks:
        parts.append(f"[{re.escape(breaks)}]")
    return re.compile("|".join(parts), re.DOTALL)


def _replace(
    text: str, pattern: re.Pattern[str], replacement: Callable[[re.Match[str]], str]
) -> tuple[str, OffsetMap | None]:
    """Text with each match replaced, and the way back; None where nothing matched."""
    parts: list[str] = []
    offsets, old, new = OffsetMap(), 0, 0
    for match in pattern.finditer(text):
        put = replacement(match)
        new += match.start() - old
        offsets.add((new, new + len(put)), match.span())
        parts += (text[old : match.start()], put)
        old, new = match.end(), new + len(put)
    if not parts:
        return text, None
    return "".join(parts) + text[old:], offsets

"""Masks: the parts of a response that are not the model's own prose.

Text copied from the prompt, code and mathematics. A phrase found there is reported as masked, and
not counted where masking is on: a quoted problem about a waiter reflects nothing. Covers where the
masks lie, in code points of the raw text. Does not cover finding phrases (behavior.finding).

Nothing here is searched more than once, so a response of a million open brackets costs no more than
another one of its length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from behavior.text import Folded, fold, foreign_characters

COPY_WORDS = 5
"""Words in a row that stand in the prompt in the same order: from here on they are a copy."""

_FAMILIAR = re.compile(rb"\x01{%d,}" % COPY_WORDS)
_HAN = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_HAN_WORDS = re.compile(rf"{_HAN.pattern}|[^\W{_HAN.pattern[1:-1]}]+")
_QUOTED = re.compile(r'"([^"\n]{1,1000})"')
_IN_WORD = bytes(i >= 128 or chr(i).isalnum() or chr(i) == "_" for i in range(256))
_SPACED = bytes(i if inside else 32 for i, inside in enumerate(_IN_WORD))
_ELSEWHERE = b"?"
_IMAGE = _IN_WORD[: ord(_ELSEWHERE)] + b"\x01" + _IN_WORD[ord(_ELSEWHERE) + 1 :]

# Each alternative begins with a plain character: `re` then skips to those fast.
_OPENERS = re.compile(r"``*|~~~~*|\$\$?|\\(?:[\[($`\\]|begin\{\w+\*?\})|\[asy\]")
_CLOSERS = {"\\(": "\\)", "\\[": "\\]", "[asy]": "[/asy]"}
_INDENT = 40
"""Spaces and tabs before a fence that are looked at, at most."""
_ENVIRONMENTS = re.compile(
    r"(equation|align|aligned|alignat|flalign|gather|gathered|multline|eqnarray|split|array|cases|math"
    r"|displaymath|[pbvBV]?(small)?matrix|verbatim|lstlisting|minted|tikzpicture|asy)\*?"
)
_TEXT = re.compile(r"\\(?:text|textbf|textit|mbox|mathrm|operatorname)\s*\{[^{}]*\}")
_PROSE = re.compile(r"(?<![\\\w])[^\W\d_]{2,}(?:[\s,;]+[^\W\d_]{2,}){2}")
"""Three plain words in a row: what stands between two dollar signs is about money, not mathematics."""

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Prompt:
    """A prompt as word lists are compared with it. vocabulary: its words; runs: COPY_WORDS in a row."""

    vocabulary: frozenset[str]
    runs: frozenset[tuple[str, ...]]
    words: str


def mask_spans(text: str, folded: Folded, prompt: str = "") -> list[Span]:
    """Start and end (exclusive) of everything masked in the raw `text`, ordered, not touching.

    folded: `fold(text)`, which the caller has already. prompt: what the model was given; "" for none.
    """
    spans = [*code_and_math(text)]
    if prompt:
        spans += copied(folded, prompt)
    return merged(spans)


def merged(spans: Sequence[Span]) -> list[Span]:
    """The same ground covered by ordered spans that do not touch."""
    out: list[Span] = []
    for start, end in sorted(spans):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        elif end > start:
            out.append((start, end))
    return out


def copied(folded: Folded, prompt: str) -> list[Span]:
    """Raw spans that repeat the prompt: COPY_WORDS words or more, or a shorter part between quotes.

    Words are compared in `fold`'s spelling and without what stands between them, so that a copy that
    drops the prompt's dollar signs is still one. Each Han character or kana is a word.
    """
    known = _prepare(prompt)
    spans = [folded.raw_span(start, end) for start, end in _copied_words(folded.text, known)]
    for quote in _QUOTED.finditer(folded.text):
        inside = " ".join(_words(quote[1]))
        if inside and f" {inside} " in known.words:
            spans.append(folded.raw_span(*quote.span(1)))
    return spans


@lru_cache(maxsize=64)
def _prepare(prompt: str) -> _Prompt:
    words = _words(fold(prompt).text)
    runs = frozenset(zip(*(words[shift:] for shift in range(COPY_WORDS)), strict=False))
    return _Prompt(frozenset(words), runs, f" {' '.join(words)} ")


def _words(text: str) -> list[str]:
    """The words of a folded text: runs of letters, digits and underscores; Han and kana one by one."""
    if not text.isascii() and _HAN.search(text):
        return _HAN_WORDS.findall(text)
    return _only_words(text).encode("utf-8", "replace").translate(_SPACED).decode().split()


def _places(text: str) -> NDArray[np.int64]:
    """int64[words, 2]: start and end (exclusive) of each of `_words(text)`."""
    if not text.isascii() and _HAN.search(text):
        return np.array([match.span() for match in _HAN_WORDS.finditer(text)], dtype=np.int64)
    image = _only_words(text).replace("?", " ").encode("ascii", "replace").translate(_IMAGE)
    inside = np.frombuffer(b"\0" + image + b"\0", dtype=np.bool_)
    return np.flatnonzero(inside[1:] != inside[:-1]).reshape(-1, 2)


def _only_words(text: str) -> str:
    """Text with a space for each character outside ASCII that belongs in no word; the length stays."""
    for char in foreign_characters(text):
        if not char.isalnum():
            text = text.replace(char, " ")
    return text


def _copied_words(text: str, known: _Prompt) -> Iterator[Span]:
    words = _words(text)
    # Most words of a response are not in the prompt: only where COPY_WORDS in a row are is it worth a look.
    familiar = bytes(map(known.vocabulary.__contains__, words))
    hits = [
        at
        for stretch in _FAMILIAR.finditer(familiar)
        for at in range(stretch.start(), stretch.end() - COPY_WORDS + 1)
        if tuple(words[at : at + COPY_WORDS]) in known.runs
    ]
    if not hits:
        return
    places = _places(text)
    first = last = hits[0]
    for hit in [*hits[1:], len(words) + COPY_WORDS]:
        # Runs that share a word are one copy.
        if hit > last + COPY_WORDS - 1:
            yield int(places[first, 0]), int(places[last + COPY_WORDS - 1, 1])
            first = hit
        last = hit


def code_and_math(text: str) -> Iterator[Span]:
    """Raw spans of code (fenced, inline, [asy]) and mathematics ($, $$, \\(, \\[, environments).

    A fence that never closes runs to the end (cut off code); anything else that never closes is no
    mask. Inline code and $...$ do not cross a blank line; $...$ follows Pandoc's rule (no space inside
    the dollars, no digit after the closing one) and holds no three plain words in a row, else the
    dollars are money.
    """
    missing: set[str] = set()
    at = 0
    while match := _OPENERS.search(text, at):
        at = match.end()
        end = _closing(text, match, missing)
        if end > at:
            yield match.start(), end
            at = end


def _closing(text: str, match: re.Match[str], missing: set[str]) -> int:
    """Where what `match` opens ends; 0 where it opens nothing."""
    opener, at = match[0], match.end()
    if opener in _CLOSERS:
        return _find(text, _CLOSERS[opener], at, missing)
    if opener[0] == "$":
        return _dollars(text, opener, at, missing)
    if len(opener) >= 3 and opener[0] in "`~" and _begins_line(text, match.start()):
        end = re.compile(rf"\n[ \t]*{opener}").search(text, at)
        return end.end() if end else len(text)
    if opener[0] == "`":
        end_tick = _find(text, opener, at, missing)
        return 0 if _blank(text, at, end_tick) else end_tick
    if opener.startswith("\\begin") and _ENVIRONMENTS.fullmatch(opener[7:-1]):
        return _find(text, f"\\end{opener[6:]}", at, missing)
    return 0


def _begins_line(text: str, at: int) -> bool:
    before = text[max(0, at - _INDENT) : at]
    line = before[before.rfind("\n") + 1 :]
    return not line.strip(" \t") and (line != before or at <= _INDENT)


def _dollars(text: str, sign: str, at: int, missing: set[str]) -> int:
    end = _find(text, sign, at, missing)
    if not end:
        return 0
    inside = text[at : end - len(sign)]
    if sign == "$" and (not inside.strip() or inside[0].isspace() or inside[-1].isspace()):
        return 0
    if sign == "$" and (text[end : end + 1].isdigit() or _blank(text, at, end)):
        return 0
    return 0 if _PROSE.search(_TEXT.sub(" ", inside)) and sign == "$" else end


def _find(text: str, closer: str, at: int, missing: set[str]) -> int:
    """The end of the next `closer`, 0 where there is none; what is missing once is not sought again."""
    if closer in missing:
        return 0
    found = text.find(closer, at)
    if found < 0:
        missing.add(closer)
        return 0
    return found + len(closer)


def _blank(text: str, start: int, end: int) -> bool:
    return text.find("\n\n", start, end) >= 0

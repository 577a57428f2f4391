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

from behavior.text import Folded, fold

COPY_WORDS = 5
"""Words in a row that stand in the prompt in the same order: from here on they are a copy."""

_HAN = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORDS = re.compile(rf"[{_HAN}]|[^\W{_HAN}]+")
_PLAIN_WORDS = re.compile(r"\w+")
_QUOTED = re.compile(r'"([^"\n]{1,1000})"')

_OPENERS = re.compile(
    r"(?P<fence>^[ \t]*(?P<ticks>```+|~~~+))|(?P<inline>`+)|(?P<dollars>\$\$?)"
    r"|(?P<round>\\\()|(?P<square>\\\[)|\\begin\{(?P<environment>\w+\*?)\}|(?P<asy>\[asy\])|(?P<escaped>\\[$`\\])",
    re.MULTILINE,
)
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
    """A prompt as word lists are compared with it. vocabulary: word -> number; runs: known n-grams."""

    vocabulary: dict[str, int]
    runs: frozenset[tuple[int, ...]]
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
    spans = []
    for start, end in _copied_words(folded.text, known):
        spans.append(folded.raw_span(start, end))
    for quote in _QUOTED.finditer(folded.text):
        inside = " ".join(_words(quote[1]))
        if inside and f" {inside} " in known.words:
            spans.append(folded.raw_span(*quote.span(1)))
    return spans


@lru_cache(maxsize=64)
def _prepare(prompt: str) -> _Prompt:
    words = _words(fold(prompt).text)
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(words))}
    numbers = [vocabulary[word] for word in words]
    runs = frozenset(zip(*(numbers[shift:] for shift in range(COPY_WORDS)), strict=False))
    return _Prompt(vocabulary, runs, f" {' '.join(words)} ")


def _words(text: str) -> list[str]:
    return _word_pattern(text).findall(text)


def _word_pattern(text: str) -> re.Pattern[str]:
    return _PLAIN_WORDS if text.isascii() else _WORDS


def _copied_words(text: str, known: _Prompt) -> Iterator[Span]:
    get = known.vocabulary.get
    numbers = [get(word, -1) for word in _words(text)]
    # Most words of a response are not in the prompt: only where COPY_WORDS in a row are is it worth a look.
    strange = np.concatenate([[0], np.cumsum(np.array(numbers, dtype=np.int32) < 0)])
    familiar = np.flatnonzero(strange[COPY_WORDS:] == strange[:-COPY_WORDS])
    hits = [at for at in familiar.tolist() if tuple(numbers[at : at + COPY_WORDS]) in known.runs]
    if not hits:
        return
    places = [match.span() for match in _word_pattern(text).finditer(text)]
    first = last = hits[0]
    for hit in hits[1:]:
        # Runs that share a word are one copy.
        if hit > last + COPY_WORDS - 1:
            yield places[first][0], places[last + COPY_WORDS - 1][1]
            first = hit
        last = hit
    yield places[first][0], places[last + COPY_WORDS - 1][1]


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
        if match["escaped"]:
            continue
        end = _closing(text, match, missing)
        if end > at:
            yield match.start(), end
            at = end


def _closing(text: str, match: re.Match[str], missing: set[str]) -> int:
    """Where what `match` opens ends; 0 where it opens nothing."""
    at = match.end()
    if match["fence"]:
        end = _find(text, "\n" + match["ticks"], at, missing)
        return end if end else len(text)
    if match["inline"]:
        end = _find(text, match["inline"], at, missing)
        return end if end and not _blank(text, at, end) else 0
    if match["dollars"]:
        return _dollars(text, match["dollars"], at, missing)
    if environment := match["environment"]:
        closer = f"\\end{{{environment}}}"
        return _find(text, closer, at, missing) if _ENVIRONMENTS.fullmatch(environment) else 0
    return _find(text, "[/asy]" if match["asy"] else "\\)" if match["round"] else "\\]", at, missing)


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

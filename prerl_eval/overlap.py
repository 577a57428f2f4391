"""How much of a known text a continuation repeats: where a text is cut, exact match, ROUGE-L.

Pure functions of strings. Covers no models and no benchmarks (prerl_eval.contamination).
"""

from __future__ import annotations

import re


def cut_text(text: str, share: float) -> tuple[str, str] | None:
    """The first `share` of a text's words, rounded to at least one word, and the rest; None for one word.

    Words are what blanks separate. The cut stands behind a word, so that tokenizers which put blanks
    before words see both parts as they see the whole. The rest has at least one word too.
    """
    text = text.strip()
    ends = [word.end() for word in re.finditer(r"\S+", text)]
    if len(ends) < 2:
        return None
    first = min(max(round(share * len(ends)), 1), len(ends) - 1)
    return text[: ends[first - 1]], text[ends[first - 1] :]


def repeats(rest: str, continuation: str) -> bool:
    """Whether a continuation begins with the whole rest, any run of blanks as good as another.

    What follows is free: a model that completes a problem goes on to solve it. A last word or number
    must end there ("12" is not completed by "120").
    """
    wanted, found = (" ".join(text.split()) for text in (rest, continuation))
    goes_on = wanted[-1:].isalnum() and found[len(wanted) : len(wanted) + 1].isalnum()
    return found.startswith(wanted) and not goes_on


def rouge_l(rest: str, continuation: str) -> float:
    """ROUGE-L of a continuation against the rest, 0 to 1: F1 of their longest common subsequence of words.

    Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", section 3.1 with beta = 1. Words
    are runs of letters and digits in lower case. The continuation is cut to as many words as the rest
    has, because what follows it is not judged. A rest without words counts as `repeats` says.
    """
    reference = words_of(rest)
    candidate = words_of(continuation)[: len(reference)]
    if not reference:
        return float(repeats(rest, continuation))
    return 2.0 * common_subsequence(reference, candidate) / (len(reference) + len(candidate))


def words_of(text: str) -> list[str]:
    """Runs of letters and digits, in lower case."""
    return re.findall(r"[^\W_]+", text.lower())


def common_subsequence(a: list[str], b: list[str]) -> int:
    """Length of the longest common subsequence, by bit vectors (Hyyrö 2004, "Bit-parallel LCS-length
    computation revisited"): one bit per word of `a`, a zero where the length grows."""
    places: dict[str, int] = {}
    for place, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << place
    everywhere = (1 << len(a)) - 1
    row = everywhere
    for word in b:
        met = row & places.get(word, 0)
        row = ((row + met) | (row - met)) & everywhere
    return len(a) - row.bit_count()

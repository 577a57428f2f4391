"""Candidate answers along a trace: where a response states an answer, whether it stands by it or not.

Covers boxes and "the answer is ..." for math, tried chains and answers for Countdown, by rules. The
grader's own rule for the FINAL answer (prerl_eval.grading.math) is stricter: here boxes inside the
thinking count, for the thinking is what is followed. Does not judge. Limits: docs/agreement.md.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from prerl_eval.grading.extract import boxed_answers

MAX_STATED = 200
"""Characters of an answer that is not boxed; a longer formula is a derivation."""

_HEDGE = (
    r"(?:likely|probably|possibly|indeed|therefore|thus|just|simply|again|still|then|now|exactly|actually)"
)
_VALUE = (
    rf"\\\((?P<round>.{{1,{MAX_STATED}}}?)\\\)"
    rf"|\\\[(?P<square>.{{1,{MAX_STATED}}}?)\\\]"
    rf"|\$\$?(?P<dollar>[^$]{{1,{MAX_STATED}}})\$"
    r"|(?P<number>-?\d[\d,]*(?:\.\d+)?(?:/\d+)?(?:\\?%)?)(?!\s*[-+*/^=×·(?]|[\w.]*\w)"
)
_STATED = re.compile(
    r"\banswer[\s*_]*"
    r"(?:is|are|was|will be|(?:should|must|would|could|might|may|has to) be|becomes|equals|[:=])"
    rf"[\s*_:]*(?:{_HEDGE}\s+)?(?:{_VALUE})",
    re.IGNORECASE | re.DOTALL,
)
_HASHES = re.compile(r"^####[ \t]*(?P<answer>\S.{0,199}?)[ \t]*$", re.MULTILINE)

_DIGITS, _SIGN = r"[0-9]{1,6}", r"[-+*×−]"
_TRIED = re.compile(
    rf"\b(?:try|check)\s+(?P<chain>{_DIGITS}(?:(?:\s*=\s*-?{_DIGITS})?\s*{_SIGN}\s*{_DIGITS})+)"
    rf"(?P<value>\s*=\s*-?{_DIGITS})?(?P<no>\s+no\b)?",
    re.IGNORECASE,
)
_ANSWERED = re.compile(
    rf"\banswer[ \t]*:[ \t]*(?P<chain>{_DIGITS}(?:\s*{_SIGN}\s*{_DIGITS})*)", re.IGNORECASE
)


class Candidate(NamedTuple):
    """An answer that is stated at start to end (code points, end exclusive).

    answer: as the grader reads it: the inside of a box, or a chain. rejected: the response says "no" to
    it at once (Countdown's tries only).
    """

    start: int
    end: int
    answer: str
    rejected: bool = False


def find_candidates(text: str, grader: str) -> list[Candidate]:
    """The candidates of a response in order; none overlap. grader: "math" or "countdown"."""
    return _chains(text) if grader == "countdown" else _math(text)


def as_completion(answer: str, grader: str) -> str:
    """The shortest completion that gives this answer: what its grader is asked about."""
    return f"answer : {answer}" if grader == "countdown" else f"\\boxed{{{answer}}}"


def _math(text: str) -> list[Candidate]:
    found = [Candidate(*box) for box in boxed_answers(text)]
    for stated in _STATED.finditer(text):
        answer = next(value for value in stated.groupdict().values() if value is not None)
        if "boxed" not in answer:
            found.append(Candidate(stated.start(), stated.end(), answer.strip()))
    found += [Candidate(line.start(), line.end(), line["answer"]) for line in _HASHES.finditer(text)]
    return _apart(found)


def _chains(text: str) -> list[Candidate]:
    found = [
        Candidate(tried.start(), tried.end(), _chain(tried["chain"]), tried["no"] is not None)
        for tried in _TRIED.finditer(text)
    ]
    found += [Candidate(said.start(), said.end(), said["chain"]) for said in _ANSWERED.finditer(text)]
    return _apart(found)


def _chain(tried: str) -> str:
    """ "8 * 3 = 24 + 4" without its running values: "8 * 3 + 4"."""
    return re.sub(rf"\s*=\s*-?{_DIGITS}", "", tried)


def _apart(found: list[Candidate]) -> list[Candidate]:
    """In order, without those that begin inside another."""
    apart: list[Candidate] = []
    for candidate in sorted(found):
        if not apart or candidate.start >= apart[-1].end:
            apart.append(candidate)
    return apart

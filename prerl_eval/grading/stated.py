"""Where a response states a short answer in words: "the answer is (B)", "Answer: B", \\boxed{B}.

Covers what the choice and exact graders share: the part of a response that counts, the places where
an answer is stated, and the verdict where there is none. Every function is linear in the length of
the text, whatever the text is. Does not judge.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from prerl_eval.grading.extract import boxed_answers, spoken
from prerl_eval.grading.math import CUT_OFF
from prerl_eval.grading.verdict import Verdict
from prerl_eval.problems import Problem

PUBLISHED = "answer-is"
"""answer_format of a card that asks for its publishers' own rule: what follows the first "answer is"."""

STOP = "stop"
"""Name, among a stored row's facts, of the strings that begin a next question."""

_STATEMENT = re.compile(
    r"\banswers?\b"
    r"(?:\s[^.\n:?]{1,60}?)??"
    r"[\s*_]{0,4}(?::|=|\b(?:is|was)\b|\b(?:would|must|should|will) be\b)"
    r"[\s*_:]{0,8}",
    re.IGNORECASE,
)
"""Up to where the answer begins: "the correct answer to this is: **", "**Answer:** "."""


@dataclass(frozen=True, slots=True)
class Words:
    """The part of a response that may state its answer.

    text: after the thinking, up to where it goes on with a question of its own. thinking: it ends
    inside an open thinking block. whole: nothing was cut off behind the text.
    """

    text: str
    thinking: bool
    whole: bool


@dataclass(frozen=True, slots=True)
class Statement:
    """A stated answer: where it begins in the text, and the rest of its line or the box's content."""

    start: int
    text: str
    boxed: bool


def own_words(problem: Problem, text: str, opens_thinking: bool, accept_in_thinking: bool) -> Words:
    """What of a completion may state the answer; `accept_in_thinking`: unfinished thinking counts too."""
    outside = spoken(text, opens_thinking)
    said = text if accept_in_thinking else outside.text
    own = before_next_question(said, problem.extra.get(STOP) or ())
    return Words(own, outside.thinking, own == said)


def before_next_question(text: str, stops: Sequence[str]) -> str:
    """The text before the first of the strings with something said before it.

    A base model that has answered goes on with a next question in the form of its exemplars.
    """
    start = len(text) - len(text.lstrip())
    places = [place for place in (text.find(stop, start + 1) for stop in stops) if place >= 0]
    return text[: min(places, default=len(text))]


def statements(text: str) -> list[Statement]:
    """Every stated answer in the order of the text: after the word "answer", and in boxes."""
    found = []
    for match in _STATEMENT.finditer(text):
        newline = text.find("\n", match.end())
        rest = text[match.end() : newline if newline >= 0 else len(text)]
        if rest.strip():
            found.append(Statement(match.end(), rest, boxed=False))
    found += [Statement(start, content, boxed=True) for start, _, content in boxed_answers(text)]
    return sorted(found, key=lambda statement: statement.start)


def without_answer(words: Words, finish_reason: str) -> Verdict:
    """`truncated` where the response was cut off, or nobody knows and it ends in its thinking."""
    cut = words.whole and (finish_reason in CUT_OFF or (not finish_reason and words.thinking))
    return Verdict("truncated" if cut else "unparsed")

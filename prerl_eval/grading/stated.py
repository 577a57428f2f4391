"""Where a response states a short answer in words: "the answer is (B)", "Answer: B", \\boxed{B}.

Covers what the choice and exact graders share: the part of a response that counts, the places where
an answer is stated, and the verdict where there is none. Every function is linear in the length of
the text, whatever the text is. Does not judge.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from prerl_eval.grading.extract import boxed_answers, spoken
from prerl_eval.grading.math import CUT_OFF
from prerl_eval.grading.verdict import Verdict
from prerl_eval.problems import Problem

PUBLISHED = "answer-is"
"""answer_format of a card that asks for its publishers' own rule: what follows the first "answer is"."""

STOP = "stop"
"""Name, among a stored row's facts, of the strings that begin a next question."""

TAIL = 50_000
"""Characters at the end of a response in which its answer is looked for: bounds the work on babble."""

MOST = 64
"""Statements that are looked at, the last ones."""

MOST_RESTATED = 8
"""Questions that a response may restate."""

_STATEMENT = re.compile(
    r"\banswers?\b"
    r"(?:\s[^.\n:?]{1,60}?)??"
    r"[\s*_]{0,4}(?::|=|\b(?:is|was)\b|\b(?:would|must|should|will) be\b)"
    r"[\s*_:]{0,8}",
    re.IGNORECASE,
)
"""Up to where the answer begins: "the correct answer to this is: **", "**Answer:** "."""


_SAYS = re.compile(r"[\w()\[\]{}<>]")


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


def published(problem: Problem) -> bool:
    """Whether the problem's card asks for its publishers' own rule."""
    return problem.extra.get("answer_format") == PUBLISHED


def own_words(problem: Problem, text: str, opens_thinking: bool, accept_in_thinking: bool) -> Words:
    """What of a completion may state the answer; `accept_in_thinking`: unfinished thinking counts too.

    The published rules know nothing of next questions: for them nothing is cut but the thinking.
    """
    outside = spoken(text, opens_thinking)
    said = text if accept_in_thinking else outside.text
    stops = () if published(problem) else problem.extra.get(STOP) or ()
    own = before_next_question(said, stops, problem.text)
    return Words(own, outside.thinking, own == said)


def before_next_question(text: str, stops: Sequence[str], prompt: str) -> str:
    """The text up to where it goes on with a next question, as base models do after their answer.

    stops: what begins one, in the form of the exemplars. A question that the prompt holds is restated
    rather than a next one, as long as no answer has been stated before it.
    """
    start = len(text) - len(text.lstrip())
    places = sorted(
        (match.start(), match.end())
        for stop in stops
        for match in islice(re.finditer(re.escape(stop), text[start + 1 :]), MOST_RESTATED)
    )
    for begin, end in ((start + 1 + a, start + 1 + b) for a, b in places):
        if not _restated(text[end:], prompt) or statements(text[:begin]):
            return text[:begin]
    return text


def _restated(question: str, prompt: str) -> bool:
    first = question.lstrip().partition("\n")[0][:60].strip()
    return bool(first) and first in prompt


def statements(text: str) -> list[Statement]:
    """The last stated answers in the order of the text: after the word "answer", and in boxes."""
    skipped = max(0, len(text) - TAIL)
    tail = text[skipped:]
    found = [Statement(start, content, boxed=True) for start, _, content in boxed_answers(tail)[-MOST:]]
    for match in list(_STATEMENT.finditer(tail))[-MOST:]:
        newline = tail.find("\n", match.end())
        rest = tail[match.end() : newline if newline >= 0 else len(tail)]
        if _SAYS.search(rest):
            found.append(Statement(match.end(), rest, boxed=False))
    found.sort(key=lambda statement: statement.start)
    return [replace(statement, start=statement.start + skipped) for statement in found]


def without_answer(words: Words, finish_reason: str) -> Verdict:
    """`truncated` where the response was cut off, or nobody knows and it ends in its thinking."""
    cut = words.whole and (finish_reason in CUT_OFF or (not finish_reason and words.thinking))
    return Verdict("truncated" if cut else "unparsed")

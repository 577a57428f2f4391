"""The grader of multiple choice: which of the problem's own letters does a response choose?

The last statement counts: "the answer is (B)", "Answer: B", a boxed B; where there is none, "B is the
correct answer", or a last line that is only a letter. Letters are those of the problem's own options
("letters" among its facts): an option that is not there is no answer. Two letters at once ("A or B")
are an answer that is wrong. A card with answer_format = "answer-is" asks for MMLU-Pro's published rule
instead (Wang et al., arXiv 2406.01574): the first "answer is (X)" with X from A to J, whatever follows.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from prerl_eval.grading.math import GOLD_CLASS
from prerl_eval.grading.stated import TAIL, own_words, published, statements, without_answer
from prerl_eval.grading.verdict import UNSCORED, Verdict
from prerl_eval.problems import Problem

GRADER = "choice/1"
"""Name and version, as sample rows record them."""

LETTERS = "letters"
"""Name, among a problem's facts, of the letters of its options: "ABCD"."""

ALL_LETTERS = "ABCDEFGHIJ"
"""Where a problem does not say, as in files of another tool's generations."""

_PUBLISHED = re.compile(r"answer is \(?([A-J])\)?")
_AFTER_A = r"because|since|as|and|or|which|with|for|but|from|based|due|given|where|while|not|if|in"
_JUNK = r"(?:[\s*_$\"'`“‘(\[{:]|\\(?:text|textbf|mathrm|mathbf|boxed|fbox)\b\s?){0,16}"


class _Patterns(NamedTuple):
    stated: re.Pattern[str]
    also: re.Pattern[str]
    correct: re.Pattern[str]
    alone: re.Pattern[str]
    line: re.Pattern[str]
    item: re.Pattern[str]


@lru_cache(maxsize=64)
def _patterns(letters: str) -> _Patterns:
    upper, lower = f"[{letters}]", f"[{letters.lower()}]"
    # "A" and "I" begin sentences; a small letter is one only in brackets or at the end of its line.
    word = rf"(?![^\W_]|['’-]\w)(?:(?<![AI])|(?!\s+(?!(?:{_AFTER_A})\b)[a-z]))"
    letter = rf"(?:{upper}{word}|{lower}(?=[)\]}}]|[\s.*]*(?:\n|$)))"
    return _Patterns(
        re.compile(rf"{_JUNK}(?:(?i:option|choice|letter){_JUNK})?({letter})"),
        re.compile(
            rf"[\s)\]}}*]{{0,4}}(?:or|and|/|&)[\s(\[*]{{0,4}}(?:option\s)?({upper})(?![^\W_])(?!\)?\s(?:is|are)\b)"
        ),
        re.compile(rf"(?<![^\W_])({upper})[)\]*.]{{0,4}}\s+is\s+the\s+(?:correct|right|best)\b(?! not\b)"),
        re.compile(rf"[\s*_$\"'`(\[{{]*({upper}|{lower})[\s*_$\"'`)\]}}.]*"),
        re.compile(rf"[\s*(]*({upper})[).:][^\n]*\s*"),
        re.compile(rf"^[ *(]*{upper}[).:]", re.MULTILINE),
    )


def grade_choice(
    problem: Problem, text: str, finish_reason: str, opens_thinking: bool, accept_in_thinking: bool
) -> Verdict:
    """Grade one completion; unscored where the gold is none of the problem's letters.

    problem.extra: "letters" (its options' letters), "stop" (what begins a next question) and
    "answer_format". All correct answers share one class, wrong ones share a class by letter.
    """
    letters = str(problem.extra.get(LETTERS) or ALL_LETTERS)
    gold = problem.gold.strip().strip("()").upper()
    if not gold or gold not in letters:
        return Verdict(UNSCORED, detail=f"the gold {problem.gold!r} is none of {letters}"[:200])
    words = own_words(problem, text, opens_thinking, accept_in_thinking)
    if published(problem):
        first = _PUBLISHED.search(words.text)
        answer = first[1] if first else None
    else:
        answer = chosen_letter(words.text, letters)
    if answer is None:
        return without_answer(words, finish_reason)
    return Verdict("correct", answer, GOLD_CLASS) if answer == gold else Verdict("wrong", answer, answer)


def chosen_letter(text: str, letters: str = ALL_LETTERS) -> str | None:
    """The letter that a response chooses, "A, B" where it states two at once, None where it states none."""
    for statement in reversed(statements(text)):
        answer = leading_letter(statement.text, letters)
        if answer is not None:
            return answer
    patterns, text = _patterns(letters), text[-TAIL:]
    called_correct = patterns.correct.findall(text)
    if called_correct:
        return str(called_correct[-1])
    before, _, last = text.rstrip().rpartition("\n")
    # A letter below a list of letters is the list's next item, not yet written.
    only = None if patterns.item.search(before) else patterns.alone.fullmatch(last)
    only = only or patterns.line.fullmatch(text)
    return only[1].upper() if only else None


def leading_letter(answer: str, letters: str = ALL_LETTERS) -> str | None:
    """The letter that a stated answer begins with: of "**(B)** Paris" B, of "A or B" "A, B", else None."""
    patterns = _patterns(letters)
    match = patterns.stated.match(answer)
    if match is None:
        return None
    also = patterns.also.match(answer, match.end())
    found = [match[1].upper(), *([also[1]] if also else [])]
    return ", ".join(dict.fromkeys(found))

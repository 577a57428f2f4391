"""The grader of short answers that are compared as they are written: BIG-Bench Hard.

A gold is one of five kinds, told by its form: an option "(B)", a whole number, brackets "] } >", a list
of words, or one word such as Yes or valid. The last stated answer counts ("So the answer is X.",
"Answer: X", a boxed X), and capitals, quotes, emphasis, spaces between brackets and commas between words
do not matter. A card with answer_format = "answer-is" asks for the exact-match rule of BBH's authors
instead (Suzgun et al., arXiv 2210.09261, and the repository's outputs): what follows the first "the
answer is " up to its line's end, without the full stop, equals the gold letter for letter.
"""

from __future__ import annotations

import re
from string import ascii_uppercase

from prerl_eval.grading.choice import leading_letter
from prerl_eval.grading.math import CUT_OFF, GOLD_CLASS, MAX_ANSWER
from prerl_eval.grading.stated import Statement, Words, own_words, published, statements, without_answer
from prerl_eval.grading.verdict import UNSCORED, Verdict
from prerl_eval.problems import Problem

GRADER = "exact/1"
"""Name and version, as sample rows record them."""

_LEAD = "the answer is "
_OPTION = re.compile(r"\(([A-Z])\)")
_NUMBER = re.compile(r"-?\d+")
_BRACKETS = re.compile(r"[\s()\[\]{}<>]+")
_MARKUP = re.compile(r"\\(?:text|textbf|mathrm|mathbf|boxed|fbox)\b\s?|\*\*|__")
_QUOTES = "\"'`“”‘’$"
_FIGURE = re.compile(r"(?:[^\n]*=)?\s*([-−]?\d[\d,]*)(?:\.0*)?(?![\d.]*\d)")
_SENTENCE_END = re.compile(r"[.;:!?](?:\s|$)|\n|$")


def grade_exact(
    problem: Problem, text: str, finish_reason: str, opens_thinking: bool, accept_in_thinking: bool
) -> Verdict:
    """Grade one completion; unscored where the gold is empty.

    An answer that is not correct and runs to the end of a response that was cut off is `truncated`:
    nobody knows how it would have gone on. Wrong answers share a class when they are equal after
    normalisation.
    """
    gold = problem.gold.strip()
    if not gold:
        return Verdict(UNSCORED, detail="the gold is empty")
    words = own_words(problem, text, opens_thinking, accept_in_thinking)
    if published(problem):
        return _published(gold, words)
    found = statements(words.text)
    if not found:
        return without_answer(words, finish_reason)
    last = found[-1]
    readings = _readings(last, gold)
    if normal_form(gold, gold) in readings:
        return Verdict("correct", gold, GOLD_CLASS)
    at_the_end = words.whole and not last.boxed and last.start + len(last.text) == len(words.text)
    if at_the_end and finish_reason in CUT_OFF:
        return Verdict("truncated")
    answer = last.text.strip()
    if len(answer) > MAX_ANSWER:
        return Verdict("unparsed", answer[:MAX_ANSWER], detail=f"an answer of {len(answer)} characters")
    return Verdict("wrong", answer, readings[0] or answer)


def _published(gold: str, words: Words) -> Verdict:
    """The authors' rule; a response without the phrase is compared whole, as theirs is."""
    _, lead, rest = words.text.partition(_LEAD)
    answer = (rest.partition(_LEAD)[0] if lead else words.text).partition("\n")[0].strip().rstrip(".").strip()
    answer = answer[:MAX_ANSWER]
    if answer == gold:
        return Verdict("correct", answer, GOLD_CLASS)
    return Verdict("wrong", answer, answer) if lead else Verdict("unparsed")


def _readings(statement: Statement, gold: str) -> list[str]:
    """What the statement may mean as an answer of the gold's kind: its first sentence, its whole line."""
    text = statement.text.strip()
    end = _SENTENCE_END.search(text)
    first = text[: end.start()] if end else text
    return [normal_form(first, gold), normal_form(text, gold)]


def normal_form(answer: str, gold: str) -> str:
    """The answer in the one spelling of its gold's kind: equal strings are equal answers."""
    plain = _MARKUP.sub("", answer[:MAX_ANSWER]).strip().strip(_QUOTES).strip()
    if _OPTION.fullmatch(gold):
        chosen = leading_letter(answer, ascii_uppercase)
        return f"({chosen})" if chosen else plain.casefold()
    if _NUMBER.fullmatch(gold):
        figure = _FIGURE.match(plain.strip("{} "))
        return str(int(figure[1].replace("−", "-").replace(",", ""))) if figure else plain.casefold()
    if _BRACKETS.fullmatch(gold):
        return re.sub(rf"[\s.,{_QUOTES}]", "", plain)
    bare = re.sub(rf"[{_QUOTES}{{}}]", "", plain).casefold()
    return " ".join(re.findall(r"[^\s,]+" if " " in gold else r"\S+", bare.strip().rstrip(". ")))

"""The math grader: what a completion answers, and what can be said of it at once.

Covers finding the answer, the rules that a problem sets, and the verdicts that need no computer
algebra (every integer, decimal, fraction and word). The rest goes to prerl_eval.grading.pool.

The rule for where an answer may stand: the last complete box after the thinking is closed. Nothing
unboxed is ever an answer, except the final line of a card with answer_format = "final-line".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from prerl_eval.grading.compare import NeedsAlgebra, no_algebra, same_answer
from prerl_eval.grading.extract import boxed_answer, final_line_answer, spoken
from prerl_eval.grading.latex import squeeze, tidy
from prerl_eval.grading.shapes import class_of, read_shape
from prerl_eval.grading.tolerance import Rules
from prerl_eval.grading.verdict import UNSCORED, Verdict
from prerl_eval.problems import Problem

VERSION = "math/1"
"""Name and version in every graded row; the version rises when a verdict can change."""

MAX_ANSWER = 2000
"""Characters of an answer beyond which it is not one (babble has burned graders' timeouts)."""

GOLD_CLASS = "gold"
"""The answer_class that all correct answers of a problem share."""

CUT_OFF = frozenset({"length", "max_tokens", "max_length"})

ASKS_PERCENT = "asks_percent"
"""Name, among a stored row's facts, of whether the problem speaks of percent."""

_PERCENT = re.compile(r"percent|%", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Pair:
    """A gold and an answer that were found; what is left is whether they are equal."""

    gold: str
    answer: str
    rules: Rules


def read_completion(
    problem: Problem, text: str, finish_reason: str, opens_thinking: bool, accept_box_in_thinking: bool
) -> Verdict | Pair:
    """The pair to compare, or the verdict of a completion that gives none.

    A completion without an answer is `truncated` where it was cut off ("length"), or where nobody
    knows how it ended and it stops inside its thinking; else it is `unparsed`.
    """
    trouble = _bad_gold(problem.gold)
    if trouble:
        return Verdict(UNSCORED, detail=trouble)
    outside = spoken(text, opens_thinking)
    answer = boxed_answer(text if accept_box_in_thinking else outside.text)
    if answer is None and problem.extra.get("answer_format") == "final-line":
        answer = final_line_answer(outside.text)
    if answer is None:
        cut = finish_reason in CUT_OFF or (not finish_reason and outside.thinking)
        return Verdict("truncated" if cut else "unparsed")
    if len(answer) > MAX_ANSWER:
        return Verdict("unparsed", answer[:MAX_ANSWER], detail=f"an answer of {len(answer)} characters")
    return Pair(problem.gold, answer, rules_of(problem))


@lru_cache(maxsize=4096)
def _bad_gold(gold: str) -> str:
    """Why a gold cannot judge anything, "" for a good one."""
    if len(gold) > 4 * MAX_ANSWER:
        return f"the gold has {len(gold)} characters"
    if not squeeze(tidy(gold)):
        return "the gold is empty"
    bare = re.sub(r"\\.", "", gold)
    return "the gold's braces do not match" if bare.count("{") != bare.count("}") else ""


def rules_of(problem: Problem) -> Rules:
    """The comparison rules that a problem's facts and wording set."""
    extra = problem.extra
    unit = str(extra.get("unit") or "").replace("$", "").strip()
    return Rules(
        relative=_tolerance(extra, "relative_tolerance"),
        absolute=_tolerance(extra, "tolerance"),
        percent="%" in unit or bool(extra.get(ASKS_PERCENT, _asks_percent(problem.text))),
        unit=unit,
    )


def stored_facts(problem: Problem) -> dict[str, Any]:
    """The problem's facts, and what its wording says to the grader: enough to grade a stored row again.

    A stored row keeps the whole prompt, in which a system message may speak of percent as well.
    """
    if problem.grader != "math" or ASKS_PERCENT in problem.extra:
        return dict(problem.extra)
    return {**problem.extra, ASKS_PERCENT: _asks_percent(problem.text)}


def _tolerance(extra: Mapping[str, Any], key: str) -> float:
    try:
        value = float(extra.get(key) or 0)
    except (TypeError, ValueError):  # OlympiadBench's column holds text, and several values for some rows
        return 0.0
    return value if 0 < value < float("inf") else 0.0


@lru_cache(maxsize=4096)
def _asks_percent(text: str) -> bool:
    return bool(_PERCENT.search(text))


def decide(pair: Pair) -> Verdict | None:
    """The verdict where structure and exact values suffice, else None. Microseconds, no sympy."""
    try:
        same = same_answer(pair.gold, pair.answer, pair.rules, no_algebra)
    except NeedsAlgebra:
        return None
    if same:
        return Verdict("correct", pair.answer, GOLD_CLASS)
    return Verdict("wrong", pair.answer, class_of(read_shape(pair.answer), lambda term: squeeze(term.body)))


def text_class(answer: str) -> str:
    """The answer_class of an answer that could not be compared: its surface form."""
    return squeeze(tidy(answer))

"""Correct completions made from a gold: what the preflight hands to the grader.

Every gold is stated in several notations that a model might choose, so that a gold which the
grader cannot recognise is found before a model is blamed for it. Covers building the completions
and naming what is odd about a gold; does not grade.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from prerl_eval.problems import Problem

SCIENTIFIC = re.compile(r"([+-]?\d+(?:\.\d*)?|[+-]?\.\d+)[eE]([+-]?\d+)")
GROUPED = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")

ODDITIES: dict[str, Callable[[Problem], bool]] = {
    "empty gold": lambda problem: not problem.gold,
    "unreadable gold (unbalanced braces)": lambda problem: not _readable(problem),
    "zero-padded gold": lambda problem: bool(re.fullmatch(r"0\d+", problem.gold)),
    "whole number written as a float": lambda problem: bool(re.fullmatch(r"-?\d+\.0", problem.gold)),
    "negative number": lambda problem: bool(re.fullmatch(r"-[\d.,]+", problem.gold)),
    "e-notation": lambda problem: problem.grader != "code" and bool(SCIENTIFIC.search(problem.gold)),
    "thousands separators": lambda problem: bool(GROUPED.fullmatch(problem.gold)),
    "dollar signs around the gold": lambda problem: problem.grader != "code" and "$" in problem.gold,
    "several answers": lambda problem: problem.extra.get("is_multiple_answer") is True,
    "unit": lambda problem: bool(problem.extra.get("unit")),
    "tolerance": lambda problem: problem.extra.get("tolerance") is not None,
    "letter and index of the answer disagree": lambda problem: _disagrees(problem),
}
"""What may surprise a grader or a reader: name -> whether a problem has it."""


def completions(problem: Problem) -> dict[str, str]:
    """Name of a notation -> a completion that states the problem's gold in it.

    {} for a gold that no completion can state: an empty one, or one whose braces never close.
    """
    gold = problem.gold
    if not gold or not _readable(problem):
        return {}
    if problem.grader == "countdown":
        return {
            "as it stands": f"answer : {gold}",
            "after a try": f"answer : 1 + 1\nno wait, answer : {gold}",
        }
    if problem.grader in ("choice", "exact"):
        return _stated(gold, problem)
    if problem.grader == "code":
        return _programs(problem)
    found = {
        "as it stands": rf"\boxed{{{gold}}}",
        "in a sentence": rf"So the answer is \[\boxed{{ {gold} }}.\]",
        "after thinking": rf"<think>Is it \boxed{{0}} or \boxed{{1}}?</think>It is $\boxed{{{gold}}}$.",
    }
    other = rewritten(gold)
    if other != gold:
        found["rewritten"] = rf"\boxed{{{other}}}"
    if problem.extra.get("answer_format") == "final-line":
        found["in a final line"] = f"Let us see.\n#### {gold}"
    if problem.extra.get("unit"):
        found["unit outside the box"] = rf"It is \boxed{{{gold}}} {problem.extra['unit']}."
    if problem.extra.get("is_multiple_answer") and re.fullmatch(r"\$?[^$()\[\]{}]+\$?", gold):
        parts = gold.strip("$").split(",")
        found["other order"] = rf"\boxed{{{', '.join(part.strip() for part in reversed(parts))}}}"
    return found


def _programs(problem: Problem) -> dict[str, str]:
    """The solution that the set gives, as a base model and as a chat would write it; {} without one."""
    solution, prompt = problem.extra.get("solution"), problem.extra.get("prompt") or ""
    if not solution:
        return {}
    return {
        "as a completion": str(solution),
        "in a block": f"Here it is.\n\n```python\n{prompt}{solution}\n```\n\n```\nprint(1)\n```",
    }


def _stated(gold: str, problem: Problem) -> dict[str, str]:
    written = f"({gold})" if problem.grader == "choice" else gold
    found = {"in words": f"Let us see. So the answer is {written}."}
    if problem.extra.get("answer_format") == "stated":
        found["after thinking"] = f"<think>The answer is (B). No.</think>\nThe answer is {written}."
        found["in a last line"] = f"It must be so.\n\nAnswer: {gold}"
        found["in bold"] = f"**Answer:** **{gold}**"
    return found


def rewritten(gold: str) -> str:
    """The gold as a model would rather write it: 025 as 25, 27.0 as 27, 4.5e33 as 4.5 \\times 10^{33},
    2,125 as 2125, 1234 as 1{,}234, \\frac as \\dfrac; the gold itself where no rule applies."""
    if re.fullmatch(r"0\d+", gold):
        return gold.lstrip("0") or "0"
    if re.fullmatch(r"-?\d+\.0", gold):
        return gold.removesuffix(".0")
    if GROUPED.fullmatch(gold):
        return gold.replace(",", "")
    if re.fullmatch(r"\d{4,}", gold):
        return f"{int(gold):,}".replace(",", "{,}")
    if SCIENTIFIC.search(gold):
        return SCIENTIFIC.sub(lambda match: rf"{match[1]} \times 10^{{{int(match[2])}}}", gold)
    return gold.replace("\\frac", "\\dfrac")


def _disagrees(problem: Problem) -> bool:
    index, letters = problem.extra.get("answer_index"), str(problem.extra.get("letters", ""))
    return isinstance(index, int) and letters[index : index + 1] != problem.gold


def _readable(problem: Problem) -> bool:
    """Brackets may be the whole answer where answers are compared as they are written."""
    return problem.grader in ("exact", "code") or _balanced(problem.gold)


def _balanced(gold: str) -> bool:
    depth = 0
    for brace in re.findall(r"\\.|[{}]", gold, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(brace, 0)
        if depth < 0:
            return False
    return depth == 0

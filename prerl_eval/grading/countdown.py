"""The verifier of Countdown: does the answer reach the target with each given number used once?

A solution is a chain, worked out from left to right without precedence: "3 + 4 * 5" is 35. The rules:

- The last "answer :" counts, and what follows it on its line. A chain there that uses other numbers
  or reaches another value is wrong; anything that is no chain is unparsed.
- A completion that was cut off inside an answer which is not correct as it stands counts as truncated:
  nobody knows how the chain would have gone on.
- Running values may be of any size and sign. Only the final value is asked for, and the limits of the
  embedded corpus (prerl_train.traces) are a fact about that corpus.

Pure string work on text that no one has checked.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from prerl_eval.grading.math import CUT_OFF, GOLD_CLASS
from prerl_eval.grading.verdict import UNSCORED, Verdict
from prerl_eval.problems import Problem

GRADER = "countdown/1"
"""Name and version, as sample rows record them."""

OPERATIONS: Mapping[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}

MAX_ANSWER_CHARACTERS = 200
"""A longer answer is unparsed: no problem here needs it, and it bounds the work on babble."""

_MARK = re.compile(r"\banswer[ \t]*:", re.IGNORECASE)
_NUMBER = r"[0-9]{1,6}"
_CHAIN = re.compile(rf"{_NUMBER}(?:\s*[-+*]\s*{_NUMBER})*")
_TYPOGRAPHY = str.maketrans({"×": "*", "−": "-"})


@dataclass(frozen=True, slots=True)
class Chain:
    """numbers[0] operators[0] numbers[1] ..., worked out from left to right; at least one number."""

    numbers: tuple[int, ...]
    operators: tuple[str, ...]

    def running_values(self) -> list[int]:
        """The value after each operation; empty for a lone number."""
        value, values = self.numbers[0], []
        for sign, number in zip(self.operators, self.numbers[1:], strict=True):
            value = OPERATIONS[sign](value, number)
            values.append(value)
        return values

    def value(self) -> int:
        """The final value."""
        return [self.numbers[0], *self.running_values()][-1]

    def __str__(self) -> str:
        steps = zip(self.operators, self.numbers[1:], strict=True)
        return " ".join([str(self.numbers[0]), *(f"{sign} {number}" for sign, number in steps)])


def parse_chain(text: str) -> Chain | None:
    """The chain that `text` is, or None. "×" and "−" count as "*" and "-"; one full stop may follow."""
    if len(text) > MAX_ANSWER_CHARACTERS:
        return None
    text = text.translate(_TYPOGRAPHY).strip().removesuffix(".").rstrip()
    if not _CHAIN.fullmatch(text):
        return None
    return Chain(
        numbers=tuple(int(digits) for digits in re.findall(r"[0-9]+", text)),
        operators=tuple(re.findall(r"[-+*]", text)),
    )


def find_answer(text: str) -> tuple[str, bool] | None:
    """What follows the last "answer :" on its line, and whether it runs to the end of the text."""
    marks = list(_MARK.finditer(text))
    if not marks:
        return None
    line, newline, _ = text[marks[-1].end() :].partition("\n")
    return line.strip(), not newline


def canonical_expression(answer: str) -> str:
    """One spelling for all chains that differ only in the order of steps which commute.

    Within a run of + and - the added numbers come first, then the subtracted ones, each sorted; a
    run of * is sorted; runs keep their order, for "3 + 4 * 5" and "3 * 5 + 4" are different paths.
    The first number belongs to the first run. Text that is no chain comes back with its spaces
    normalised.
    """
    chain = parse_chain(answer)
    if chain is None:
        return " ".join(answer.split())
    first = "*" if chain.operators[:1] == ("*",) else "+"
    steps = list(zip((first, *chain.operators), chain.numbers, strict=True))
    ordered: list[tuple[str, int]] = []
    while steps:
        multiplies = steps[0][0] == "*"
        end = next((i for i, (sign, _) in enumerate(steps) if (sign == "*") != multiplies), len(steps))
        # "*" never meets "+" or "-" in a run, and "+" sorts before "-".
        ordered += sorted(steps[:end])
        steps = steps[end:]
    return str(Chain(tuple(number for _, number in ordered), tuple(sign for sign, _ in ordered[1:])))


def grade_countdown(text: str, problem: Problem, finish_reason: str) -> Verdict:
    """Grade one completion of a problem whose `extra` holds `numbers` (a list) and `target`.

    All correct answers share one class; wrong chains share a class when their canonical expressions
    are equal. Unscored where numbers or target are missing or no whole numbers.
    """
    facts = _facts(problem.extra)
    if facts is None:
        return Verdict(UNSCORED, detail="numbers or target missing or not whole numbers")
    numbers, target = facts
    cut_off = finish_reason in CUT_OFF
    found = find_answer(text)
    if found is None:
        return Verdict("truncated" if cut_off else "unparsed")
    answer, runs_to_the_end = found
    chain = parse_chain(answer)
    # The numbers come first: they bound the size of the value.
    if chain and sorted(chain.numbers) == sorted(numbers) and chain.value() == target:
        return Verdict("correct", str(chain), GOLD_CLASS)
    if cut_off and runs_to_the_end:
        return Verdict("truncated")
    if chain is None:
        return Verdict("unparsed")
    return Verdict("wrong", str(chain), canonical_expression(str(chain)))


def _facts(extra: Mapping[str, Any]) -> tuple[list[int], int] | None:
    match extra:
        case {"numbers": [_, *_] as numbers, "target": target} if all(
            type(fact) is int for fact in (*numbers, target)
        ):
            return list(numbers), target
    return None

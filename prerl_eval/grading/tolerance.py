"""When two numbers are the same: exactly, within a problem's tolerance, or as rounded decimals.

Covers numbers with their units, percent signs and bases, and the rules that a problem sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from prerl_eval.grading.units import parse_unit
from prerl_eval.grading.values import Term


@dataclass(frozen=True, slots=True)
class Rules:
    """What a problem allows beyond equality.

    relative, absolute: tolerance for numbers, 0 for none. percent: the problem asks for a
    percentage, so "50" and "50%" answer it alike. unit: the problem's unit, given outside the gold.
    """

    relative: float = 0.0
    absolute: float = 0.0
    percent: bool = False
    unit: str = ""


def equal_numerals(gold: Term, answer: Term) -> bool:
    """Numerals in a base: the problem asks for that base, so its digits are the answer."""
    if gold.base and answer.base:
        return gold.base == answer.base and gold.number == answer.number
    if gold.base:
        return answer.body == gold.body.split("_")[0].strip()
    return answer.number == gold.number and gold.number is not None


def equal_numbers(gold: Term, answer: Term, rules: Rules) -> bool:
    """Two terms that have a value, in the same unit where both name one."""
    assert gold.number is not None
    assert answer.number is not None
    ours, theirs = gold.number, answer.number
    our_unit = gold.unit
    if rules.unit and not our_unit:
        our_unit = parse_unit(rules.unit)
    if our_unit and answer.unit:
        if our_unit[0] != answer.unit[0]:
            return False
        ours, theirs = ours * our_unit[1], theirs * answer.unit[1]
    decimal = gold.decimal or answer.decimal
    if gold.percent == answer.percent or rules.percent:
        if close(ours, theirs, decimal, rules):
            return True
        if gold.percent == answer.percent:
            return False
    ours = ours / 100 if gold.percent else ours
    theirs = theirs / 100 if answer.percent else theirs
    return close(ours, theirs, decimal, rules)


def close(gold: Fraction, answer: Fraction, decimal: bool, rules: Rules) -> bool:
    """Equal, or within the problem's tolerance, or (decimals only) equal to six places and five digits.

    The second condition is what keeps 1.6e-19 from being 1.7e-19.
    """
    gap = abs(gold - answer)
    if gap == 0:
        return True
    largest = max(abs(gold), abs(answer))
    if rules.relative and gap <= Fraction(rules.relative) * abs(gold):
        return True
    if rules.absolute and gap <= Fraction(rules.absolute):
        return True
    return decimal and gap <= Fraction(1, 2_000_000) and gap <= largest / 100_000

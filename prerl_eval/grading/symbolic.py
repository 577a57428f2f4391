"""Computer algebra for what exact values cannot decide: Math-Verify, with its known faults guarded.

Runs in worker processes that can be killed (prerl_eval.grading.workers): any call here may hang.
Importing this module imports sympy.
"""

from __future__ import annotations

import logging
import random
import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

from latex2sympy2_extended.latex2sympy2 import NormalizationConfig, normalize_latex
from math_verify import verify
from math_verify.parser import parse_latex_cached
from sympy import (
    Basic,
    Derivative,
    Eq,
    Expr,
    Float,
    I,
    Integer,
    Integral,
    Limit,
    Pow,
    Product,
    Rational,
    Sum,
    Symbol,
    binomial,
    ceiling,
    factorial,
    floor,
)
from sympy.core.function import AppliedUndef

from prerl_eval.grading.compare import same_answer
from prerl_eval.grading.latex import SET_CLOSE, SET_OPEN, squeeze
from prerl_eval.grading.shapes import class_of, read_shape
from prerl_eval.grading.tolerance import Rules, close
from prerl_eval.grading.values import Term

logging.getLogger("math_verify").setLevel(logging.CRITICAL)
logging.getLogger("latex2sympy2_extended").setLevel(logging.CRITICAL)

POINTS = 5
WHOLE_POINTS = 16
DIGITS = 40
"""Significant digits at which two constants are compared."""

_NOTATION = NormalizationConfig(
    basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
)
_DIVISOR = re.compile(r"\\(gcd|lcm)\s*\(([^()]*)\)")
_FUNCTION_OF_BRACES = re.compile(r"\\exp\s*\{([^{}]*)\}")


def same_expression(gold: str, answer: str, rules: Rules) -> bool:
    """Whether two expressions are equal; an expression that cannot be parsed equals nothing.

    Math-Verify rounds constants to six decimals, which makes 1/2^98 equal 1/2^99: constants are
    compared here to DIGITS significant digits, and decimals as prerl_eval.grading.tolerance.close says.
    """
    ours, theirs = parse(gold), parse(answer)
    if ours is None or theirs is None:
        return False
    values = constant(ours), constant(theirs)
    if values[0] is not None and values[1] is not None:
        decimal = bool(ours.atoms(Float) or theirs.atoms(Float))
        return _same_constant(values[0], values[1], decimal, rules)
    if isinstance(ours, Eq) and isinstance(theirs, Eq):
        if _proportional(ours, theirs):
            return True
    elif (by_value := same_values(ours, theirs)) is not None:
        return by_value
    return bool(verify(ours, theirs, allow_set_relation_comp=True, timeout_seconds=None))


def same_values(gold: Any, answer: Any) -> bool | None:
    """Whether two expressions agree at POINTS random points; None where they cannot be evaluated.

    Two expressions of elementary functions that agree at random points to DIGITS digits are equal
    but for a chance of about 10^-DIGITS, and evaluation is far cheaper than simplification. Where
    floors or factorials occur the variables are taken as integers, as such answers mean them: the
    first WHOLE_POINTS of them, because n/2 and its ceiling agree at every even n.
    Points are positive: sqrt(x^2) counts as x.
    """
    if not all(isinstance(side, Expr) for side in (gold, answer)):
        return None
    functions = gold.atoms(AppliedUndef) | answer.atoms(AppliedUndef)
    names = {function: Symbol(f"u{index}") for index, function in enumerate(sorted(functions, key=str))}
    sides = [side.doit().xreplace(names) for side in (gold, answer)]
    symbols = sorted(sides[0].free_symbols | sides[1].free_symbols, key=str)
    if any(side.has(Derivative, Integral, Sum, Product, Limit) for side in sides):
        return None
    whole = any(side.has(floor, ceiling, factorial, binomial) or _alternates(side) for side in sides)
    source = random.Random(0)
    decimal = any(side.atoms(Float) for side in sides)
    agreed = 0
    for number in range(WHOLE_POINTS if whole else POINTS):
        point = {
            symbol: _whole_number(number, index, source)
            if whole
            else Rational(source.randint(300, 2900), 1009)
            for index, symbol in enumerate(symbols)
        }
        values = [constant(side.xreplace(point)) for side in sides]
        if values[0] is None or values[1] is None:
            continue
        if not _same_constant(values[0], values[1], decimal, Rules()):
            return False
        agreed += 1
    return True if agreed >= 2 else None


def _whole_number(number: int, index: int, source: random.Random) -> Integer:
    """The first variable counts up from 3, the others are drawn."""
    return Integer(number + 3 if index == 0 else source.randint(2, WHOLE_POINTS + 2))


def _proportional(gold: Any, answer: Any) -> bool:
    """Whether two equations differ by moving terms and a constant factor; cheaper than solving them."""
    ratio = (gold.lhs - gold.rhs) / (answer.lhs - answer.rhs)
    moved = {symbol: Symbol(f"{symbol.name}_moved") for symbol in ratio.free_symbols}
    return same_values(ratio, ratio.xreplace(moved)) is True


def _alternates(side: Any) -> bool:
    return any(power.base == -1 and power.exp.free_symbols for power in side.atoms(Pow))


@lru_cache(maxsize=4096)
def parse(latex: str) -> Any:
    """The sympy object of a tidied expression, or None where it is not readable."""
    text = latex.replace(SET_OPEN, r"\{").replace(SET_CLOSE, r"\}").replace(r"\dollar", "")
    text = _FUNCTION_OF_BRACES.sub(r"e^{\1}", text)
    text = re.sub(r"\\text\{\s*([A-Za-z]+)\s*\}", r"\1", text).replace("%", r"\%")
    text = _DIVISOR.sub(_divisor_symbol, text)  # sympy takes gcd(m, n) of two symbols for 1
    text = re.sub(r"(?<![A-Za-z\\])E(?=_)", r"\\Xi ", text)  # "E_0" is no power of e
    text = re.sub(r"([A-Za-z])('+)", lambda m: m[1] + "_{" + "p" * len(m[2]) + "}", text)
    try:
        return _plain(parse_latex_cached(normalize_latex(text, _NOTATION)))
    except Exception:  # noqa: BLE001 - model text in a third-party parser: anything can come out of it
        return None


def _divisor_symbol(match: re.Match[str]) -> str:
    arguments = sorted(argument.strip() for argument in match[2].split(","))
    if all(argument.lstrip("-").isdigit() for argument in arguments):
        return match.group()
    return r"\Xi_{" + match[1][0] + re.sub(r"[^A-Za-z0-9]", "", "".join(arguments)) + "}"


def _plain(value: Any) -> Any:
    """Symbols without assumptions, so that those of two parses are the same; i is the imaginary unit."""
    if not isinstance(value, Basic):
        return value
    names = {symbol: I if symbol.name == "i" else Symbol(symbol.name) for symbol in value.atoms(Symbol)}
    return value.xreplace(names)


def constant(value: Any) -> Any:
    """`value` to DIGITS significant digits where it is a single finite number, else None."""
    if not isinstance(value, Basic) or not hasattr(value, "evalf") or value.free_symbols:
        return None
    number = value.doit().evalf(DIGITS)
    return number if number.is_number and number.is_finite else None


def _same_constant(gold: Any, answer: Any, decimal: bool, rules: Rules) -> bool:
    if gold.is_real and answer.is_real:
        ours, theirs = (Fraction(*Rational(number).as_numer_denom()) for number in (gold, answer))
        gap, largest = abs(ours - theirs), max(abs(ours), abs(theirs))
        return gap <= largest * Fraction(1, 10 ** (DIGITS - 12)) or close(ours, theirs, decimal, rules)
    gap = abs((gold - answer).evalf(DIGITS))
    largest = max(abs(gold), abs(answer))
    return bool(gap <= largest * (Rational(1, 10**6) if decimal else Rational(1, 10 ** (DIGITS - 12))))


def judge(gold: str, answer: str, rules: Rules) -> tuple[bool, str]:
    """(equal, class of the answer): the class keys equal wrong answers alike, "" for a correct one."""
    same = same_answer(gold, answer, rules, same_expression)
    return same, "" if same else class_of(read_shape(answer), _simplest)


def _simplest(term: Term) -> str:
    value = parse(term.body)
    if value is None:
        return squeeze(term.body)
    number = constant(value)
    if number is None:
        return str(value.doit()) if isinstance(value, Basic) else str(value)
    exact = str(value.doit())
    return exact if value.doit().is_Rational and len(exact) < 80 else str(number.evalf(12))

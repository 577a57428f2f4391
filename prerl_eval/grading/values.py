"""Exact values of simple answers: numbers, percentages, numerals in a base, words.

Covers what can be decided without computer algebra; everything else has `number` None here and is
left to prerl_eval.grading.symbolic. Numbers are Fractions, so nothing is lost to rounding.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction

from prerl_eval.grading.latex import enclosed, squeeze
from prerl_eval.grading.units import Unit, parse_unit, split_unit

MAX_EXPONENT = 400
"""Larger powers of ten are left to computer algebra (in a worker that can be killed)."""

_DECIMAL = r"(?:\d+(?:,\d{3})+(?:\.\d*)?|\d+\.?\d*|\.\d+)"
_NUMBER = re.compile(rf"[+-]?{_DECIMAL}")
_FRACTION = re.compile(
    r"(?P<sign>[+-]?)(?P<whole>\d+(?=\\frac))?(?:\\frac(?:\{(?P<a>[+-]?[\d.,]+)\}|(?P<b>\d))(?:\{(?P<c>[+-]?[\d.,]+)\}|(?P<d>\d)))"
)
_SLASH = re.compile(rf"\(?(?P<a>[+-]?{_DECIMAL})\)?/\(?(?P<c>[+-]?{_DECIMAL})\)?")
_SPACED_MIXED = re.compile(r"([+-]?)(\d+) (\d+)/(\d+)")
_SCIENTIFIC = re.compile(
    rf"(?P<a>[+-]?{_DECIMAL})(?:[eE]|(?:\\times|\\cdot|\*|x)10\^)(?:\{{(?P<e>[+-]?\d+)\}}|\((?P<g>[+-]?\d+)\)|(?P<f>[+-]?\d+))"
)
_POWER_OF_TEN = re.compile(r"(?P<s>[+-]?)10\^(?:\{(?P<e>[+-]?\d+)\}|(?P<f>\d+))")
_REPEATING = re.compile(r"([+-]?)(\d*)\.(\d*)\\overline\{?(\d+)\}?")
_BASE = re.compile(r"(?P<digits>[0-9A-Za-z]+)_(?:\{?\(?(?P<base>\d{1,2})\)?\}?|\{?(?P<word>[a-z]+)\}?)")
_BASE_WORDS = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "sixteen": 16,
}  # fmt: skip
_WORDS = re.compile(r"[A-Za-z][A-Za-z0-9 .,'&:;!?()\"-]*")
_LABELLED = re.compile(r"(?:\\text\{\s*\((?P<a>[A-J])\)\s*\}\s*|\((?P<b>[A-E])\)\s)\s*(?P<rest>[\w\\$-].*)")
_PRODUCT = re.compile(
    r"(?=.*[-(])(?:[A-Za-z]{1,2}|[\d\s().-])(?:(?<![A-Za-z])[A-Za-z]{1,2}(?![A-Za-z])|[\d\s().-])*"
)
_ARTICLE = re.compile(r"^(?:the|an|a)\s+(?=\w{2,})")


@dataclass(frozen=True, slots=True)
class Term:
    """One simple answer.

    body: the tidied text without unit and percent sign. number: its exact value where it has one.
    decimal: it was typed with a decimal point or an exponent, so it may be a rounded value.
    percent: a percent sign followed. base: of a numeral with a subscript, else 0.
    unit: what its unit is, where known. words: it is plain words, lower-cased; "" otherwise.
    option: the letter of a multiple-choice label before the body, as in "(C) 12".
    """

    body: str
    number: Fraction | None = None
    decimal: bool = False
    percent: bool = False
    base: int = 0
    unit: Unit | None = None
    words: str = ""
    option: str = ""


def read_term(text: str) -> Term:
    """A tidied answer as a Term."""
    if len(text) > 4000:
        return Term(text)
    if match := _LABELLED.fullmatch(text):
        return replace(read_term(match["rest"]), option=(match["a"] or match["b"]).lower())
    body, unit = text, None
    if r"\dollar" in body:
        body = body.replace(r"\dollar", "").strip()
        unit = parse_unit("dollar")
    if (words := _words(body)) and not _NUMBER.fullmatch(squeeze(body)):
        return Term(body, words=words)
    value, label = split_unit(body)
    if value and label:
        body, unit = value, parse_unit(label) or unit
        if label.split(" ")[0] in ("percent", "pct", "percentage"):
            body += "%"
    percent = body.endswith("%")
    body = body.rstrip("% ") if percent else body
    while enclosed(body) and body[0] == "(" and "," not in body:
        body = body[1:-1].strip()
    number, decimal = exact_number(body)
    base = 0
    if number is None and (match := _BASE.fullmatch(squeeze(body))):
        number, base = _in_base(match)
    return Term(body, number, decimal, percent, base, unit)


def exact_number(body: str) -> tuple[Fraction | None, bool]:
    """(value, typed as a decimal) of a literal number in any of the notations of the benchmarks."""
    if len(body) > 200 or ", " in body:
        return None, False
    if (match := _SPACED_MIXED.fullmatch(body.strip())) and int(match[4]):
        return _ratio(match[1] + "1", "1", Fraction(match[2]) + Fraction(int(match[3]), int(match[4]))), False
    text = squeeze(body).replace("{,}", ",")
    text = re.sub(r"(?<=\d)\s(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"^([+-]?)\{([^{}]*)\}$", r"\1\2", text)
    if _NUMBER.fullmatch(text):
        return Fraction(text.replace(",", "").rstrip(".") or "0"), "." in text
    if match := _SCIENTIFIC.fullmatch(text):
        exponent = int(match["e"] or match["f"] or match["g"])
        if abs(exponent) <= MAX_EXPONENT:
            return Fraction(match["a"].replace(",", "").rstrip(".")) * Fraction(10) ** exponent, True
    if match := _POWER_OF_TEN.fullmatch(text):
        exponent = int(match["e"] or match["f"])
        if abs(exponent) <= MAX_EXPONENT:
            return Fraction(10) ** exponent * (-1 if match["s"] == "-" else 1), False
    if match := _REPEATING.fullmatch(text):
        return _repeating(match), False
    if match := _FRACTION.fullmatch(text):
        return _fraction(match), False
    if match := _SLASH.fullmatch(text):
        return _ratio(match["a"], match["c"]), False
    return None, False


def _fraction(match: re.Match[str]) -> Fraction | None:
    top, bottom = match["a"] or match["b"], match["c"] or match["d"]
    value = _ratio(top, bottom)
    if value is None:
        return None
    if match["whole"]:
        value += int(match["whole"])
    return -value if match["sign"] == "-" else value


def _ratio(top: str, bottom: str, times: Fraction | None = Fraction(1)) -> Fraction | None:
    try:
        value = Fraction(top.replace(",", "").rstrip(".")) / Fraction(bottom.replace(",", "").rstrip("."))
    except (ValueError, ZeroDivisionError):
        return None
    return None if times is None else value * times


def _repeating(match: re.Match[str]) -> Fraction:
    sign, whole, fixed, cycle = match.groups()
    value = Fraction(int(whole or 0)) + Fraction(int(fixed or 0), 10 ** len(fixed))
    value += Fraction(int(cycle), 10 ** len(fixed) * (10 ** len(cycle) - 1))
    return -value if sign == "-" else value


def _in_base(match: re.Match[str]) -> tuple[Fraction | None, int]:
    base = int(match["base"]) if match["base"] else _BASE_WORDS.get(match["word"], 0)
    if not 2 <= base <= 36 or not match["digits"][0].isdigit():
        return None, 0
    try:
        return Fraction(int(match["digits"], base)), base
    except ValueError:
        return None, 0


def _words(text: str) -> str:
    r"""The plain words that an answer consists of, lower-cased, or "" for mathematics.

    "\text{(C)}", "(C)" and "C" are the same word; so are "\text{an ellipse}" and "ellipse".
    """
    plain = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text)
    spoken = plain != text
    if "\\" in plain or re.search(r"[\^_=+*/<>|\[\]{}]", plain):
        return ""
    plain = " ".join(plain.split()).strip(" .,:;!\"'")
    inner = plain[1:-1].strip() if enclosed(plain) and "," not in plain else plain
    if not _WORDS.fullmatch(inner):
        return ""
    letters = re.sub(r"[^A-Za-z]", "", inner)
    if not spoken and len(letters) < 2 and not (len(inner) == 1 and inner.isupper()):
        return ""
    if not spoken and _PRODUCT.fullmatch(inner):
        return ""
    if spoken and len(letters) == 1 and inner.islower():
        return ""
    return _ARTICLE.sub("", re.sub(r"\s+", " ", inner.lower()).strip(" ."))

"""Units of measurement beside a number: which are the same, and which differ by a factor.

Covers the units that the benchmarks' golds and answers use. A word that is no unit here
("5 apples") is a label: it neither helps nor hurts an answer.
"""

from __future__ import annotations

import re
from fractions import Fraction

Unit = tuple[str, Fraction]
"""(dimension, size in the dimension's base): ("time", 60) is the minute."""

_TABLE = """
time second 1: s sec secs second seconds
time minute 60: min mins minute minutes
time hour 3600: h hr hrs hour hours
time day 86400: day days
time week 604800: week weeks
time year 31536000: yr yrs year years
length meter 1: m meter meters metre metres
length centimeter 1/100: cm centimeter centimeters centimetre centimetres
length millimeter 1/1000: mm millimeter millimeters millimetre millimetres
length kilometer 1000: km kilometer kilometers kilometre kilometres
length inch 127/5000: in inch inches
length foot 381/1250: ft foot feet
length yard 1143/1250: yd yard yards
length mile 201168/125: mi mile miles
length nanometer 1/1000000000: nm nanometer nanometers
mass gram 1: g gram grams
mass kilogram 1000: kg kilogram kilograms
mass pound 45359237/100000: lb lbs pound pounds
mass ounce 45359237/1600000: oz ounce ounces
money dollar 1: dollar dollars usd
money cent 1/100: cent cents
volume liter 1: l liter liters litre litres
volume milliliter 1/1000: ml milliliter milliliters
angle degree 1: degree degrees deg
"""


def _read_table() -> dict[str, Unit]:
    units: dict[str, Unit] = {}
    for line in _TABLE.strip().splitlines():
        head, names = line.split(":")
        dimension, _, size = head.split()
        units.update({name: (dimension, Fraction(size)) for name in names.split()})
    return units


_UNITS = _read_table()
_WORDS = frozenset(name for name in _UNITS if len(name) > 2) | {
    "cm",
    "mm",
    "km",
    "kg",
    "ft",
    "hr",
    "lb",
    "oz",
    "ml",
}
_POWERS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3}
_PER = re.compile(r"\s*(?:/|\bper\b)\s*")
_PART = re.compile(r"([a-z]+)\.?\s*(?:\^\s*\{?\s*(-?\d)\s*\}?)?")

_TEXT_UNIT = re.compile(r"(?:\\text\{[^{}]*\}|[\^{}\-\d/.* ]|\\cdot|\\times)+$")
_WORD_UNIT = re.compile(
    r"(?<=[\d)}\s])\s*((?:(?:square|sq\.?|cubic|cu\.?)\s+)?"
    r"(?:" + "|".join(sorted(_WORDS, key=len, reverse=True)) + r")\b"
    r"(?:\s*\^\s*\{?\d\}?)?(?:\s*(?:/|per)\s*[a-z]+(?:\s*\^\s*\{?\d\}?)?)?)\s*$",
    re.IGNORECASE,
)  # fmt: skip


def split_unit(text: str) -> tuple[str, str]:
    r"""(value, unit) of a tidied answer: "5\text{ cm}^2" is ("5", "cm^2"); the unit is "" without one.

    Bare letters are never units: in "\frac{37}{4} m" the m may well be a mass.
    """
    if (start := text.find(r"\text{")) > 0 and _TEXT_UNIT.match(text, start):
        words = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text[start:])
        unit = re.sub(r"\\cdot|\\times|\*", " ", words)
        return text[:start].rstrip(" *"), " ".join(unit.split())
    if match := _WORD_UNIT.search(text[-60:]):
        cut = len(text) - len(match.group())
        return text[:cut].strip(), match[1].strip()
    return text, ""


def parse_unit(text: str) -> Unit | None:
    """The unit that a phrase names ("square inches", "km/h"), or None where it names none of ours."""
    phrase = re.sub(r"[$\\{}~]", " ", text.lower().replace("\\text", " ").replace("circ", "degree"))
    phrase = phrase.replace("mathrm", " ").replace("^ degree", "degree").strip()
    sides = _PER.split(phrase)
    if not 1 <= len(sides) <= 2:
        return None
    total: Unit = ("", Fraction(1))
    for side, sign in zip(sides, (1, -1), strict=False):
        part = _product(side)
        if part is None:
            return None
        dimension, size = part
        total = (total[0] + ("/" if sign < 0 else "") + dimension, total[1] * size**sign)
    return total


def _product(phrase: str) -> Unit | None:
    power = 1
    words = phrase.split()
    for word in list(words):
        if word.rstrip(".") in _POWERS:
            power = _POWERS[word.rstrip(".")]
            words.remove(word)
    match = _PART.fullmatch(" ".join(words))
    if not match or match[1] not in _UNITS:
        return None
    power = int(match[2]) if match[2] else power
    dimension, size = _UNITS[match[1]]
    if (dimension, power) == ("length", 3):
        return "volume", size**3 * 1000
    return (dimension if power == 1 else f"{dimension}^{power}"), Fraction(size) ** power

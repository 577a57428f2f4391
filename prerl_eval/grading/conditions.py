r"""What stands around an answer without being one: conditions, quantifiers, and shorthand for several.

Covers "f(x) = x \text{ for all } x", ", k \in \mathbb{Z}", "\text{all } k \geq 2",
"\{x \mid x > 2\}" and "(\pm 1, \pm 2)", all on tidied text. A condition is never compared.
"""

from __future__ import annotations

import re
from itertools import product

from prerl_eval.grading.latex import SET_CLOSE, SET_OPEN

_NEXT = r"(?:,|(?:\\text\{\s*,?\s*|\b)(?:or|and)\b\s*\}?)\s*[A-Za-z]\([A-Za-z]\)\s*(?:=|\\equiv)"
_CLAUSE = re.compile(
    r"\s*,?\s*(?:\\forall(?![A-Za-z])|(?:\\text\{\s*,?\s*)?"
    r"\b(?:where|for (?:all|any|every|each|some|integers?|positive|real)|with|if|when|such that)\b)"
    rf".*?(?=\s*{_NEXT}|$)",
    re.S,
)
_MEMBERSHIP = re.compile(
    r"(?:\s*,\s*|\s*\(\s*|\s*(?=\\text\{\s*for\b))(?:\\text\{\s*\w*\s*\}\s*)?[a-z](?:\s*,\s*[a-z])*\s*\\in(?![A-Za-z])\s*"
    r"\\(?:mathbb|text)?\s*\{?\s*[ZNQR]\s*\}?[\s_^{}+*\\A-Za-z\d<>]*\)?$"
)
_COMPARISON = re.compile(r"[<>]|\\[lg]eq(?![A-Za-z])")
_ALL = re.compile(r"\\text\{\s*all\b[A-Za-z ]*\}\s*", re.IGNORECASE)
_BUILDER = re.compile(rf"{SET_OPEN}\s*[A-Za-z]\s*(?:\\in\s*[^|:]+)?[|:](?P<condition>.+){SET_CLOSE}", re.S)
_SIGNED_TUPLE = re.compile(r"\((?=[^()]*,)[^()]*\\pm[^()]*\\pm[^()]*\)")
_PLUS_MINUS = re.compile(r"\\pm(?![A-Za-z])")
MAX_SIGNS = 3
"""Signs of one tuple that are expanded independently of each other."""


def without_conditions(text: str) -> str:
    """`text` less ", where ..." and its like; prose that begins with such a word stays."""
    match = _CLAUSE.search(text)
    if match and match.start() > 0:
        text = _CLAUSE.sub(" ", text).rstrip(" ,")
    match = _MEMBERSHIP.search(text)
    if match and match.start() > 0:
        text = text[: match.start()]
    if _COMPARISON.search(text):
        if match := _BUILDER.fullmatch(text):
            text = match["condition"].strip()
        text = _ALL.sub("", text, count=1) if _ALL.match(text) else text
    return text


def independent_signs(text: str) -> str | None:
    r"""(\pm 1, \pm 2) as its four tuples, or None where no tuple has two signs.

    The other reading, with the upper signs together, is prerl_eval.grading.shapes' own.
    """
    if r"\mp" in text:
        return None
    expanded = _SIGNED_TUPLE.sub(_every_sign, text)
    return None if expanded == text else expanded


def _every_sign(match: re.Match[str]) -> str:
    pieces = _PLUS_MINUS.split(match.group())
    if len(pieces) - 1 > MAX_SIGNS:
        return match.group()
    tuples = []
    for signs in product("+-", repeat=len(pieces) - 1):
        tuples.append(
            pieces[0] + "".join(sign + piece for sign, piece in zip(signs, pieces[1:], strict=True))
        )
    return ", ".join(tuples)

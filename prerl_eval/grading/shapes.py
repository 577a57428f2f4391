"""The structure of an answer: a list, tuple, set, interval, union, matrix, relation, or one term.

Covers reading a tidied answer into a tree whose leaves are Terms; nothing is computed. Shapes are
compared in prerl_eval.grading.compare.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from prerl_eval.grading.conditions import without_conditions
from prerl_eval.grading.latex import ANGLE_OPEN, SET_CLOSE, SET_OPEN, enclosed, split_top, squeeze, tidy
from prerl_eval.grading.units import split_unit
from prerl_eval.grading.values import Term, read_term


@dataclass(frozen=True, slots=True)
class Listing:
    """Several answers side by side, in no particular order: "1, -2"."""

    items: tuple[Shape, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Group:
    """Items in brackets. opening, closing: "(" ")" tuple or open interval, "[" "]", or a set's."""

    opening: str
    items: tuple[Shape, ...]
    closing: str
    text: str

    @property
    def is_set(self) -> bool:
        """Set braces: the order of the items means nothing."""
        return self.opening == SET_OPEN


@dataclass(frozen=True, slots=True)
class Union:
    """A union of sets or intervals, in no particular order."""

    parts: tuple[Shape, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix or column vector, row by row. kind: "matrix", or "vmatrix" for a determinant."""

    kind: str
    rows: tuple[tuple[Shape, ...], ...]
    text: str


@dataclass(frozen=True, slots=True)
class Relation:
    """left = right (or "\\approx"); of a chain the first and the last side. name: left is only a label."""

    left: str
    right: Shape
    name: bool
    text: str
    approximate: bool = False


@dataclass(frozen=True, slots=True)
class Single:
    """One term."""

    term: Term
    text: str


Shape = Listing | Group | Union | Matrix | Relation | Single

_COMMA = re.compile(r"\s*[,;](?:\s*(?:\\text\{\s*)?(?:and|or)\b(?:\s*\})?)?\s*")
_WORD_COMMA = re.compile(r"\s*(?:\\text\{\s*(?:[,;]|[,;]?\s*(?:and|or)\s*,?)\s*\}|\b(?:and|or)\b|[,;])\s*")
_SPACED_COMMA = re.compile(r"\s*(?:\\text\{\s*,?\s*(?:and|or)\s*,?\s*\}|\b(?:and|or)\b|,\s|;)\s*")
_CUP = re.compile(r"\s*(?:\\cup(?![A-Za-z])|\\bigcup(?![A-Za-z]))\s*")
_EQUALS = re.compile(r"\s*(?:\\equiv(?![A-Za-z])|(?<![<>!:])=)\s*")
_MEMBER = re.compile(r"^\s*(?:[A-Za-z](?:_\{?\w+\}?)?|\([A-Za-z, ]+\))\s*\\in(?![A-Za-z])\s*")
_ROWS = re.compile(r"\s*\\\\\s*(?:\[[^\]]*\])?")
_CELLS = re.compile(r"\s*&\s*")
_MATRIX = re.compile(
    r"\\begin\{(?P<kind>[pbBvV]?matrix|array)\}(?:\{[^}]*\})?(?P<body>.*)\\end\{(?P=kind)\}(?P<rest>.*)", re.S
)
_COMPARISON = re.compile(r"\s*(<|>|\\leq(?![A-Za-z])|\\geq(?![A-Za-z]))\s*")
_GROUPED = re.compile(r"[+-]?(?:\\dollar)?\d{1,3}(?:,\d{3})+(?:\.\d+)?%?")
_VARIABLE = re.compile(r"[A-Za-z](?:_\{?\w+\}?)?|\\[a-z]+|[a-zA-Z]\([a-zA-Z]\)")
_NAME = re.compile(r"(?:\\text\{[^{}]*\}|\\(?=[A-Za-z])|[A-Za-z_^{}()|' ,:]|\d(?=[}_])|(?<=_)\d)++")
_HALF_OPEN = re.compile(r"^[A-Za-z]\s*(?=[(\[].*[)\]]$)")
_TEXT_LIST = re.compile(r"\\text\{((?:[^{}\s,]{1,12}\s*(?:,|\s+and\s|\s+or\s)\s*)+[^{}\s,]{1,12})\}")
_APPROXIMATE = re.compile(r"\s*\\approx(?![A-Za-z])\s*")
MAX_LENGTH = 4000
"""Characters of tidied text beyond which no structure is looked for."""

MAX_DEPTH = 6


def read_shape(text: str, depth: int = 0) -> Shape:
    """A tidied answer as a Shape."""
    text = without_conditions(tidy(text)) if depth == 0 else text
    if depth > MAX_DEPTH or len(text) > MAX_LENGTH:
        return Single(read_term(text), squeeze(text))
    for attempt in (_listing, _interval_of_inequality, _relation, _union, _matrix, _group):
        shape = attempt(text, depth)
        if shape is not None:
            return shape
    return Single(read_term(text), squeeze(text))


def _parts(texts: list[str], depth: int) -> tuple[Shape, ...]:
    return tuple(read_shape(tidy(text), depth + 1) for text in texts)


def _listing(text: str, depth: int) -> Shape | None:
    if match := _TEXT_LIST.fullmatch(text):
        text = match[1]
    if _GROUPED.fullmatch(squeeze(split_unit(text)[0])) and ", " not in text:
        return None
    pieces = _grouped_numbers(text) or [piece for piece in split_top(text, _WORD_COMMA) if piece]
    if len(pieces) <= 1:
        expanded = _plus_minus(text)
        if expanded is None:
            return None
        pieces = expanded
    elif any(r"\pm" in piece for piece in pieces):
        pieces = [one for piece in pieces for one in (_plus_minus(piece) or [piece])]
    if _is_prose(text):
        return None
    head = _EQUALS.search(pieces[0])
    if (
        head
        and _is_label(pieces[0][: head.start()])
        and not any(_EQUALS.search(piece) for piece in pieces[1:])
    ):
        pieces[0] = pieces[0][head.end() :]
    return Listing(_parts(pieces, depth), squeeze(text))


def _grouped_numbers(text: str) -> list[str] | None:
    """The numbers of "2,400, 1,350 and 864", None where commas do not part thousands."""
    pieces = [piece for piece in _SPACED_COMMA.split(text) if piece]
    numbers = len(pieces) > 1 and all(_GROUPED.fullmatch(piece) or piece.isdigit() for piece in pieces)
    return pieces if numbers and "," in "".join(pieces) else None


def _is_prose(text: str) -> bool:
    """A sentence with commas rather than a list: mostly words of three letters or more."""
    plain = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text)
    words = re.findall(r"(?<![\\A-Za-z])[A-Za-z]{3,}", plain)
    return len(words) >= 8


def _plus_minus(text: str) -> list[str] | None:
    if (r"\pm" not in text and r"\mp" not in text) or _COMPARISON.search(text):
        return None
    if text[0] == SET_OPEN and enclosed(text):
        return None
    plus = re.sub(r"\\pm(?![A-Za-z])", "+", re.sub(r"\\mp(?![A-Za-z])", "-", text))
    minus = re.sub(r"\\pm(?![A-Za-z])", "-", re.sub(r"\\mp(?![A-Za-z])", "+", text))
    return [plus, minus]


def _interval_of_inequality(text: str, depth: int) -> Shape | None:
    """ "-2 < x \\leq 7" is the interval (-2, 7], "x > 2" is (2, oo)."""
    pieces = split_top(text, _COMPARISON)
    if not 2 <= len(pieces) <= 3 or not all(pieces):
        return None
    signs = [match[1] for match in _COMPARISON.finditer(text)]
    if len(signs) != len(pieces) - 1 or len({sign in ("<", r"\leq") for sign in signs}) != 1:
        return None
    if signs[0] in (">", r"\geq"):
        pieces, signs = pieces[::-1], [{">": "<", r"\geq": r"\leq"}[sign] for sign in signs[::-1]]
    if len(pieces) == 2:
        if _VARIABLE.fullmatch(pieces[0]):
            pieces, signs = [r"-\infty", *pieces], ["<", *signs]
        elif _VARIABLE.fullmatch(pieces[1]):
            pieces, signs = [*pieces, r"\infty"], [*signs, "<"]
        else:
            return None
    low, variable, high = pieces
    if not _VARIABLE.fullmatch(variable):
        return None
    opening, closing = "[" if signs[0] == r"\leq" else "(", "]" if signs[1] == r"\leq" else ")"
    return Group(opening, _parts([low, high], depth), closing, squeeze(f"{opening}{low},{high}{closing}"))


def _is_label(left: str) -> bool:
    """The left side only names what is asked for: "x", "f(x)", "\\angle ABC", "\\frac{NO}{BO}"."""
    computes = re.search(r"\\(?:sqrt|binom|int|sum)|\\frac.*[a-z]", left)
    return bool(_NAME.fullmatch(left.strip())) and not computes


def _relation(text: str, depth: int) -> Shape | None:
    if member := _MEMBER.match(text):
        return read_shape(tidy(text[member.end() :]), depth + 1)
    if (
        _HALF_OPEN.match(text)
        and enclosed(text[1:].strip())
        and text.strip()[1:].strip()[0] + text[-1] in ("(]", "[)")
    ):
        return read_shape(tidy(text[1:]), depth + 1)
    sides = split_top(text, _APPROXIMATE)
    approximate = len(sides) > 1
    if not approximate:
        sides = split_top(text, _EQUALS)
    if len(sides) < 2 or not all(sides):
        return None
    right = read_shape(tidy(sides[-1]), depth + 1)
    return Relation(squeeze(sides[0]), right, _is_label(sides[0]), squeeze(text), approximate)


def _union(text: str, depth: int) -> Shape | None:
    pieces = split_top(text, _CUP)
    return Union(_parts(pieces, depth), squeeze(text)) if len(pieces) > 1 and all(pieces) else None


def _matrix(text: str, depth: int) -> Shape | None:
    bare = text[1:-1].strip() if enclosed(text) and text[1:].lstrip().startswith(r"\begin") else text
    match = _MATRIX.fullmatch(bare)
    if not match or match["rest"].strip() or r"\begin" in match["body"]:
        return None
    rows = [row for row in _ROWS.split(match["body"]) if row.strip()]
    kind = "vmatrix" if match["kind"].lower() == "vmatrix" else "matrix"
    cells = tuple(_parts(_CELLS.split(row), depth) for row in rows)
    return Matrix(kind, cells, squeeze(text)) if cells else None


def _group(text: str, depth: int) -> Shape | None:
    if not enclosed(text):
        return None
    pieces = [piece for piece in split_top(text[1:-1], _COMMA) if piece]
    opening, closing = text[0], text[-1]
    if opening == ANGLE_OPEN:
        opening, closing = "(", ")"
    if opening == SET_OPEN and closing == SET_CLOSE:
        pieces = [one for piece in pieces for one in (_plus_minus(piece) or [piece])]
    elif len(pieces) < 2:
        if opening == "(" and closing == ")" and pieces and not read_term(text).words:
            return read_shape(pieces[0], depth + 1)
        return None
    return Group(opening, _parts(pieces, depth), closing, squeeze(text))


def class_of(shape: Shape, simplest: Callable[[Term], str]) -> str:
    """A key that equal answers share; `simplest` writes a term that is neither number nor words."""
    if isinstance(shape, Single):
        term = shape.term
        if term.number is not None:
            return str(term.number) + ("%" if term.percent else "") + (f"_{term.base}" if term.base else "")
        return term.words or simplest(term)
    keys = partial(class_of, simplest=simplest)
    if isinstance(shape, Listing):
        return ", ".join(sorted(map(keys, shape.items)))
    if isinstance(shape, Group):
        items = list(map(keys, shape.items))
        return shape.opening + ", ".join(sorted(items) if shape.is_set else items) + shape.closing
    if isinstance(shape, Union):
        return r" \cup ".join(sorted(map(keys, shape.parts)))
    if isinstance(shape, Matrix):
        return shape.kind + "; ".join(", ".join(map(keys, row)) for row in shape.rows)
    return keys(shape.right) if shape.name else shape.text

"""When two answers are the same: structure first, then exact values, then computer algebra.

Covers the rules; the algebra itself is a callable that the caller gives. The parent process gives
none and gets None for "needs algebra"; a worker gives prerl_eval.grading.symbolic.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from prerl_eval.grading.conditions import independent_signs
from prerl_eval.grading.latex import split_top, tidy
from prerl_eval.grading.shapes import Group, Listing, Matrix, Relation, Shape, Single, Union, read_shape
from prerl_eval.grading.tolerance import Rules, equal_numbers, equal_numerals
from prerl_eval.grading.values import Term

Algebra = Callable[[str, str, Rules], bool]
"""(gold, answer, rules) -> equal, for two expressions."""


class NeedsAlgebra(Exception):
    """The pair cannot be decided by structure and exact values alone."""


def no_algebra(gold: str, answer: str, rules: Rules) -> bool:
    """The Algebra of a process that must not run any."""
    raise NeedsAlgebra


def same_answer(gold: str, answer: str, rules: Rules, algebra: Algebra) -> bool:
    """Whether an answer is the gold, in either reading of several signs in one tuple."""
    if equal(read_shape(gold), read_shape(answer), rules, algebra):
        return True
    signs = independent_signs(tidy(answer))
    return signs is not None and equal(read_shape(gold), read_shape(signs), rules, algebra)


def equal(gold: Shape, answer: Shape, rules: Rules, algebra: Algebra) -> bool:
    """Whether `answer` is `gold`. Raises NeedsAlgebra where `algebra` does."""
    if gold.text == answer.text:
        return True
    if isinstance(gold, Relation) or isinstance(answer, Relation):
        return _relations(gold, answer, rules, algebra)
    if isinstance(gold, Union) and isinstance(answer, Listing):  # "x < 0 or x = 1"
        return _same_members(gold.parts, answer.items, rules, algebra)
    if isinstance(gold, Listing) or isinstance(answer, Listing):
        return _listings(gold, answer, rules, algebra)
    if isinstance(gold, Union) and isinstance(answer, Union):
        return _same_members(gold.parts, answer.parts, rules, algebra) or algebra(
            gold.text, answer.text, rules
        )
    if isinstance(gold, Group) and isinstance(answer, Group):
        return _groups(gold, answer, rules, algebra)
    if isinstance(gold, Matrix) or isinstance(answer, Matrix):
        return _matrices(gold, answer, rules, algebra)
    for one, other in ((gold, answer), (answer, gold)):
        if isinstance(one, Group) and one.is_set and len(one.items) == 1:
            return equal(one.items[0], other, rules, algebra)
    if isinstance(gold, Single) and isinstance(answer, Single):
        return _terms(gold.term, answer.term, rules, algebra)
    simple = gold if isinstance(gold, Single) else answer
    if isinstance(simple, Single) and (simple.term.number is not None or simple.term.words):
        return False
    return algebra(gold.text, answer.text, rules)


def _relations(gold: Shape, answer: Shape, rules: Rules, algebra: Algebra) -> bool:
    """ "x = 5" answers 5 and the reverse; two equations are compared as equations."""
    if isinstance(gold, Relation) and isinstance(answer, Relation):
        return _two_relations(gold, answer, rules, algebra)
    relation, other = (gold, answer) if isinstance(gold, Relation) else (answer, gold)
    assert isinstance(relation, Relation)
    if isinstance(other, Listing):  # "a = b = -2" answers "-2, -2", "(a, b) = (1, 2)" answers "1, 2"
        named = relation.name and relation is answer
        return named and _same_members(other.items, _coordinates(relation), rules, algebra)
    zero = isinstance(relation.right, Single) and relation.right.term.number == 0
    if not relation.name and (zero or relation is gold):
        return False
    pair: tuple[Shape, Shape] = (relation.right, other) if relation is gold else (other, relation.right)
    if equal(*pair, rules, algebra):
        return True
    if relation.approximate and relation is answer:
        return equal(gold, read_shape(relation.left), rules, algebra)
    return False


def _coordinates(relation: Relation) -> Sequence[Shape]:
    """ "(a, b) = (1, 2)" as "a = 1" and "b = 2"; of any other relation the right side."""
    names, values = split_top(relation.left[1:-1], re.compile(",")), relation.right
    if not isinstance(values, Group) or values.is_set or len(names) != len(values.items):
        return [values]
    pairs = zip(names, values.items, strict=True)
    return [Relation(name, value, True, f"{name}={value.text}") for name, value in pairs]


_FUNCTION = re.compile(r"([A-Za-z])\(([A-Za-z])\)")


def _two_relations(gold: Relation, answer: Relation, rules: Rules, algebra: Algebra) -> bool:
    if gold.left == answer.left:
        return equal(gold.right, answer.right, rules, algebra) or _as_equations(gold, answer, rules, algebra)
    if gold.name and answer.name:
        right = answer.right
        ours, theirs = _FUNCTION.fullmatch(gold.left), _FUNCTION.fullmatch(answer.left)
        if ours and theirs and ours[2] != theirs[2]:
            right = read_shape(_rename(right.text, theirs[2], ours[2]))
        plain = re.compile(r"[A-Za-z]")
        if not (plain.fullmatch(gold.left) and plain.fullmatch(answer.left)) and equal(
            gold.right, right, rules, algebra
        ):
            return True
    return _as_equations(gold, answer, rules, algebra)


def _rename(text: str, old: str, new: str) -> str:
    """`text` with the variable `old` called `new`, in "an" (a times n) too; commands and words stay."""
    tokens = re.compile(rf"\\text\{{[^{{}}]*\}}|\\[A-Za-z]+|{old}")
    return tokens.sub(lambda match: new if match.group() == old else match.group(), text)


def _as_equations(gold: Relation, answer: Relation, rules: Rules, algebra: Algebra) -> bool:
    values = [side.right.term.number if isinstance(side.right, Single) else None for side in (gold, answer)]
    plain = re.compile(r"[A-Za-z](?:_\{?\w+\}?)?")
    if None not in values and all(plain.fullmatch(side.left) for side in (gold, answer)):
        return False
    return algebra(gold.text, answer.text, rules)


def _listings(gold: Shape, answer: Shape, rules: Rules, algebra: Algebra) -> bool:
    """Lists in any order; a list against a set likewise; against a tuple in the same order."""
    ours, theirs = _members(gold), _members(answer)
    for shape, members in ((gold, ours), (answer, theirs)):
        if isinstance(shape, Group) and not shape.is_set:
            if (shape.opening, shape.closing) != ("(", ")") and (shape.opening, shape.closing) != ("[", "]"):
                return False
            other = theirs if members is ours else ours
            if len(members) == len(other):
                return all(equal(g, a, rules, algebra) for g, a in zip(ours, theirs, strict=True))
    return _same_members(ours, theirs, rules, algebra)


def _members(shape: Shape) -> Sequence[Shape]:
    if isinstance(shape, Listing | Group):
        return shape.items
    return (shape,)


def _same_members(gold: Sequence[Shape], answer: Sequence[Shape], rules: Rules, algebra: Algebra) -> bool:
    """Whether two collections hold the same members, each as often, in any order."""
    named = [{item.left: item for item in side if isinstance(item, Relation)} for side in (gold, answer)]
    if len(named[0]) == len(gold) == len(answer) > 1 and named[0].keys() == named[1].keys():
        return all(equal(item, named[1][name], rules, algebra) for name, item in named[0].items())
    left = list(answer)
    if len(gold) != len(answer):
        # Naming one solution twice adds nothing; a gold that repeats a value asks for it twice.
        kinds = {_value(item): item for item in gold}
        if 1 < len(kinds) < len(gold):
            return False
        gold, left = list(kinds.values()), list({item.text: item for item in answer}.values())
        if len(gold) != len(left):
            return False
    undecided = False
    for item in gold:
        for candidate in sorted(left, key=lambda shape: shape.text != item.text):
            try:
                same = equal(item, candidate, rules, algebra)
            except NeedsAlgebra:
                undecided = True
                continue
            if same:
                left.remove(candidate)
                break
        else:
            if not undecided:
                return False
    if left and undecided:
        raise NeedsAlgebra
    return not left


def _value(shape: Shape) -> str:
    """The text of what a shape states, without the name it gives to it."""
    return shape.right.text if isinstance(shape, Relation) and shape.name else shape.text


def _groups(gold: Group, answer: Group, rules: Rules, algebra: Algebra) -> bool:
    if gold.is_set and answer.is_set:
        return _same_members(gold.items, answer.items, rules, algebra)
    if gold.is_set or answer.is_set or len(gold.items) != len(answer.items):
        return False
    brackets = (gold.opening, gold.closing), (answer.opening, answer.closing)
    if len(gold.items) == 2 and brackets[0] != brackets[1]:
        return False
    return all(equal(g, a, rules, algebra) for g, a in zip(gold.items, answer.items, strict=True))


def _matrices(gold: Shape, answer: Shape, rules: Rules, algebra: Algebra) -> bool:
    """Matrices entry by entry; a column or row vector may be written as a tuple."""
    ours, theirs = _rows(gold), _rows(answer)
    if ours is None or theirs is None:
        return False
    if isinstance(gold, Matrix) and isinstance(answer, Matrix):
        if gold.kind != answer.kind or [len(row) for row in ours] != [len(row) for row in theirs]:
            return False
    elif (
        min(len(ours), max(len(row) for row in ours)) != 1
        or min(len(theirs), max(len(row) for row in theirs)) != 1
    ):
        return False
    flat = [[cell for row in rows for cell in row] for rows in (ours, theirs)]
    return len(flat[0]) == len(flat[1]) and all(
        equal(g, a, rules, algebra) for g, a in zip(*flat, strict=True)
    )


def _rows(shape: Shape) -> Sequence[Sequence[Shape]] | None:
    if isinstance(shape, Matrix):
        return shape.rows
    if isinstance(shape, Group) and not shape.is_set and shape.opening in "([":
        return [[item] for item in shape.items]
    return None


def _terms(gold: Term, answer: Term, rules: Rules, algebra: Algebra) -> bool:
    if answer.option and _OPTION.fullmatch(gold.words):
        return gold.words.strip("().:") == answer.option
    if gold.words or answer.words:
        return _words(gold, answer, rules, algebra)
    if gold.base or answer.base:
        return equal_numerals(gold, answer)
    if gold.number is not None and answer.number is not None:
        return equal_numbers(gold, answer, rules)
    if gold.unit and answer.unit and gold.unit != answer.unit:
        return False
    if gold.percent != answer.percent and not rules.percent:
        return algebra(_body(gold), _body(answer), rules)
    return gold.body == answer.body or algebra(gold.body, answer.body, rules)


def _body(term: Term) -> str:
    return rf"\frac{{{term.body}}}{{100}}" if term.percent else term.body


_OPTION = re.compile(r"\(?([a-z])\)?[).:]?")
_OPTION_THEN_TEXT = re.compile(r"\(?([a-z])(?:\)|\.|:)\s*\S.*")


def _words(gold: Term, answer: Term, rules: Rules, algebra: Algebra) -> bool:
    if gold.words and answer.words:
        if gold.words == answer.words:
            return True
        if _OPTION.fullmatch(gold.words) and (match := _OPTION_THEN_TEXT.fullmatch(answer.words)):
            return match[1] == gold.words.strip("().:")
        letters = [re.sub(r"[^a-z0-9]", "", words) for words in (gold.words, answer.words)]
        return letters[0] == letters[1]
    words, other = (gold, answer) if gold.words else (answer, gold)
    if other.number is not None:
        return False
    if _OPTION.fullmatch(words.words) and re.fullmatch(r"\(?[A-Za-z]\)?", other.body):
        return words.words.strip("().:") == other.body.strip("()").lower()
    if re.search(r"[\d=^_]|\\", other.body) and len(words.words) > 3:
        return False
    return algebra(gold.body, answer.body, rules)

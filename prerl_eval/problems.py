"""Problems: the rows of a benchmark in prerl's own terms.

Covers the ids, the facts and where the gold stands in its column. Does not cover reaching the rows
(prerl_eval.data_rows), what the gold means (prerl_eval.grading) or how a problem is asked
(prerl_eval.prompts).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prerl_eval.choices import check_choices, read_options
from prerl_eval.data_rows import data_folder, load_rows
from prerl_eval.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

    from prerl_eval.cards import Card

STATED_GRADERS = ("choice", "exact")
"""Graders that end a response where a next question begins: the card's stop strings are facts for them."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem, with all a grader needs: a stored row can be regraded without its data set.

    benchmark: name of the card.
    problem_id: the card's id field, or the row number; never derived from the text.
    text: the problem statement as the data set gives it.
    gold: the reference answer, "" where the data set has none (rows become `unscored`).
    grader: which grader judges it ("math", "countdown").
    extra: JSON-able facts for the grader and the preflight, such as unit, tolerance, numbers, task.
    options: of multiple choice, in the order of their letters. shots: worked examples that stand
    before the problem in its prompt. A stored row has both in its prompt only.
    """

    benchmark: str
    problem_id: str
    text: str
    gold: str
    grader: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    shots: str = ""


def load_problems(
    card: Card,
    data_root: Path | None = None,
    limit: int | None = None,
    split: str | None = None,
    *,
    seed: int = 0,
    shots: bool = True,
) -> list[Problem]:
    """The problems of a card's split, in the data set's order; only the first `limit` where given.

    data_root: read <data_root>/<hub id>, a clone of the hub repository; None takes PRERL_DATA_ROOT
    from the environment, and the hub where that is unset. Nothing is written under it. seed: what the
    order of options is drawn from. shots: False leaves the worked examples of the prompt out.
    Raises UserError where the data cannot be reached, is not UTF-8, has another number of rows than
    the card allows, lacks a column, holds something else than text in one, or repeats an id, and
    where the card names an unknown grader.
    """
    from prerl_eval.grading.pool import GRADERS  # which imports Problem from here

    if card.grader not in GRADERS:
        raise UserError(
            f"{card.file}: grader = {card.grader!r} should be one of: {', '.join(sorted(GRADERS))}"
        )
    split = split or card.split
    check_choices(card)
    rows = load_rows(card, data_root, split)
    if split == card.split and card.rows and len(rows) not in card.rows:
        allowed = " or ".join(map(str, card.rows))
        raise UserError(
            f"{card.name}: {len(rows)} rows in split {split}, the card allows {allowed}; "
            "load the revision it was written for, or change `rows` in a copy of the card"
        )
    missing = sorted({*card.fields.values(), *card.choices} - set(rows.column_names))
    if missing:
        raise UserError(
            f"{card.name}: no column {missing[0]!r} in the data; it has: {', '.join(rows.column_names)}"
        )
    try:
        _check_ids(card, rows)
        chosen = rows if limit is None else rows.select(range(min(limit, len(rows))))
        problems = [_problem(card, row, number, seed) for number, row in enumerate(chosen)]
    except UnicodeDecodeError as error:
        raise UserError(f"{card.name}: the data is not UTF-8 text ({error}); convert it to UTF-8") from error
    return _with_shots(card, problems, data_root) if card.shots and shots else problems


def _with_shots(card: Card, problems: list[Problem], data_root: Path | None) -> list[Problem]:
    from prerl_eval.fewshot import Example, with_shots

    def read_split(split: str, worked: str) -> list[Example]:
        rows = load_rows(card, data_root, split)
        return [(_problem(card, row, number, 0), str(row[worked])) for number, row in enumerate(rows)]

    return with_shots(card, problems, data_folder(card, data_root), read_split)


def training_problems(card: Card, data_root: Path | None = None, limit: int | None = None) -> list[Problem]:
    """The problems that training may read: those of the card's train_split.

    Raises UserError for a card that names none: nothing trains on what it is measured with.
    """
    if not card.train_split:
        raise UserError(
            f"{card.name} has no train_split: training on the split that is evaluated is refused; "
            "train on a set such as math-train or countdown"
        )
    return load_problems(card, data_root, limit, card.train_split)


def _problem(card: Card, row: Mapping[str, Any], number: int, seed: int) -> Problem:
    columns = dict(card.fields)
    text = row[columns.pop("problem")]
    gold = row[columns.pop("answer")]
    id_column = columns.pop("id", None)
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"{card.name}: row {number} has no text in column {card.fields['problem']!r}")
    if not (gold is None or isinstance(gold, (str, int, float, Decimal)) or card.gold == "joined"):
        raise UserError(
            f"{card.name}: row {number} has a {type(gold).__name__} in column {card.fields['answer']!r}; "
            'write gold = "joined" for a list of answers, else make it text'
        )
    facts = {fact: row[column] for fact, column in columns.items() if row[column] is not None}
    _check_facts(card, facts, number)
    problem_id = str(number if id_column is None else row[id_column])
    options = read_options(card, row, problem_id, number, seed) if card.choices else None
    if card.grader in STATED_GRADERS and card.stop:
        facts["stop"] = list(card.stop)
    return Problem(
        benchmark=card.name,
        problem_id=problem_id,
        text=text,
        gold=options.gold if options else find_gold(gold, card.gold),
        grader=card.grader,
        extra={
            "answer_format": card.answer_format,
            **card.options,
            **facts,
            **(options.facts if options else {}),
        },
        options=options.texts if options else (),
    )


def _check_facts(card: Card, facts: Mapping[str, Any], number: int) -> None:
    for fact, value in facts.items():
        try:
            json.dumps(value)
        except TypeError as error:
            raise UserError(
                f"{card.name}: row {number} has a {type(value).__name__} in column {card.fields[fact]!r} "
                f"({fact}), which JSON cannot hold; make it text or leave {fact} out of `fields`"
            ) from error


def find_gold(value: Any, form: str) -> str:
    """The gold out of its column, for a form of prerl_eval.cards.GOLD_FORMS; "" where there is none.

    Only finds it: normalising numbers and notations is the grader's work.
    """
    if value is None:
        return ""
    if form == "joined":
        return ", ".join(str(item).strip() for item in (value if isinstance(value, list) else [value]))
    text = str(value).strip()
    if form == "after-hashes":
        return text.rpartition("####")[2].strip() if "####" in text else ""
    if form == "boxed":
        return _last_boxed(text)
    return text


def _last_boxed(text: str) -> str:
    """Content of the last complete \\boxed or \\fbox, "" without one; "\\boxed 2$" as MATH has it too."""
    for box in reversed(list(re.finditer(r"\\(?:boxed|fbox)\s*([^\s{$]+|\{)", text))):
        if box[1] != "{":
            return box[1]
        depth = 1
        for position in range(box.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            if depth == 0:
                return text[box.end() : position].strip()
    return ""


def _check_ids(card: Card, rows: Dataset) -> None:
    if "id" not in card.fields:
        return
    column = card.fields["id"]
    repeated = [value for value, count in Counter(map(str, rows[column])).items() if count > 1]
    if repeated:
        raise UserError(
            f"{card.name}: column {column!r} repeats {repeated[0]!r} ({len(repeated)} values repeat); "
            "name a unique column as `id`, or leave `id` out to count rows"
        )

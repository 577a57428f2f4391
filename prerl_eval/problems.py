"""Problems: the rows of a benchmark in prerl's own terms, read through datasets.load_dataset.

Covers finding the rows (hub, a clone under a data root, local files), the ids, and where the gold
stands in its column. Does not cover what the gold means (prerl_eval.grading) or how a problem is
asked (prerl_eval.prompts).
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prerl_eval.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

    from prerl_eval.cards import Card

DATA_ROOT_VARIABLE = "PRERL_DATA_ROOT"

BUILDERS = {".jsonl": "json", ".jsonl.gz": "json", ".parquet": "parquet"}
"""Local files a card's `path` may name, and the datasets builder that reads them."""


class HubUnreachable(UserError):
    """The hub did not answer: no other set of it can be had now either."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem, with all a grader needs: a stored row can be regraded without its data set.

    benchmark: name of the card.
    problem_id: the card's id field, or the row number; never derived from the text.
    text: the problem statement as the data set gives it.
    gold: the reference answer, "" where the data set has none (rows become `unscored`).
    grader: which grader judges it ("math", "countdown").
    extra: JSON-able facts for the grader and the preflight, such as unit, tolerance, numbers.
    """

    benchmark: str
    problem_id: str
    text: str
    gold: str
    grader: str
    extra: Mapping[str, Any] = field(default_factory=dict)


def load_problems(
    card: Card, data_root: Path | None = None, limit: int | None = None, split: str | None = None
) -> list[Problem]:
    """The problems of a card's split, in the data set's order; only the first `limit` where given.

    data_root: read <data_root>/<hub id>, a clone of the hub repository; None takes PRERL_DATA_ROOT
    from the environment, and the hub where that is unset. Nothing is written under it.
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
    with _quiet():
        rows = _load_rows(card, data_root, split)
    if split == card.split and card.rows and len(rows) not in card.rows:
        allowed = " or ".join(map(str, card.rows))
        raise UserError(
            f"{card.name}: {len(rows)} rows in split {split}, the card allows {allowed}; "
            "load the revision it was written for, or change `rows` in a copy of the card"
        )
    missing = sorted(set(card.fields.values()) - set(rows.column_names))
    if missing:
        raise UserError(
            f"{card.name}: no column {missing[0]!r} in the data; it has: {', '.join(rows.column_names)}"
        )
    try:
        _check_ids(card, rows)
        chosen = rows if limit is None else rows.select(range(min(limit, len(rows))))
        return [_problem(card, row, number) for number, row in enumerate(chosen)]
    except UnicodeDecodeError as error:
        raise UserError(f"{card.name}: the data is not UTF-8 text ({error}); convert it to UTF-8") from error


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


def column_names(card: Card, data_root: Path | None = None, split: str | None = None) -> list[str]:
    """The columns of a card's split. Raises UserError where the data cannot be reached."""
    with _quiet():
        return list(_load_rows(card, data_root, split or card.split).column_names)


def _problem(card: Card, row: Mapping[str, Any], number: int) -> Problem:
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
    return Problem(
        benchmark=card.name,
        problem_id=str(number if id_column is None else row[id_column]),
        text=text,
        gold=find_gold(gold, card.gold),
        grader=card.grader,
        extra={"answer_format": card.answer_format, **card.options, **facts},
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


def _load_rows(card: Card, data_root: Path | None, split: str) -> Dataset:
    if card.path:
        return _load_files(card, split)
    if data_root is None and os.environ.get(DATA_ROOT_VARIABLE):
        data_root = Path(os.environ[DATA_ROOT_VARIABLE])
    return _load_hub(card, split) if data_root is None else _load_clone(card, data_root, split)


def _load_hub(card: Card, split: str) -> Dataset:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        return load_dataset(card.hub_id, card.config or None, split=split, revision=card.revision)
    except ValueError as error:  # an unknown configuration or split
        raise UserError(f"{card.name}: {card.hub_id}: {_first_line(error)}") from error
    except ConnectionError as error:
        raise hub_unreachable(card) from error
    except (DatasetsError, OSError) as error:
        raise UserError(
            f"{card.name}: the hub does not give {card.hub_id} ({_first_line(error)}); where it is gated, "
            f"accept its terms at {_page(card)} and log in (hf auth login), or run "
            f"`{clone_command(card, 'DIR')}` and pass --data-root DIR"
        ) from error


def hub_unreachable(card: Card) -> HubUnreachable:
    """What to say of a hub set while the hub does not answer: how to obtain it elsewhere."""
    return HubUnreachable(
        f"{card.name}: the hub cannot be reached; on a machine that reaches it accept the terms of "
        f"{card.hub_id} where it has any, run `{clone_command(card, 'DIR')}`, and pass --data-root DIR here"
    )


def clone_command(card: Card, data_root: Path | str) -> str:
    """The git command that puts a hub set where --data-root looks for it."""
    return f"git clone {_page(card)} {Path(data_root) / card.hub_id}"


def _page(card: Card) -> str:
    return f"https://huggingface.co/datasets/{card.hub_id}"


def _load_clone(card: Card, data_root: Path, split: str) -> Dataset:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    clone = data_root / card.hub_id
    if not clone.is_dir():
        raise UserError(
            f"{card.name}: no clone at {clone}; run `{clone_command(card, data_root)}` "
            "(where the set is gated, accept its terms on that page first)"
        )
    try:
        return load_dataset(str(clone), card.config or None, split=split)
    except (DatasetsError, OSError, ValueError) as error:
        raise UserError(
            f"{card.name}: {clone}: {_first_line(error)}; is it a complete clone (git lfs pull)?"
        ) from error


def _load_files(card: Card, split: str) -> Dataset:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    place = card.file.parent / card.path
    files = [place / f"{split}{suffix}" for suffix in BUILDERS] if place.is_dir() else [place]
    file = next((file for file in files if file.is_file()), None)
    builder = next((BUILDERS[suffix] for suffix in BUILDERS if file and file.name.endswith(suffix)), None)
    if file is None or builder is None or (place.is_file() and split != card.split):
        wanted = f"{split}.jsonl (or {', '.join(list(BUILDERS)[1:])})"
        raise UserError(f"{card.name}: {place} holds no {wanted}, which {card.file} asks for")
    try:
        return load_dataset(builder, data_files={split: str(file)}, split=split)
    except StopIteration as error:
        raise UserError(f"{card.name}: {file} is empty; write one problem a line") from error
    except (DatasetsError, OSError, ValueError) as error:
        cause = error.__cause__ or error
        raise UserError(f"{card.name}: {file} cannot be read: {_first_line(cause)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars and retry notes of datasets and the hub client: the error says it all."""
    import datasets
    from huggingface_hub.utils import logging as hub_logging

    bars, level = datasets.are_progress_bars_disabled(), hub_logging.get_verbosity()
    datasets.disable_progress_bars()
    hub_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        hub_logging.set_verbosity(level)
        if not bars:
            datasets.enable_progress_bars()

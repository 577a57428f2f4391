"""A csv that people fill in: which behaviours a response, or a passage of it, shows.

Covers drawing the responses to label, writing the sheet and reading it back. One row per item; columns
benchmark, problem_id, sample_index, step, start, end, prompt, text, then one column per label, filled
with 1 (seen) or 0 (not seen), blank where nobody has judged. Does not cover agreement.
"""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from behavior.sources import Response
from prerl_eval.errors import UserError
from prerl_eval.store import RowKey

PLACE = ("benchmark", "problem_id", "sample_index", "step")
SPAN = ("start", "end")
FREE = ("prompt", "text", "note")
"""Columns for the reader, which are never read back."""

ANSWERS = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}

Place = tuple[RowKey, int | None, int | None]
"""A response's key, and the characters of it that are meant; None for all of them."""


@dataclass(frozen=True)
class Sheet:
    """A sheet as it was read. answers: label -> yes or no; a label that was left blank is not in it."""

    labels: tuple[str, ...]
    answers: Mapping[Place, Mapping[str, bool]]


def draw_items(
    keys: Sequence[RowKey],
    spans: Mapping[RowKey, Sequence[tuple[int, int]]] | None,
    count: int,
    seed: int,
) -> list[Place]:
    """At random, `count` of the responses, or of their passages where spans are given.

    As many problems as possible: every problem in random order gives one item, then every problem a
    second one, and so on. Passages come from a response at random, then at random from it.
    """
    chance = random.Random(seed)
    waiting: dict[tuple[str, str], list[RowKey]] = {}
    for key in keys:
        waiting.setdefault(key[:2], []).append(key)
    order = sorted(waiting)
    chance.shuffle(order)
    left = {key: list(places) for key, places in (spans or {}).items()}
    drawn: list[Place] = []
    while order and len(drawn) < count:
        for problem in list(order):
            mine = waiting[problem]
            if len(drawn) == count or not mine:
                order.remove(problem)
                continue
            key = mine.pop(chance.randrange(len(mine)))
            if spans is None:
                drawn.append((key, None, None))
            elif left.get(key):
                drawn.append((key, *left[key].pop(chance.randrange(len(left[key])))))
                mine.append(key)  # it may have more passages
    return drawn


def write_sheet(
    file: Path, items: Sequence[Place], responses: Mapping[RowKey, Response], labels: Sequence[str]
) -> None:
    """Write a sheet with empty label columns. Raises UserError where the file is there already."""
    taken = sorted(set(labels) & {*PLACE, *SPAN, *FREE})
    if taken or not labels or len(set(labels)) < len(labels):
        raise UserError(
            f"--labels {','.join(labels)}: name each label once, none of {', '.join((*PLACE, *SPAN, *FREE))}"
        )
    if file.exists():
        raise UserError(f"{file} is there already and may hold labels; give another name")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*PLACE, *SPAN, "prompt", "text", *labels, "note"))
    for key, start, end in items:
        response = responses[key]
        passage = response.text if start is None else response.text[start:end]
        span = ("", "") if start is None else (start, end)
        shown = (_harmless(response.prompt), _harmless(passage))
        writer.writerow((*key, *span, *shown, *("" for _ in labels), ""))
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        temporary.write_text(text.getvalue(), encoding="utf-8", errors="replace")
        temporary.rename(file)
    except OSError as error:
        raise UserError(f"{file} cannot be written ({error.strerror}); give another path") from error


def read_sheet(file: Path) -> Sheet:
    """Read a sheet that somebody filled in. Other columns than those above and FREE are labels.

    Raises UserError for a file that is no such sheet, naming the line and column of the first mistake.
    """
    rows = _rows(file)
    if not rows:
        raise UserError(f"{file} is empty; `prerl-behavior agree RUN --template FILE` writes a sheet")
    header = [name.strip() for name in rows[0][1]]
    missing = [name for name in PLACE if name not in header]
    labels = tuple(name for name in header if name and name not in (*PLACE, *SPAN, *FREE))
    if missing or not labels:
        what = f"no column {missing[0]!r}" if missing else "no column of labels"
        raise UserError(f"{file}: {what}; it has: {', '.join(filter(None, header))}")
    if len(set(header)) < len(header) and any(header.count(name) > 1 for name in header if name):
        raise UserError(f"{file}: a column is there twice; it has: {', '.join(filter(None, header))}")
    answers: dict[Place, Mapping[str, bool]] = {}
    for line, cells in rows[1:]:
        where = f"{file} line {line}"
        if len(cells) != len(header):
            raise UserError(f"{where}: {len(cells)} cells, the header has {len(header)}; quote commas")
        row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        place = _place(row, where)
        if place in answers:
            raise UserError(f"{where}: this item was labelled above already; keep one of the rows")
        answers[place] = {label: _answer(row[label], label, where) for label in labels if row[label]}
    if not any(answers.values()):
        raise UserError(f"{file}: no label is filled in yet; write 1 or 0 under {', '.join(labels)}")
    if len({place[1] is None for place in answers}) > 1:
        raise UserError(f"{file}: some rows have start and end and some have none; use two sheets")
    return Sheet(labels, answers)


def _rows(file: Path) -> list[tuple[int, list[str]]]:
    """(line it ends on, cells) of the rows that are not blank. A table program may write ";" and a mark
    of byte order."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 text ({error.reason}); save it as csv in UTF-8") from error
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror})") from error
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        return [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise UserError(f"{file} line {reader.line_num}: {error}; save it as csv again") from error


def _place(row: Mapping[str, str], where: str) -> Place:
    sample, step = (_whole(row[name], name, where) for name in ("sample_index", "step"))
    key = (row["benchmark"], row["problem_id"], sample, step)
    if not row.get("start") and not row.get("end"):
        return key, None, None
    start, end = (_whole(row.get(name, ""), name, where) for name in SPAN)
    return key, start, end


def _whole(cell: str, name: str, where: str) -> int:
    if not cell.isdecimal():
        raise UserError(f"{where}: {name} is {cell!r}; it should be a whole number as the sheet was written")
    return int(cell)


def _answer(cell: str, label: str, where: str) -> bool:
    if cell.lower() not in ANSWERS:
        raise UserError(f"{where}: {label} is {cell!r}; write 1 (seen), 0 (not seen) or nothing")
    return ANSWERS[cell.lower()]


def _harmless(text: str) -> str:
    """A space before what a table program would take for a formula; the text column is never read back."""
    return f" {text}" if text[:1] in "=+-@\t\r" and text else text

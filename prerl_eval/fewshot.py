"""Worked examples before a question: from a set's own validation split, or from its authors' prompt files.

Covers a card's `shots`, what stands for {shots} in its prompt. They never come from the split that is
evaluated. Two forms:

    shots = { number = 5, split = "validation", worked = "solution", form = "Q: {problem}\\nA: {worked}\\n" }
    shots = { number = 3, folder = "cot-prompts", source = "https://github.com/..." }

split: the first `number` rows of it (of the problem's own task, where the card has a `task`), each
written as `form` says; `worked` is the column of the solution in words, without a leading "A:".
folder: in the clone of the set (beside the card, for local data), one file per task, TASK.txt, which
holds `number` examples beginning with "Q: "; a first part that ends in a line "-----" (BIG-Bench's
canary) is left out. source: where a message says the folder is to be had.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from prerl_eval.errors import UserError
from prerl_eval.prompts import fill

if TYPE_CHECKING:
    from prerl_eval.cards import Card
    from prerl_eval.problems import Problem

WORKED = "worked"
"""The placeholder, in a form, of the solution in words."""

Example = tuple["Problem", str]
"""A row of the split with its solution in words."""

_CANARY = re.compile(r"\A.*?^-{3,}[ \t]*\n", re.MULTILINE | re.DOTALL)
_EXAMPLE = re.compile(r"^Q: ", re.MULTILINE)


@dataclass(frozen=True)
class Shots:
    """A card's `shots`, checked."""

    number: int
    split: str = ""
    folder: str = ""
    source: str = ""
    worked: str = ""
    form: str = ""


def read_shots(card: Card) -> Shots:
    """The card's `shots`. Raises UserError for an unknown key, a missing one or a wrong value."""
    known = {f.name: int if f.name == "number" else str for f in fields(Shots)}
    for key, value in card.shots.items():
        if key not in known or type(value) is not known[key]:
            listed = ", ".join(f"{name} ({kind.__name__})" for name, kind in known.items())
            raise UserError(f"{card.file}: shots.{key} = {value!r} is not one of its keys: {listed}")
    if card.shots.get("number", 0) < 1:
        raise UserError(f"{card.file}: shots.number = {card.shots.get('number')!r} should be 1 or more")
    shots = Shots(**card.shots)
    if bool(shots.split) == bool(shots.folder):
        raise UserError(f"{card.file}: shots needs exactly one of split and folder")
    if shots.split == card.split:
        raise UserError(f"{card.file}: shots.split = {shots.split!r} is the split that is evaluated")
    if shots.split and not (shots.worked and f"{{{WORKED}}}" in shots.form and "{problem}" in shots.form):
        raise UserError(
            f"{card.file}: shots of a split need worked, and form with {{problem}} and {{worked}}"
        )
    if "{shots}" not in card.prompt:
        raise UserError(f"{card.file}: shots are given and the prompt has no {{shots}}")
    return shots


def with_shots(
    card: Card,
    problems: Sequence[Problem],
    folder: Path,
    read_split: Callable[[str, str], Sequence[Example]],
) -> list[Problem]:
    """The problems with their worked examples in `shots`.

    folder: where the set's files are. read_split(split, column) reads the rows of a split with what
    the column holds. Raises UserError where the examples cannot be had, naming what would do.
    """
    shots = read_shots(card)
    tasks = {str(problem.extra.get("task", "")) for problem in problems}
    if shots.folder:
        texts = {task: _from_file(card, shots, folder, task) for task in tasks}
    else:
        texts = _from_split(card, shots, tasks, read_split)
    return [replace(problem, shots=texts[str(problem.extra.get("task", ""))]) for problem in problems]


def _from_file(card: Card, shots: Shots, folder: Path, task: str) -> str:
    file = folder / shots.folder / f"{task or card.name}.txt"
    if not file.is_file():
        source = f" of {shots.source}" if shots.source else ""
        raise UserError(
            f"{card.name}: no worked examples at {file}; put the folder {shots.folder}{source} there "
            f"(--data-root DIR reads DIR/{card.hub_id or '...'}/{shots.folder}){_or_without(card)}"
        )
    text = _CANARY.sub("", file.read_text(encoding="utf-8"), count=1).strip()
    found = len(_EXAMPLE.findall(text))
    if found != shots.number:
        raise UserError(
            f"{card.name}: {file} holds {found} examples (lines 'Q: ...'), the card asks for {shots.number}"
        )
    return f"{text}\n\n"


def _from_split(
    card: Card, shots: Shots, tasks: set[str], read_split: Callable[[str, str], Sequence[Example]]
) -> dict[str, str]:
    try:
        rows = read_split(shots.split, shots.worked)
    except UserError as error:
        raise UserError(
            f"{error} (its {shots.number} worked examples come from split {shots.split}{_or_without(card)})"
        ) from error
    texts = {}
    for task in tasks:
        examples = [row for row in rows if str(row[0].extra.get("task", "")) == task][: shots.number]
        if len(examples) < shots.number:
            raise UserError(
                f"{card.name}: split {shots.split} has {len(examples)} worked examples"
                f"{f' of task {task!r}' if task else ''}, the card asks for {shots.number}{_or_without(card)}"
            )
        texts[task] = "".join(
            fill(shots.form, problem, **{WORKED: re.sub(r"\AA:\s*", "", solution.strip())})
            for problem, solution in examples
        )
    return texts


def _or_without(card: Card) -> str:
    """The way out, where a shipped card asks the same problems without examples."""
    from prerl_eval.cards import shipped_cards

    names = [other.name for other in shipped_cards() if other.variant_of == card.name and not other.shots]
    return f"; or take {names[0]}, which needs none" if names else ""

"""Which problem of a card a row of a foreign file belongs to.

Covers matching by id, by text, and problems that only the file knows. Does not cover reading files
or grading.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Self

from prerl_eval.cards import Card
from prerl_eval.choices import ORDER, draws_order
from prerl_eval.errors import UserError
from prerl_eval.generations import field_names, find, read_rows
from prerl_eval.problems import Problem, find_gold

TEXT_FIELDS = ("problem", "question", "prompt", "query", "input", "text")
ID_FIELDS = ("problem_id", "id", "unique_id", "ID", "task_id", "question_id")
"""Fields tried, texts first (another tool's ids may be numbers that mean nothing here), where
--problem-field is not given; the card's own column names come before each."""

PROBE_ROWS = 20
"""Rows at the head of the file that are asked whether a field names problems."""


class Matcher:
    """Finds the Problem of each row.

    problem_field: a field of ids or texts, or several in a pattern: "{task}/{index}". Where it is
    None, the first of the usual fields whose values at the head of the file are all problems of the
    card. The order of rows counts only where no such field exists and there are as many rows as
    problems. gold_field: the rows' own golds, which replace the card's and allow problems that the
    card does not have; needed where the card draws the order of options.
    """

    def __init__(
        self,
        card: Card,
        problems: list[Problem],
        file: Path,
        gold_field: str | None,
        problem_field: str | None,
    ):
        if draws_order(card) and gold_field is None:
            raise UserError(
                f"{file}: in which order its prompts showed the options of {card.name} is not known; "
                "name the field of the right letters with --gold-field"
            )
        self.card = card
        self.file = file
        self.gold_field = gold_field
        self._problems = problems
        self._by_id = {problem.problem_id: problem for problem in problems}
        self._by_text: dict[str, list[Problem]] = {}
        for problem in problems:
            self._by_text.setdefault(_plain(problem.text), []).append(problem)
        self._unknown: dict[bytes, str] = {}
        self.problem_field = problem_field or self._usual_field()
        self._by_order = self.problem_field is None and gold_field is None

    def again(self) -> Self:
        """Ready for another pass over the file: unknown problems get the same ids again."""
        self._unknown.clear()
        return self

    def notes(self, found: int) -> list[str]:
        """What the user should know about how rows were matched."""
        lines = []
        if self._by_order:
            lines.append(
                "no field names the problems: rows were matched to the card's problems by their order"
            )
        elif self.problem_field is None:
            lines.append("no field names the problems: every row is a problem of its own")
        if self._unknown:
            lines.append(
                f"{len(self._unknown)} problems are not in {self.card.name}; they have the file's golds"
            )
        elif found < len(self._problems):
            absent, total = len(self._problems) - found, len(self._problems)
            lines.append(f"{absent} of {self.card.name}'s {total} problems have no row")
        return lines

    def problem(self, number: int, row: Mapping[str, Any]) -> Problem:
        """The problem of row `number` (from 0), with the row's gold where one was asked for."""
        if self._by_order:
            return self._problems[number]
        value = None
        if self.problem_field is not None:
            value = _named(row, self.problem_field)
            if value is None:
                raise self._no_field(number, row, self.problem_field, "--problem-field")
        known = self._known(value, number)
        if self.gold_field is None:
            if known is None:
                raise UserError(
                    f"{self.file} row {number}: {self.problem_field} {_short(value)} is neither id nor text "
                    f"of any problem of {self.card.name}; name another --problem-field, or the rows' golds "
                    "with --gold-field"
                )
            return known
        gold = find(row, self.gold_field)
        if gold is None:
            raise self._no_field(number, row, self.gold_field, "--gold-field")
        text = find_gold(gold, "joined")
        if self.card.gold != "verbatim":
            text = find_gold(gold, self.card.gold) or text
        problem = known or self._stranger(value, number)
        # The file's gold is right for the order in which its own prompts showed the options.
        facts = {name: fact for name, fact in problem.extra.items() if name != ORDER}
        return replace(problem, gold=text, extra=facts)

    def _known(self, value: Any, number: int) -> Problem | None:
        if value is None:
            return None
        if (by_id := self._by_id.get(str(value))) is not None:
            return by_id
        candidates = self._by_text.get(_plain(str(value)), [])
        if len({problem.gold for problem in candidates}) > 1:
            raise UserError(
                f"{self.file} row {number}: {len(candidates)} problems of {self.card.name} have this "
                "text and different golds; name a field of ids with --problem-field"
            )
        return candidates[0] if candidates else None

    def _stranger(self, value: Any, number: int) -> Problem:
        """A problem that the card lacks: its own id where it has a short one, else its first row's number."""
        text = "" if value is None else str(value)
        identity = text
        if value is None or len(text) > 100 or " " in text.strip():
            key = hashlib.sha256((text or f"row {number}").encode("utf-8", "replace")).digest()
            identity = self._unknown.setdefault(key, f"row-{number}")
        else:
            self._unknown.setdefault(text.encode("utf-8", "replace"), text)
        extra = {"answer_format": self.card.answer_format, **self.card.options}
        return Problem(self.card.name, identity, text, "", self.card.grader, extra)

    def _usual_field(self) -> str | None:
        head = list(islice(read_rows(self.file), PROBE_ROWS))
        columns = self.card.fields
        usual = [columns["problem"], *TEXT_FIELDS, columns.get("id", "id"), *ID_FIELDS]
        there = [field for field in usual if all(find(row, field) is not None for row in head)]
        for field in there:
            if all(self._matches(find(row, field)) for row in head):
                return field
        if self.gold_field is not None:
            return there[0] if there else None
        count = sum(1 for _ in read_rows(self.file))
        if count == len(self._problems) and not there:
            return None
        tried = f"none of {', '.join(dict.fromkeys(there))}" if there else "no field"
        raise UserError(
            f"{self.file}: {tried} holds problem ids or texts of {self.card.name} ({count} rows, "
            f"{len(self._problems)} problems); name one with --problem-field "
            f"(it has: {', '.join(field_names(head[0]))}), or the rows' golds with --gold-field"
        )

    def _matches(self, value: Any) -> bool:
        return str(value) in self._by_id or _plain(str(value)) in self._by_text

    def _no_field(self, number: int, row: Mapping[str, Any], field: str, flag: str) -> UserError:
        return UserError(
            f"{self.file} row {number}: no field {field!r} ({flag}); it has: {', '.join(field_names(row))}"
        )


def _named(row: Mapping[str, Any], field: str) -> Any:
    """What a field holds, or a pattern of fields; None where one is missing."""
    values = {name: find(row, name) for name in re.findall(r"\{([^{}]+)\}", field)}
    if not values:
        return find(row, field)
    if None in values.values():
        return None
    return re.sub(r"\{([^{}]+)\}", lambda match: str(values[match[1]]), field)


def _plain(text: str) -> str:
    return " ".join(text.split())


def _short(value: Any) -> str:
    text = _plain(str(value))
    return repr(text if len(text) <= 60 else text[:57] + "...")

"""The tables of a report: what stands in which cell. templates/table.html.j2 shows them.

Covers scores, Pass@k in numbers and comparisons; the figures and their words are summary.py's and
comparison/render.py's, so that page and terminal say the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prerl_eval.comparison.render import Entry, columns_of
from prerl_eval.layout import percent
from prerl_eval.metrics import Curve, majority_ks
from prerl_eval.summary import score_columns, score_notes


@dataclass(frozen=True)
class Row:
    """A row: its heading, its cells, and what must be known beside them."""

    head: str
    cells: Sequence[str]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Table:
    """A table: caption, headings (of the first column too), and rows in titled groups."""

    caption: str
    columns: Sequence[str]
    groups: Sequence[tuple[str, Sequence[Row]]]

    @property
    def grouped(self) -> bool:
        """Whether groups have titles to show."""
        return any(title for title, _ in self.groups)


def score_table(summaries: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str]) -> Table:
    """Scores of all runs (name -> its summary), grouped by benchmark. titles: how benchmarks are called."""
    names = list(dict.fromkeys(name for summary in summaries.values() for name in summary["benchmarks"]))
    scored = {
        name: {
            run: facts["benchmarks"][name] for run, facts in summaries.items() if name in facts["benchmarks"]
        }
        for name in names
    }
    largest = max((row["n"] for rows in scored.values() for row in rows.values()), default=0)
    columns = score_columns(largest)
    groups = [
        (
            titles.get(name, name),
            [
                Row(run, [cell(row) for _, _, cell in columns], score_notes(row))
                for run, row in scored[name].items()
            ],
        )
        for name in names
    ]
    return Table("Scores by benchmark", ["run", *(title for title, _, _ in columns)], groups)


def pass_table(curves: Mapping[str, Mapping[str, Curve]], titles: Mapping[str, str]) -> Table:
    """Pass@k with pointwise intervals at powers of two and n; "~" where k > n/4."""
    ks = sorted({k for own in curves.values() for curve in own.values() for k in majority_ks(curve.n)})
    names = list(dict.fromkeys(name for own in curves.values() for name in own))
    groups = [
        (
            titles.get(name, name),
            [Row(run, [_point(own[name], k) for k in ks]) for run, own in curves.items() if name in own],
        )
        for name in names
    ]
    return Table("Pass@k in %, 95% interval at each k", ["run", *(f"k = {k}" for k in ks)], groups)


def _point(curve: Curve, k: int) -> str:
    if k > curve.n:
        return ""
    low, high = percent(curve.low[k - 1]), percent(curve.high[k - 1])
    return f"{'~' if curve.uncertain[k - 1] else ''}{percent(curve.value[k - 1])} ({low}–{high})"


def comparison_tables(facts: Mapping[str, Any], benchmark: str) -> list[Table]:
    """Scores, saturation, and answers with their cost, of one benchmark of a comparison."""
    entries: list[Entry] = [entry for entry in facts["comparisons"] if entry["benchmark"] == benchmark]
    captions = ("Scores", "What stayed and what is new", "Diversity and cost")
    tables = []
    for caption, columns in zip(captions, columns_of(entries), strict=True):
        rows = [Row(facts["base"]["name"], [own(entries[0]).strip() for _, _, own, _ in columns])]
        rows += [
            Row(entry["method"], [cell(entry).strip() for _, _, _, cell in columns]) for entry in entries
        ]
        shown = [row for row in rows if any(row.cells)]
        tables.append(
            Table(f"{caption}: {benchmark}", ["run", *(title for title, _, _, _ in columns)], [("", shown)])
        )
    return tables

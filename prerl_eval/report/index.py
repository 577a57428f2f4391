"""`prerl-eval report --index DIR`: the runs below a folder with their scores, as a table and as a page.

A run that cannot be read stands in the list with the reason, so that one bad folder hides no other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import prerl_eval
from prerl_eval.console import progress
from prerl_eval.errors import UserError
from prerl_eval.layout import percent, shorten
from prerl_eval.report.render import render, writing
from prerl_eval.report.tables import Row, Table
from prerl_eval.summary import summarize

INSIDE = ("samples", "annotations")
"""Folders of a run that hold no runs."""

NAME, BENCH = 40, 16
"""Widths of a run's path and of a benchmark's name in the terminal."""

COLUMNS = (("P×n", 8), ("Avg@n", 5), ("95%", 10), ("Pass@n", 6), ("tokens", 6))


@dataclass(frozen=True)
class Line:
    """A run and one of its benchmarks; remark: what there is instead of scores."""

    run: str
    benchmark: str = ""
    cells: tuple[str, ...] = ("",) * len(COLUMNS)
    remark: str = ""


def write_index(folder: Path, out: Path | None = None) -> list[str]:
    """List the runs below `folder`; returns lines to print, and writes a page where `out` is given.

    Raises UserError where there is no such folder or no run below it, and as `writing` does.
    """
    lines = list_runs(folder)
    if out is None:
        return _text(lines)
    with writing(out) as put:
        facts = {"title": f"Runs under {folder}", "version": prerl_eval.__version__, "table": _table(lines)}
        put(render("index.html.j2", facts, script=False))
    return [*_text(lines), f"wrote {out}"]


def find_runs(folder: Path) -> list[Path]:
    """The runs below a folder (itself included), sorted by path; hidden folders are passed over."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in INSIDE)
        if "run.json" in files:
            found.append(Path(place))
    return sorted(found)


def list_runs(folder: Path) -> list[Line]:
    """A line per run and benchmark. Raises UserError where there is none."""
    if not folder.is_dir():
        raise UserError(f"--index {folder} is no folder; give one that holds runs")
    runs = find_runs(folder)
    if not runs:
        raise UserError(f"no run under {folder}; `prerl-eval run` writes its runs into runs/")
    lines = []
    with progress("reading", len(runs), unit="runs") as advance:
        for run in runs:
            lines += _lines(run, str(run.relative_to(folder)))
            advance()
    return lines


def _lines(run: Path, name: str) -> list[Line]:
    try:
        summary = summarize(run)
    except UserError as error:
        return [Line(name, remark=str(error))]
    if "training" in summary:
        steps = [
            f"{bench}: steps {entry['windows'][0]['steps'][0]}–{entry['windows'][-1]['steps'][1]}"
            for bench, entry in summary["training"].items()
        ]
        return [Line(name, remark=f"training run, rollouts on {', '.join(steps)}")]
    return [Line(name, bench, _cells(row)) for bench, row in summary["benchmarks"].items()]


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"{row['problems']}×{row['n']}" + (" (incomplete)" if row["missing"] else ""),
        percent(row["avg"]),
        "–".join(map(percent, row["avg_ci"])) if row["avg_ci"] else "–",
        percent(row["pass"].get(str(row["n"]))),
        "–" if row["mean_tokens"] is None else f"{row['mean_tokens']:.0f}",
    )


def _text(lines: Sequence[Line]) -> list[str]:
    titles = "".join(f"  {title:>{width}}" for title, width in COLUMNS)
    shown = [f"{'run':<{NAME}}  {'':<{BENCH}}{titles}"]
    for line in lines:
        start = f"{shorten(line.run, NAME):<{NAME}}  "
        if line.remark:
            shown.append(start + line.remark)
            continue
        cells = "".join(f"  {cell:>{width}}" for cell, (_, width) in zip(line.cells, COLUMNS, strict=True))
        shown.append(f"{start}{shorten(line.benchmark, BENCH):<{BENCH}}{cells}")
    return shown


def _table(lines: Sequence[Line]) -> Table:
    rows = [
        Row(line.run, ["", *line.cells], [line.remark])
        if line.remark
        else Row(line.run, [line.benchmark, *line.cells])
        for line in lines
    ]
    return Table(
        "Runs and their scores in %", ["run", "benchmark", *(title for title, _ in COLUMNS)], [("", rows)]
    )

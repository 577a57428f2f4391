"""What a report says of runs against its base: `prerl-eval compare` in tables, sentences and a picture.

Covers which runs are compared together; the figures are prerl_eval.comparison's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prerl_eval.comparison.compare import Options, compare
from prerl_eval.comparison.compare_plot import plot_differences
from prerl_eval.comparison.render import cautions, legend
from prerl_eval.comparison.sides import Group
from prerl_eval.report.pictures import Picture, differences_words, drawn
from prerl_eval.report.sources import Cast, ReportOptions
from prerl_eval.report.tables import Table, comparison_tables

Facts = Mapping[str, Any]

MOST_NAMES = 3
"""Names that a heading lists."""


@dataclass(frozen=True)
class Compared:
    """One comparison with the base: verdicts (benchmark, method, sentence), notes, tables and picture."""

    title: str
    verdicts: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...]
    tables: tuple[Table, ...]
    legend: str
    picture: Picture | None


def compare_with_base(
    cast: Cast, options: ReportOptions, summaries: Mapping[str, Facts]
) -> tuple[list[Compared], list[str]]:
    """A comparison for the runs that share the same benchmarks with the base, and notes on the others.

    summaries: name of a run -> what `summarize` returned. Nothing without a base. Raises UserError as
    `compare` does, for runs that are not alike above all.
    """
    if cast.base is None:
        return [], []
    scored = {
        source.path: {name for name, row in summaries[source.name]["benchmarks"].items() if row["n"]}
        for source in cast.sources
    }
    training = {source.path for source in cast.sources if source.training}
    alike: dict[tuple[str, ...], list[Group]] = {}
    strangers = []
    for group in cast.others:
        shared = set.intersection(*(scored[run] for run in (*cast.base.runs, *group.runs)))
        if shared:
            alike.setdefault(tuple(sorted(shared)), []).append(group)
        elif not training.intersection(group.runs):
            strangers.append(group.name)
    (base,) = cast.texts([cast.base])
    compared = [
        _compared(
            compare(
                Options(
                    base, cast.texts(groups), options.null, names, options.step, options.allow_differences
                )
            )
        )
        for names, groups in alike.items()
    ]
    notes = (
        [f"not compared, for no benchmark of {cast.base.name}: {', '.join(strangers)}"] if strangers else []
    )
    return compared, notes


def _compared(facts: Facts) -> Compared:
    entries = facts["comparisons"]
    names = list(dict.fromkeys(entry["benchmark"] for entry in entries))
    verdicts = [(entry["benchmark"], entry["method"], entry["verdict"]) for entry in entries]
    curves = any(len(entry["pass"]["k"]) > 1 for entry in entries)
    return Compared(
        f"{listed([side['name'] for side in facts['methods']])} against {facts['base']['name']}",
        tuple(verdicts),
        tuple(cautions(facts)),
        tuple(table for name in names for table in comparison_tables(facts, name)),
        legend(entries),
        _picture(facts, verdicts) if curves else None,
    )


def _picture(facts: Facts, verdicts: Sequence[tuple[str, str, str]]) -> Picture:
    def draw(out: Path) -> None:
        plot_differences(facts, out)

    return drawn(draw, differences_words(verdicts), f"Pass@k minus that of {facts['base']['name']}")


def listed(names: Sequence[str]) -> str:
    """A few names, or how many there are."""
    return ", ".join(names) if len(names) <= MOST_NAMES else f"{len(names)} runs"

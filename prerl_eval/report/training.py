"""What a report shows of training runs: rollouts in windows of steps, and evaluations as pictures.

Covers runs whose `kind` is training. What the updates did (losses, entropy) is in pictures of `prerl-train
plot`, which a report takes by --picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prerl_eval.report.pictures import Picture, drawn
from prerl_eval.report.sources import Source
from prerl_eval.report.tables import Row, Table
from prerl_eval.training_summary import window_columns


@dataclass(frozen=True)
class Training:
    """One training run: a table per data set, and the course of its evaluations where it has any."""

    name: str
    made: str
    tables: tuple[Table, ...]
    trajectory: Picture | None


def describe_training(source: Source, summary: Mapping[str, Any], made: str) -> Training:
    """The tables of a training run's summary and the picture of its evals, where it has two or more."""
    tables = [
        _windows(f"{source.name}: rollouts on {name}", entry) for name, entry in summary["training"].items()
    ]
    return Training(source.name, made, tuple(tables), _trajectory(source))


def _windows(caption: str, entry: Mapping[str, Any]) -> Table:
    (head, _, steps), *columns = window_columns()
    rows = [Row(steps(row), [cell(row) for _, _, cell in columns]) for row in entry["windows"]]
    return Table(caption, [head, *(title for title, _, _ in columns)], [("", rows)])


def _trajectory(source: Source) -> Picture | None:
    if len(list((source.path / "evals").glob("*/run.json"))) < 2:
        return None
    from prerl_eval.trajectory import measure_trajectory
    from prerl_eval.trajectory_plot import plot_trajectory

    facts = measure_trajectory([str(source.path)])
    ends = [
        f"{name}: Avg from {100 * entry['stages'][0]['avg']:.1f}% to {100 * entry['stages'][-1]['avg']:.1f}%"
        for name, entry in facts["benchmarks"].items()
    ]
    alt = f"Scores and saturation of {source.name} against the training step. {'; '.join(ends)}."
    return drawn(lambda out: plot_trajectory(facts, out), alt, f"{source.name}: evaluations during training")

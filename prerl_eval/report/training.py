"""What a report shows of training runs: rollouts in windows of steps, and evaluations as pictures.

Covers runs whose `kind` is training. What the updates did (losses, entropy) is in pictures of `prerl-train
plot`, which a report takes by --picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prerl_eval.panels import Panel, band, draw_panels, legend_line, marker, style
from prerl_eval.report.pictures import Picture, drawn
from prerl_eval.report.sources import Source
from prerl_eval.report.tables import Row, Table
from prerl_eval.training_summary import window_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURES = (
    ("Avg@n", "% of samples", "avg", 100),
    ("All right", "% of problems", "all_right", 100),
    ("None right", "% of problems", "none_right", 100),
    ("Tokens", "per response", "mean_tokens", 1),
    ("Cut", "% of samples, at the limit", "truncated", 100),
    ("Unparsed", "% of samples", "unparsed", 100),
)
"""Panels of the picture of rollouts: title, unit, key of a window, and its scale."""


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


def draw_rollouts(summaries: Mapping[str, Mapping[str, Any]]) -> Picture:
    """Rollouts of training runs (name -> its summary) against the step, a line per run and data set."""
    lines = {
        run if len(summary["training"]) == 1 else f"{run}, {data}": entry["windows"]
        for run, summary in summaries.items()
        for data, entry in summary["training"].items()
    }
    handles = [legend_line(name, **{**marker(index), **style(index)}) for index, name in enumerate(lines)]

    def draw(out: Path) -> None:
        panels = [
            Panel(title, unit, "training step", "", _line(list(lines.values()), key, scale))
            for title, unit, key, scale in FIGURES
        ]
        draw_panels(panels, handles, out)

    ends = [
        f"{name} from {100 * windows[0]['avg']:.1f}% to {100 * windows[-1]['avg']:.1f}% correct"
        for name, windows in lines.items()
        if windows[0]["avg"] is not None and windows[-1]["avg"] is not None
    ]
    return drawn(draw, f"Rollouts against the training step: {'; '.join(ends)}.", "Rollouts during training")


def _line(runs: Sequence[Sequence[Mapping[str, Any]]], key: str, scale: float) -> Callable[[Axes], None]:
    """Draws a figure of every window at its middle step; where it has an interval, with a band."""

    def draw(axes: Axes) -> None:
        for index, windows in enumerate(runs):
            known = [window for window in windows if window[key] is not None]
            steps = [sum(window["steps"]) / 2 for window in known]
            if known and f"{key}_ci" in known[0]:
                ends = [[scale * end for end in window[f"{key}_ci"]] for window in known]
                band(axes, index, steps, [low for low, _ in ends], [high for _, high in ends])
            axes.plot(steps, [scale * window[key] for window in known], **{**marker(index), **style(index)})
        axes.set_ylim(bottom=0)

    return draw

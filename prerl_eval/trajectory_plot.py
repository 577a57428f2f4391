"""The picture of `prerl-eval trajectory`: scores and saturation against the training step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prerl_eval.panels import GREY, Panel, draw_panels, legend_line, marker, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = ("Avg@n", "Pass@n", "retention", "discovery")


def plot_trajectory(facts: Mapping[str, Any], out: Path) -> None:
    """Draw what `measure_trajectory` returned: two panels per benchmark, scores and saturation.

    Raises UserError for a suffix other than png, svg, pdf or where the file cannot be written.
    """
    panels, kind = [], "none"
    for name, entry in facts["benchmarks"].items():
        stages = entry["stages"]
        n = min(stage["n"] for stage in stages)
        size = f"{entry['problems']} problems, n = {n}"
        panels.append(Panel(name, size, "training step", "correct (%)", _scores(stages, n)))
        changed = [stage for stage in stages[1:] if stage["support"]["matched"]]
        if changed:
            kind = changed[0]["support"]["null_kind"]
            remark = f"in {changed[0]['support']['matched']['m']} samples"
            panels.append(
                Panel(
                    f"{name}: saturation",
                    remark,
                    "training step",
                    "problems (%)",
                    _saturation(changed, stages[0]["step"]),
                )
            )
    labels = LINES if kind != "none" else LINES[:2]
    handles = [legend_line(label, **{**marker(index), **style(index)}) for index, label in enumerate(labels)]
    if kind != "none":
        handles.append(legend_line(f"thin: an unchanged model ({kind})", color=GREY, linewidth=0.9))
    draw_panels(panels, handles, out, columns=2)


def _scores(stages: Sequence[Mapping[str, Any]], n: int) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        steps = [stage["step"] for stage in stages]
        _line(axes, 0, steps, [stage["avg"] for stage in stages], [stage["avg_ci"] for stage in stages])
        if n > 1:
            passed = [stage["pass"][str(n)] for stage in stages]
            _line(axes, 1, steps, passed, [stage["pass_ci"][str(n)] for stage in stages])
        _frame(axes, steps)

    return draw


def _saturation(stages: Sequence[Mapping[str, Any]], first: int) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        steps = [stage["step"] for stage in stages]
        for index, rate in enumerate(("retention", "discovery"), start=2):
            shares = [stage["support"]["matched"][rate] for stage in stages]
            ends = [[share["low"], share["high"]] for share in shares]
            _line(axes, index, steps, [share["value"] for share in shares], ends)
            null = [stage["support"]["null"][rate]["value"] for stage in stages]
            axes.plot(
                [first, *steps],
                100 * np.asarray([null[0], *null], dtype=float),
                color=style(index)["color"],
                linewidth=0.9,
            )
        _frame(axes, [first, *steps])

    return draw


def _line(
    axes: Axes,
    index: int,
    steps: Sequence[int],
    values: Sequence[float | None],
    ends: Sequence[Sequence[float]],
) -> None:
    """A line with its intervals as bars; a value that is not known leaves a gap."""
    shown = 100 * np.asarray(values, dtype=float)
    low, high = 100 * np.asarray(ends, dtype=float).T
    axes.vlines(steps, low, high, color=style(index)["color"], linewidth=0.9, alpha=0.6)
    axes.plot(steps, shown, **{**marker(index), **style(index)})


def _frame(axes: Axes, steps: Sequence[int]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10], integer=True))
    room = 0.03 * (max(steps) - min(steps))
    axes.set_xlim(min(steps) - room, max(steps) + room)
    axes.set_ylim(-2, 102)

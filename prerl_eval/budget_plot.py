"""The picture of `prerl-eval budget`: Avg and Pass@n against the token budget, a panel per benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prerl_eval.budget import BudgetCurve, Measured
from prerl_eval.panels import (
    GREY,
    Panel,
    band,
    draw_panels,
    legend_band,
    legend_line,
    power_ticks,
    style,
)
from prerl_eval.plots import MOST_BANDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_budget(measured: Measured, out: Path) -> None:
    """Draw the curves into `out`: a thick line per run for Avg with its band, a thin one for Pass@n.

    Raises UserError for a suffix other than png, svg, pdf or where the file cannot be written.
    """
    names = list(dict.fromkeys(name for _, curves in measured for name in curves))
    panels = []
    for name in names:
        shown = {index: curves[name] for index, (_, curves) in enumerate(measured) if name in curves}
        sizes = sorted({f"{curve.problems} problems, n = {curve.n}" for curve in shown.values()})
        panels.append(
            Panel(name, "; ".join(sizes), "token budget", "correct (%)", _draw(shown, len(measured)))
        )
    handles = [legend_line(label, **style(index)) for index, (label, _) in enumerate(measured)]
    handles.append(legend_line("thick: Avg", color=GREY, linewidth=1.8))
    handles.append(legend_line("thin: Pass@n", color=GREY, linewidth=0.9))
    if len(measured) <= MOST_BANDS:
        handles.append(legend_band("95%, pointwise"))
    draw_panels(panels, handles, out)


def _draw(curves: Mapping[int, BudgetCurve], runs: int) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        for index, curve in curves.items():
            if runs <= MOST_BANDS:
                band(axes, index, curve.budgets, 100 * curve.low[:, 0], 100 * curve.high[:, 0])
            axes.plot(curve.budgets, 100 * curve.passed[:, 0], **style(index))
            if curve.n > 1:
                axes.plot(curve.budgets, 100 * curve.passed[:, -1], **style(index, thin=True))
        power_ticks(axes, *_range(list(curves.values())))
        axes.set_ylim(0, min(102, axes.get_ylim()[1]))

    return draw


def _range(curves: Sequence[BudgetCurve]) -> tuple[int, int]:
    return min(curve.budgets[0] for curve in curves), max(curve.budgets[-1] for curve in curves)

"""A picture of several small panels with one legend: what the pictures of comparisons are made of.

Covers the grid, the frame of a panel and the lines in it; style and files are prerl_eval.plots'. The
same input gives the same bytes, and lines differ by more than colour. matplotlib is imported when a
picture is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from prerl_eval.plots import (
    COLOURS,
    DASHES,
    FAINT,
    INK,
    MARKERS,
    MATPLOTLIB,
    check_suffix,
    grid,
    save_picture,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREY = "#666666"


@dataclass(frozen=True)
class Panel:
    """One panel: its title, a small remark on the right, axis names, and what draws it."""

    title: str
    remark: str
    x: str
    y: str
    draw: Callable[[Axes], None]


def draw_panels(panels: Sequence[Panel], handles: Sequence[Any], out: Path, columns: int = 3) -> None:
    """Draw panels row by row and the legend below them into `out` (.png, .svg or .pdf).

    handles: of the legend, made by `legend_line`. Raises UserError for another suffix or where the file
    cannot be written.
    """
    check_suffix(out)
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    rows, columns = grid(len(panels), columns)
    width = max(4.1 * columns, 5.6)
    longest = max(len(handle.get_label()) for handle in handles)
    across = max(1, min(len(handles), int(width / (0.068 * longest + 0.68))))
    height = 3.1 * rows + 0.2 + 0.22 * math.ceil(len(handles) / across)
    with mpl.rc_context({**mpl.rcParamsDefault, **MATPLOTLIB}):
        layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06, wspace=0.03, hspace=0.04)
        figure = Figure(figsize=(width, height), dpi=200, layout=layout)
        FigureCanvasAgg(figure)
        places = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
        for axes, panel in zip(places, panels, strict=False):
            _frame(axes, panel)
            panel.draw(axes)
        for axes in places[len(panels) :]:
            axes.remove()
        # matplotlib fills a legend column by column; these are read row by row.
        ordered = [handle for column in range(across) for handle in handles[column::across]]
        figure.legend(
            handles=ordered,
            loc="outside lower center",
            ncols=across,
            frameon=False,
            handlelength=3,
            columnspacing=1.5,
        )
        save_picture(figure, out)


def _frame(axes: Axes, panel: Panel) -> None:
    axes.set_title(panel.title, loc="left", fontweight="bold", fontsize=10, color=INK)
    axes.set_title(panel.remark, loc="right", fontsize=8, color=GREY)
    axes.set_xlabel(panel.x)
    axes.set_ylabel(panel.y)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=3, width=0.8)


def style(index: int, *, thin: bool = False) -> dict[str, Any]:
    """How the line of run `index` is drawn; thin for its second figure in the same panel."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": DASHES[index % len(DASHES)],
        "linewidth": 0.9 if thin else 1.8,
    }


def marker(index: int, *, hollow: bool = False) -> dict[str, Any]:
    """The marker of run `index`."""
    colour = COLOURS[index % len(COLOURS)]
    return {
        "color": colour,
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": 5,
        "markerfacecolor": "white" if hollow else colour,
        "markeredgewidth": 1.1,
        "linestyle": "none",
    }


def band(axes: Axes, index: int, x: ArrayLike, low: ArrayLike, high: ArrayLike) -> None:
    """A shaded band of run `index`, its edges drawn so that overlapping bands can be told apart."""
    colour = COLOURS[index % len(COLOURS)]
    axes.fill_between(np.asarray(x), np.asarray(low), np.asarray(high), color=colour, alpha=0.13, linewidth=0)
    for edge in (low, high):
        axes.plot(np.asarray(x), np.asarray(edge), color=colour, alpha=0.4, linewidth=0.5)


def legend_line(label: str, **look: Any) -> Any:
    """A legend entry that looks as the line does."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **look)


def legend_band(label: str) -> Any:
    """A legend entry for a shaded band."""
    from matplotlib.patches import Patch

    return Patch(color=GREY, alpha=0.25, linewidth=0, label=label)


def power_ticks(axes: Axes, low: int, high: int) -> None:
    """A logarithmic axis in plain numbers: powers of two, their middles where there are few of them."""
    first, last = math.floor(math.log2(low)), math.ceil(math.log2(high))
    stride = max(1, math.ceil((last - first) / 8))
    ticks = [2**power for power in range(first, last + 1, stride)]
    if len(ticks) <= 4 and first > 1:
        ticks += [3 * tick // 2 for tick in ticks]
    ticks = sorted(tick for tick in ticks if low <= tick <= high)
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(low * 2**-0.15, high * 2**0.15)

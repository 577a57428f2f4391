"""Small panels of points and lines for the study's pictures.

Covers scores of several seeds over one number. Does not cover Pass@k curves (hard.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prerl_eval.metrics import Floats
from prerl_eval.plots import COLOURS, DASHES, FAINT, MARKERS, MATPLOTLIB, save_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Lines = Mapping[str, Sequence[tuple[float, Floats]]]
"""Label -> (x, values of the seeds)."""


def panels(shown: Sequence[tuple[str, Lines]], below: str, out: Path) -> None:
    """Write one panel per entry, its title above: means joined by a line, each seed a faint point.

    below: title of the x axis. Raises UserError where the file cannot be written.
    """

    def draw(axes: Axes, lines: Lines) -> None:
        for index, (label, points) in enumerate(lines.items()):
            style = line_style(index)
            x = [place for place, _ in points]
            axes.plot(x, [float(np.mean(values)) for _, values in points], label=label, **style)
            for place, values in points:
                axes.plot([place] * len(values), values, ".", color=style["color"], alpha=0.45, markersize=4)

    figure(shown, draw, below, out)


def figure(shown: Sequence[tuple[str, Any]], draw: Any, below: str, out: Path) -> None:
    """Write a row of panels (title, what `draw(axes, it)` draws), two per row, with one legend."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 2 if len(shown) > 1 else 1
    rows = -(-len(shown) // columns)
    with mpl.rc_context({**mpl.rcParamsDefault, **MATPLOTLIB}):
        drawn = Figure(figsize=(4.1 * columns, 2.9 * rows + 0.4), dpi=160, layout="constrained")
        FigureCanvasAgg(drawn)
        places = drawn.subplots(rows, columns, squeeze=False).ravel().tolist()
        for axes, (title, content) in zip(places, shown, strict=False):
            draw(axes, content)
            axes.set_title(title, loc="left", fontsize=9, fontweight="bold")
            axes.set_xlabel(below)
            axes.grid(axis="y", color=FAINT, linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
        for axes in places[len(shown) :]:
            axes.remove()
        named: dict[str, Any] = {}
        for axes in places[: len(shown)]:
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                named.setdefault(label, handle)
        if named:
            drawn.legend(
                list(named.values()), list(named), loc="outside lower center", ncols=4, frameon=False
            )
        save_picture(drawn, out)


def line_style(index: int) -> dict[str, Any]:
    """Colour, marker and dashes of the index-th line: told apart in grey as well."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[index % len(DASHES)],
        "markersize": 5,
        "linewidth": 1.4,
    }

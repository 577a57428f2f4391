"""Figures as one picture: bars with intervals and multiples of the base, and rates over training steps.

Covers drawing what figures.py made; style and files are prerl_eval.plots. Reads in grey: bars are named,
lines differ by marker and dashes. The same figures give the same bytes. matplotlib is imported when a
picture is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from behavior.tables import between, number
from prerl_eval.layout import shorten
from prerl_eval.plots import COLOURS, DASHES, FAINT, INK, MARKERS, MATPLOTLIB, check_suffix, save_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Figures = Mapping[str, Any]

COLUMNS = 3
GREY = "#666666"
LONGEST_NAME = 26
ROOM = 0.45
"""Of the axis, right of the longest interval, for the numbers."""

Point = tuple[float, float, Sequence[float] | None]
"""(step, rate, interval)."""


def draw(figures: Figures, out: Path) -> None:
    """Draw into `out` (.png, .svg or .pdf): a row of panels per rate, a panel per label.

    Bars per response and per 1,000 tokens; where some source has several steps, or several sources share
    a name, lines per 1,000 tokens over the steps. Raises UserError for another suffix and where the file
    cannot be written.
    """
    check_suffix(out)
    import matplotlib as mpl

    with mpl.rc_context({**mpl.rcParamsDefault, **MATPLOTLIB, "font.size": 8}):
        save_picture(_figure(figures), out)


def _figure(figures: Figures) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    labels = figures["lexicon"]["labels"]
    unit = "words" if figures["token_unit"] == "words" else "tokens"
    series = over_steps(figures, labels)
    bars = [(label, *kind) for kind in _kinds(unit) for label in labels]
    lines = [label for label in labels if series]
    columns = len(labels) if 1 < len(labels) <= COLUMNS else COLUMNS if len(labels) > COLUMNS else 2
    bar_rows, line_rows = math.ceil(len(bars) / columns), math.ceil(len(lines) / columns)
    bar_height = 0.62 + 0.24 * len(figures["runs"])
    heights = [bar_height] * bar_rows + [2.1] * line_rows
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.05, wspace=0.03, hspace=0.05)
    figure = Figure(figsize=(3.3 * columns + 1.2, sum(heights) + 0.55), dpi=200, layout=layout)
    FigureCanvasAgg(figure)
    grid = figure.subplots(
        bar_rows + line_rows, columns, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    places = [(row, column) for row in range(bar_rows) for column in range(columns)]
    for (row, column), (label, rate, title) in zip(places, bars, strict=False):
        _bars(grid[row, column], figures, label, rate, title, named=column == 0)
    below = [(row, column) for row in range(bar_rows, bar_rows + line_rows) for column in range(columns)]
    for (row, column), label in zip(below, lines, strict=False):
        _lines(grid[row, column], series, label, f"{label} per 1,000 {unit}")
    for row, column in [*places[len(bars) :], *below[len(lines) :]]:
        grid[row, column].remove()
    lexicon = figures["lexicon"]
    title = f"Words of {lexicon['name']} {lexicon['version']}, {lexicon['unit']}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    _foot(figure, figures, len(series) if lines else 0, series)
    return figure


def _kinds(unit: str) -> tuple[tuple[str, str], ...]:
    return (("per_response", "per response"), ("per_1k_tokens", f"per 1,000 {unit}"))


def _bars(axes: Axes, figures: Figures, label: str, rate: str, title: str, named: bool) -> None:
    """Horizontal bars from the top, each with its interval, its rate and the multiple of the base's."""
    runs = list(figures["runs"].values())
    far = 0.0
    for place, run in enumerate(runs):
        rates = run["labels"][label]
        value = rates[rate] or 0.0
        colour = COLOURS[place % len(COLOURS)]
        axes.barh(place, value, height=0.62, color=colour, alpha=0.85, linewidth=0)
        low, high = rates[f"{rate}_ci"] or (value, value)
        axes.hlines(place, low, high, color=INK, linewidth=1.0)
        axes.plot([low, high], [place, place], "|", color=INK, markersize=5, markeredgewidth=1.0)
        far = max(far, value)
        words = f"{number(rates[rate])}{_multiple(run, label, rate)}"
        axes.annotate(
            words, (1.0, place), xycoords=("axes fraction", "data"), ha="right", va="center", fontsize=7
        )
    # A wild interval may run out of the panel; its ends are in the table.
    ends = [run["labels"][label][f"{rate}_ci"] for run in runs]
    far = max([far, *(high for _, high in filter(None, ends) if high <= 2.5 * far)]) or 1.0
    axes.set_xlim(0, far * (1 + ROOM) / (1 - 0.1 * ROOM))
    axes.set_ylim(len(runs) - 0.5, -0.5)
    axes.set_yticks(
        range(len(runs)), [shorten(name, LONGEST_NAME) for name in figures["runs"]] if named else []
    )
    axes.set_title(f"{label} {title}", loc="left", fontsize=8.5, fontweight="bold")
    _ticks(axes, "x")
    axes.tick_params(axis="y", length=0)


def _multiple(run: Figures, label: str, rate: str) -> str:
    """ "  ×1.8 (1.2–2.6)" against the base, "" where there is no ratio."""
    if "against_base" not in run:
        return ""
    ratio = run["against_base"]["all"]["labels"][label][rate]
    if ratio["ratio"] is None:
        return ""
    ends = "" if ratio["low"] is None else f" ({between([ratio['low'], ratio['high']])})"
    return f"  ×{number(ratio['ratio'])}{ends}"


def over_steps(figures: Figures, labels: Sequence[str]) -> dict[str, dict[str, list[Point]]]:
    """Series -> label -> rates per 1,000 tokens over steps.

    A training run gives a series of windows, each drawn at its middle; sources of one name and different
    steps (NAME=PATH@STEP) give one together. Series of a single step are left out.
    """
    series: dict[str, dict[str, list[Point]]] = {}
    for run in figures["runs"].values():
        parts = [((window["first"] + window["last"]) / 2, window) for window in run["windows"]]
        if not parts and len(run["steps"]) == 1:
            parts = [(run["steps"][0], run)]
        for step, part in parts:
            for label in labels:
                rates = part["labels"][label]
                if rates["per_1k_tokens"] is not None:
                    point = (step, rates["per_1k_tokens"], rates["per_1k_tokens_ci"])
                    series.setdefault(run["series"], {}).setdefault(label, []).append(point)
    return {
        name: {label: sorted(points, key=lambda point: point[0]) for label, points in found.items()}
        for name, found in series.items()
        if any(len(points) > 1 for points in found.values())
    }


def _lines(axes: Axes, series: Mapping[str, Mapping[str, list[Point]]], label: str, title: str) -> None:
    top = 0.0
    for index, points in enumerate(found.get(label, []) for found in series.values()):
        colour = COLOURS[index % len(COLOURS)]
        steps, values = [point[0] for point in points], [point[1] for point in points]
        axes.plot(steps, values, **_style(index), linewidth=1.5)
        for step, _, ends in points:
            if ends is not None:
                axes.vlines(step, ends[0], ends[1], color=colour, linewidth=0.9, alpha=0.55)
                top = max(top, min(ends[1], 2.5 * max(values)))
        top = max(top, *values)
    axes.set_ylim(0, 1.06 * top if top else 1)
    axes.set_title(title, loc="left", fontsize=8.5, fontweight="bold")
    axes.set_xlabel("training step")
    _ticks(axes, "y")


def _style(index: int) -> dict[str, Any]:
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": DASHES[index % len(DASHES)],
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": 4,
    }


def _ticks(axes: Axes, axis: str) -> None:
    from matplotlib.ticker import MaxNLocator

    locator = MaxNLocator(nbins=4, steps=[1, 2, 5, 10])
    (axes.xaxis if axis == "x" else axes.yaxis).set_major_locator(locator)
    axes.grid(axis=axis, color=FAINT, linewidth=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=3, width=0.8)


def _foot(figure: Figure, figures: Figures, count: int, series: Mapping[str, Any]) -> None:
    """The legend of the lines, and what must be said below."""
    from matplotlib.lines import Line2D

    words = "95% intervals over problems"
    if figures["base"] is not None and len(figures["runs"]) > 1:
        words += f"; ×: ratio of means against {figures['base']}, problems paired"
    handles: list[Any] = [
        Line2D([], [], **_style(index), label=shorten(name, LONGEST_NAME))
        for index, name in enumerate(series)
    ][:count]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=max(1, min(4, len(handles))),
        frameon=False,
        handlelength=3,
        title=f"{words}. Words are not behaviour.",
        title_fontsize=7,
    )

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
WILD = 3.0
"""Intervals are cut at this multiple of the largest rate."""

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
    lines = labels if series else []
    columns = min(max(2, len(labels)), COLUMNS)
    wide = columns // len(lines) if lines else 1  # few panels share the whole row
    bar_rows, line_rows = math.ceil(len(bars) / columns), math.ceil(len(lines) / columns)
    heights = [0.62 + 0.24 * len(figures["runs"])] * bar_rows + [2.1] * line_rows
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.05, wspace=0.03, hspace=0.05)
    figure = Figure(figsize=(3.5 * columns + 1.2, sum(heights) + 0.55), dpi=200, layout=layout)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(bar_rows + line_rows, columns, height_ratios=heights)
    for index, (label, rate, title) in enumerate(bars):
        row, column = divmod(index, columns)
        axes = figure.add_subplot(grid[row, column])
        _bars(axes, figures, label, rate, f"{label} {title}", named=column == 0)
    for index, label in enumerate(lines):
        row, column = divmod(index, columns)
        axes = figure.add_subplot(grid[bar_rows + row, column * wide : (column + 1) * wide])
        _lines(axes, series, label, f"{label} per 1,000 {unit}, over training")
    lexicon = figures["lexicon"]
    title = f"Words of {lexicon['name']} {lexicon['version']}, {lexicon['unit']}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    _foot(figure, figures, series)
    return figure


def _kinds(unit: str) -> tuple[tuple[str, str], ...]:
    return (("per_response", "per response"), ("per_1k_tokens", f"per 1,000 {unit}"))


def _bars(axes: Axes, figures: Figures, label: str, rate: str, title: str, named: bool) -> None:
    """Horizontal bars from the top, each with its interval, its rate and the multiple of the base's."""
    runs = list(figures["runs"].values())
    found = [(run["labels"][label][rate] or 0.0, run["labels"][label][f"{rate}_ci"]) for run in runs]
    # A wild interval must not squeeze the others; the table has its end.
    most = WILD * max(value for value, _ in found)
    far = min(max(ends[1] if ends else value for value, ends in found), most or math.inf) or 1.0
    for place, (run, (value, ends)) in enumerate(zip(runs, found, strict=True)):
        axes.barh(place, value, height=0.62, color=COLOURS[place % len(COLOURS)], alpha=0.85, linewidth=0)
        if ends:
            axes.hlines(place, *ends, color=INK, linewidth=1.0)
            axes.plot(ends, [place, place], "|", color=INK, markersize=5, markeredgewidth=1.0)
            if ends[1] > far:
                axes.plot(far, place, ">", color=INK, markersize=4, clip_on=False)
        words = f"{number(run['labels'][label][rate])}{_multiple(run, label, rate)}"
        right: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        axes.annotate(words, (1.0, place), (7, 0), **right, ha="left", va="center", fontsize=7)
    axes.set_xlim(0, far * (1.0 if far == most else 1.03))
    axes.set_ylim(len(runs) - 0.5, -0.5)
    axes.set_yticks(
        range(len(runs)), [shorten(name, LONGEST_NAME) for name in figures["runs"]] if named else []
    )
    axes.set_title(title, loc="left", fontsize=8.5, fontweight="bold")
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

    A training run gives a series of windows, each drawn at its middle. Sources of one name and different
    steps (NAME=PATH@STEP) give one together, and so do all those whose name has a single step.
    """
    series: dict[str, list[tuple[float, Figures]]] = {}
    for run in figures["runs"].values():
        parts = [((window["first"] + window["last"]) / 2, window) for window in run["windows"]]
        if not parts and len(run["steps"]) == 1:
            parts = [(run["steps"][0], run)]
        series.setdefault(run["series"], []).extend(parts)
    alone = sorted((parts[0][0], name) for name, parts in series.items() if len(parts) == 1)
    if len({step for step, _ in alone}) > 1:
        series[f"{alone[0][1]} … {alone[-1][1]}"] = [series[name][0] for _, name in alone]
    return {
        name: {label: _points(parts, label) for label in labels}
        for name, parts in series.items()
        if len(parts) > 1
    }


def _points(parts: Sequence[tuple[float, Figures]], label: str) -> list[Point]:
    rates = [(step, part["labels"][label]) for step, part in sorted(parts, key=lambda part: part[0])]
    return [
        (step, found["per_1k_tokens"], found["per_1k_tokens_ci"])
        for step, found in rates
        if found["per_1k_tokens"] is not None
    ]


def _lines(axes: Axes, series: Mapping[str, Mapping[str, list[Point]]], label: str, title: str) -> None:
    top = 0.0
    for index, points in enumerate(found[label] for found in series.values()):
        colour = COLOURS[index % len(COLOURS)]
        steps, values = [point[0] for point in points], [point[1] for point in points]
        axes.plot(steps, values, **_style(index), linewidth=1.5)
        for step, _, ends in points:
            if ends is not None:
                axes.vlines(step, ends[0], ends[1], color=colour, linewidth=0.9, alpha=0.55)
                top = max(top, min(ends[1], 2.5 * max(values)))
        top = max([top, *values])
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

    locator = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10])
    (axes.xaxis if axis == "x" else axes.yaxis).set_major_locator(locator)
    axes.grid(axis=axis, color=FAINT, linewidth=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=3, width=0.8)


def _foot(figure: Figure, figures: Figures, series: Mapping[str, Any]) -> None:
    """The legend of the lines, and what must be said below."""
    from matplotlib.lines import Line2D

    words = "95% intervals over problems"
    if figures["base"] is not None and len(figures["runs"]) > 1:
        words += f"; ×: ratio of means against {figures['base']}, problems paired"
        words += ".\nCounts rise with length: see the ratios at like length in the table"
    handles: list[Any] = [
        Line2D([], [], **_style(index), label=shorten(name, LONGEST_NAME))
        for index, name in enumerate(series)
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=max(1, min(4, len(handles))),
        frameon=False,
        handlelength=3,
        title=f"{words}. Words are not behaviour.",
        title_fontsize=7,
    )

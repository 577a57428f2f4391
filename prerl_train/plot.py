"""`prerl-train plot`: the course of training runs as one picture of small panels (PNG, SVG, PDF).

Covers drawing; reading and smoothing are course.py, style and files prerl_eval.plots. Each panel
shows one figure over the updates, every run in its colour and dashes, its warm-up shaded and its
switch marked. matplotlib is imported when a picture is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prerl_eval.plots import COLOURS, DASHES, FAINT, INK, MATPLOTLIB, check_suffix, run_labels, save_picture
from prerl_train.course import WARM_UPS, Course, Numbers, read_course, smoothing_window

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_RAW = 2
"""With more runs than this, the single updates of each hide the averages of the others."""

GREY = "#666666"
SWITCH = (0, (2, 1.5))

Value = Callable[[Mapping[str, Any]], float | None]


@dataclass(frozen=True)
class Panel:
    """One figure over the updates. value: of an entry of metrics.jsonl; None where it is not known.

    floor: the axis starts there; None lets the numbers decide. always: drawn whatever the values;
    else only where some run has one that is not 0.
    """

    title: str
    unit: str
    value: Value
    floor: float | None = 0
    always: bool = True


def _field(name: str, scale: float = 1.0) -> Value:
    return lambda entry: scale * entry[name] if entry.get(name) is not None else None


def _share(name: str) -> Value:
    return lambda entry: 100 * entry[name] / entry["problems"] if entry.get("problems") else None


def _seconds(entry: Mapping[str, Any]) -> float | None:
    return sum((entry.get("seconds") or {}).values()) or None


PANELS = (
    Panel("Reward", "mean of all samples", _field("reward"), None),
    Panel("True reward", "mean of verdicts", _field("true_reward"), None, False),
    Panel("Solved", "% of problems, all right", _share("solved")),
    Panel("Unsolved", "% of problems, none right", _share("unsolved")),
    Panel("Response length", "tokens, mean", _field("length_mean")),
    Panel("Cut off", "% of samples, at the limit", _field("truncated", 100)),
    Panel("Entropy", "nats per token", _field("entropy")),
    Panel("Gradient norm", "before clipping", _field("grad_norm")),
    Panel("Contributing tokens", "thousands", _field("contributing_tokens", 1e-3)),
    Panel("Time", "seconds per update", _seconds),
    Panel("KL to the reference", "nats per token", _field("kl"), None, False),
    Panel("Clipped tokens", "% of those trained on", _field("clip_fraction", 100), 0, False),
    Panel("Log-prob gap", "to engine, 0.001 nats", _field("logprob_gap", 1000), 0, False),
    Panel("Critic loss", "", _field("value_loss"), 0, False),
)


def plot_runs(runs: Sequence[Path], out: Path) -> None:
    """Draw the metrics of one or several training runs into `out` (.png, .svg or .pdf).

    Raises UserError for another suffix, for a folder without metrics and where the file cannot be
    written.
    """
    check_suffix(out)
    courses = [read_course(run, label) for run, label in zip(runs, run_labels(runs), strict=True)]
    import matplotlib as mpl

    with mpl.rc_context({**mpl.rcParamsDefault, **MATPLOTLIB, "font.size": 8}):
        save_picture(_draw(courses), out)


def _draw(courses: Sequence[Course]) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    panels = [panel for panel in PANELS if panel.always or _has_values(panel, courses)]
    evals = [entry["evals"] for course in courses for entry in course.evals]
    benchmarks = list(dict.fromkeys(name for scores in evals for name in scores))
    count = len(panels) + len(benchmarks)
    columns, rows = 3, math.ceil(count / 3)
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.05, wspace=0.04, hspace=0.05)
    figure = Figure(figsize=(2.75 * columns, 1.75 * rows + 0.5), dpi=200, layout=layout)
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    window = smoothing_window(courses)
    for index, axes in enumerate(grid[:count]):
        _frame(axes, courses)
        if index < len(panels):
            _panel(axes, panels[index], courses, window)
        else:
            _evaluations(axes, benchmarks[index - len(panels)], courses)
        if index + columns >= count:
            axes.set_xlabel("update")
    for axes in grid[count:]:
        axes.remove()
    if len(courses) == 1:
        figure.suptitle(courses[0].label, x=0.01, ha="left", fontsize=11, fontweight="bold")
    _add_legend(figure, courses, window)
    return figure


def _has_values(panel: Panel, courses: Sequence[Course]) -> bool:
    return any(np.nan_to_num(course.series(panel.value)).any() for course in courses)


def _frame(axes: Axes, courses: Sequence[Course]) -> None:
    """Axes, grid and, behind the lines, where each run's warm-up lies and ends."""
    from matplotlib.ticker import MaxNLocator

    last = max(float(course.steps[-1]) for course in courses)
    left, right = -0.015 * last, 1.015 * last
    axes.set_xlim(left, right)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=3, width=0.8)
    for place, numbers in _switches(courses).items():
        # Grey where it is not one run's alone to be told from the others.
        alone = len(numbers) == 1 and len(courses) > 1
        colour = COLOURS[numbers[0] % len(COLOURS)] if alone else GREY
        axes.axvline(place, color=colour, linewidth=0.9, linestyle=SWITCH, zorder=1.5)
        if any(courses[number].warm_up and courses[number].switches[0] == place for number in numbers):
            axes.axvspan(left, place, color=colour, alpha=0.1, linewidth=0, zorder=0)


def _switches(courses: Sequence[Course]) -> dict[float, list[int]]:
    """Place of each switch -> the runs that have it."""
    found: dict[float, list[int]] = {}
    for number, course in enumerate(courses):
        for place in course.switches:
            found.setdefault(place, []).append(number)
    return found


def _panel(axes: Axes, panel: Panel, courses: Sequence[Course], window: int) -> None:
    _title(axes, panel.title, panel.unit)
    shown = []
    for number, course in enumerate(courses):
        values = course.series(panel.value)
        average = course.smooth(values, window)
        style = _style(number)
        shown.append(average)
        if window > 1 and len(courses) <= MOST_RAW:
            axes.plot(course.steps, values, color=style["color"], linewidth=0.6, alpha=0.35, zorder=2)
            shown.append(values)
        # No line crosses the switch, where the average starts anew.
        for start, end in course.spans:
            marker = "o" if end - start == 1 else ""
            span = slice(start, end)
            axes.plot(
                course.steps[span], average[span], **style, marker=marker, markersize=2.5, linewidth=1.5
            )
    _set_height(axes, np.concatenate(shown), panel.floor)


def _set_height(axes: Axes, shown: Numbers, floor: float | None) -> None:
    """The y axis; spikes far above everything else are cut off, with a word that says so."""
    from matplotlib.ticker import StrMethodFormatter

    known = shown[~np.isnan(shown)]
    if not len(known):
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=GREY)
        axes.set_yticks([])
        return
    low, high = float(known.min()), float(known.max())
    usual = 3 * float(np.percentile(known, 95))
    if floor is not None and high > usual > 0:
        words = f"spikes to {high:.3g}"
        axes.text(1, 1, words, transform=axes.transAxes, ha="right", va="top", fontsize=7, color=GREY)
        high = usual
    bottom = low if floor is None else min(floor, low)
    if floor is not None and high == bottom:
        high = bottom + 1
    room = high - bottom or max(abs(high), 1)
    axes.set_ylim(bottom - (0.06 if floor is None else 0.02) * room, high + 0.06 * room)
    if high >= 1000:
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _evaluations(axes: Axes, benchmark: str, courses: Sequence[Course]) -> None:
    """Avg in % with its 95% interval, and hollow the Pass@k of the largest k that all runs have."""
    k = min((found for course in courses if (found := _largest_k(course, benchmark))), default=0)
    _title(axes, benchmark, f"%: Avg, hollow Pass@{k}" if k > 1 else "%: Avg")
    lowest = 100.0
    for number, course in enumerate(courses):
        scores = [(entry["step"], entry["evals"].get(benchmark) or {}) for entry in course.evals]
        scores = [(step, figures) for step, figures in scores if figures.get("avg") is not None]
        if not scores:
            continue
        steps = [step for step, _ in scores]
        style = {**_style(number), "marker": "o", "markersize": 3.5, "clip_on": False}
        for step, figures in scores:
            low, high = figures.get("avg_ci") or (figures["avg"], figures["avg"])
            axes.vlines(step, 100 * low, 100 * high, color=style["color"], linewidth=0.8, alpha=0.6)
            lowest = min(lowest, 100 * low)
        axes.plot(steps, [100 * figures["avg"] for _, figures in scores], **style, linewidth=1.5)
        if k > 1:
            passed = [100 * figures["pass"][str(k)] for _, figures in scores]
            axes.plot(steps, passed, **style, markerfacecolor="white", linewidth=0.8)
    axes.set_ylim(bottom=max(0, 10 * math.floor(lowest / 10)))


def _largest_k(course: Course, benchmark: str) -> int:
    """The largest k of which every evaluation has Pass@k; 0 without any."""
    curves = [entry["evals"].get(benchmark, {}).get("pass") or {} for entry in course.evals]
    return min((max(map(int, curve), default=0) for curve in curves), default=0)


def _title(axes: Axes, title: str, unit: str) -> None:
    axes.set_title(title, loc="left", fontweight="bold", fontsize=9, color=INK)
    axes.set_title(unit, loc="right", fontsize=7, color=GREY)


def _style(number: int) -> dict[str, Any]:
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number % len(DASHES)]}


def _add_legend(figure: Figure, courses: Sequence[Course], window: int) -> None:
    """Below the panels: the runs, where there are several, and in grey what lines and shades mean."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    if len(courses) > 1:
        for number, course in enumerate(courses):
            handles.append(Line2D([], [], **_style(number), linewidth=1.8, label=course.label))
    if window > 1:
        handles.append(Line2D([], [], color=GREY, linewidth=1.5, label=f"average over {window} updates"))
        if len(courses) <= MOST_RAW:
            handles.append(Line2D([], [], color=GREY, linewidth=0.6, alpha=0.6, label="each update"))
    for kind in sorted({course.warm_up for course in courses if course.warm_up}):
        handles.append(Patch(color=GREY, alpha=0.2, linewidth=0, label=f"warm-up on {WARM_UPS[kind]}"))
    if any(course.switches for course in courses):
        handles.append(Line2D([], [], color=GREY, linewidth=0.9, linestyle=SWITCH, label="switch of phase"))
    if not handles:
        return
    widest = max(len(handle.get_label()) for handle in handles)
    columns = max(1, min(len(handles), int(figure.get_figwidth() / (0.06 * widest + 0.6))))
    # matplotlib fills a legend column by column.
    ordered = [handle for column in range(columns) for handle in handles[column::columns]]
    figure.set_figheight(figure.get_figheight() + 0.18 * math.ceil(len(handles) / columns))
    figure.legend(handles=ordered, loc="outside lower center", ncols=columns, frameon=False, handlelength=3)

"""How often the marks of annotations occur, per run, benchmark and label: table rows and a chart.

Means are over problems of each problem's mean, intervals (95%) are over problems. Covers what any
annotation with marks can say; rates per token, ratios and comparisons at like length are
`prerl-behavior count`'s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from prerl_eval.layout import percent, shorten
from prerl_eval.metrics import interval, mean_and_se
from prerl_eval.panels import Panel, draw_panels, style
from prerl_eval.plots import INK
from prerl_eval.report.tables import Row, Table
from prerl_eval.report.traces import Browsed, Traces

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Rate:
    """Marks of one label in one run's responses to one benchmark.

    responses, problems: that were annotated. mean, share: occurrences per response; share of the
    responses with any. ends: 95% of the mean, None where one problem is all or all agree.
    """

    run: str
    benchmark: str
    annotation: str
    label: str
    responses: int
    problems: int
    mean: float
    ends: tuple[float, float] | None
    share: float
    share_ends: tuple[float, float]


def measure(traces: Traces) -> list[Rate]:
    """The rates of every label of every run and benchmark that have any annotated response."""
    return [
        rate
        for (annotation, label), number in traces.names.labels.items()
        for benchmark in traces.problems
        for run in traces.runs
        if (rate := _rate(run, benchmark, annotation, label, number)) is not None
    ]


def _rate(run: Browsed, benchmark: str, annotation: str, label: str, number: int) -> Rate | None:
    counts = run.marks.counts(number)
    if counts is None:
        return None
    per_problem = [
        own[own >= 0]
        for problem in run.samples.problems.get(benchmark, [])
        if len(own := counts[(rows := run.samples.rows(benchmark, problem)).start : rows.stop])
    ]
    known = [own for own in per_problem if len(own)]
    if not known:
        return None
    means = np.array([own.mean() for own in known])
    shares = np.array([(own > 0).mean() for own in known])
    low, high = interval(shares)
    return Rate(
        *(run.source.name, benchmark, annotation, label, sum(map(len, known)), len(known)),
        float(means.mean()),
        _ends(means),
        float(shares.mean()),
        (float(low), float(high)),
    )


def _ends(means: NDArray[np.float64]) -> tuple[float, float] | None:
    """Mean ± t × standard error over problems, not below 0."""
    from scipy.special import stdtrit

    mean, error = mean_and_se(means)
    if math.isnan(error) or error == 0:
        return None
    width = float(stdtrit(len(means) - 1, 0.975)) * error
    return max(0.0, mean - width), mean + width


def behaviour_table(rates: Sequence[Rate]) -> Table:
    """The rates in numbers, grouped by benchmark and label."""
    groups: dict[str, list[Row]] = {}
    for rate in rates:
        mean = f"{rate.mean:.2f}" + ("" if rate.ends is None else f" ({rate.ends[0]:.2f}–{rate.ends[1]:.2f})")
        share = f"{percent(rate.share)} ({'–'.join(map(percent, rate.share_ends))})"
        cells = [f"{rate.responses:,}", f"{rate.problems:,}", mean, share]
        groups.setdefault(_title(rate), []).append(Row(rate.run, cells))
    columns = ["run", "responses", "problems", "per response (95%)", "with any, % (95%)"]
    return Table("Marks in the traces", columns, list(groups.items()))


def _title(rate: Rate) -> str:
    return f"{rate.label.replace('_', ' ')} ({rate.annotation}), {rate.benchmark}"


def draw_behaviour(rates: Sequence[Rate], out: Path) -> None:
    """Bars with intervals, a panel per benchmark and label."""
    groups: dict[str, list[Rate]] = {}
    for rate in rates:
        groups.setdefault(_title(rate), []).append(rate)
    runs = list(dict.fromkeys(rate.run for rate in rates))
    panels = [
        Panel(
            shorten(f"{own[0].label.replace('_', ' ')}, {own[0].benchmark}", 34),
            "",
            f"per response ({own[0].annotation})",
            "",
            _bars(own, runs),
        )
        for own in groups.values()
    ]
    from matplotlib.patches import Patch

    handles = [Patch(color=style(index)["color"], alpha=0.85, label=run) for index, run in enumerate(runs)]
    draw_panels(panels, handles, out)


def _bars(rates: Sequence[Rate], runs: Sequence[str]) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        for place, rate in enumerate(rates):
            colour = style(runs.index(rate.run))["color"]
            axes.barh(place, rate.mean, height=0.62, color=colour, alpha=0.85, linewidth=0)
            if rate.ends:
                axes.hlines(place, *rate.ends, color=INK, linewidth=1.0)
                axes.plot(rate.ends, [place, place], "|", color=INK, markersize=5)
        axes.set_ylim(len(rates) - 0.4, -0.6)
        axes.set_yticks(range(len(rates)), [shorten(rate.run, 24) for rate in rates])
        axes.set_xlim(left=0)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)

    return draw

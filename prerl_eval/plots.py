"""Pass@K curves as a picture (PNG, SVG, PDF) and as CSV.

Covers drawing; the numbers come from prerl_eval.metrics. The picture reads in grey: runs differ
by marker and line style as well as colour, and estimates with k > n/4 have hollow markers on a
thin line. The same input gives the same bytes. matplotlib is imported when a picture is drawn.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prerl_eval.errors import UserError
from prerl_eval.metrics import Curve, majority_ks, pass_curve
from prerl_eval.tally import tally_run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LabelledCurves = Sequence[tuple[str, Mapping[str, Curve]]]
"""(label of the run, benchmark -> its curve), in the order of the legend."""

SUFFIXES = (".png", ".svg", ".pdf")

# The first three are dark, middle and light in grey; hues told apart by colour-blind readers.
COLOURS = ("#1d3557", "#d1495b", "#e9a23b", "#2a8c7f", "#7b5ea7", "#8a8d91")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", (0, (5, 2)), (0, (1.2, 1.4)), (0, (6, 2, 1.2, 2)), (0, (3, 1.2, 1, 1.2, 1, 1.2)))
INK, FAINT = "#222222", "#d9d9d9"
MOST_BANDS = 3
"""More overlapping bands than this turn to mud and are left out (the CSV has them)."""

MATPLOTLIB: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.8,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.hashsalt": "prerl",
    "pdf.fonttype": 42,
}


def draw_passk(
    runs: Sequence[Path],
    out: Path | None = None,
    csv: Path | None = None,
    k: int | None = None,
    step: int | None = None,
) -> list[str]:
    """`prerl-eval passk`: the curves of these runs as picture and CSV; returns lines to print.

    k: largest k to show, None for every k <= n. Raises UserError, before anything is written, for
    a suffix other than png, svg, pdf, for one file as both, and for a k above some n.
    """
    check_files(out, csv)
    labelled = [
        (label, passk_curves(run, step, k)) for label, run in zip(run_labels(runs), runs, strict=True)
    ]
    lines = _table(labelled)
    if csv is not None:
        write_csv(labelled, csv)
        lines.append(f"wrote {csv}")
    if out is not None:
        plot_passk(labelled, out)
        lines.append(f"wrote {out}")
    return lines


def passk_curves(run: Path, step: int | None = None, max_k: int | None = None) -> dict[str, Curve]:
    """Pass@k of each benchmark of a run, for every k up to max_k or the smallest n.

    Raises UserError for max_k above an n (never extrapolated), and as `tally_run` does.
    """
    curves = {}
    for name, tally in tally_run(run, step).items():
        if tally.n == 0:
            continue
        curve = replace(pass_curve(tally.correct, tally.samples), missing=tally.missing)
        curves[name] = curve if max_k is None else curve.up_to(max_k, f"{name} in {run}")
    if not curves:
        raise UserError(f"{run} holds no scored samples (every gold is bad); see `prerl-eval check`")
    return curves


def run_labels(runs: Sequence[Path]) -> list[str]:
    """The folders' names, or their whole paths where names repeat."""
    names = [run.resolve().name for run in runs]
    return names if len(set(names)) == len(names) else [str(run) for run in runs]


def check_suffix(out: Path) -> None:
    """Raise UserError for a picture that is not .png, .svg or .pdf."""
    if out.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out {out} has no known picture format; name it .png, .svg or .pdf")


def check_files(out: Path | None, csv: Path | None) -> None:
    """Raise UserError for a picture of an unknown format, and for one file as picture and CSV."""
    if out is None:
        return
    check_suffix(out)
    if csv is not None and csv.resolve() == out.resolve():
        raise UserError(f"--csv {csv} is the file of --out; give another --csv")


def write_csv(labelled: LabelledCurves, file: Path) -> None:
    """All points, fractions of 1: run, benchmark, k, pass, lo, hi, uncertain (0 or 1)."""
    rows = [
        [label, name, *point]
        for label, curves in labelled
        for name, curve in curves.items()
        for point in zip(
            *(
                column.tolist()
                for column in (curve.k, curve.value, curve.low, curve.high, curve.uncertain.astype(int))
            ),
            strict=True,
        )
    ]
    write_table(file, ["run", "benchmark", "k", "pass", "lo", "hi", "uncertain"], rows)


def write_table(file: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A CSV file, with its folder. Raises UserError where it cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)
    except OSError as error:
        raise UserError(f"cannot write {file} ({error.strerror}); give another --csv") from error


def grid(panels: int, columns: int = 3) -> tuple[int, int]:
    """Rows and columns of at most so many columns, as full as can be: four panels are two rows of two."""
    rows = math.ceil(panels / columns)
    return rows, math.ceil(panels / rows)


def plot_passk(labelled: LabelledCurves, out: Path) -> None:
    """Draw one panel per benchmark and one line per run into `out` (.png, .svg or .pdf).

    Raises UserError for another suffix or where the file cannot be written.
    """
    check_suffix(out)
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    names = list(dict.fromkeys(name for _, curves in labelled for name in curves))
    rows, columns = grid(len(names))
    width = max(4.1 * columns, 5.2)
    with mpl.rc_context({**mpl.rcParamsDefault, **MATPLOTLIB}):
        handles, legend_columns = _legend_entries([label for label, _ in labelled], width)
        height = 3.25 * rows + 0.2 + 0.22 * math.ceil(len(handles) / legend_columns)
        layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06, wspace=0.03, hspace=0.04)
        figure = Figure(figsize=(width, height), dpi=200, layout=layout)
        FigureCanvasAgg(figure)
        panels = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
        for index, (axes, name) in enumerate(zip(panels, names, strict=False)):
            shown = [(run, curves[name]) for run, (_, curves) in enumerate(labelled) if name in curves]
            _panel(axes, name, shown, band=len(labelled) <= MOST_BANDS)
            if index % columns == 0:
                axes.set_ylabel("Pass@k (%)")
            if index + columns >= len(names):
                axes.set_xlabel("k, samples per problem")
        for axes in panels[len(names) :]:
            axes.remove()
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=legend_columns,
            frameon=False,
            handlelength=3,
            columnspacing=1.5,
        )
        save_picture(figure, out)


def _panel(axes: Axes, name: str, curves: Sequence[tuple[int, Curve]], band: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    for index, curve in curves:
        _line(axes, index, curve, band)
    largest = max(int(curve.k[-1]) for _, curve in curves)
    axes.set_title(name, loc="left", fontweight="bold", fontsize=10)
    axes.set_title(_sizes([curve for _, curve in curves]), loc="right", fontsize=8, color="#666666")
    axes.set_xscale("log", base=2)
    ticks = majority_ks(largest)
    if len(ticks) > 2 and math.log2(ticks[-1] / ticks[-2]) < 0.5:
        del ticks[-2]  # n itself is labelled, not the power of two that it would overprint
    axes.set_xticks(ticks, [f"{k}" for k in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(2**-0.25, largest * 2**0.25)
    drawn = [(c.low, c.high) if band else (c.value, c.value) for _, c in curves]
    low = min(100 * float(low.min()) for low, _ in drawn)
    high = max(100 * float(high.max()) for _, high in drawn)
    bottom = min(90, 10 * math.floor(low / 10))
    top = max(bottom + 10, 10 * math.ceil(high / 10))
    axes.set_ylim(bottom - 0.02 * (top - bottom), top + 0.02 * (top - bottom))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True))
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=3, width=0.8)


def _line(axes: Axes, index: int, curve: Curve, band: bool) -> None:
    """The band, the line (thin where uncertain), and markers at powers of two and n."""
    style = _style(index)
    value = 100 * curve.value
    if band:
        low, high = 100 * curve.low, 100 * curve.high
        axes.fill_between(curve.k, low, high, color=style["color"], alpha=0.13, linewidth=0)
        for edge in (low, high):
            axes.plot(curve.k, edge, color=style["color"], alpha=0.4, linewidth=0.5)
        if len(curve.k) == 1:
            axes.vlines(curve.k, low, high, color=style["color"], linewidth=0.8)
    split = int((~curve.uncertain).sum())  # uncertain is k > n/4: one cut
    axes.plot(curve.k[:split], value[:split], **style, linewidth=1.8)
    axes.plot(curve.k[max(split - 1, 0) :], value[max(split - 1, 0) :], **style, linewidth=0.9)
    for k in majority_ks(int(curve.k[-1])):
        axes.plot([k], [value[k - 1]], **_marker(index, bool(curve.uncertain[k - 1])))


def _style(index: int) -> dict[str, Any]:
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index % len(DASHES)]}


def _marker(index: int, hollow: bool) -> dict[str, Any]:
    colour = COLOURS[index % len(COLOURS)]
    return {
        "color": colour,
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": 5.5,
        "markerfacecolor": "white" if hollow else colour,
        "markeredgewidth": 1.1,
        "linestyle": "none",
    }


def _sizes(curves: Sequence[Curve]) -> str:
    def spread(values: set[int]) -> str:
        return f"{min(values)}" if len(values) == 1 else f"{min(values)}–{max(values)}"

    problems = spread({curve.problems for curve in curves})
    return f"{problems} problem{'s' * (problems != '1')}, n = {spread({curve.n for curve in curves})}"


def _legend_entries(labels: Sequence[str], width: float) -> tuple[list[Any], int]:
    """Handles of the legend, ordered to read row by row, and its columns. width: of the picture, inches."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D([], [], **{**_marker(index, False), **_style(index)}, linewidth=1.8, label=label)
        for index, label in enumerate(labels)
    ]
    grey = "#666666"
    hollow = {**_marker(0, True), "color": grey, "linestyle": "-"}
    handles.append(Line2D([], [], **hollow, linewidth=0.9, label="k > n/4: uncertain"))
    if len(labels) <= MOST_BANDS:
        handles.append(Patch(color=grey, alpha=0.25, linewidth=0, label="95% band, pointwise"))
    widest = max(len(handle.get_label()) for handle in handles)
    columns = max(1, min(len(handles), int(width / (0.068 * widest + 0.68))))
    # matplotlib fills a legend column by column.
    return [handle for column in range(columns) for handle in handles[column::columns]], columns


def save_picture(figure: Figure, out: Path) -> None:
    """Write a figure by the suffix of `out`, same numbers to same bytes.

    Raises UserError where the file cannot be written.
    """
    suffix = out.suffix.lower()
    # No dates and no version in the file: the same numbers give the same bytes.
    undated = {
        ".png": {"Software": None},
        ".svg": {"Date": None, "Creator": None},
        ".pdf": {"CreationDate": None},
    }
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, format=suffix[1:], metadata=undated[suffix])
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror}); give another --out") from error


def _table(labelled: LabelledCurves) -> list[str]:
    """Pass@k in % at powers of two and n, for the terminal; ~ where k > n/4."""
    lines = []
    for label, curves in labelled:
        for name, curve in curves.items():
            points = [
                f"{'~' if curve.uncertain[k - 1] else ''}{100 * curve.value[k - 1]:.1f} @{k}"
                for k in majority_ks(int(curve.k[-1]))
            ]
            lines.append(f"{label}  {name}: {'  '.join(points)}")
            if curve.missing:
                lines.append(f"  incomplete: {curve.missing:,} planned samples of {name} are not there yet")
    return [*lines, "~ uncertain: k > n/4"]

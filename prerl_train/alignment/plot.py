"""The picture of an alignment study: responses above, tokens below.

Covers drawing; the numbers come from summary.py. Reads in grey, and the same input gives
the same bytes. matplotlib is imported when a picture is drawn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prerl_eval.errors import RunStopped
from prerl_eval.plots import COLOURS, FAINT, MATPLOTLIB

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OWN, OTHER = COLOURS[0], COLOURS[2]

TOKEN_PANELS = {
    "p_y": "p(y), without the prompt",
    "p_yx": "p(y|x), with the prompt",
    "entropy_yx": "entropy with the prompt, nats",
    "relative_position": "position, share of the length",
}
"""Kind of bin that is drawn -> its axis label; alignment.json has the others too."""


def plot_alignment(
    rows: Sequence[Mapping[str, Any]], tokens: Mapping[str, Any], title: str, out: Path
) -> None:
    """Draw the study into `out` (a PNG), replacing it at once; without tokens the upper row alone.

    rows: of the responses. tokens: from `summarise_tokens`. Raises RunStopped where `out` cannot be
    written.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with mpl.rc_context({**mpl.rcParamsDefault, **MATPLOTLIB}):
        layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08, wspace=0.03, hspace=0.05)
        figure = Figure(figsize=(11.5, 6.4 if tokens["n"] else 3.4), dpi=150, layout=layout)
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(2 if tokens["n"] else 1, 12)
        _cosines(figure.add_subplot(grid[0, :4]), rows)
        _mispaired(figure.add_subplot(grid[0, 4:8]), rows)
        _step(figure.add_subplot(grid[0, 8:]), rows)
        if tokens["n"]:
            _token_panels([figure.add_subplot(grid[1, 3 * i : 3 * i + 3]) for i in range(4)], tokens)
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        _save(figure, out)


def _cosines(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    own = np.array([row["cosine"] for row in rows])
    other = np.array([row["mispaired_cosine"] for row in rows])
    edges = np.histogram_bin_edges(np.concatenate([own, other]), bins=20).tolist()
    axes.hist(other, edges, color=OTHER, alpha=0.75, label=f"another prompt, mean {other.mean():.2f}")
    axes.hist(
        own, edges, histtype="step", color=OWN, linewidth=1.8, label=f"its prompt, mean {own.mean():.2f}"
    )
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    _finish(axes, "Whole responses", "cosine of grad log P(y) and grad log P(y|x)", "responses")


def _mispaired(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    own = np.array([row["cosine"] for row in rows])
    other = np.array([row["mispaired_cosine"] for row in rows])
    correct = np.array([row["status"] == "correct" for row in rows])
    _diagonal(axes, np.concatenate([own, other]))
    _points(axes, other, own, correct)
    _finish(axes, "Against another problem's prompt", "cosine, another prompt", "cosine, its prompt")


def _step(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    predicted = 1000 * np.array([row["predicted"] for row in rows])
    realised = 1000 * np.array([row["realised"] for row in rows])
    correct = np.array([row["status"] == "correct" for row in rows])
    _diagonal(axes, np.concatenate([predicted, realised]))
    _points(axes, predicted, realised, correct)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    _finish(
        axes, "One step on log P(y)", "predicted change of log P(y|x), 1/1000 nats", "realised, 1/1000 nats"
    )


def _points(axes: Axes, x: np.ndarray, y: np.ndarray, correct: np.ndarray) -> None:
    style: dict[str, Any] = {"linestyle": "none", "markersize": 5, "color": OWN, "markeredgewidth": 0.9}
    axes.plot(x[correct], y[correct], marker="o", label="correct", **style)
    axes.plot(x[~correct], y[~correct], marker="o", markerfacecolor="white", label="not correct", **style)


def _diagonal(axes: Axes, values: np.ndarray) -> None:
    ends = [float(values.min()), float(values.max())]
    axes.plot(ends, ends, color="#999999", linewidth=0.9, linestyle=(0, (4, 3)))


def _token_panels(panels: Sequence[Axes], tokens: Mapping[str, Any]) -> None:
    """One panel per kind of bin, all on one scale."""
    ends = [
        value
        for kind in TOKEN_PANELS
        for found in tokens["bins"][kind]
        for value in (found["mean"], found["low"], found["high"])
        if value is not None
    ]
    room = 0.12 * (max(ends, default=1.0) - min(ends, default=0.0)) + 0.02
    for index, (axes, (kind, label)) in enumerate(zip(panels, TOKEN_PANELS.items(), strict=True)):
        _bin_panel(axes, tokens["bins"][kind])
        axes.set_ylim(min(ends, default=0.0) - room, max(ends, default=1.0) + room)
        heading = f"{tokens['n']:,} tokens (n above each bin)" if index == 0 else ""
        _finish(axes, heading, label, "mean cosine" if index == 0 else "")


def _bin_panel(axes: Axes, bins: Sequence[Mapping[str, Any]]) -> None:
    shown = [found for found in bins if found["mean"] is not None]
    places = np.arange(len(shown))
    means = np.array([found["mean"] for found in shown])
    low = np.array([found["mean"] if found["low"] is None else found["low"] for found in shown])
    high = np.array([found["mean"] if found["high"] is None else found["high"] for found in shown])
    axes.vlines(places, low, high, color=OWN, linewidth=1.2)
    axes.plot(places, means, "o", color=OWN, markersize=5)
    for place, found in zip(places, shown, strict=True):
        axes.annotate(
            f"{found['n']:,}", (place, 1.0), xycoords=("data", "axes fraction"), ha="center", va="bottom",
            fontsize=7, color="#666666",
        )  # fmt: skip
    # "0.2-0.5" as ".2–.5": five of them must fit beside each other.
    short = [
        re.sub(r"0(?=\.)", "", found["bin"]).replace("-", "–").replace(" and more", "+") for found in shown
    ]
    axes.set_xticks(places, short, fontsize=7.5)
    axes.set_xlim(-0.6, len(shown) - 0.4)


def _finish(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=9, fontweight="bold", pad=12)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, out: Path) -> None:
    temporary = out.with_name(f".{out.name}.tmp")
    try:
        figure.savefig(temporary, format="png", metadata={"Software": None})
        temporary.rename(out)
    except OSError as error:
        raise RunStopped(
            f"cannot write {out} ({error.strerror}); every measurement is safe, make room and repeat"
        ) from error

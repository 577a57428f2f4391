"""The picture of `prerl-eval compare`: the Pass@k difference to the base, a panel per benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prerl_eval.metrics import majority_ks
from prerl_eval.panels import (
    GREY,
    Panel,
    band,
    draw_panels,
    legend_band,
    legend_line,
    marker,
    power_ticks,
    style,
)
from prerl_eval.plots import INK, MOST_BANDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_differences(comparison: Mapping[str, Any], out: Path) -> None:
    """Draw what `compare` returned: a line per method with its simultaneous band, hollow where k > n/4.

    A dotted line marks each crossover that is claimed. Raises UserError for a suffix other than png,
    svg, pdf or where the file cannot be written.
    """
    methods = [method["name"] for method in comparison["methods"]]
    entries = comparison["comparisons"]
    names = list(dict.fromkeys(entry["benchmark"] for entry in entries))
    panels = []
    for name in names:
        shown = {methods.index(entry["method"]) + 1: entry for entry in entries if entry["benchmark"] == name}
        problems = next(iter(shown.values()))["problems"]
        difference = f"Pass@k minus {comparison['base']['name']}'s (points)"
        panels.append(
            Panel(
                name, f"{problems} problems", "k, samples per problem", difference, _draw(shown, len(methods))
            )
        )
    # The first style is the base's, in pictures that show it beside these.
    handles = [
        legend_line(name, **{**marker(index), **style(index)}) for index, name in enumerate(methods, start=1)
    ]
    hollow = {**marker(0, hollow=True), "color": GREY, "linestyle": "-", "linewidth": 0.9}
    handles.append(legend_line("k > n/4: uncertain", **hollow))
    handles.append(legend_line("crossover", color=GREY, linestyle=(0, (1, 1.5)), linewidth=1.2))
    if len(methods) <= MOST_BANDS:
        handles.append(legend_band("95% band, whole curve"))
    draw_panels(panels, handles, out)


def _draw(entries: Mapping[int, Mapping[str, Any]], methods: int) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        axes.axhline(0, color=INK, linewidth=0.9)
        largest = 1
        for index, entry in entries.items():
            curve = entry["pass"]
            k = np.asarray(curve["k"])
            largest = max(largest, int(k[-1]))
            value = 100 * np.asarray(curve["difference"])
            low, high = 100 * np.asarray(curve["band"], dtype=np.float64).T  # NaN for one problem
            if methods <= MOST_BANDS:
                band(axes, index, k, low, high)
            split = int((~np.asarray(curve["uncertain"])).sum())  # uncertain is k > n/4: one cut
            axes.plot(k[:split], value[:split], **style(index))
            axes.plot(k[max(split - 1, 0) :], value[max(split - 1, 0) :], **style(index, thin=True))
            for place in majority_ks(int(k[-1])):
                axes.plot([place], [value[place - 1]], **marker(index, hollow=place > split))
            if entry["crossover"]["claimed"]:
                place = entry["crossover"]["k"]
                axes.axvline(place, color=style(index)["color"], linestyle=(0, (1, 1.5)), linewidth=1.2)
        power_ticks(axes, 1, largest)

    return draw

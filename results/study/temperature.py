"""Is what training does to be had by temperature? Base and trained models, sampled at each temperature.

Covers Avg and Pass@32, their differences, and the picture of one over the other. The benchmark's own
temperature is 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from results.study.committed import BASE, Committed, Tested
from results.study.contrasts import Contrast, difference, levels, scores
from results.study.markdown import DASH, Cell, Rows, adjusted, ranged, spread, tables
from results.study.pictures import figure, line_style
from results.study.roles import main_arms

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KS = (1, 32)
OWN = 1.0

Swept = dict[str, dict[float, Tested]]
"""Model -> temperature -> its counts."""


def temperature_table(data: Committed) -> str:
    """Avg and Pass@32 of each model at each temperature."""
    blocks: dict[str, Rows] = {}
    for benchmark, models in sweeps(data).items():
        blocks[benchmark] = [
            [name, f"{t:g}", f"{len(one.seeds)}", *(_level(name, one, k) for k in KS)]
            for name, at in models.items()
            for t, one in at.items()
        ]
    return tables(["", "T", "seeds", "Avg", "Pass@32"], blocks)


def temperature_tests_table(data: Committed) -> str:
    """Trained models at T = 1 less the base at each T, trained models at each T less the base at T = 1."""
    blocks: dict[str, Rows] = {}
    said = []
    for benchmark, models in sweeps(data).items():
        base = models.get(BASE, {})
        if OWN not in base:
            continue
        rows: list[list[Cell]] = []
        for name, at in models.items():
            if name != BASE and OWN in at:
                rows += [_row(name, OWN, at[OWN], t, one) for t, one in base.items()]
                rows += [_row(name, t, one, OWN, base[OWN]) for t, one in at.items() if t != OWN]
        blocks[benchmark] = rows
    blocks = adjusted(blocks)
    for benchmark, done in blocks.items():
        said += [f"{benchmark}: {line}" for line in temperature_verdicts(done)]
    return "\n\n".join([tables(["", "T", "less base at T", "Avg", "Pass@32"], blocks), *said])


def _row(name: str, t: float, one: Tested, base_t: float, base: Tested) -> list[Cell]:
    found = [difference(base.counts, one.counts, k, fixed=1) for k in KS]
    return [name, f"{t:g}", f"{base_t:g}", *(DASH if cell is None else cell for cell in found)]


def temperature_verdicts(rows: Rows) -> list[str]:
    """Of each trained model at T = 1: is its Avg above the base's at every T, by the tests after Holm?"""
    made = []
    for name in dict.fromkeys(str(row[0]) for row in rows):
        tests = {str(row[2]): row[3] for row in rows if row[0] == name and row[1] == f"{OWN:g}"}
        called = {t: cell.sign for t, cell in tests.items() if isinstance(cell, Contrast)}
        reached = [t for t, sign in called.items() if sign <= 0]
        made.append(
            f"{name} at T = 1 has an Avg above the base's at every T tried."
            if not reached
            else f"{name} at T = 1 is not told to have an Avg above the base's at T = {', '.join(reached)}."
        )
    return made


def sweeps(data: Committed) -> dict[str, Swept]:
    """Benchmark -> the models that were sampled at more than one temperature there."""
    measures = [measure for measure in data.study.measures.values() if measure.temperature is not None]
    made: dict[str, Swept] = {}
    for benchmark in dict.fromkeys(name for measure in measures for name in measure.benchmarks):
        temperatures = sorted({measure.temperature for measure in measures if measure.temperature})
        for name in [BASE, *main_arms(data)]:
            step = 0 if name == BASE else data.steps
            found = {t: data.at(name, step, benchmark, t) for t in temperatures if t != OWN}
            found[OWN] = data.at(name, step, benchmark)
            there = {t: one for t, one in sorted(found.items()) if one}
            if len(there) > 1:
                made.setdefault(benchmark, {})[name] = there
    return made


def _level(name: str, one: Tested, k: int) -> str:
    side = scores(one.counts, k)
    if side is None:
        return DASH
    return ranged(*levels(side)) if name == BASE else spread(side.mean(axis=1))


def temperature_points(data: Committed) -> dict[str, dict[str, list[tuple[float, float, float]]]]:
    """Benchmark -> model -> (T, Avg, Pass@32) in %, means over seeds."""

    def mean(one: Tested, k: int) -> float:
        side = scores(one.counts, k)
        return float("nan") if side is None else 100 * float(side.mean())

    return {
        benchmark: {
            name: [(t, mean(one, KS[0]), mean(one, KS[1])) for t, one in at.items()]
            for name, at in models.items()
        }
        for benchmark, models in sweeps(data).items()
    }


def temperature_picture(data: Committed, out: Path) -> None:
    """Pass@32 over Avg, a line per model through its temperatures, each named."""
    points = temperature_points(data)

    def draw(axes: Axes, models: dict[str, list[tuple[float, float, float]]]) -> None:
        for index, (name, at) in enumerate(models.items()):
            axes.plot([x for _, x, _ in at], [y for _, _, y in at], label=name, **line_style(index))
            for t, x, y in at:
                axes.annotate(f"{t:g}", (x, y), xytext=(4, 4), textcoords="offset points", fontsize=7)
        axes.set_ylabel("Pass@32 (%)")

    if points:
        figure(list(points.items()), draw, "Avg (%), at each temperature", out)

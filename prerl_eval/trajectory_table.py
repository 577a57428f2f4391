"""The table and the CSV of `prerl-eval trajectory`: at most 100 columns, a row per training step.

Covers layout; the numbers are trajectory.py's, the picture trajectory_plot.py's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prerl_eval.comparison.support import RATES
from prerl_eval.layout import percent, wrapped
from prerl_eval.plots import write_table

LEGEND = (
    "Scores in %. retention: of the problems that the first step solves in so many samples, the share that "
    "this step solves in as many; discovery: of those that this step solves, the share that the first step "
    "does not. (in brackets): what an unchanged model shows; *: differs from that at the 5% level, each "
    "test by itself. cut: stopped at the token limit. rare: expected numbers of problems (single correct "
    "solutions) that the first step reaches with a chance of at most 5%; recovered: reached again after the "
    "step before missed them, in brackets by luck alone; new: never reached by the first step."
)


def draw_trajectory(
    facts: Mapping[str, Any], out: Path | None = None, csv_file: Path | None = None
) -> list[str]:
    """The lines of the table for what `measure_trajectory` returned; writes picture and CSV."""
    lines = render_trajectory(facts)
    if csv_file is not None:
        write_trajectory_csv(facts, csv_file)
        lines.append(f"wrote {csv_file}")
    if out is not None:
        from prerl_eval.trajectory_plot import plot_trajectory

        plot_trajectory(facts, out)
        lines.append(f"wrote {out}")
    return lines


def render_trajectory(facts: Mapping[str, Any]) -> list[str]:
    """A table per benchmark of at most 100 columns, a row per step, and what stands in it."""
    lines = [line for note in facts["notes"] for line in wrapped(f"note: {note}", "")]
    for name, entry in facts["benchmarks"].items():
        stages = entry["stages"]
        n, support = min(stage["n"] for stage in stages), stages[-1]["support"]
        unchanged = support["null"]
        at = f"; retention, discovery in {support['matched']['m']} samples" if unchanged else ""
        lines += ["", f"{name}, {entry['problems']} problems, n = {n}{at}"]
        shown = [k for k in (8, 32) if k < n] + [n] * (n > 1)
        titles = "".join(f"  {f'Pass@{k}':>8}" for k in shown)
        lines.append(
            f"{'step':>8}  {f'Avg@{n}':>7}  {'95%':>11}{titles}  {'retention':>9}  {'discovery':>9}"
            f"  {'tokens':>6}  {'cut':>5}"
        )
        lines += [_row(stage, shown) for stage in stages]
        for which in ("problems", "solutions"):
            lines += _rare_rows([(stage["step"], stage["rare"][which]) for stage in stages[1:]], which)
    return [*lines, "", *wrapped(LEGEND, "")]


def _row(stage: Mapping[str, Any], shown: Sequence[int]) -> str:
    passed = "".join(f"  {percent(stage['pass'].get(str(k))):>8}" for k in shown)
    tokens = "–" if stage["mean_tokens"] is None else f"{stage['mean_tokens']:.0f}"
    rates = "".join(f"  {_rate(stage['support'], name):>9}" for name in ("retention", "discovery"))
    avg = f"{percent(stage['avg']):>7}  {'–'.join(map(percent, stage['avg_ci'])):>11}"
    return f"{stage['step']:>8,}  {avg}{passed}{rates}  {tokens:>6}  {percent(stage['truncated']):>5}"


def _rare_rows(stages: Sequence[tuple[int, Mapping[str, Any] | None]], which: str) -> list[str]:
    """What became of the problems or solutions that the first step reaches seldom, a row per step."""
    known = [(step, stage) for step, stage in stages if stage]
    if not known:
        return []
    title = f"rare {which} @{known[0][1]['m']}"
    lines = [f"{'step':>8}  {title:>20}  {'kept':>14}  {'lost':>7}  {'recovered':>14}  {'new':>14}"]
    for step, stage in known:
        kept = _beside(percent(stage["survival"]["value"]), stage["excess"], percent(stage["null_survival"]))
        recovered = _beside(_count(stage["recovered"]), None, _count(stage["expected_recovered"]))
        new = _beside(_count(stage["new"]), stage["excess_new"], _count(stage["null_new"]))
        lines.append(
            f"{step:>8,}  {_count(stage['rare']):>20}  {kept:>14}  {_count(stage['lost']):>7}"
            f"  {recovered:>14}  {new:>14}"
        )
    return lines


def _beside(value: str, excess: Mapping[str, Any] | None, unchanged: str) -> str:
    """A figure, * where it differs from an unchanged model's, and that in brackets."""
    differs = excess is not None and excess["p"] is not None and excess["p"] < 0.05
    return f"{value}{'*' if differs else ''} ({unchanged})"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _rate(support: Mapping[str, Any], name: str) -> str:
    """A rate in %, * where it differs from an unchanged model's; that model's own in brackets."""
    if "matched" not in support:
        return f"({percent(support['null'][name]['value'])})" if support["null"] else "–"
    if support["matched"] is None:
        return percent(support["at_n"][name]["value"])
    excess = support["excess"][name]
    differs = excess["p"] is not None and excess["p"] < 0.05
    return percent(support["matched"][name]["value"]) + ("*" if differs else " ")


def write_trajectory_csv(facts: Mapping[str, Any], file: Path) -> None:
    """benchmark, step, measure, value, lo, hi: a row per figure, fractions of 1 (tokens: tokens)."""
    rows = []
    for name, entry in facts["benchmarks"].items():
        for stage in entry["stages"]:
            figures: list[tuple[str, float | None, Sequence[float] | None]] = [
                ("avg", stage["avg"], stage["avg_ci"])
            ]
            figures += [(f"pass@{k}", value, stage["pass_ci"][k]) for k, value in stage["pass"].items()]
            figures += [(key, stage[key], None) for key in ("mean_tokens", "truncated", "unparsed")]
            for which in ("at_n", "matched", "null"):
                support = stage["support"].get(which)
                for rate in RATES if support else ():
                    share = support[rate]
                    figures.append((f"{rate}_{which}", share["value"], [share["low"], share["high"]]))
            figures += [
                (f"rare_{which}_{key}", found[key], None)
                for which, found in stage["rare"].items()
                if found
                for key in ("rare", "survived", "lost", "recovered", "new")
            ]
            rows += [
                [name, stage["step"], measure, value, *(ends or (None, None))]
                for measure, value, ends in figures
                if value is not None
            ]
    write_table(file, ["benchmark", "step", "measure", "value", "lo", "hi"], rows)

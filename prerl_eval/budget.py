"""`prerl-eval budget`: accuracy against token budget, from one run, by truncation.

At budget B a response of more than B completion tokens (the end token counts) counts as cut and not
correct; the others keep their verdicts. That is the score of this model, prompted as it was, if every
response were stopped at B. Its limits: a model that knew its budget might answer sooner, so this is a
lower bound on what it can do with B; and a response that stood with a correct answer at B and went on
counts as not correct here, where a run with --max-tokens B would still find that answer.

Covers numbers, table, JSON and CSV; the picture is budget_plot.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from prerl_eval.errors import UserError
from prerl_eval.grading.verdict import UNSCORED
from prerl_eval.layout import WIDTH, percent, shorten, wrapped
from prerl_eval.metrics import Floats, interval, majority_ks, pass_at_k_table
from prerl_eval.plots import check_files, run_labels, write_table
from prerl_eval.run_record import read_record
from prerl_eval.store import read_samples
from prerl_eval.tally import tally_run

POINTS = 12
"""Budgets of the table, where the command names none."""

Measured = Sequence[tuple[str, Mapping[str, "BudgetCurve"]]]
"""(label of the run, benchmark -> its curve), in the order of the legend."""

LEGEND = (
    "Scores in %. ended: responses that end within the budget. tokens: spent per response, at most the "
    "budget. A longer response counts as cut and not correct; a model that knew its budget might answer "
    "sooner, so these are lower bounds for a model told to be brief."
)


@dataclass(frozen=True)
class Lengths:
    """The scored responses of one benchmark: int[N] tokens, bool[N] correct, int[N] problem (0..P-1).

    samples: int[P], scored responses of each problem.
    """

    tokens: NDArray[np.int64]
    correct: NDArray[np.bool_]
    problem: NDArray[np.int64]
    samples: NDArray[np.int64]

    @property
    def n(self) -> int:
        """Samples that every problem has."""
        return int(self.samples.min())

    def correct_within(self, budget: int) -> NDArray[np.int64]:
        """Correct responses of each problem that end within the budget: int[P]."""
        kept = self.problem[self.correct & (self.tokens <= budget)]
        return np.bincount(kept, minlength=len(self.samples))


@dataclass(frozen=True)
class BudgetCurve:
    """Scores of P problems at the budgets B, in tokens.

    passed, low, high: float[B, K], Pass@k at the K values `ks`, with pointwise 95% intervals over
    problems (metrics.interval); k = 1 is Avg@n. ended: float[B], share of responses that end within
    the budget. spent: float[B], mean tokens of a response, at most the budget.
    """

    budgets: tuple[int, ...]
    ks: tuple[int, ...]
    passed: Floats
    low: Floats
    high: Floats
    ended: Floats
    spent: Floats
    problems: int
    n: int


def read_lengths(run: Path, step: int | None = None, benchmarks: Sequence[str] = ()) -> dict[str, Lengths]:
    """Tokens and verdict of every scored response, per benchmark.

    Raises UserError as `tally_run` does, and where a run does not know its responses' tokens.
    """
    tallies = {name: tally for name, tally in tally_run(run, step).items() if tally.n}
    for name in benchmarks:
        if name not in tallies:
            raise UserError(
                f"--bench {name} is not in {run}; it has: {', '.join(tallies) or 'nothing scored'}"
            )
    if not tallies:
        raise UserError(f"{run} holds no scored samples (every gold is bad); see `prerl-eval check`")
    columns = ["benchmark", "problem_id", "step", "status", "tokens", "finish_reason"]
    table = read_samples(run, columns)
    table = table.filter(pc.not_equal(table["status"], UNSCORED))
    if step is not None:
        table = table.filter(pc.equal(table["step"], step))
    found = {}
    for name, tally in tallies.items():
        if benchmarks and name not in benchmarks:
            continue
        rows = table.filter(pc.equal(table["benchmark"], name))
        tokens = np.asarray(pc.fill_null(rows["tokens"], 0), dtype=np.int64)
        if (tokens == 0).any():
            raise UserError(
                f"{run} does not know the tokens of {int((tokens == 0).sum()):,} responses of {name} "
                "(imported?); a budget needs a run that prerl sampled"
            )
        ids = np.asarray(rows["problem_id"].to_pylist(), dtype=object)
        correct = np.asarray(pc.equal(rows["status"], "correct"), dtype=bool)
        problem = np.searchsorted(np.asarray(tally.problem_ids, dtype=object), ids)
        found[name] = Lengths(tokens, correct, problem, tally.samples)
    return found


def budget_curve(lengths: Lengths, budgets: Sequence[int]) -> BudgetCurve:
    """Scores at each budget, for k of powers of two and n."""
    ks = majority_ks(lengths.n)
    columns = [k - 1 for k in ks]
    tables = np.stack(
        [pass_at_k_table(lengths.correct_within(budget), lengths.samples)[:, columns] for budget in budgets],
        axis=1,
    )
    low, high = interval(tables)
    return BudgetCurve(
        budgets=tuple(budgets),
        ks=tuple(ks),
        passed=tables.mean(axis=0),
        low=low,
        high=high,
        ended=np.asarray([(lengths.tokens <= budget).mean() for budget in budgets]),
        spent=np.asarray([np.minimum(lengths.tokens, budget).mean() for budget in budgets]),
        problems=len(lengths.samples),
        n=lengths.n,
    )


def spaced_budgets(lengths: Lengths, limit: int, points: int = POINTS) -> list[int]:
    """About `points` budgets up to the limit, evenly spaced in ratio, of two digits each.

    They begin where the first hundredth of the responses has ended.
    """
    shortest = min(max(1.0, float(np.quantile(lengths.tokens, 0.01))), limit)
    rounded = {round(float(f"{budget:.2g}")) for budget in np.geomspace(shortest, limit, points)}
    return sorted({budget for budget in rounded if 0 < budget < limit} | {limit})


def measure_budgets(
    run: Path,
    *,
    benchmarks: Sequence[str] = (),
    step: int | None = None,
    budgets: Sequence[int] = (),
    points: int = POINTS,
) -> dict[str, BudgetCurve]:
    """The curve of each benchmark of a run. budgets: those to compute; `points` spaced ones where empty.

    Raises UserError as `read_lengths` does, and for a budget below 1 or above the run's token limit:
    nobody knows how the cut responses would have gone on.
    """
    plans = read_record(run)["benchmarks"]
    curves = {}
    for name, lengths in read_lengths(run, step, benchmarks).items():
        limit = plans.get(name, {}).get("max_tokens") or int(lengths.tokens.max())
        wrong = next((budget for budget in budgets if not 1 <= budget <= limit), None)
        if wrong is not None:
            raise UserError(
                f"--budget {wrong} is not within 1 to {limit}, the token limit of {name} in {run}"
            )
        curves[name] = budget_curve(lengths, sorted(set(budgets)) or spaced_budgets(lengths, limit, points))
    return curves


def draw_budget(
    runs: Sequence[Path],
    *,
    benchmarks: Sequence[str] = (),
    step: int | None = None,
    budgets: Sequence[int] = (),
    out: Path | None = None,
    csv_file: Path | None = None,
) -> tuple[list[str], list[dict[str, Any]]]:
    """`prerl-eval budget`: lines to print and the same numbers for JSON; writes picture and CSV.

    JSON: one object per run, {run, benchmarks: {name: {problems, n, budget: [...], ended: [...],
    tokens: [...], pass: {k: [...]}, pass_ci: {k: [[lo, hi], ...]}}}}; k = 1 is Avg@n. Raises UserError
    as `measure_budgets` does, before anything is written.
    """
    check_files(out, csv_file)
    measured = [
        (label, measure_budgets(run, benchmarks=benchmarks, step=step, budgets=budgets))
        for label, run in zip(run_labels(runs), runs, strict=True)
    ]
    lines = render_budget(measured)
    if csv_file is not None:
        write_budget_csv(measured, csv_file)
        lines.append(f"wrote {csv_file}")
    if out is not None:
        from prerl_eval.budget_plot import plot_budget

        fine = [
            (label, measure_budgets(run, benchmarks=benchmarks, step=step, points=4 * POINTS))
            for (label, _), run in zip(measured, runs, strict=True)
        ]
        plot_budget(fine, out)
        lines.append(f"wrote {out}")
    facts = [
        {"run": str(run), "benchmarks": {name: _facts(curve) for name, curve in curves.items()}}
        for run, (_, curves) in zip(runs, measured, strict=True)
    ]
    return lines, facts


def _facts(curve: BudgetCurve) -> dict[str, Any]:
    return {
        "problems": curve.problems,
        "n": curve.n,
        "budget": list(curve.budgets),
        "ended": curve.ended.tolist(),
        "tokens": curve.spent.tolist(),
        "pass": {str(k): curve.passed[:, place].tolist() for place, k in enumerate(curve.ks)},
        "pass_ci": {
            str(k): np.stack([curve.low[:, place], curve.high[:, place]], axis=1).tolist()
            for place, k in enumerate(curve.ks)
        },
    }


def render_budget(measured: Measured) -> list[str]:
    """A table per run and benchmark, a row per budget, and what the numbers are."""
    lines: list[str] = []
    for label, curves in measured:
        for name, curve in curves.items():
            places = {k: place for place, k in enumerate(curve.ks)}
            shown = [k for k in (8, 32) if k in places and k < curve.n] + [curve.n] * (curve.n > 1)
            head = f"{label}  {name}, {curve.problems} problems, n = {curve.n}"
            titles = "".join(f"  {f'Pass@{k}':>8}" for k in shown)
            lines += [
                shorten(head, WIDTH),
                f"  {'budget':>8}  {'ended':>6}  {'tokens':>7}  {f'Avg@{curve.n}':>7}  {'95%':>11}{titles}",
            ]
            for row, budget in enumerate(curve.budgets):
                avg = f"{percent(curve.low[row, 0])}–{percent(curve.high[row, 0])}"
                cells = "".join(f"  {percent(curve.passed[row, places[k]]):>8}" for k in shown)
                lines.append(
                    f"  {budget:>8,}  {percent(curve.ended[row]):>6}  {curve.spent[row]:>7,.0f}  "
                    f"{percent(curve.passed[row, 0]):>7}  {avg:>11}{cells}"
                )
            lines.append("")
    return [*lines, *wrapped(LEGEND, "")]


def write_budget_csv(measured: Measured, file: Path) -> None:
    """All points, fractions of 1: run, benchmark, budget, ended, tokens, k (1 is Avg), pass, lo, hi."""
    rows = [
        [
            label,
            name,
            budget,
            curve.ended[b],
            curve.spent[b],
            k,
            curve.passed[b, i],
            curve.low[b, i],
            curve.high[b, i],
        ]
        for label, curves in measured
        for name, curve in curves.items()
        for b, budget in enumerate(curve.budgets)
        for i, k in enumerate(curve.ks)
    ]
    write_table(file, ["run", "benchmark", "budget", "ended", "tokens", "k", "pass", "lo", "hi"], rows)

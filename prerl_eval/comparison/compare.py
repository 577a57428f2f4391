"""`prerl-eval compare`: every statistic of base against trained, put together per benchmark and method.

Covers which figures are computed from which counts, correction over benchmarks and methods, and the
JSON. What the figures mean: docs/compare.md; how they are shown: render.py and compare_plot.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prerl_eval.comparison.arms import Arm
from prerl_eval.comparison.cost import token_cost
from prerl_eval.comparison.curves import crossover, pass_difference
from prerl_eval.comparison.differences import mean_difference
from prerl_eval.comparison.diversity import (
    Classes,
    answer_classes,
    expected_distinct,
)
from prerl_eval.comparison.facts import plain, support_facts
from prerl_eval.comparison.floor import guessing_floor
from prerl_eval.comparison.paired import PairedMeans, paired_means
from prerl_eval.comparison.paths import paths_of_runs
from prerl_eval.comparison.plan import Plan, plan_comparison
from prerl_eval.comparison.rare_stages import rare_stages, tells_solutions_apart
from prerl_eval.comparison.several import holm
from prerl_eval.comparison.sides import Run, Side, parse_groups
from prerl_eval.comparison.support import support_change
from prerl_eval.comparison.verdict import verdict
from prerl_eval.metrics import Floats, pass_at_k_table


@dataclass(frozen=True)
class Options:
    """What `prerl-eval compare` was asked for; names are the flags'.

    base, others: RUN or NAME=RUN,RUN,... null: a second run of the base. step: where runs hold several.
    paths: also say what became of the base's own responses, where `prerl-eval score` scored them.
    """

    base: str
    others: Sequence[str]
    null: str | None = None
    benchmarks: Sequence[str] = ()
    step: int | None = None
    allow_differences: bool = False
    paths: bool = False


def compare(options: Options) -> dict[str, Any]:
    """All figures of a comparison, JSON-able; see docs/compare.md for every key.

    Raises UserError for groups that cannot be read, runs that are not alike (plan.py, alike.py) and paths
    that were not scored (paths.py).
    """
    texts = [options.base, *options.others, *([options.null] if options.null else [])]
    groups = parse_groups(texts)
    plan = plan_comparison(
        groups[0],
        groups[1 : 1 + len(options.others)],
        null=groups[-1] if options.null else None,
        benchmarks=options.benchmarks,
        step=options.step,
        allow_differences=options.allow_differences,
    )
    if not options.paths:
        return compare_sides(plan)
    first, *more = plan.base.runs
    paths = paths_of_runs(first.path, _trained(plan), list(plan.problems), options.step)
    if more:
        paths["notes"].append(f"paths are of {first.path} alone, the first run of {plan.base.name}")
    return {**compare_sides(plan), "paths": paths}


def _trained(plan: Plan) -> list[tuple[str | None, str]]:
    """Fingerprint and reference of every checkpoint that is compared with the base."""
    runs = [run for side in plan.others for run in side.runs]
    return [(run.fingerprint, run.record.get("checkpoint", {}).get("ref", "PATH")) for run in runs]


def compare_sides(plan: Plan) -> dict[str, Any]:
    """All figures from counts that were read; `compare` without the reading."""
    entries = [_compare_one(plan, name, side) for name in plan.problems for side in plan.others]
    for entry, adjusted in zip(entries, holm([entry["avg"]["p"] for entry in entries]), strict=True):
        entry["avg"]["p_holm"] = plain(adjusted)
        entry["verdict"] = verdict(entry)
    return {
        "base": _about(plan.base),
        "methods": [_about(side) for side in plan.others],
        "null": _about(plan.null) if plan.null else None,
        "notes": list(plan.notes),
        "comparisons": entries,
    }


def _about(side: Side) -> dict[str, Any]:
    return {
        "name": side.name,
        "runs": [str(run.path) for run in side.runs],
        "seeds": len(side.runs),
        "checkpoints": [run.fingerprint for run in side.runs],
    }


def _compare_one(plan: Plan, benchmark: str, side: Side) -> dict[str, Any]:
    base, other = plan.arm(plan.base, benchmark), plan.arm(side, benchmark)
    null = plan.arm(plan.null, benchmark) if plan.null else None
    crossing = crossover(base, other)
    support = support_change(base, other, null)
    facts: dict[str, Any] = {
        "benchmark": benchmark,
        "method": side.name,
        "problems": base.problems,
        "n": {"base": base.n, "method": other.n},
        "seeds": {"base": base.seeds, "method": other.seeds},
        "avg": _averages(base, other),
        "pass": _curves(base, other),
        "crossover": crossing,
        "newly_solved": support.newly_solved,
        "newly_lost": support.newly_lost,
        "support": support_facts(support),
        "rare": rare_stages(plan, benchmark, [side]),
        "distinct": _distinct(plan, benchmark, side),
        "tokens": _tokens(plan, benchmark, side),
        "floor": _floor(plan, benchmark, min(base.n, other.n)),
    }
    entry: dict[str, Any] = plain(facts)
    return entry


def _averages(base: Arm, other: Arm) -> dict[str, Any]:
    """Avg of both sides and their difference, without the correction for several tests."""
    difference = mean_difference(base, other)
    return {
        "base": float((base.correct / base.samples).mean()),
        "method": float((other.correct / other.samples).mean()),
        "difference": difference.value,
        "ci": [difference.low, difference.high],
        "p": difference.p,
        "note": difference.note,
    }


def _curves(base: Arm, other: Arm) -> dict[str, Any]:
    """Pass@k of both sides and their difference for every k that both have."""
    curve = pass_difference(base, other)
    last = len(curve.k)
    return {
        "k": curve.k,
        "base": _passed(base, last),
        "method": _passed(other, last),
        "difference": curve.value,
        "band": np.stack([curve.low, curve.high], axis=1),
        "pointwise": np.stack([curve.point_low, curve.point_high], axis=1),
        "uncertain": curve.uncertain,
    }


def _passed(arm: Arm, last: int) -> Floats:
    """Pass@k of an arm for k = 1..last, over problems and seeds: float[last]."""
    rows = zip(arm.correct, arm.samples, strict=True)
    return np.asarray(np.mean([pass_at_k_table(*row, last).mean(axis=0) for row in rows], axis=0))


def _distinct(plan: Plan, benchmark: str, side: Side) -> dict[str, Any]:
    """Expected distinct answers among as many samples as every problem of both sides has."""
    arms = [plan.arm(one, benchmark) for one in (plan.base, side)]
    k = min(arm.n for arm in arms)

    def compared(classes_of: Callable[[Run], Classes]) -> dict[str, Any]:
        values = [
            np.stack(
                [
                    expected_distinct(classes_of(run), samples, k)
                    for run, samples in zip(one.runs, arm.samples, strict=True)
                ]
            )
            for one, arm in zip((plan.base, side), arms, strict=True)
        ]
        return _paired(paired_means(*values))

    def answers(run: Run) -> Classes:
        classes = answer_classes(run.tallies[benchmark])
        return [classes[place] for place in plan.places(run, benchmark)]

    def solutions(run: Run) -> Classes:
        found = run.solutions[benchmark]
        return [list(found[problem].values()) for problem in plan.problems[benchmark]]

    facts: dict[str, Any] = {"k": k, "answers": compared(answers)}
    if tells_solutions_apart(plan, benchmark, [side]):
        facts["solutions"] = compared(solutions)
    return facts


def _paired(means: PairedMeans) -> dict[str, Any]:
    ci = None if means.low is None else [means.low, means.high]
    return {"base": means.base, "method": means.other, "difference": means.difference, "ci": ci}


def _floor(plan: Plan, benchmark: str, last: int) -> Floats | None:
    """Pass@k for k = 1..last of one who gives the base's answers to other problems; None on Countdown."""
    guesses = plan.base.runs[0].guesses.get(benchmark)
    if guesses is None:
        return None
    return guessing_floor([guesses[problem] for problem in plan.problems[benchmark]], last)


def _tokens(plan: Plan, benchmark: str, side: Side) -> dict[str, Any] | None:
    """Tokens per sample and per correct sample; None where a run does not know its tokens."""
    if any(run.tallies[benchmark].tokens is None for run in (*plan.base.runs, *side.runs)):
        return None
    spent = [plan.counts(one, benchmark, lambda tally: tally.problem_tokens) for one in (plan.base, side)]
    cost = token_cost(plan.arm(plan.base, benchmark), spent[0], plan.arm(side, benchmark), spent[1])
    return {
        "per_sample": _paired(cost.tokens),
        "per_correct": {
            "base": cost.per_correct_base,
            "method": cost.per_correct_other,
            "ratio": cost.ratio,
            "ci": None if cost.ratio_low is None else [cost.ratio_low, cost.ratio_high],
        },
    }


def draw_comparison(facts: Mapping[str, Any], out: Path | None = None) -> list[str]:
    """The lines of the tables for what `compare` returned; writes the picture."""
    from prerl_eval.comparison.render import render_comparison

    lines = [render_comparison(facts)]
    if "paths" in facts:
        from prerl_eval.comparison.paths_render import render_paths

        lines += ["", *render_paths(facts["paths"])]
    if out is not None:
        from prerl_eval.comparison.compare_plot import plot_differences

        plot_differences(facts, out)
        lines.append(f"wrote {out}")
    return lines

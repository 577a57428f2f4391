"""Rare-path survival of runs: problems, and single correct solutions where a grader tells them apart.

Covers the step from a plan's counts and stored solutions to rare.py's units. Does not cover the
statistics (rare.py) or how they are shown.
"""

from __future__ import annotations

from collections.abc import Sequence

from prerl_eval.comparison.plan import Plan
from prerl_eval.comparison.rare import RareStage, rare_survival, trace_arms
from prerl_eval.comparison.sides import Side


def rare_stages(plan: Plan, benchmark: str, series: Sequence[Side]) -> dict[str, list[RareStage] | None]:
    """{"problems": a stage per side of the series, "solutions": the same}.

    No solutions (None) where they are not told apart, and where nobody found one.

    series: later stages of training in order, all against the plan's base and null.
    """
    base = plan.arm(plan.base, benchmark)
    arms = [plan.arm(side, benchmark) for side in series]
    null = plan.arm(plan.null, benchmark) if plan.null else None
    return {
        "problems": rare_survival(base, arms, null),
        "solutions": _solutions(plan, benchmark, series),
    }


def tells_solutions_apart(plan: Plan, benchmark: str, series: Sequence[Side]) -> bool:
    """Whether the grader of all these runs keeps whole solutions."""
    sides = [plan.base, *series, *([plan.null] if plan.null else [])]
    return all(benchmark in run.solutions for side in sides for run in side.runs)


def _solutions(plan: Plan, benchmark: str, series: Sequence[Side]) -> list[RareStage] | None:
    if not tells_solutions_apart(plan, benchmark, series):
        return None
    sides = [plan.base, *series, *([plan.null] if plan.null else [])]
    arms, problem_of = trace_arms(
        [(plan.arm(side, benchmark), [run.solutions[benchmark] for run in side.runs]) for side in sides]
    )
    if not problem_of:
        return None
    last = 1 + len(series)
    return rare_survival(arms[0], arms[1:last], arms[last] if plan.null else None, problem_of)

"""Pass@k to the largest k on the hard set, by kind of problem, and where curves cross.

Covers the base, GRPO and both warm-ups on countdown-hard. Does not cover the estimators: metrics.pass_curve,
comparison.curves.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from prerl_eval.comparison.curves import Crossover, crossover
from prerl_eval.metrics import Curve, majority_ks
from prerl_eval.plots import plot_passk
from results.study.committed import BASE, Committed, Tested
from results.study.contrasts import curve_scores, difference, levels
from results.study.markdown import DASH, Cell, Rows, ranged, tables
from results.study.roles import METHOD, REFERENCE, RL_WARMUP

BENCHMARK = "countdown-hard"
PROBLEMS = Path(__file__).parents[2] / "benchmarks" / BENCHMARK / "test.jsonl"
SHOWN = (BASE, REFERENCE, METHOD, RL_WARMUP)
PAIRS = tuple((BASE, arm) for arm in SHOWN[1:]) + tuple((REFERENCE, arm) for arm in SHOWN[2:])


def hard_table(data: Committed) -> str:
    """Pass@k of each model at powers of two, by kind of problem; ~ where k > n/4."""
    groups = hard_groups(data)
    ks = shown_ks(groups)
    blocks: dict[str, Rows] = {}
    for title, models in groups.items():
        rows = []
        for name, one in models.items():
            curve = hard_curve(one)
            cells = [
                "~" * bool(curve.uncertain[k - 1])
                + ranged(curve.value[k - 1], curve.low[k - 1], curve.high[k - 1])
                if k <= curve.n
                else DASH
                for k in ks
            ]
            rows.append([name, f"{len(one.seeds)}", *cells])
        blocks[title] = rows
    return tables(["", "seeds", *(f"Pass@{k}" for k in ks)], blocks)


def hard_tests_table(data: Committed) -> str:
    """Differences at three k, and the k from which on the other curve is above, by kind."""
    groups = hard_groups(data)
    blocks: dict[str, Rows] = {}
    ks = shown_ks(groups)
    ks = [ks[0], ks[len(ks) // 2], ks[-1]] if len(ks) > 2 else ks
    for title, models in groups.items():
        rows: list[list[Cell]] = []
        for base, other in PAIRS:
            if base in models and other in models:
                one, two = models[base].counts, models[other].counts
                found = [difference(one, two, k, fixed=int(base == BASE)) for k in ks]
                cells: list[Cell] = [DASH if cell is None else cell for cell in found]
                rows.append([f"{other} less {base}", *cells, crossing(crossover(one, two))])
        blocks[title] = rows
    return tables(["", *(f"Pass@{k}" for k in ks), "curves cross at k"], blocks)


def hard_picture(data: Committed, out: Path) -> None:
    """Curves with bands of the base, GRPO and DSRL, a panel for each kind of problem."""
    _draw(data, (BASE, REFERENCE, METHOD), out)


def warmups_picture(data: Committed, out: Path) -> None:
    """The same of GRPO and both warm-ups."""
    _draw(data, (REFERENCE, METHOD, RL_WARMUP), out)


def _draw(data: Committed, names: tuple[str, ...], out: Path) -> None:
    labelled = [
        (
            name,
            {
                title: hard_curve(models[name])
                for title, models in hard_groups(data).items()
                if name in models
            },
        )
        for name in names
    ]
    there = [(name, curves) for name, curves in labelled if curves]
    if len(there) > 1:
        plot_passk(there, out)


def hard_groups(data: Committed) -> dict[str, dict[str, Tested]]:
    """Title of a group of problems -> model -> its counts there; the whole set first."""
    steps = {name: 0 if name == BASE else data.steps for name in SHOWN}
    found = {name: data.at(name, step, BENCHMARK) for name, step in steps.items()}
    there = {name: one for name, one in found.items() if one is not None}
    if not there:
        return {}
    kinds = kinds_of_problems()
    groups = {"all": there}
    for kind in sorted(set(kinds.values())):
        wanted = [problem for problem, its in kinds.items() if its == kind]
        groups[kind] = {name: one.of_problems(wanted) for name, one in there.items()}
    return {
        title: models
        for title, models in groups.items()
        if all(one.counts.problems for one in models.values())
    }


def kinds_of_problems() -> dict[str, str]:
    """Problem -> how many numbers it has, and whether one solution or more."""
    rows = map(json.loads, PROBLEMS.read_text(encoding="utf-8").splitlines())
    return {
        row["id"]: f"{row['digits']} numbers, {'one solution' if row['solutions'] == 1 else 'several'}"
        for row in rows
    }


def hard_curve(one: Tested) -> Curve:
    """Pass@k of a method: the mean over seeds with a pointwise band over problems and seeds."""
    n = one.counts.n
    k = np.arange(1, n + 1)
    return Curve(k, *levels(curve_scores(one.counts, n)), 4 * k > n, n, one.counts.problems)


def shown_ks(groups: dict[str, dict[str, Tested]]) -> list[int]:
    """Every second power of two, and the largest n."""
    n = max((one.counts.n for models in groups.values() for one in models.values()), default=0)
    return sorted({k for i, k in enumerate(majority_ks(n)) if i % 2 == 0} | ({n} if n else set()))


def crossing(found: Crossover) -> str:
    """Where two curves cross: with an interval where that is claimed."""
    if found.claimed:
        return f"{found.k} ({found.low}–{found.high})"
    return "not seen" if found.k is None else f"at {found.k}, not more than luck may do"

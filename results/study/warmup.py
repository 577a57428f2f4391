"""How long a warm-up: DSRL by the number S of its updates on log P(y), at two budgets.

Covers the table, the picture, and two contrasts fixed beforehand: a trend in S, and an optimum within 10-25
updates as the paper has it. S = 0 is GRPO. Does not cover the warm-up's learning rate (looks.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from prerl_eval.metrics import Floats
from results.study.committed import Committed, Tested
from results.study.contrasts import Contrast, contrast, scores
from results.study.markdown import Cell, Rows, score_name, spread, tables, written
from results.study.pictures import panels
from results.study.roles import warmup_arms

KS = (1, 32)
FEWEST = 3
OPTIMUM = (10, 25)
BUDGETS = ("{} updates in all", "{} updates after the warm-up")


def warmup_table(data: Committed) -> str:
    """Avg and Pass@32 by S, mean ± sd over seeds, at both budgets."""
    head = ["warm-up S", "seeds", *(f"{name} {score_name(k)}" for name in data.sets for k in KS)]
    blocks: dict[str, Rows] = {}
    for budget, steps in _budgets(data).items():
        rows: list[list[Cell]] = []
        for s, arm in warmup_arms(data).items():
            found = [data.at(arm, steps(s), name) for name in data.sets]
            if any(found):
                seeds = next(str(len(one.seeds)) for one in found if one)
                cells = [_spread(one, k) for one in found for k in KS]
                rows.append([f"{s}", seeds, *cells])
        if len(rows) > 1:
            blocks[budget] = rows
    return tables(head, blocks)


def warmup_tests_table(data: Committed) -> str:
    """Points per ten updates of warm-up, and the mean over S in 10-25 less that over the other S."""
    head = ["", "contrast over S", *(f"{name} {score_name(k)}" for name in data.sets for k in KS)]
    rows: list[list[Cell]] = []
    for budget, steps in _budgets(data).items():
        arms = {s: arm for s, arm in warmup_arms(data).items() if steps(s) in data.steps_of(arm)}
        for name, weights, scale in _contrasts(list(arms)):
            cells: list[Cell] = []
            for benchmark in data.sets:
                there = [data.at(arm, steps(s), benchmark) for s, arm in arms.items()]
                cells += [_over(there, k, weights, scale) or written(None) for k in KS]
            rows.append([budget, name, *cells])
    return tables(head, {"": rows})


def warmup_picture(data: Committed, out: Path) -> None:
    """Avg and Pass@32 by S on each set: a point per seed, a line through the means; one line per budget.

    Nothing is drawn of fewer than three S.
    """
    lines = warmup_points(data)
    shown = [
        (f"{name}, {score_name(k)} (%)", lines[name, k])
        for name in data.sets
        for k in KS
        if max(map(len, lines.get((name, k), {}).values()), default=0) >= FEWEST
    ]
    if shown:
        panels(shown, "warm-up S, updates", out)


def warmup_points(data: Committed) -> dict[tuple[str, int], dict[str, list[tuple[float, Floats]]]]:
    """(benchmark, k) -> budget -> (S, score of each seed in %)."""
    made: dict[tuple[str, int], dict[str, list[tuple[float, Floats]]]] = {}
    for budget, steps in _budgets(data).items():
        for s, arm in warmup_arms(data).items():
            for name in data.sets:
                one = data.at(arm, steps(s), name)
                for k in KS:
                    side = scores(one.counts, k) if one else None
                    if side is not None:
                        points = made.setdefault((name, k), {}).setdefault(budget, [])
                        points.append((float(s), 100 * side.mean(axis=1)))
    return made


def _budgets(data: Committed) -> dict[str, Callable[[int], int]]:
    """Budget -> the step at which a model with S updates of warm-up has spent it."""
    total, after = (text.format(data.steps) for text in BUDGETS)
    return {total: lambda s: data.steps, after: lambda s: data.steps + s}


def trend_weights(lengths: Sequence[int]) -> tuple[Floats, float]:
    """Weights of a least-squares line through the means, and what makes points per ten updates of them.

    The weights are S less its mean, over the sum of the positive ones; the slope is their contrast times
    that sum over the sum of squares.
    """
    centred = np.asarray(lengths, dtype=np.float64) - np.mean(lengths)
    above = float(np.maximum(centred, 0).sum())
    return centred / above, 10 * above / float((centred**2).sum())


def optimum_weights(lengths: Sequence[int]) -> Floats:
    """Mean over the S within OPTIMUM less the mean over the others; NaN where either are none."""
    inside = np.array([OPTIMUM[0] <= s <= OPTIMUM[1] for s in lengths])
    if inside.all() or not inside.any():
        return np.full(len(lengths), np.nan)
    return np.asarray(np.where(inside, 1 / inside.sum(), -1 / (~inside).sum()))


def _contrasts(lengths: Sequence[int]) -> list[tuple[str, Floats, float]]:
    """Name, weights and scale of each contrast that these S allow."""
    if len(lengths) < FEWEST:
        return []
    slope, scale = trend_weights(lengths)
    made = [("points per 10 updates", slope, scale)]
    weights = optimum_weights(lengths)
    if not np.isnan(weights).any():
        groups = [
            ", ".join(str(s) for s, w in zip(lengths, weights, strict=True) if (w > 0) == up) for up in (1, 0)
        ]
        made.append((f"S = {groups[0]} less S = {groups[1]}", weights, 1.0))
    return made


def _over(arms: Sequence[Tested | None], k: int, weights: Floats, scale: float) -> Contrast | None:
    sides = [scores(one.counts, k) if one else None for one in arms]
    there = [side for side in sides if side is not None]
    return contrast(there, list(weights), scale=scale) if len(there) == len(sides) else None


def _spread(one: Tested | None, k: int) -> str:
    side = scores(one.counts, k) if one else None
    return spread(None if side is None else side.mean(axis=1))

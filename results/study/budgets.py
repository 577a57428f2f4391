"""Both warm-ups against GRPO at equal budgets of three kinds.

Equal updates: all updates count alike. Equal RL updates: those on log P(y|x) are as many as GRPO's, the
warm-up comes on top. Equal tokens: the measured step of the method whose tokens sampled in training, mean
over seeds, are nearest to GRPO's.
"""

from __future__ import annotations

from results.study.committed import Committed
from results.study.main_table import DIFFERENCE_KS, less
from results.study.markdown import Cell, millions, score_name, tables
from results.study.roles import METHOD, REFERENCE, RL_WARMUP, warmup


def budgets_table(data: Committed) -> str:
    """Avg and Pass@32 of dsrl and dsrl-rl less GRPO's under each budget, in points."""
    columns = [f"{name} {score_name(k)}" for name in data.sets for k in DIFFERENCE_KS]
    rows: list[list[Cell]] = []
    used = data.mean_tokens(REFERENCE, data.steps)
    for arm in (METHOD, RL_WARMUP):
        budgets = equal_steps(data, arm)
        for step in sorted(set(budgets.values())):
            budget = ", ".join(name for name, at in budgets.items() if at == step)
            cells = less(data, REFERENCE, arm, (data.steps, step))
            spent = f"{millions(data.mean_tokens(arm, step))} / {millions(used)}"
            rows.append([arm, budget, f"{step} / {data.steps}", spent, *cells])
    return tables([f"less {REFERENCE}", "equal", "updates", "tokens", *columns], {"": rows})


def equal_steps(data: Committed, arm: str) -> dict[str, int]:
    """Budget -> the measured step of an arm at which it has been given what GRPO has after its updates."""
    if REFERENCE not in data.rates or arm not in data.rates:
        return {}
    measured = data.steps_of(arm)
    planned = {"updates": data.steps, "RL updates": data.steps + warmup(data, arm)}
    steps = {budget: step for budget, step in planned.items() if step in measured}
    used = data.mean_tokens(REFERENCE, data.steps)
    spent = {step: data.mean_tokens(arm, step) for step in measured}
    known = {step: tokens for step, tokens in spent.items() if tokens is not None}
    if used is not None and known:
        steps["tokens"] = min(known, key=lambda step: abs(known[step] - used))
    return steps

"""From a scored batch to the micro-batches of its updates: who takes part, with which weight.

The loss that results is sum over rows of weight * A * (clipped ratio) / denominator, the same
whatever the micro-batches and the number of processes. Pure functions on batches (see space.py);
`reduce` sums a tensor over processes. Knows no trainer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from prerl_train.algorithms import Phase
from prerl_train.packing import cut_batch, idle_batch, plan_update
from prerl_train.space import Batch, contributing, join, loss_mask, take_rows

Reduce = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Share:
    """The rows of one update, or of the several that a rollout batch makes.

    batch: rows that take part, at least one (an idle one where this process has none); advantages
    carry all weights. mass: (rows,) what each adds to the loss's denominator. total: () the whole
    denominator over all processes, rows included that count in the mean and are not here. samples,
    tokens: those that contribute, over all processes.
    """

    batch: Batch
    mass: torch.Tensor
    total: torch.Tensor
    samples: int
    tokens: int


def share(
    batch: Batch,
    phase: Phase,
    reduce: Reduce,
    idle: Batch,
    *,
    aggregation: str = "dapo",
    longest: int = 1,
    keep_all: bool = False,
) -> Share:
    """Choose and weigh the rows of a batch for a phase.

    aggregation: "dapo" mean over tokens, "grpo" mean over rows of their token means, "dr_grpo" sum
    over rows and tokens / (rows * longest). Weights are folded into the advantages: the clipped
    surrogate is homogeneous in them. keep_all: rows with advantage 0 stay (a KL term acts on them).
    idle: what stands for no rows, see `packing.idle_batch`.
    """
    mask = loss_mask(batch)
    kept = contributing(batch, phase.samples)
    tokens = mask.sum(1).to(torch.float32)
    ones = torch.ones_like(tokens)
    mass = {"dapo": tokens, "grpo": ones, "dr_grpo": ones * longest}[aggregation]
    weight = (1 / tokens.clamp(min=1) if aggregation == "grpo" else ones) * phase.coef
    counted = mass.sum() if phase.mean_over == "all" else mass[kept].sum()
    sums = reduce(torch.stack([counted, kept.sum().to(counted), tokens[kept].sum()]))
    if (keep_all or phase.all_rows) and phase.samples == "all":
        kept = mask.any(1)
    rows = kept.nonzero().squeeze(1)
    total, samples, moved = sums[0], int(sums[1]), int(sums[2])
    if len(rows) == 0:
        return Share(idle, mass.new_zeros(1), total, samples, moved)
    values = batch["advantages"]
    weighed = {**batch, "advantages": values * (weight[:, None] if values.dim() == 2 else weight)}
    return Share(take_rows(weighed, rows), mass[rows], total, samples, moved)


def joint(prompted: Share, erased: Share, coef: float) -> Share:
    """One update of both: the prompted loss plus coef times the erased one, each with its own mean."""
    scale = coef * prompted.total / erased.total.clamp(min=1)
    scaled = {**erased.batch, "advantages": erased.batch["advantages"] * scale}
    return Share(
        join(prompted.batch, scaled),
        torch.cat([prompted.mass, torch.zeros_like(erased.mass)]),
        prompted.total,
        prompted.samples + erased.samples,
        prompted.tokens + erased.tokens,
    )


def micro_batches(rows: Share, windows: int, count: int, most_rows: int, reduce: Reduce) -> list[Batch]:
    """windows * count micro-batches, update by update.

    Rows are dealt to the updates at random (torch's global generator) where there are several. Each
    micro-batch carries `num_items_in_batch`: () its update's denominator times `windows`, which is
    how TRL expects it for a whole rollout batch.
    """
    batch, mass = rows.batch, rows.mass
    prompts = batch["prompt_mask"].sum(1).tolist()
    completions = batch["completion_mask"].sum(1).tolist()
    order = torch.randperm(len(mass)).tolist() if windows > 1 else list(range(len(mass)))
    dealt = [order[window::windows] for window in range(windows)]
    here = reduce(torch.stack([mass[chosen].sum() for chosen in dealt]))
    absent = (rows.total - here.sum()) / windows
    cut: list[Batch] = []
    for chosen, denominator in zip(dealt, here + absent, strict=True):
        plan = plan_update(
            [prompts[row] for row in chosen], [completions[row] for row in chosen], count, most_rows
        )
        for piece in plan:
            part = cut_batch(batch, [chosen[place] for place in piece]) if piece else idle_batch(batch)
            cut.append({**part, "num_items_in_batch": denominator * windows})
    return cut

"""From a scored batch to the micro-batches of its updates: who takes part, with which weight.

The loss that results is sum over rows of weight * A * (clipped ratio) / denominator, the same
whatever the micro-batches and the number of processes. Pure functions on batches (see space.py);
`reduce` sums a tensor over processes. Knows no trainer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from prerl_train.algorithms import Phase, centred
from prerl_train.packing import cut_batch, idle_batch, plan_update
from prerl_train.space import Batch, contributing, join, loss_mask, take_rows

Reduce = Callable[[torch.Tensor], torch.Tensor]

ERASED_PART = Phase("prerl", centred, space="prerl", samples="negative", mean_over="contributing")
"""The NSR-PreRL part of a joint update."""


@dataclass(frozen=True)
class Share:
    """The rows of one update, or of the several that a rollout batch makes.

    batch: rows that take part, at least one (an idle one where this process has none); advantages
    carry all weights. mass: (rows,) what each adds to the loss's denominator. total: () the whole
    denominator over all processes, rows included that count in the mean and are not here.
    """

    batch: Batch
    mass: torch.Tensor
    total: torch.Tensor


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
    total = reduce(counted)
    if (keep_all or phase.all_rows) and phase.samples == "all":
        kept = mask.any(1)
    rows = kept.nonzero().squeeze(1)
    if len(rows) == 0:
        return Share(idle, mass.new_zeros(1), total)
    values = batch["advantages"]
    weighed = {**batch, "advantages": values * (weight[:, None] if values.dim() == 2 else weight)}
    return Share(take_rows(weighed, rows), mass[rows], total)


def joint(prompted: Share, erased: Share, coef: float) -> Share:
    """One update of both: the prompted loss plus coef times the erased one, each with its own mean."""
    scale = coef * prompted.total / erased.total.clamp(min=1)
    scaled = {**erased.batch, "advantages": erased.batch["advantages"] * scale}
    return Share(
        join(prompted.batch, scaled),
        torch.cat([prompted.mass, torch.zeros_like(erased.mass)]),
        prompted.total,
    )


def deal(rows: Share, windows: int, seed: int, processes: Any, reduce: Reduce) -> list[list[int]]:
    """Indices of this process's rows for each of the updates that a rollout batch makes.

    At random by `seed` over the rows of all processes: updates get equal numbers of them (or one
    less), and the same rows whichever process holds them. Rows without a trained token are left out.
    processes: has process_index and num_processes.
    """
    real = loss_mask(rows.batch).any(1).nonzero().squeeze(1)
    if windows == 1:
        return [real.tolist()]
    counts = torch.zeros(processes.num_processes, dtype=torch.long, device=real.device)
    counts[processes.process_index] = len(real)
    counts = reduce(counts)
    order = torch.randperm(int(counts.sum()), generator=torch.Generator().manual_seed(seed))
    first = int(counts[: processes.process_index].sum())
    window = order[first : first + len(real)].to(real.device) % windows
    return [real[window == place].tolist() for place in range(windows)]


def micro_batches(
    rows: Share, dealt: Sequence[Sequence[int]], count: int, most_rows: int, reduce: Reduce
) -> list[Batch]:
    """`count` micro-batches for each update, update by update.

    dealt: rows of each update, see `deal`. Each micro-batch carries `num_items_in_batch`: () its
    update's denominator times the number of updates, which is how TRL expects it for a whole
    rollout batch.
    """
    batch, mass, windows = rows.batch, rows.mass, len(dealt)
    prompts = batch["prompt_mask"].sum(1).tolist()
    completions = batch["completion_mask"].sum(1).tolist()
    here = reduce(torch.stack([mass[list(chosen)].sum() for chosen in dealt]))
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

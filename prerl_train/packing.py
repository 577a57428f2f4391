"""Micro-batches that cost what their tokens cost: rows sorted by length, cut where padding is least.

A trainer that pads every row to the longest of the whole rollout batch works on 20-50% useful
tokens at 8k. Here the rows of one update are sorted by length and cut into its micro-batches so
that little is padding, no micro-batch larger than the plain split's largest may be. The sum of
their losses does not depend on the cut. Covers the plan and the trimming; knows no trainer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from prerl_train.space import Batch, take_rows

Plan = list[list[int]]
"""Row indices of each micro-batch of one update; an empty one has nothing to do."""


def plan_update(prompts: Sequence[int], completions: Sequence[int], count: int, most_rows: int) -> Plan:
    """Cut the rows of one update into `count` micro-batches of little padded area.

    prompts, completions: tokens of each row, same length N. most_rows: rows of a micro-batch in
    the plain split; a micro-batch takes more rows where they are short, never more area than
    most_rows of the longest. Rows are put in a few orders (by length of all, prompt, completion; as
    given) and the best cut of the best order is taken: the least area of all partitions where prompts
    are equal, never more than that of the plain split. Dynamic programming in numpy:
    O(N^2 * count) time, O(N^2) memory.
    """
    total = len(prompts)
    if total == 0:
        return [[] for _ in range(count)]
    prompt, completion = np.asarray(prompts), np.asarray(completions)
    widest = int(prompt.max() + completion.max())
    bound = max(most_rows, -(-total // count)) * widest
    found = [
        _best_cut(prompt, completion, order, min(count, total), bound) for order in _orders(prompt, completion)
    ]
    pieces = min(found, key=lambda cut: cut[0])[1]
    return [*pieces, *([] for _ in range(count - len(pieces)))]


def _orders(prompt: np.ndarray, completion: np.ndarray) -> list[np.ndarray]:
    by_total = np.lexsort((-completion, -(prompt + completion)))
    if prompt.min() == prompt.max():
        return [by_total]
    by_prompt, by_completion = np.lexsort((-completion, -prompt)), np.lexsort((-prompt, -completion))
    return [by_total, by_completion, by_prompt, np.arange(len(prompt))]


def _best_cut(
    prompt: np.ndarray, completion: np.ndarray, order: np.ndarray, count: int, bound: int
) -> tuple[float, Plan]:
    """Padded area and rows of the best `count` runs of neighbours in this order, none above the bound."""
    total = len(order)
    costs = _areas(prompt[order], completion[order])
    costs[costs > bound] = np.inf
    best = np.full(total + 1, np.inf)
    best[0] = 0.0
    cuts = []
    for _ in range(count):
        reach = costs + best
        cuts.append(reach.argmin(1))
        best = reach[np.arange(total + 1), cuts[-1]]
    ends = [total]
    for cut in reversed(cuts):
        ends.append(int(cut[ends[-1]]))
    pieces = [order[start:end].tolist() for start, end in zip(ends[1:], ends, strict=False)]
    return float(best[total]), pieces[::-1]


def _areas(prompt: np.ndarray, completion: np.ndarray) -> np.ndarray:
    """(N+1, N+1): at [j, i] padded tokens of one micro-batch of rows i..j-1; 0 for none, inf backwards."""
    total = len(prompt)
    areas = np.full((total + 1, total + 1), np.inf)
    np.fill_diagonal(areas, 0.0)
    for i in range(total):
        width = np.maximum.accumulate(prompt[i:]) + np.maximum.accumulate(completion[i:])
        areas[i + 1 :, i] = width * np.arange(1, total - i + 1)
    return areas


def cut_batch(batch: Batch, rows: Sequence[int]) -> Batch:
    """Some rows of a batch, without the columns in which all of them are padding."""
    device = batch["completion_ids"].device
    part = take_rows(batch, torch.tensor(rows, dtype=torch.long, device=device))
    columns = batch["completion_ids"].size(1)
    width = _extent(part["completion_mask"])
    prompt_width = _extent(part["prompt_mask"].flip(1))
    for key, value in part.items():
        if not isinstance(value, torch.Tensor) or value.dim() != 2:
            continue
        if key.startswith("prompt_"):
            part[key] = value[:, -prompt_width:]
        elif value.size(1) == columns:
            part[key] = value[:, :width]
    return part


def idle_batch(batch: Batch) -> Batch:
    """A micro-batch of one token without weight: distributed ranks must all run the same number.

    batch: any batch with at least one row and one column; its first row lends the shapes.
    """
    part = take_rows(batch, torch.zeros(1, dtype=torch.long, device=batch["completion_ids"].device))
    columns = batch["completion_ids"].size(1)
    for key, value in part.items():
        if not isinstance(value, torch.Tensor) or value.dim() != 2:
            continue
        if key.startswith("prompt_"):
            part[key] = value[:, -1:]
        elif value.size(1) == columns:
            part[key] = value[:, :1]
    ones = torch.ones_like(part["completion_ids"])
    zero = torch.zeros_like(part["advantages"])
    return {
        **part,
        "prompt_mask": torch.ones_like(part["prompt_ids"]),
        "completion_mask": ones,
        "tool_mask": torch.zeros_like(ones),
        "advantages": zero,
    }


def _extent(mask: torch.Tensor) -> int:
    """Columns up to the last one that any row uses, at least 1."""
    used = mask.any(0).nonzero()
    return int(used[-1]) + 1 if len(used) else 1

"""Micro-batches that cost what their tokens cost: rows sorted by length, cut where padding is least.

A trainer that pads every row to the longest of the whole rollout batch works on 20-50% useful
tokens at 8k. Here the rows of one update are sorted by length and cut into its micro-batches so
that little is padding, no micro-batch larger than the plain split's largest may be. The sum of
their losses does not depend on the cut. Covers the plan and the trimming; knows no trainer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from prerl_train.space import Batch, take_rows

Plan = list[list[int]]
"""Row indices of each micro-batch of one update; an empty one has nothing to do."""


def plan_update(prompts: Sequence[int], completions: Sequence[int], count: int, most_rows: int) -> Plan:
    """Cut the rows of one update into `count` micro-batches of little padded area.

    prompts, completions: tokens of each row, same length N. most_rows: rows of a micro-batch in
    the plain split; a micro-batch takes more rows where they are short, never more area than
    most_rows of the longest. Rows are put in a few orders (by length of all, prompt, completion; as
    given) and the best cut of the best order is taken: the least area of all partitions where prompts
    are equal, never more than that of the plain split. Dynamic programming in numpy: O(N * W * count)
    time, O(N * W) memory, where W is the most rows that the bound lets into a micro-batch.
    """
    total = len(prompts)
    if total == 0:
        return [[] for _ in range(count)]
    prompt, completion = np.asarray(prompts), np.asarray(completions)
    widest = int(prompt.max() + completion.max())
    bound = max(most_rows, -(-total // count)) * widest
    found = [
        _best_cut(prompt, completion, order, min(count, total), bound)
        for order in _orders(prompt, completion)
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
    costs = _areas(prompt[order], completion[order], bound)
    most = costs.shape[1] - 1
    # W places that no cut starts from, so that each row's window of possible starts is whole.
    best = np.full(most + total + 1, np.inf)
    best[most] = 0.0
    cuts = []
    for _ in range(count):
        reach = sliding_window_view(best, most + 1) + costs
        cuts.append(reach.argmin(1))
        best[most:] = reach[np.arange(total + 1), cuts[-1]]
    ends = [total]
    for cut in reversed(cuts):
        ends.append(ends[-1] - most + int(cut[ends[-1]]))
    pieces = [order[start:end].tolist() for start, end in zip(ends[1:], ends, strict=False)]
    return float(best[-1]), pieces[::-1]


def _areas(prompt: np.ndarray, completion: np.ndarray, bound: int) -> np.ndarray:
    """(N+1, W+1): at [j, W-k] padded tokens of one micro-batch of the k rows before row j.

    0 for k = 0, inf where there are no k rows and above the bound. Larger runs have larger areas, so
    no run of more than W rows is within it.
    """
    total = len(prompt)
    columns = [np.zeros(total + 1)]
    prompts = completions = np.zeros(total + 1)
    for rows in range(1, total + 1):
        starts = total - rows + 1
        prompts = np.maximum(prompts[:starts], prompt[rows - 1 :])
        completions = np.maximum(completions[:starts], completion[rows - 1 :])
        areas = rows * (prompts + completions)
        areas[areas > bound] = np.inf
        if np.isinf(areas).all():
            break
        columns.append(np.concatenate([np.full(rows, np.inf), areas]))
    return np.stack(columns[::-1], 1)


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


def scored_by_length(
    score: Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor],
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    columns: int,
    most_rows: int,
) -> torch.Tensor:
    """(B, columns): what `score` says of each completion token, by pieces of similar length; 0 elsewhere.

    score: (ids, mask, its number of completion columns T) -> (rows, T). input_ids, attention_mask:
    (B, P + columns), prompts left-padded, completions right-padded. `score` is called B / most_rows
    times, rounded up, whatever the lengths are: distributed ranks must make as many forward passes.
    """
    width = input_ids.size(1) - columns
    prompts, completions = attention_mask[:, :width].sum(1), attention_mask[:, width:].sum(1)
    count = -(-len(input_ids) // most_rows)
    scores: torch.Tensor | None = None
    for piece in plan_update(prompts.tolist(), completions.tolist(), count, most_rows):
        rows = piece or [0]
        first = width - max(1, int(prompts[rows].max()))
        longest = max(1, int(completions[rows].max())) if piece else 1
        part = slice(first, width + longest)
        found = score(input_ids[rows, part], attention_mask[rows, part], longest)
        scores = found.new_zeros(len(input_ids), columns) if scores is None else scores
        scores[piece, :longest] = found[: len(piece)]
    assert scores is not None
    return scores


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

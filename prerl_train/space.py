"""The method itself: the same batch, scored in P(y) instead of P(y|x), with the samples that count.

Covers the choice of samples, the erased prompt and its control, the swapped one, as pure functions on
a batch of tensors; any trainer can call them between scoring and its loss. Does not cover which token
stands for the prompt (prerl_eval.start_token), advantages (advantages.py), micro-batches (packing.py)
or a trainer.

A batch is a dict of tensors over B rows of prompts (left-padded) and completions (right-padded):

    prompt_ids, prompt_mask           (B, P) long
    completion_ids, completion_mask   (B, T) long; the mask covers the stop token
    advantages                        (B,) or (B, T) float
    tool_mask                         (B, T), optional: 0 on tokens that are read but not trained

and whatever else has B rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

Batch = dict[str, Any]

CONDITIONAL = (
    *("old_per_token_logps", "ref_per_token_logps", "sampling_per_token_logps"),
    *("token_type_ids", "mm_token_type_ids"),
)
"""Entries that were computed with the prompt in front and say nothing about P(y) or P(y|x')."""


def loss_mask(batch: Batch) -> torch.Tensor:
    """(B, T): 1 on the completion tokens that are trained."""
    mask: torch.Tensor = batch["completion_mask"]
    return mask * batch["tool_mask"] if batch.get("tool_mask") is not None else mask


def ended(batch: Batch, stop_ids: Sequence[int]) -> torch.Tensor:
    """(B,) bool: completions whose last token ends them; the others were cut off."""
    last = (batch["completion_mask"].sum(1) - 1).clamp(min=0)
    ends = torch.tensor(stop_ids, device=last.device)
    return torch.isin(batch["completion_ids"].gather(1, last[:, None]).squeeze(1), ends)


def contributing(batch: Batch, samples: str = "all") -> torch.Tensor:
    """(B,) bool: the rows that move the policy.

    samples: "all", "negative" or "positive". A row with advantage 0 everywhere has no gradient; NSR
    keeps A < 0, PSR keeps A > 0 (arXiv 2604.14142). Advantages of shape (B, T) count by the sign of
    their sum over trained tokens.
    """
    advantages = batch["advantages"]
    mask = loss_mask(batch)
    if advantages.dim() == 2:
        moves = ((advantages != 0) & mask.bool()).any(1)
        total = (advantages * mask).sum(1)
    else:
        moves, total = advantages != 0, advantages
    chosen: torch.Tensor = {"all": moves, "negative": moves & (total < 0), "positive": moves & (total > 0)}[
        samples
    ]
    return chosen & mask.any(1)


def erase_prompts(batch: Batch, start_id: int) -> Batch:
    """The batch with every prompt replaced by one start token: log-probs of it are log P(y).

    Positions restart with it, because nothing but the start token stands before y; completions,
    masks and advantages stay. Entries that were computed under the prompt are left out; an
    importance_sampling_ratio becomes 1, because a joint update needs one of every row.
    """
    rows = batch["completion_ids"].size(0)
    start = torch.full((rows, 1), start_id, dtype=torch.long, device=batch["completion_ids"].device)
    return {**_unconditional(batch), "prompt_ids": start, "prompt_mask": torch.ones_like(start)}


def swap_prompts(batch: Batch, group: int) -> Batch:
    """The batch with every prompt replaced by that of the next group: log-probs of it are log P(y|x').

    group: rows in a row that share a problem; the last group takes the first one's prompt. A control
    of erase_prompts: the prompt is wrong instead of absent. Call it before rows are chosen; the rest
    is as there. Raises ValueError unless there are two whole groups or more.
    """
    rows = batch["completion_ids"].size(0)
    if rows % group or rows < 2 * group:
        raise ValueError(f"{rows} rows in groups of {group}: swapping prompts takes two or more whole groups")
    moved = {key: batch[key].roll(-group, 0) for key in ("prompt_ids", "prompt_mask")}
    return {**_unconditional(batch), **moved}


def _unconditional(batch: Batch) -> Batch:
    kept = {key: value for key, value in batch.items() if key not in CONDITIONAL}
    if "importance_sampling_ratio" in kept:
        kept["importance_sampling_ratio"] = torch.ones_like(kept["importance_sampling_ratio"])
    return kept


def take_rows(batch: Batch, rows: torch.Tensor) -> Batch:
    """The batch of some of its rows. rows: (N,) long indices; entries without B rows stay as they are."""
    count = batch["completion_ids"].size(0)
    return {
        key: value[rows]
        if isinstance(value, torch.Tensor) and value.dim() and value.size(0) == count
        else value
        for key, value in batch.items()
    }


def join(first: Batch, second: Batch) -> Batch:
    """Rows of both batches in one: prompts padded on the left, the rest on the right, all with 0.

    Only entries that both hold are kept, and tool_mask, which a batch without one trains all of.
    Used by the joint mode, whose update has rows with and without prompts, and by draws that add up
    to one batch.
    """
    if first.get("tool_mask") is not None or second.get("tool_mask") is not None:
        first, second = _with_tool_mask(first), _with_tool_mask(second)
    joined: Batch = {}
    # In the order of the first: trainers ask a batch's first entry how many rows it has.
    for key in (key for key in first if key in second):
        one, other = first[key], second[key]
        if not isinstance(one, torch.Tensor) or one.dim() == 0:
            joined[key] = one
        elif one.dim() == 1:
            joined[key] = torch.cat([one, other])
        else:
            width = max(one.size(1), other.size(1))
            left = key.startswith("prompt_")
            joined[key] = torch.cat([_widened(one, width, left), _widened(other, width, left)])
    return joined


def _with_tool_mask(batch: Batch) -> Batch:
    if batch.get("tool_mask") is not None:
        return batch
    return {**batch, "tool_mask": torch.ones_like(batch["completion_mask"])}


def _widened(rows: torch.Tensor, width: int, left: bool) -> torch.Tensor:
    missing = width - rows.size(1)
    return torch.nn.functional.pad(rows, (missing, 0) if left else (0, missing))

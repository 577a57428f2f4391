"""The method itself: the same batch, scored in P(y) instead of P(y|x), with the samples that count.

Covers the start token, the choice of samples and the erased prompt, as pure functions on a batch of
tensors; any trainer can call them between scoring and its loss. Does not cover advantages
(advantages.py), micro-batches (packing.py) or a trainer.

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

from prerl_eval.errors import UserError

Batch = dict[str, Any]

CHAT_START = "<|im_start|>"
"""What opens every turn in ChatML vocabularies: the start token of the paper's Qwen3 runs (151644)."""

CONDITIONAL = (
    *("old_per_token_logps", "ref_per_token_logps", "sampling_per_token_logps"),
    *("token_type_ids", "mm_token_type_ids"),
)
"""Entries that were computed with the prompt in front and say nothing about P(y)."""


def start_token_id(tokenizer: Any, config: Any, override: str | int | None = None) -> int:
    """Id of the one token that stands before y in P(y).

    `override` (a token or an id) wins; else ChatML's turn start where the tokenizer names no start
    token of its own; else the tokenizer's start token; else the config's, unless that ends or pads.
    tokenizer, config: of transformers. Raises UserError where none of these makes sense.
    """
    if override is not None:
        return _chosen(tokenizer, override)
    if tokenizer.bos_token_id is None and CHAT_START in tokenizer.get_added_vocab():
        return int(tokenizer.convert_tokens_to_ids(CHAT_START))
    if tokenizer.bos_token_id is not None:
        return int(tokenizer.bos_token_id)
    bos = getattr(config.get_text_config(), "bos_token_id", None)
    if isinstance(bos, int) and bos not in _ends(tokenizer, config):
        return bos
    raise UserError(
        f"{tokenizer.name_or_path or 'this tokenizer'} has no start token to stand before y in P(y); "
        "name one with --start-token TOKEN"
    )


def _chosen(tokenizer: Any, override: str | int) -> int:
    size = len(tokenizer)
    if isinstance(override, str) and not override.isdecimal():
        number = tokenizer.convert_tokens_to_ids(override)
        if number is None or (number == tokenizer.unk_token_id and override != tokenizer.unk_token):
            raise UserError(f"--start-token {override} is no token of this vocabulary; give one, or its id")
        return int(number)
    number = int(override)
    if not 0 <= number < size:
        raise UserError(
            f"--start-token {number} is outside the vocabulary of {size} tokens; give 0-{size - 1}"
        )
    return number


def _ends(tokenizer: Any, config: Any) -> set[int | None]:
    eos = getattr(config.get_text_config(), "eos_token_id", None)
    listed = set(eos) if isinstance(eos, (list, tuple)) else {eos}
    return {*listed, tokenizer.eos_token_id, tokenizer.pad_token_id}


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
    kept = {key: value for key, value in batch.items() if key not in CONDITIONAL}
    if "importance_sampling_ratio" in kept:
        kept["importance_sampling_ratio"] = torch.ones_like(kept["importance_sampling_ratio"])
    return {**kept, "prompt_ids": start, "prompt_mask": torch.ones_like(start)}


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

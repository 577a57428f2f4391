"""Batched decoding with one random stream per row, on top of transformers' `generate`.

A row's draws depend on its own seed and position only: one uniform per sampled token from a
counter-based generator (Philox, Salmon et al. 2011), turned into a token by inverse CDF. `generate`
runs in short stretches, and rows that ended leave the batch between two of them. Nothing here
reads a generation_config.json. Does not cover loading, batch sizes or text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from prerl_eval.engines.base import Sampling
from prerl_eval.errors import RunStopped

STRETCH = 8
"""Decoding steps between two looks at which rows have ended."""

FindEnd = Callable[[list[int], int], int | None]
"""find_end(tokens, checked) -> how many tokens the completion has if it ended after `checked`, else None."""


@dataclass(slots=True)
class Row:
    """One sequence of a batch.

    prompt: token ids. seed: of its own random stream. limit: completion tokens at most. tokens: the
    completion so far, its end included. finish_reason: "" while it runs, then "stop" or "length".
    """

    prompt: Sequence[int]
    seed: int
    limit: int
    tokens: list[int] = field(default_factory=list)
    finish_reason: str = ""

    def extend(self, new: list[int], find_end: FindEnd) -> None:
        """Take over newly sampled tokens up to the end of the completion."""
        checked = len(self.tokens)
        self.tokens += new
        end = find_end(self.tokens, checked)
        if end is not None and end <= self.limit:
            del self.tokens[end:]
            self.finish_reason = "stop"
        elif len(self.tokens) >= self.limit:
            del self.tokens[self.limit :]
            self.finish_reason = "length"


class InverseCdf(LogitsProcessor):
    """Chooses each row's token from its own uniform: score 0 for the chosen one, -inf elsewhere.

    uniforms: (rows, steps) in [0, 1), one column per call.
    """

    def __init__(self, uniforms: torch.Tensor):
        self._columns = iter(uniforms.unbind(1))

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """scores: (rows, vocabulary), warped already."""
        # In float32 the sum over a vocabulary of 150,000 would shift the rare tokens.
        precise = torch.float32 if scores.device.type == "mps" else torch.float64
        cdf = scores.softmax(-1, dtype=precise).cumsum(-1)
        total = cdf[:, -1:]
        if not torch.isfinite(total).all():
            raise RunStopped(
                "the model's logits are not numbers (damaged weights, or an overflow); try --dtype float32"
            )
        uniform = next(self._columns).to(total)[:, None]
        # Below the total, so that rounding never picks a token of probability 0 at the end.
        target = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
        token = torch.searchsorted(cdf, target, right=True)
        return torch.full_like(scores, -torch.inf).scatter_(1, token, 0.0)


def warpers(sampling: Sampling) -> list[LogitsProcessor]:
    """transformers' own temperature, top-k and top-p, in its order; none for greedy decoding."""
    chosen: list[LogitsProcessor] = []
    if sampling.temperature == 0:
        return chosen
    if sampling.temperature != 1:
        chosen.append(TemperatureLogitsWarper(float(sampling.temperature)))
    if sampling.top_k:
        chosen.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        chosen.append(TopPLogitsWarper(sampling.top_p))
    return chosen


@torch.inference_mode()
def decode_batch(model: Any, rows: Sequence[Row], sampling: Sampling, find_end: FindEnd) -> None:
    """Sample every row to its end, in place.

    model: a causal LM of transformers whose own generation_config is empty. Deterministic on CPU for
    a given list of rows and thread count; other rows in the batch change logits in their last bits.
    """
    device = model.device
    ids, mask = _left_padded([row.prompt for row in rows], device)
    streams = [np.random.Generator(np.random.Philox(row.seed)) for row in rows]
    cache = DynamicCache(config=model.config)
    running = list(range(len(rows)))
    while running:
        steps = min(STRETCH, max(rows[i].limit - len(rows[i].tokens) for i in running))
        processors = LogitsProcessorList(warpers(sampling))
        if sampling.temperature > 0:
            uniforms = np.stack([streams[i].random(steps) for i in running])
            processors.append(InverseCdf(torch.from_numpy(uniforms)))
        longer = model.generate(
            ids,
            attention_mask=mask,
            past_key_values=cache,
            logits_processor=processors,
            generation_config=_greedy(steps, sampling.stop_token_ids),
        )
        added = longer.shape[1] - ids.shape[1]
        for i, new in zip(running, longer[:, -added:].tolist(), strict=True):
            rows[i].extend(new, find_end)
        mask = torch.cat([mask, mask.new_ones(len(running), added)], dim=1)
        kept = [place for place, i in enumerate(running) if not rows[i].finish_reason]
        running = [running[place] for place in kept]
        index = torch.tensor(kept, dtype=torch.long, device=device)
        ids, mask = longer[index], mask[index]
        cache.reorder_cache(index)  # type: ignore[arg-type]


def _greedy(steps: int, stop_token_ids: Sequence[int]) -> GenerationConfig:
    """Arg max of the scores that `InverseCdf` leaves; all else at transformers' neutral defaults."""
    return GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=steps,
        do_sample=False,
        eos_token_id=list(stop_token_ids) or None,
        pad_token_id=stop_token_ids[0] if stop_token_ids else 0,
    )


def _left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, longest) token ids and attention mask; position ids follow from the mask."""
    longest = max(map(len, prompts))
    # Padding is masked, so any id will do.
    ids = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids.to(device), mask.to(device)

"""One warm-up update as the method's released implementation makes it, in plain torch.

The released code itself is not here. What it does is taken from a written account of it, and where
that leaves a choice, the cheaper one is assumed:

- Two old-log-prob passes over all rows, with and without prompt, no gradient.
- Forward and backward with the prompt, multiplied by 0, and without it, over all rows; rows that are
  not wrong answers of a mixed group are masked in the loss only.
- All hidden states are kept by every forward.
- Entropy and the 100 most probable tokens over the full vocabulary with a graph, in the pass without
  prompt only (assumed), and not walked backward, because the loss does not use them.
- Logits at completion positions only (assumed).
- Clipped surrogate, clip 0.2, dual clip 10, coefficient 0.01. The mean is over the contributing tokens of
  the update, where the released code averages per micro-batch: the same work, and gradients can be
  compared.

`padded`: every row is as long as the batch's longest. `removed` is the same with the padding
removed: a kernel for sequences of different lengths does not exist on CPU, so rows are cut by
length into the micro-batches of least padding (prerl's own plan, lent to the peer).
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch.nn.functional import log_softmax
from torch.nn.utils.rnn import pad_sequence

from prerl_train.advantages import group_centred
from prerl_train.packing import cut_batch, plan_update
from prerl_train.space import Batch, erase_prompts
from tests.speed.injected import GROUP, MICRO, NO_CLIPPING, START, Rows, small_model

Side = Literal["left", "right"]
Layout = Literal["padded", "removed"]

COEFFICIENT = 0.01
CLIP, DUAL_CLIP = 0.2, 10.0
TOP = 100


class ReleasedWarmup:
    """The same update at every call of `update`; `seconds` are the CPU seconds of its parts, summed."""

    def __init__(self, rows: Rows, layout: Layout):
        batch = padded(rows)
        self.model = small_model()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.0, weight_decay=0.01, fused=True)
        self.prompted = micro_batches(batch, layout)
        self.erased = micro_batches(erase_prompts(batch, START), layout)
        self.tokens = int(batch["completion_mask"][rows.wrong()].sum())
        self.seconds: Counter[str] = Counter()

    def update(self) -> float:
        """One update; its CPU seconds."""
        begin = time.process_time()
        self.optimizer.zero_grad()
        with torch.no_grad():
            old = [self._log_probs(part)[0] for part in self.prompted]
            old_erased = [self._log_probs(part)[0] for part in self.erased]
        spent = self._note("both old-log-prob passes", begin)
        for part, before in zip(self.prompted, old, strict=True):
            (0.0 * self._loss(part, before)).backward()
        spent += self._note("prompted forward and backward, times 0", begin + spent)
        for part, before in zip(self.erased, old_erased, strict=True):
            self._loss(part, before, metrics=True).backward()
        spent += self._note("erased forward and backward, metrics", begin + spent)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), NO_CLIPPING)
        self.optimizer.step()
        return spent + self._note("optimizer", begin + spent)

    def _note(self, what: str, begin: float) -> float:
        spent = time.process_time() - begin
        self.seconds[what] += spent
        return spent

    def _loss(self, part: Batch, old: torch.Tensor, metrics: bool = False) -> torch.Tensor:
        """Clipped and dual-clipped surrogate over wrong rows, sum / contributing tokens of the update."""
        log_probs, logits = self._log_probs(part)
        advantages = part["advantages"][:, None]
        ratio = torch.exp(log_probs - old)
        worse = torch.max(-advantages * ratio, -advantages * ratio.clamp(1 - CLIP, 1 + CLIP))
        loss = torch.where(advantages < 0, torch.min(worse, -advantages * DUAL_CLIP), worse)
        mask = part["completion_mask"] * (advantages < 0)
        if metrics:
            full_vocabulary_metrics(logits)
        return COEFFICIENT * (loss * mask).sum() / self.tokens

    def _log_probs(self, part: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probs (B, T) of the completions, and the logits (B, T, V) that they come from."""
        completions = part["completion_ids"]
        out = self.model(
            input_ids=torch.cat([part["prompt_ids"], completions], 1),
            attention_mask=torch.cat([part["prompt_mask"], part["completion_mask"]], 1),
            use_cache=False,
            output_hidden_states=True,
            logits_to_keep=completions.size(1) + 1,
        )
        logits = out.logits[:, :-1]
        found = log_softmax(logits, -1).gather(-1, completions[..., None]).squeeze(-1)
        return found, logits


def full_vocabulary_metrics(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Entropy (B, T) and the TOP most probable tokens' probabilities (B, T, TOP), with a graph."""
    log_p = log_softmax(logits, -1)
    p = log_p.exp()
    return -(p * log_p).sum(-1), p.topk(TOP, -1).values


def padded(rows: Rows) -> Batch:
    """All rows as one batch (see prerl_train.space), with the warm-up's advantages r - mean."""
    prompts, prompt_mask = columns(rows.row_prompts, "left")
    completions, completion_mask = columns(rows.completions, "right")
    return {
        "prompt_ids": prompts,
        "prompt_mask": prompt_mask,
        "completion_ids": completions,
        "completion_mask": completion_mask,
        "advantages": group_centred(torch.tensor(rows.rewards).view(-1, GROUP)).flatten(),
    }


def columns(sequences: Iterable[Sequence[int]], side: Side) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (B, T) padded with 0, and their mask."""
    ids = [torch.tensor(sequence) for sequence in sequences]
    padded_ids = pad_sequence(ids, batch_first=True, padding_side=side)
    ones = pad_sequence([torch.ones_like(one) for one in ids], batch_first=True, padding_side=side)
    return padded_ids, ones


def micro_batches(batch: Batch, layout: Layout) -> list[Batch]:
    """MICRO rows each: in turn and as wide as the batch, or by length and trimmed."""
    count = len(batch["advantages"])
    if layout == "padded":
        return [
            {key: value[start : start + MICRO] for key, value in batch.items()}
            for start in range(0, count, MICRO)
        ]
    prompts = batch["prompt_mask"].sum(1).tolist()
    completions = batch["completion_mask"].sum(1).tolist()
    plan = plan_update(prompts, completions, count // MICRO, MICRO)
    return [cut_batch(batch, piece) for piece in plan]


def padding(parts: list[Batch]) -> float:
    """Share of the positions of micro-batches that is padding."""
    masks = [part[key] for part in parts for key in ("prompt_mask", "completion_mask")]
    return 1 - sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)

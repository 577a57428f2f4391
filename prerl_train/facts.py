"""What there is to say about one update: counted exactly over draws, micro-batches and processes.

Covers the figures that metrics.jsonl and TRL's loggers get; does not write any file (watch.py).
"""

from __future__ import annotations

from collections.abc import Iterator, MutableSequence
from contextlib import contextmanager
from typing import Any

import torch

from prerl_train.space import Batch, loss_mask


class UpdateFacts:
    """Collects one update at a time; `report` is the last finished one.

    phase, draws; reward (mean over all samples drawn), problems, solved, unsolved and at_least_once
    (problems whose samples are all right, none, at least one right), samples, tokens, length_mean,
    length_max, truncated (share cut off), contributing_samples, contributing_tokens, entropy (nats
    per trained token), clip_fraction, logprob_gap (mean |log p of trainer - of engine|; None where
    not measured), seconds and tokens_per_second of sampling, reward and update. Where a rollout batch
    makes several updates, seconds of sampling and reward are the first one's.

    extra: further figures of an algorithm or a reward, which the report repeats until they are replaced.
    """

    def __init__(self, accelerator: Any):
        self.report: dict[str, Any] = {}
        self.seconds = {"sampling": 0.0, "reward": 0.0}
        self.logprob_gap: float | None = None
        self.extra: dict[str, float | None] = {}
        self._accelerator = accelerator
        self._rollout: dict[str, Any] = {}
        self._rewards: list[torch.Tensor] = []
        self._lengths: list[torch.Tensor] = []
        self._ended: list[torch.Tensor] = []
        self._sampled_tokens = 0
        self._sums: torch.Tensor | None = None

    def begin(self, phase: str) -> None:
        """A new rollout batch."""
        self._rollout = {"phase": phase}
        self._rewards, self._lengths, self._ended = [], [], []
        self.logprob_gap = None

    def add_draw(
        self, rewards: torch.Tensor, lengths: torch.Tensor, ended: torch.Tensor, seconds: float
    ) -> None:
        """One draw of all processes. rewards: (P, G), NaN unscored; lengths, ended: (P * G,)."""
        self._rewards.append(rewards.float().cpu())
        self._lengths.append(lengths.flatten().float().cpu())
        self._ended.append(ended.flatten().cpu())
        self.seconds["sampling"] += seconds

    def add_tokens(
        self,
        inputs: Batch,
        log_probs: torch.Tensor,
        entropies: torch.Tensor | None,
        low: float,
        high: float,
    ) -> None:
        """One micro-batch. log_probs, entropies: (B, T) as computed for the loss; low, high: clip range."""
        mask = loss_mask(inputs).float()
        advantages = inputs["advantages"]
        advantages = advantages if advantages.dim() == 2 else advantages[:, None]
        old = inputs.get("old_per_token_logps")
        ratio = torch.exp(log_probs - (log_probs if old is None else old))
        clipped = ((ratio < 1 - low) & (advantages < 0)) | ((ratio > 1 + high) & (advantages > 0))
        entropy = torch.zeros_like(mask) if entropies is None else entropies.float()
        moves = ((advantages != 0) & mask.bool()).any(1)
        sums = torch.stack(
            [(entropy * mask).sum(), (clipped * mask).sum(), mask.sum(), moves.sum(), mask[moves].sum()]
        )
        self._sums = sums if self._sums is None else self._sums + sums

    def close(self, metrics: dict[str, list[float]]) -> None:
        """Finish an update's report.

        metrics: TRL's since it was last logged, in which one exact figure of the update takes the
        place of means over its micro-batches.
        """
        assert self._sums is not None
        sums = self._accelerator.reduce(self._sums, reduction="sum").tolist()
        entropy, clipped, tokens, moved_samples, moved_tokens = sums
        self._sums = None
        self._describe_rollout()
        update = max(0.0, metrics["step_time"][-1] - sum(self.seconds.values()))
        sampling = self.seconds["sampling"]
        self.report = {
            **self._rollout,
            "contributing_samples": int(moved_samples),
            "contributing_tokens": int(moved_tokens),
            "entropy": entropy / max(tokens, 1),
            "clip_fraction": clipped / max(tokens, 1),
            "logprob_gap": self.logprob_gap,
            "seconds": {
                **{key: round(value, 4) for key, value in self.seconds.items()},
                "update": round(update, 4),
            },
            "tokens_per_second": {
                "sampling": round(self._sampled_tokens / sampling) if sampling else None,
                "update": round(tokens / update) if update else None,
            },
            **self.extra,
        }
        earlier = len(metrics["dsrl/draws"])
        metrics["entropy"][earlier:] = [self.report["entropy"]]
        metrics["clip_ratio/region_mean"][earlier:] = [self.report["clip_fraction"]]
        for name in ("solved", "unsolved", "contributing_samples", "contributing_tokens", "draws"):
            metrics[f"dsrl/{name}"].append(float(self.report[name]))
        for name, value in self.extra.items():
            if value is not None:
                metrics[f"dsrl/{name}"].append(value)
        self.seconds = dict.fromkeys(self.seconds, 0.0)
        self._sampled_tokens = 0

    def _describe_rollout(self) -> None:
        if not self._rewards:
            return
        rewards, lengths, ended = torch.cat(self._rewards), torch.cat(self._lengths), torch.cat(self._ended)
        known = torch.nan_to_num(rewards)
        self._sampled_tokens = int(lengths.sum())
        self._rollout |= {
            "draws": len(self._rewards),
            "reward": rewards.nanmean().item(),
            "problems": len(rewards),
            "solved": int((known > 0).all(1).sum()),
            "unsolved": int((known <= 0).all(1).sum()),
            "at_least_once": int((known > 0).any(1).sum()),
            "samples": rewards.numel(),
            "tokens": self._sampled_tokens,
            "length_mean": lengths.mean().item(),
            "length_max": int(lengths.max()),
            "truncated": 1 - ended.float().mean().item(),
        }
        self._rewards, self._lengths, self._ended = [], [], []


def mean_advantages(batch: Batch) -> torch.Tensor:
    """(B,): each row's advantage; the mean over trained tokens where they have one each."""
    found: torch.Tensor = batch["advantages"]
    if found.dim() == 1:
        return found
    mask = loss_mask(batch)
    return (found * mask).sum(1) / mask.sum(1).clamp(min=1)


def show_advantages(shown: MutableSequence[float], found: torch.Tensor) -> None:
    """Put the algorithm's advantages (rows of all processes) where TRL has just logged its own."""
    for _ in range(min(len(found), len(shown))):
        shown.pop()
    shown.extend(found.tolist())


@contextmanager
def gathering_uneven(accelerator: Any) -> Iterator[None]:
    """Let `gather` take (B,) figures of micro-batches with other B on other processes, NaN in the gaps.

    TRL gathers one figure per row, for metrics that pass over NaN, and expects as many rows everywhere;
    processes cut their micro-batches by length.
    """
    plain = accelerator.gather

    def padded(figures: torch.Tensor) -> Any:
        if figures.dim() == 1 and figures.is_floating_point():
            figures = accelerator.pad_across_processes(figures, dim=0, pad_index=torch.nan)
        return plain(figures)

    accelerator.gather = padded
    try:
        yield
    finally:
        del accelerator.gather

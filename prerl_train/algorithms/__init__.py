"""The twelve algorithms: each a module of a few lines on one page of shared terms.

An algorithm says, for each update, in which space it is made, which samples it uses, how rewards
become advantages, and over what the loss is averaged: a `Phase`. Everything else (sampling,
rewards, the clipped surrogate, optimizer) is the trainer's and the same for all.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from prerl_train import advantages

if TYPE_CHECKING:
    from prerl_train.config import DSRLConfig

PhaseName = Literal["prerl", "rl", "warmup-rl", "warmup-swapped", "joint", "anneal"]

Space = Literal["prerl", "rl", "swapped", "joint"]

Estimator = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]
"""(rewards (P, G), lengths (P, G) in tokens, eps) -> advantages (P, G); all problems of all processes."""

NAMES = {
    "grpo": "GRPO",
    "dr-grpo": "Dr.GRPO",
    "dapo": "DAPO",
    "rloo": "RLOO",
    "reinforce-pp": "REINFORCE++",
    "prerl": "PreRL",
    "nsr-prerl": "NSR-PreRL",
    "psr-prerl": "PSR-PreRL",
    "nsr-rl": "NSR-RL",
    "psr-rl": "PSR-RL",
    "dsrl": "DSRL",
    "ppo": "PPO",
}


@dataclass(frozen=True)
class Phase:
    """How one update is made.

    name: what metrics call it. space: "prerl" updates log P(y), "rl" log P(y|x), "swapped" log P(y|x')
    with the prompt of another problem, "joint" the first two. samples: which rows take part. estimator:
    rewards to advantages. coef: factor on the loss; erased_coef: "joint", on its NSR-PreRL part.
    anchor: factor on advantages above 0. mean_over: tokens in the denominator of a token mean: those of
    contributing rows, or all sampled ones. redraw: a batch without a contributing row is drawn again
    instead of updating on nothing. dynamic_sampling: draw until the batch is full of groups that
    disagree (DAPO). all_rows: rows without an advantage take part as well (PPO's critic learns from them).
    """

    name: PhaseName
    estimator: Estimator
    space: Space = "rl"
    samples: str = "all"
    coef: float = 1.0
    erased_coef: float = 0.0
    anchor: float = 1.0
    mean_over: Literal["contributing", "all"] = "all"
    redraw: bool = False
    dynamic_sampling: bool = False
    all_rows: bool = False

    @property
    def conditions(self) -> bool:
        """Whether any of it is made in P(y|x), with each sample's own prompt."""
        return self.space in ("rl", "joint")


PhaseRule = Callable[[int, "DSRLConfig"], Phase]
"""(updates done, config) -> the phase of the next update."""


def phase_rule(algorithm: str) -> PhaseRule:
    """The rule of an algorithm by its name in NAMES."""
    module = importlib.import_module(f"prerl_train.algorithms.{algorithm.replace('-', '_')}")
    rule: PhaseRule = module.phase
    return rule


def centred(rewards: torch.Tensor, lengths: torch.Tensor, eps: float) -> torch.Tensor:
    """`advantages.group_centred` as an Estimator: r - mean."""
    return advantages.group_centred(rewards)


def normalized(rewards: torch.Tensor, lengths: torch.Tensor, eps: float) -> torch.Tensor:
    """`advantages.group_normalized` as an Estimator: (r - mean) / (std + eps)."""
    return advantages.group_normalized(rewards, eps)

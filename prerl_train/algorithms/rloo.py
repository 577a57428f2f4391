"""RLOO: REINFORCE with a leave-one-out baseline (Ahmadian et al., arXiv 2402.14740).

    A_i = r_i - mean of the other samples = G / (G - 1) * (r_i - mean)

Assumes two or more samples per problem; the baseline is unbiased. Degenerate case: a group that
agrees has A = 0. Differs from the paper: token mean instead of a sum over each whole response (a
token then weighs the same everywhere), no KL in the reward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from prerl_train.advantages import leave_one_out
from prerl_train.algorithms import Phase

if TYPE_CHECKING:
    from prerl_train.config import DSRLConfig


def phase(step: int, config: DSRLConfig) -> Phase:
    """Every update alike."""
    return Phase("rl", _estimate)


def _estimate(rewards: torch.Tensor, lengths: torch.Tensor, eps: float) -> torch.Tensor:
    return leave_one_out(rewards)

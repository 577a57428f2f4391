"""PPO: advantages from a learned critic by GAE, reward 1 or 0 at the last token (arXiv 1707.06347).

    A_t = sum over l of (gamma * lambda)^l * delta_{t+l};  delta_t = r_t + gamma * V(s_{t+1}) - V(s_t)

Assumes that the critic learns faster than the policy moves (`critic_warmup` trains it alone first);
needs no groups. Degenerate case: advantages that all agree are whitened to 0, and the update trains
the critic alone. gamma = lambda = 1 by default, as verifiable-reward baselines set it. The critic
and what it is asked for are prerl_train/ppo.py's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import torch

from prerl_train.algorithms import Phase

if TYPE_CHECKING:
    from prerl_train.config import DSRLConfig


def phase(step: int, config: DSRLConfig) -> Phase:
    """Every update alike, on all rows."""
    return Phase("rl", _without_critic, all_rows=True)


def _without_critic(rewards: torch.Tensor, lengths: torch.Tensor, eps: float) -> NoReturn:
    raise ValueError("algorithm='ppo' takes its advantages from a critic; use prerl_train.PPOTrainer")

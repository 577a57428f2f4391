"""PPO: advantages from a learned critic by GAE, reward 1 or 0 at the last token (arXiv 1707.06347).

    A_t = sum over l of (gamma * lambda)^l * delta_{t+l};  delta_t = r_t + gamma * V(s_{t+1}) - V(s_t)

Assumes that the critic learns faster than the policy moves (`critic_warmup` trains it alone first);
needs no groups. Degenerate case: none, every token has an advantage. gamma = lambda = 1 by default,
as verifiable-reward baselines set it. The critic is prerl_train/ppo.py's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prerl_train.algorithms import Phase, centred

if TYPE_CHECKING:
    from prerl_train.config import DSRLConfig


def phase(step: int, config: DSRLConfig) -> Phase:
    """Every update alike; the estimator only serves the count of groups that agree."""
    return Phase("rl", centred)

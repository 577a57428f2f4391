"""REINFORCE++: one baseline and one scale for the whole batch (Hu et al., arXiv 2501.03262).

    A = (r - mean) / (std + eps) over all tokens of the global batch

Assumes a batch large and mixed enough to stand for the policy; needs no groups, so one sample per
problem will do. Degenerate case: a batch whose samples all agree has A = 0. Differs from the paper:
no per-token KL in the reward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prerl_train.advantages import batch_normalized
from prerl_train.algorithms import Phase

if TYPE_CHECKING:
    from prerl_train.config import DSRLConfig


def phase(step: int, config: DSRLConfig) -> Phase:
    """Every update alike."""
    return Phase("rl", batch_normalized)

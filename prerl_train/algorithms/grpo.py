"""GRPO: group-normalised advantages, clipped surrogate, token mean (Shao et al., arXiv 2402.03300).

    A_i = (r_i - mean) / (std + eps)

Assumes several samples per problem. Degenerate case: a group whose samples agree has A = 0; it
moves nothing and still counts in the mean's denominator. Differs from the DeepSeekMath paper, as the PreRL
paper's baseline does: mean over all tokens of the update instead of per response (loss_type "grpo"
gives that), no KL (beta gives it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prerl_train.algorithms import Phase, normalized

if TYPE_CHECKING:
    from prerl_train.config import DSRLConfig


def phase(step: int, config: DSRLConfig) -> Phase:
    """Every update alike."""
    return Phase("rl", normalized)

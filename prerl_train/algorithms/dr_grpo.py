"""Dr.GRPO: GRPO without its two biases (Liu et al., arXiv 2503.20783).

    A_i = r_i - mean;  loss = sum over tokens / (samples * longest completion allowed)

Assumes a fixed token limit: the constant denominator removes the bias towards long wrong answers,
the missing std the weight of very easy and very hard problems. Degenerate case: as GRPO's. The
constant comes with the default loss_type "dr_grpo" of this algorithm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prerl_train.algorithms import Phase, centred

if TYPE_CHECKING:
    from prerl_train.config import DSRLConfig


def phase(step: int, config: DSRLConfig) -> Phase:
    """Every update alike."""
    return Phase("rl", centred)

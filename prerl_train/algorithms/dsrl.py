"""DSRL: NSR-PreRL for S updates, then GRPO (arXiv 2604.14142).

    updates 1..S   coef * sum over samples with r < mean of grad log pi(y) * (r - mean)
    afterwards     GRPO on all samples

Assumes a short warm-up: the paper finds 10-25 best, fewer under-activates, more over-explores.
Degenerate case: a warm-up batch without wrong samples in a mixed group is drawn again, and draws do
not count in S. Differs from the released code: S updates are S updates (it makes S - 1). Controls:
warm-up in P(y|x) (NSR-RL warm-up), and a joint update of GRPO plus a share of NSR-PreRL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prerl_train.algorithms import Phase, centred, normalized

if TYPE_CHECKING:
    from prerl_train.config import DSRLConfig


def phase(step: int, config: DSRLConfig) -> Phase:
    """The warm-up while fewer than S updates are done, GRPO after."""
    if step >= config.dsrl_warmup_steps:
        return Phase("rl", normalized)
    if config.dsrl_warmup_space == "joint":
        return Phase("joint", normalized, space="joint", samples="all")
    erased = config.dsrl_warmup_space == "prerl"
    return Phase(
        "prerl" if erased else "warmup-rl",
        centred,
        space="prerl" if erased else "rl",
        samples=config.dsrl_warmup_samples,
        coef=config.dsrl_warmup_coef,
        mean_over="contributing",
        redraw=True,
    )

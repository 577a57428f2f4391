"""PSR-RL: right samples pulled up in P(y|x) (Zhu et al., arXiv 2506.01347), with r - mean as weight.

    sum over samples with r > mean of grad log pi(y | x) * (r - mean)

Rejection fine-tuning on policy, weighted towards hard problems. Degenerate case: a batch without
such samples is drawn again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prerl_train.algorithms import Phase, centred

if TYPE_CHECKING:
    from prerl_train.config import DSRLConfig


def phase(step: int, config: DSRLConfig) -> Phase:
    """Every update alike."""
    return Phase("rl", centred, samples="positive", mean_over="contributing", redraw=True)

"""DAPO: clip-higher, dynamic sampling, token mean, soft length punishment (Yu et al., arXiv 2503.14476).

    A_i = (r_i - mean) / (std + eps) on r = correct + overlong punishment (eq. 13)
    clip to [1 - 0.2, 1 + 0.28]; draw until the batch is full of groups with right and wrong samples

Assumes that sampling more is affordable: groups that agree are replaced, at most max_draws draws a
step, then the update is made on what there is. Degenerate case: no group disagrees in any draw;
the run stops. Groups are judged by the reward before the length punishment, as in eq. 11. Right
and wrong are 1 and 0 here, not 1 and -1 (eq. 7), so a punishment of 0.5, the default, weighs beside
them as the paper's 1 does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prerl_train.algorithms import Phase, normalized

if TYPE_CHECKING:
    from prerl_train.config import DSRLConfig


def phase(step: int, config: DSRLConfig) -> Phase:
    """Every update alike."""
    return Phase("rl", normalized, dynamic_sampling=True, redraw=True)

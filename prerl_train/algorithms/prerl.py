"""PreRL: every update on log P(y), all samples (arXiv 2604.14142).

    sum over tokens of grad log pi(y_t | y_<t) * (r - mean)

Assumes that gradients of log P(y) and log P(y|x) point the same way (`prerl-train align` measures
it). Degenerate case: a batch whose groups all agree is drawn again. The paper: tracks RL for about
150 steps, then collapses. Differs from the released code: rows that do not contribute are dropped,
not masked, and a token weighs the same in every micro-batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prerl_train.algorithms import Phase, centred

if TYPE_CHECKING:
    from prerl_train.config import DSRLConfig


def phase(step: int, config: DSRLConfig) -> Phase:
    """Every update alike."""
    return Phase("prerl", centred, space="prerl", mean_over="contributing", redraw=True)

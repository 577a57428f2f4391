"""PSR-PreRL: right samples pulled up in P(y) (arXiv 2604.14142), an ablation.

    sum over samples with r > mean of grad log pi(y) * (r - mean)

Degenerate case: a batch without such samples is drawn again. The paper: degrades.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prerl_train.algorithms import Phase, centred

if TYPE_CHECKING:
    from prerl_train.config import DSRLConfig


def phase(step: int, config: DSRLConfig) -> Phase:
    """Every update alike."""
    return Phase("prerl", centred, space="prerl", samples="positive", mean_over="contributing", redraw=True)

"""NSR-PreRL: wrong samples pushed down in P(y) (arXiv 2604.14142): DSRL's warm-up for a whole run.

    sum over samples with r < mean of grad log pi(y) * (r - mean)

A wrong answer weighs -(accuracy of its group): one from a group with no right answer does nothing.
sample_weight "constant" weighs each -1 instead (arXiv 2506.01347). Degenerate case: a batch without
such samples is drawn again. Outputs grow long and quality falls when it goes on for long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prerl_train.algorithms import Phase, centred

if TYPE_CHECKING:
    from prerl_train.config import DSRLConfig


def phase(step: int, config: DSRLConfig) -> Phase:
    """Every update alike."""
    return Phase("prerl", centred, space="prerl", samples="negative", mean_over="contributing", redraw=True)

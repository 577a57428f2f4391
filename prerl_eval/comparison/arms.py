"""One side of a comparison on one benchmark: correct counts per training seed and problem.

What every statistic of this package takes. Does not cover where the counts come from (plan.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Arm:
    """Counts of S training seeds (1 for a single run) on P problems.

    problem_ids: sorted. correct, samples: int[S, P], correct and scored samples.
    """

    name: str
    problem_ids: tuple[str, ...]
    correct: NDArray[np.int64]
    samples: NDArray[np.int64]

    @property
    def seeds(self) -> int:
        """S, the training seeds."""
        return int(self.correct.shape[0])

    @property
    def problems(self) -> int:
        """P, the problems."""
        return int(self.correct.shape[1])

    @property
    def n(self) -> int:
        """The fewest samples of any problem of any seed."""
        return int(self.samples.min())


def paired(base: Arm, other: Arm) -> None:
    """Raise ValueError unless both sides have the same problems."""
    if base.problem_ids != other.problem_ids:
        raise ValueError(f"{base.name} and {other.name} have different problems")

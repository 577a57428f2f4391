"""Which problems one side solves and the other does not, and for which of them that is not luck.

Covers the naive lists (no correct sample on one side, one or more on the other) and a test of each
problem with a correction for testing many. Does not cover shares of problems (support.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prerl_eval.comparison.arms import Arm, paired
from prerl_eval.comparison.splits import hypergeometric
from prerl_eval.metrics import Floats


@dataclass(frozen=True)
class Newly:
    """Problems with correct samples on one side only.

    ids: all of them, in the order of the problems. survive: those of them that the test calls
    different at a false discovery rate of 5%. tests: how many problems could be called at all.
    """

    ids: tuple[str, ...]
    survive: tuple[str, ...]
    tests: int


def newly_solved_and_lost(base: Arm, other: Arm, rate: float = 0.05) -> tuple[Newly, Newly]:
    """(newly solved by `other`, newly lost by it): from no correct sample to one or more, and back.

    Samples of all training seeds are counted together, so with several seeds a call is about these
    checkpoints together. Two-sided Fisher tests of the correct counts of each problem; `rate` is the
    expected share of false calls among all calls over all problems (Benjamini & Hochberg 1995), a
    problem which could not reach `rate` whatever its samples said being no test (Tarone 1990: its
    margins alone say so). Raises ValueError unless both sides have the same problems.
    """
    paired(base, other)
    before, after = base.correct.sum(axis=0), other.correct.sum(axis=0)
    p, least = fisher(before, base.samples.sum(axis=0), after, other.samples.sum(axis=0))
    testable = least <= rate
    called = np.zeros(len(p), dtype=bool)
    called[testable] = step_up(p[testable]) <= rate
    ids = np.asarray(base.problem_ids, dtype=object)

    def those(naive: NDArray[np.bool_]) -> Newly:
        return Newly(tuple(ids[naive]), tuple(ids[naive & called]), int(testable.sum()))

    return those((before == 0) & (after > 0)), those((before > 0) & (after == 0))


def fisher(
    correct_a: ArrayLike, samples_a: ArrayLike, correct_b: ArrayLike, samples_b: ArrayLike
) -> tuple[Floats, Floats]:
    """Two-sided exact p-value of each problem, and the smallest that its margins allow: float[P] each.

    The p-value adds up all tables, under equal chances given both margins, that are no likelier than
    the one seen (as scipy.stats.fisher_exact, for all problems at once).
    """
    a, n_a, b, n_b = (
        np.asarray(x, dtype=np.int64)[:, None] for x in (correct_a, samples_a, correct_b, samples_b)
    )
    x = np.arange(int(n_a.max(initial=0)) + 1)[None, :]
    chance = hypergeometric(x, n_a, a + b, n_a + n_b)
    seen = np.take_along_axis(chance, a, axis=1)
    # The tolerance keeps tables of equal chance together in spite of rounding.
    p = np.where(chance <= seen * (1 + 1e-7), chance, 0.0).sum(axis=1)
    ends = np.where(chance > 0, chance, np.inf).min(axis=1, keepdims=True)
    least = np.where(chance <= ends * (1 + 1e-7), chance, 0.0).sum(axis=1)
    return np.minimum(p, 1.0), np.minimum(least, 1.0)


def step_up(p: Floats) -> Floats:
    """p-values adjusted for the false discovery rate (Benjamini & Hochberg 1995): float, as p."""
    order = np.argsort(p)[::-1]
    ranked = p[order] * len(p) / np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(ranked), 1.0)
    return adjusted

"""The paired difference of any figure that each problem has: tokens, distinct answers.

Covers values that are no proportions; differences of accuracy are differences.py. Problems are a
sample from a population of problems and training seeds a sample of seeds; both sides have the same
problems. The interval is a t interval of the crossed random-effects variance: with few problems and a
long-tailed figure it is only approximate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from prerl_eval.comparison.shares import variance
from prerl_eval.metrics import Floats


@dataclass(frozen=True)
class PairedMeans:
    """Means of both sides over problems and seeds, their difference and its 95% interval (None for P = 1)."""

    base: float
    other: float
    difference: float
    low: float | None
    high: float | None


def paired_means(base: Floats, other: Floats) -> PairedMeans:
    """Compare a figure per seed and problem: base float[S, P], other float[S', P].

    Variance and degrees of freedom are those of `shares.variance`: problems and, where a side has two
    seeds or more, its seeds. With one seed the seeds' own variance cannot be known and is not in the
    interval.
    """
    from scipy.special import stdtrit

    means = float(base.mean()), float(other.mean())
    difference = means[1] - means[0]
    spread, freedom = variance(other.mean(axis=0) - base.mean(axis=0), [base, other])
    if not freedom > 0:
        return PairedMeans(*means, difference, None, None)
    reach = float(stdtrit(freedom, 0.975)) * math.sqrt(spread)
    return PairedMeans(*means, difference, difference - reach, difference + reach)

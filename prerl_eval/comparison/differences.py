"""The paired difference of accuracy between two models on the same problems, its interval and p-value.

Covers Avg@n, and the interval that Pass@k differences share (curves.py). Problems are a random sample
from a population of problems, training seeds a random sample of seeds, samples independent draws. Does
not cover figures that are no proportions (paired.py). Choices and measured coverage:
docs/compare-statistics.md, "Differences".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from prerl_eval.comparison.arms import Arm, paired
from prerl_eval.comparison.several import caution
from prerl_eval.comparison.shares import share_ends, variances
from prerl_eval.metrics import Floats

DOUBT = 0.25
"""See `shares.share_ends`; less than for a single score, as most problems do not change at all."""


@dataclass(frozen=True)
class MeanDifference:
    """Avg of the other side less Avg of the base, a fraction of 1, with its 95% interval and p-value.

    p: two-sided, of no difference; it and the interval rest on different approximations and may disagree
    near 5%. low, high and p are NaN for a single problem. note: what not to conclude, "" for nothing.
    """

    value: float
    low: float
    high: float
    p: float
    seeds_base: int
    seeds_other: int
    note: str


def mean_difference(base: Arm, other: Arm) -> MeanDifference:
    """Compare Avg@n over problems and training seeds. Raises ValueError unless the problems are the same.

    The estimand is the mean over the population of problems of P(correct) under the other side less that
    under the base; where a side has two or more seeds, also the mean over seeds like those. A side of one
    seed is taken as the model it is.
    """
    paired(base, other)
    sides = [base.correct / base.samples, other.correct / other.samples]
    gains = sides[1].mean(axis=0) - sides[0].mean(axis=0)
    var, freedom = variances(gains, sides)
    low, high = difference_ends(gains, var, freedom)
    return MeanDifference(
        value=float(gains.mean()),
        low=float(low),
        high=float(high),
        p=t_test(gains, float(var), float(freedom)),
        seeds_base=base.seeds,
        seeds_other=other.seeds,
        note=caution(base, other),
    )


def t_test(gains: Floats, var: float, freedom: float) -> float:
    """Two-sided p-value of a mean of 0 by the paired t test, gains float[P]; NaN for one problem.

    Never below 2^(1 - m) for m problems that differ: with two runs of one model each of those m could as
    well have differed the other way, and no result is rarer than all m on one side (Fisher 1935, the
    sign-flip test). So a handful of problems cannot be significant, whatever their spread.
    """
    from scipy.special import stdtr

    if len(gains) < 2:
        return math.nan
    value, differing = abs(float(gains.mean())), int(np.count_nonzero(gains))
    if value == 0.0:
        return 1.0
    p = 2.0 * float(stdtr(freedom, -value / math.sqrt(var))) if var > 0 else 0.0
    return max(p, 2.0 ** (1 - differing))


def difference_ends(
    gains: Floats, var: Floats, freedom: Floats, level: float = 0.05
) -> tuple[Floats, Floats]:
    """Intervals for mean differences that miss the truth with chance `level`: (low, high), float[...] each.

    gains: float[P, ...], in [-1, 1]. var, freedom: of the means (`shares.variances`), the seeds' part in
    them. The wider end of two intervals, because each fails where the other holds:

    - t: mean -+ t(freedom) sqrt(var). Too short where the few problems that changed all changed one way.
    - MOVER (Zou & Donner 2008, as Newcombe 1998 for paired proportions): what was gained and what was
      lost are two shares, each with its own asymmetric interval (`shares.share_ends`), put together as
      mean -+ sqrt(a^2 + b^2 - 2 r a b), a and b being their arms and r their correlation. Too short
      where gains and losses have long tails. Never a point: it grants that problems which nobody saw
      may have changed.

    NaN for one problem.
    """
    from scipy.special import stdtrit

    problems = len(gains)
    mean = gains.mean(axis=0)
    if problems < 2:
        return np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    reach = stdtrit(freedom, 1.0 - level / 2) * np.sqrt(var)
    down, up = _mover_arms(gains, var, freedom, level)
    low, high = np.minimum(mean - reach, mean - down), np.maximum(mean + reach, mean + up)
    return np.maximum(low, -1.0), np.minimum(high, 1.0)


def _mover_arms(gains: Floats, var: Floats, freedom: Floats, level: float) -> tuple[Floats, Floats]:
    """How far the MOVER interval reaches below and above the mean: float[...] each."""
    problems = len(gains)
    parts = np.maximum(gains, 0.0), np.maximum(-gains, 0.0)
    by_problems = gains.var(axis=0, ddof=1) / problems
    # What seeds add is shared out as what problems add is.
    seeds = np.divide(var, by_problems, out=np.ones_like(var), where=by_problems > 0)
    means = [part.mean(axis=0) for part in parts]
    spreads = [part.var(axis=0, ddof=1) / problems for part in parts]
    gained, lost = (
        share_ends(mean, spread * seeds, freedom, problems, DOUBT, level)
        for mean, spread in zip(means, spreads, strict=True)
    )
    # No problem both gains and loses, so the covariance is that of two counts that exclude each other.
    scale = np.sqrt(spreads[0] * spreads[1])
    covariance = -means[0] * means[1] / (problems - 1)
    tie = np.maximum(np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0), -1.0)

    def arm(one: Floats, two: Floats) -> Floats:
        return np.asarray(np.sqrt(one**2 + two**2 - 2.0 * tie * one * two))

    down = arm(means[0] - gained[0], lost[1] - means[1])
    up = arm(gained[1] - means[0], means[1] - lost[0])
    return down, up

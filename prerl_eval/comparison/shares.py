"""Intervals for ratios of sums over problems, and for differences of such ratios.

Covers the step from per-problem influences to an interval: problems are a random sample, training
seeds are a second one. Does not cover which ratio is of interest (support.py, rare.py). Derivation
and measured coverage: docs/compare-statistics.md, "Shares".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prerl_eval.metrics import DOUBT, TINY, Floats

SMOOTHING = 0.25
"""See `difference_interval`; chosen by the sizes in docs/compare-statistics.md."""


@dataclass(frozen=True)
class Share:
    """A share of problems, or a score made of shares, with its 95% interval over problems.

    value is NaN, and the interval all that is possible, where nothing is there to be shared.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Excess:
    """A difference to the null with its 95% interval and the two-sided p-value of no difference."""

    value: float
    low: float
    high: float
    p: float


UNKNOWN = Excess(math.nan, math.nan, math.nan, math.nan)
"""Where a difference cannot be estimated: one problem, or nothing to share."""


def variance(mean_z: Floats, seed_zs: Sequence[Floats] = ()) -> tuple[float, float]:
    """`variances` of one statistic: mean_z float[P], seed_zs float[S, P] each."""
    total, freedom = variances(mean_z, seed_zs)
    return float(total), float(freedom)


def variances(mean_z: Floats, seed_zs: Sequence[Floats] = ()) -> tuple[Floats, Floats]:
    """Variances of statistics from their influences, and the degrees of freedom: each float[...].

    mean_z: float[P, ...], influence of each problem, averaged over seeds; a statistic moves like their
    mean. seed_zs: for each side that was trained several times float[S, P, ...], the influence under each
    seed. The problems' part is var(mean_z) / P. A side's seeds add var(seed means) / S less what
    problems and sampling alone put there (the interaction, Searle 1971, two-way random effects),
    never below 0. Degrees of freedom are those of this sum of mean squares (Satterthwaite 1946).
    (NaN, 0) for one problem.
    """
    problems = len(mean_z)
    if problems < 2:
        return np.full(mean_z.shape[1:], np.nan), np.zeros(mean_z.shape[1:])
    total = mean_z.var(axis=0, ddof=1) / problems
    loss = total**2 / (problems - 1)
    for z in seed_zs:
        if len(z) > 1:
            part, part_loss = seeds_part(z)
            total, loss = total + part, loss + part_loss
    known = loss > 0
    freedom = np.where(known, total**2 / np.where(known, loss, 1.0), problems - 1.0)
    return np.asarray(total), np.maximum(freedom, 1.0)


def seeds_part(z: Floats) -> tuple[Floats, Floats]:
    """What the seeds of one side add to the variance, and to Satterthwaite's sum: float[...] each.

    z: float[S, P, ...], S > 1. The sum has a square for each mean square, however small their difference.
    """
    seeds, problems = z.shape[:2]
    residual = z - z.mean(axis=0) - z.mean(axis=1, keepdims=True) + z.mean(axis=(0, 1))
    freedom = (seeds - 1) * (problems - 1)
    interaction = (residual**2).sum(axis=(0, 1)) / (freedom * seeds * problems)
    means = z.mean(axis=1).var(axis=0, ddof=1) / seeds
    part = np.maximum(means - interaction, 0.0)
    return part, means**2 / (seeds - 1) + interaction**2 / freedom


def share_interval(value: float, var: float, freedom: float, units: float) -> tuple[float, float]:
    """95% interval of a share in [0, 1] whose estimate has variance var on `freedom` degrees of freedom.

    units: how many problems the share is over. `share_ends` with as much doubt as metrics.interval has.
    """
    if not units > 0 or not freedom > 0 or math.isnan(value):
        return 0.0, 1.0
    low, high = share_ends(np.asarray(value), np.asarray(var), np.asarray(freedom), units, DOUBT)
    return float(low), float(high)


def share_ends(
    value: Floats, var: Floats, freedom: Floats, units: float, doubt: float, level: float = 0.05
) -> tuple[Floats, Floats]:
    """Intervals of shares in [0, 1] that miss the truth with chance `level`: (low, high), float[...] each.

    As metrics.interval (Korn & Graubard 1998): the interval of as many coin flips as have this variance,
    with the t quantile of its degrees of freedom in them, the variance first drawn towards that of one
    flip per unit (by doubt / units). But for these flips it is the Jeffreys interval (Brown, Cai &
    DasGupta 2001), which holds the truth 95% of the time on average where Clopper and Pearson's holds it
    at least 95%.
    """
    from scipy.special import betaincinv, ndtri, stdtrit

    value = np.clip(value, 0.0, 1.0)
    largest, seen = units * value * (1.0 - value), units**2 * var
    flips = units * (largest + doubt / units) / (seen + doubt / units)
    flips = flips * (ndtri(1.0 - level / 2) / stdtrit(freedom, 1.0 - level / 2)) ** 2
    heads, tails = flips * value, flips * (1.0 - value)
    low = np.where(heads > TINY, betaincinv(heads + 0.5, tails + 0.5, level / 2), 0.0)
    high = np.where(tails > TINY, betaincinv(heads + 0.5, tails + 0.5, 1.0 - level / 2), 1.0)
    return low, high


def difference_interval(value: float, var: float, freedom: float, units: float) -> Excess:
    """A difference of two shares of the same problems: its t interval and two-sided p-value.

    SMOOTHING / units^2 is added to the variance, as though one more problem differed by a half: where
    few problems differ at all, all in one direction by chance, their spread is seen as too small. So
    the interval is never a point.
    """
    from scipy.special import stdtr, stdtrit

    if not units > 0 or not freedom > 0 or math.isnan(value):
        return UNKNOWN
    error = math.sqrt(var + SMOOTHING / units**2)
    reach = float(stdtrit(freedom, 0.975)) * error
    p = 2.0 * float(stdtr(freedom, -abs(value) / error))
    return Excess(value, value - reach, value + reach, p)

"""The difference of two Pass@k curves: bands that hold for the whole curve, and where the curves cross.

Covers k up to the fewest samples of any problem on either side. Bands of a single run are
metrics.pass_curve's. Choices and measured coverage: docs/compare-statistics.md, "Pass@k differences".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from prerl_eval.comparison.arms import Arm, paired
from prerl_eval.comparison.differences import difference_ends
from prerl_eval.comparison.shares import seeds_part, variances
from prerl_eval.metrics import Floats, check_k, pass_at_k_table

DRAWS = 4000
"""Simulated error curves; a chance of 5% is then known to +-0.3 points (one standard error)."""

CLOSE = 1e-3
"""Differences of Pass@k up to a tenth of a point are no side of a crossing: saturated curves differ so."""

GRID = 1.08
"""Ratio of neighbouring k among those that error curves are drawn for: a curve does not bend between."""


@dataclass(frozen=True)
class PassDifference:
    """Pass@k of the other side less that of the base, arrays [K] for k = 1..K.

    low, high: 95% band of the whole curve: with a chance of 95% the true curve is inside for every k.
    point_low, point_high: 95% for each k alone. uncertain: k > n/4. NaN ends for a single problem.
    """

    k: NDArray[np.int64]
    value: Floats
    low: Floats
    high: Floats
    point_low: Floats
    point_high: Floats
    uncertain: NDArray[np.bool_]


@dataclass(frozen=True)
class Crossover:
    """Where the curves cross: from k on the sign of the difference is the other one.

    k: of the estimated curves; None where they do not cross within n. claimed: the band of the whole
    curve is off zero on both sides of it, to different signs; only then low, high, the 95% interval of
    k. p_none: probability that the true curves do not cross within n. note: why nothing is claimed.
    """

    k: int | None
    low: int | None
    high: int | None
    p_none: float
    claimed: bool
    note: str


def pass_difference(base: Arm, other: Arm, max_k: int | None = None) -> PassDifference:
    """Compare Pass@k for k = 1..max_k, or up to the fewest samples of any problem.

    Unbiased for every k (metrics.pass_at_k_table); seeds and problems are random as in
    `differences.mean_difference`. The band is the interval of each k at the level at which all of them
    together miss with a chance of 5% (the distribution of the largest |t| over k; Montiel Olea &
    Plagborg-Moller 2019). Raises ValueError unless the problems are the same, UserError for max_k above n.
    """
    return _Curves.of(base, other, max_k).difference()


def crossover(base: Arm, other: Arm) -> Crossover:
    """Whether and where the curves cross, for k up to the fewest samples of any problem.

    Which of two curves is above is known at k only where the band excludes 0, so a crossing is claimed
    only where it does so on both sides: curves that do not cross are said to with a chance of at most
    2.5%. The interval of k ends where the pointwise intervals lose and regain a sign. p_none rests on curves
    drawn about the estimate, a posterior under a flat prior and normal errors: those that have one sign at
    one k and the other at another, by more than CLOSE, for the two k where that is likeliest. (Over any two
    k it would be said of nearly all curves that are close.) Problems unlike all P are no part of it.
    """
    curves = _Curves.of(base, other, None)
    return _cross(curves.difference(), curves.p_none())


@dataclass(frozen=True)
class _Curves:
    """The difference of two curves and its errors: sides float[S, P, K], gains float[P, K], the rest [K]."""

    n: int
    sides: Sequence[Floats]
    gains: Floats
    var: Floats
    freedom: Floats

    @classmethod
    def of(cls, base: Arm, other: Arm, max_k: int | None) -> _Curves:
        paired(base, other)
        n = min(base.n, other.n)
        last = n if max_k is None else max_k
        check_k(last, n)
        sides = [_passed(base, last), _passed(other, last)]
        gains = sides[1].mean(axis=0) - sides[0].mean(axis=0)
        return cls(n, sides, gains, *variances(gains, sides))

    def difference(self) -> PassDifference:
        k = np.arange(1, self.gains.shape[1] + 1)
        return PassDifference(
            k,
            self.gains.mean(axis=0),
            *difference_ends(self.gains, self.var, self.freedom, self.joint_level()),
            *difference_ends(self.gains, self.var, self.freedom),
            uncertain=4 * k > self.n,
        )

    def joint_level(self) -> float:
        """The level of each k at which all k together miss with a chance of 5%."""
        from scipy.special import ndtr

        if len(self.gains) < 2:
            return 0.05
        errors, places = self.errors
        spread = np.sqrt(self.var[places])
        largest = np.abs(errors[:, spread > 0] / spread[spread > 0]).max(axis=1, initial=0.0)
        return float(min(2.0 * ndtr(-np.quantile(largest, 0.95)), 0.05))

    def p_none(self) -> float:
        """1 less the share of drawn curves that cross between the best two k; NaN for one problem."""
        if len(self.gains) < 2:
            return math.nan
        errors, places = self.errors
        # Fewer degrees of freedom, longer tails: each curve's errors are stretched as a t variable's.
        freedom = float(self.freedom[places].min())
        stretch = np.sqrt(freedom / np.random.default_rng(1).chisquare(freedom, len(errors)))
        drawn = self.gains.mean(axis=0)[places] + errors * stretch[:, None]
        above, below = (drawn > CLOSE).astype(np.float64), (drawn < -CLOSE).astype(np.float64)
        return float(1.0 - (above.T @ below).max() / len(drawn))

    @cached_property
    def errors(self) -> tuple[Floats, NDArray[np.int64]]:
        """Error curves drawn at random, float[DRAWS, G], and the G places among K they are given for.

        Normal, with the covariance over k that the problems show and that the seeds show, scaled to the
        seeds' part of each variance; what a multiplier bootstrap over both gives (Gine & Zinn 1990). The
        same draws for the same counts.
        """
        places = _grid(self.gains.shape[1])
        gains = self.gains[:, places]
        rows = [(gains - gains.mean(axis=0)) / math.sqrt(len(gains) * (len(gains) - 1))]
        for side in (side[..., places] for side in self.sides if len(side) > 1):
            means = side.mean(axis=1)
            raw = means.var(axis=0, ddof=1)
            part = np.divide(seeds_part(side)[0], raw, out=np.zeros_like(raw), where=raw > 0)
            rows.append((means - means.mean(axis=0)) * np.sqrt(part / (len(side) - 1)))
        # R'R is the sum of squares of all rows, so R mixes as many normals as there are k.
        mix = np.linalg.qr(np.concatenate(rows), mode="r")
        return _normals(len(mix)) @ mix, places


def _passed(arm: Arm, last: int) -> Floats:
    """Unbiased Pass@k of each seed and problem: float[S, P, K]."""
    rows = zip(arm.correct, arm.samples, strict=True)
    return np.stack([pass_at_k_table(correct, samples, last) for correct, samples in rows])


@lru_cache(maxsize=8)
def _normals(columns: int) -> Floats:
    """Standard normal variables, the same ones for every comparison: float[DRAWS, columns]."""
    return np.random.default_rng(0).standard_normal((DRAWS, columns))


def _grid(last: int) -> NDArray[np.int64]:
    """Places of the k that stand for all of 1..last: each of the first, then ever further apart, and last."""
    ks = {1, last}
    k = 1
    while k < last:
        ks.add(k)
        k = max(k + 1, int(k * GRID))
    return np.asarray(sorted(ks)) - 1


def _cross(curve: PassDifference, p_none: float) -> Crossover:
    """The crossing that the bands claim, or the first that the estimates show."""
    signs = np.where(curve.low > 0, 1, 0) - np.where(curve.high < 0, 1, 0)
    off = np.flatnonzero(signs)
    turns = np.flatnonzero(signs[off][1:] != signs[off][:-1])
    if not len(turns):
        seen = _seen_crossing(curve.value)
        note = "the curves cross, but not by more than luck may do" if seen else ""
        return Crossover(seen, None, None, p_none, False, note)
    start, end = int(off[turns[0]]), int(off[turns[0] + 1])
    sign = int(signs[start])
    between = slice(start, end + 1)
    before = sign * (curve.point_low if sign > 0 else curve.point_high)[between] > 0
    after = sign * (curve.point_high if sign > 0 else curve.point_low)[between] < 0
    low = start + int(np.flatnonzero(before)[-1]) + 1
    high = start + int(np.flatnonzero(after)[0])
    place = start + int(np.flatnonzero(sign * curve.value[between] < 0)[0])
    notes = ["the later side is seen at k > n/4 only"] if curve.uncertain[end] else []
    if len(turns) > 1:
        notes.append(f"the curves cross {len(turns)} times; this is the first")
    ends = int(curve.k[min(low, place)]), int(curve.k[max(high, place)])
    return Crossover(int(curve.k[place]), *ends, p_none, True, "; ".join(notes))


def _seen_crossing(value: Floats) -> int | None:
    """The first k at which the estimate has the other sign, of two that it takes by more than CLOSE."""
    off = np.flatnonzero(np.abs(value) > CLOSE)
    turns = np.flatnonzero(np.sign(value[off][1:]) != np.sign(value[off][:-1]))
    if not len(turns):
        return None
    start = int(off[turns[0]])
    return start + int(np.flatnonzero(np.sign(value[start:]) == -np.sign(value[start]))[0]) + 1

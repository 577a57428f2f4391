"""Scores per seed and problem, and weighted sums of them with intervals over seeds and problems.

Covers what every table of differences asks of prerl_eval.comparison: two methods, one policy before and
after, a trend over several arms. Does not cover the curve of Pass@k as a whole (comparison.curves).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from prerl_eval.comparison.arms import Arm
from prerl_eval.comparison.differences import difference_ends, t_test
from prerl_eval.comparison.several import SOME_SEEDS, holm
from prerl_eval.comparison.shares import share_ends, variances
from prerl_eval.metrics import DOUBT, Floats, interval, pass_at_k_table

ROUNDED = 12
"""Decimals of a problem's weighted sum."""


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of scores with its 95% interval, as fractions of 1.

    p: two-sided, of no difference; NaN where `few`: a method of one or two seeds, of which no test is held.
    holm: p adjusted for all tests of the table, NaN until `with_holm`.
    """

    value: float
    low: float
    high: float
    p: float
    few: bool
    holm: float = math.nan

    @property
    def sign(self) -> int:
        """1 or -1 where the test of the whole table calls a difference, else 0."""
        return 0 if not self.holm <= 0.05 else 1 if self.value > 0 else -1


def scores(arm: Arm, k: int) -> Floats | None:
    """Pass@k of each seed and problem, float[S, P]; Avg for k = 1; None where n is below k."""
    return None if arm.n < k else curve_scores(arm, k)[..., -1]


def curve_scores(arm: Arm, last: int) -> Floats:
    """Pass@k of each seed and problem for k = 1..last: float[S, P, last]."""
    rows = zip(arm.correct, arm.samples, strict=True)
    return np.stack([pass_at_k_table(correct, samples, last) for correct, samples in rows])


def contrast(
    sides: Sequence[Floats], weights: Sequence[float], fixed: int = 0, scale: float = 1.0
) -> Contrast:
    """Sum of weights x mean scores of sides float[S, P]; problems and each side's seeds are random.

    The positive weights sum to 1 and the negative ones to -1 (or are none), so that each problem's sum lies
    in [-1, 1]; with weights (-1, 1) and k = 1 it is `differences.mean_difference`. fixed: so many first
    sides are single models, not methods. scale: what value and interval are multiplied by.
    """
    parts = [weight * side for weight, side in zip(weights, sides, strict=True)]
    # Equal scores differ by rounding alone, which no test may take for a change.
    gains = np.round(np.sum([part.mean(axis=0) for part in parts], axis=0), ROUNDED)
    var, freedom = variances(gains, parts)
    low, high = difference_ends(gains, var, freedom)
    few = min((len(side) for side in sides[fixed:]), default=SOME_SEEDS) < SOME_SEEDS
    p = math.nan if few else t_test(gains, float(var), float(freedom))
    return Contrast(scale * float(gains.mean()), scale * float(low), scale * float(high), p, few)


def difference(base: Arm, other: Arm, k: int, fixed: int = 0) -> Contrast | None:
    """Pass@k of `other` less that of `base`, trained apart; None where an n is below k."""
    before, after = scores(base, k), scores(other, k)
    return None if before is None or after is None else contrast([before, after], [-1.0, 1.0], fixed)


def paired_difference(before: Arm, after: Arm, k: int) -> Contrast | None:
    """Pass@k of `after` less that of `before`, where the seeds of one continue those of the other.

    What both share is no error of the difference: each seed's difference is one draw.
    """
    first, second = scores(before, k), scores(after, k)
    return None if first is None or second is None else contrast([second - first], [1.0])


def with_holm(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """The same with p-values adjusted for their number (comparison.several.holm)."""
    adjusted = holm([one.p for one in contrasts])
    return [replace(one, holm=p) for one, p in zip(contrasts, adjusted, strict=True)]


def levels(side: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean scores of a method and their 95% intervals: float[...] each, from side float[S, P, ...].

    Over problems alone for one model (metrics.interval), over problems and seeds where S > 1.
    """
    mean = side.mean(axis=0)
    if len(side) == 1:
        return mean.mean(axis=0), *interval(mean)
    var, freedom = variances(mean, [side])
    return mean.mean(axis=0), *share_ends(mean.mean(axis=0), var, freedom, len(mean), DOUBT)

"""What a problem's chance of success may be, given its counts: an empirical-Bayes Beta posterior.

Covers fitting the prior to the problems that were solved at least once, and what follows from the
posterior. Does not cover problems without a correct sample, of which no data say whether their chance is
small or nought.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prerl_eval.metrics import Floats

SPREAD = 2.0
"""Standard deviation of the weak normal prior on log a and log b, which holds the fit where few are seen."""


@dataclass(frozen=True)
class BetaPrior:
    """Beta(a, b) over the chances of those problems whose chance is not 0."""

    a: float
    b: float

    def at_most(self, ceiling: float, correct: ArrayLike, samples: ArrayLike) -> Floats:
        """P(chance <= ceiling | correct of samples): float, of the broadcast shape of the counts."""
        from scipy.special import betainc

        correct, samples = np.asarray(correct), np.asarray(samples)
        return np.asarray(betainc(self.a + correct, self.b + samples - correct, ceiling))

    def missed(self, m: int, correct: ArrayLike, samples: ArrayLike) -> Floats:
        """P(m further samples hold nothing correct | correct of samples): float, shape as above."""
        from scipy.special import betaln

        a, b = self.a + np.asarray(correct), self.b + np.asarray(samples) - np.asarray(correct)
        return np.asarray(np.exp(betaln(a, b + m) - betaln(a, b)))


def fit_seen(correct: NDArray[np.int64], samples: NDArray[np.int64]) -> BetaPrior:
    """The prior from the problems with at least one correct sample; counts int of any one shape.

    Maximum of the Beta-binomial likelihood (Skellam 1948), truncated to counts above 0, times
    normal priors of deviation SPREAD on log a and log b. The truncation leaves the share of problems
    whose chance is exactly 0 free. Beta(1, 1) where no problem was solved.
    """
    from scipy.special import betaln

    seen = correct > 0
    pairs, times = np.unique(np.stack([correct[seen], samples[seen]]), axis=1, return_counts=True)
    if not len(times):
        return BetaPrior(1.0, 1.0)
    c, n = pairs

    def fit(log_a: Floats, log_b: Floats) -> Floats:
        """Log posterior, float of the shape of its arguments, up to a constant."""
        a, b = np.exp(log_a)[..., None], np.exp(log_b)[..., None]
        whole = betaln(a, b)
        seen_at_all = np.log(-np.expm1(betaln(a, b + n) - whole))
        likelihood = ((betaln(a + c, b + n - c) - whole - seen_at_all) * times).sum(axis=-1)
        return np.asarray(likelihood - (log_a**2 + log_b**2) / (2 * SPREAD**2))

    # A grid that moves to its best point and halves where that is not on its rim.
    middle, reach = np.zeros(2), 4.0
    while reach > 1e-3:
        steps = np.linspace(-reach, reach, 9)
        log_a, log_b = np.meshgrid(middle[0] + steps, middle[1] + steps, indexing="ij")
        i, j = np.unravel_index(int(fit(log_a, log_b).argmax()), log_a.shape)
        middle = np.array([log_a[i, j], log_b[i, j]])
        if 0 < i < len(steps) - 1 and 0 < j < len(steps) - 1:
            reach /= 2.0
    a, b = np.exp(middle)
    return BetaPrior(float(a), float(b))

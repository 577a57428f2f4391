"""Chances over all ways to draw some of a problem's stored samples: exact, nothing is drawn at random.

Covers being solved in m samples, in each of two halves, and how many correct ones a draw holds. Does
not cover what is concluded from them (support.py, rare.py, newly.py).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prerl_eval.comparison.arms import Arm
from prerl_eval.metrics import Floats, pass_at_k_table


def solved_in(arm: Arm, m: int) -> Floats:
    """Chance that m of a problem's samples hold a correct one, unbiased: float[S, P] (Pass@m)."""
    rows = zip(arm.correct, arm.samples, strict=True)
    return np.stack([pass_at_k_table(correct, samples, m)[:, -1] for correct, samples in rows])


def both_halves_solved(arm: Arm, m: int) -> tuple[Floats, Floats]:
    """(one, both): chances that one, and each of two, disjoint sets of m samples is solved: float[S, P].

    Averaged over all ways to draw the two sets (hypergeometric): with u(k) = C(n-c, k) / C(n, k), the
    chance that k samples hold nothing correct, both is 1 - 2 u(m) + u(2m). Unbiased for the square of
    Pass@m, which is what two runs of one model give. Raises UserError for 2m > n.
    """
    one, either = solved_in(arm, m), solved_in(arm, 2 * m)
    return one, 2.0 * one - either


def hypergeometric(x: ArrayLike, drawn: ArrayLike, marked: ArrayLike, total: ArrayLike) -> Floats:
    """Chance of x marked items among `drawn` of `total` that hold `marked`; 0 where impossible.

    Whole numbers of one broadcast shape, which is that of the result.
    """
    from scipy.special import gammaln

    x, drawn, marked, total = np.broadcast_arrays(*map(np.asarray, (x, drawn, marked, total)))
    least = np.maximum(drawn + marked - total, 0)
    possible = (x >= least) & (x <= np.minimum(drawn, marked))
    inside = np.where(possible, x, least)

    def log_choose(size: NDArray[np.int64], some: NDArray[np.int64]) -> Floats:
        return np.asarray(gammaln(size + 1) - gammaln(some + 1) - gammaln(size - some + 1))

    log_chance = log_choose(marked, inside) + log_choose(total - marked, drawn - inside)
    return np.where(possible, np.exp(log_chance - log_choose(total, drawn)), 0.0)

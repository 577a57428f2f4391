"""Estimators: Avg@n, unbiased Pass@k, maj@k, and 95% intervals over problems.

Covers pure functions from counts to numbers. One picture of the data holds throughout: problems
are a random sample from a population of problems, the n samples of a problem are independent
draws, so everything uncertain is uncertain over PROBLEMS. Does not cover reading runs
(prerl_eval.tally) or comparing two runs. Formulas, sources, measured coverage and where each
estimator fails: docs/statistics.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prerl_eval.errors import UserError

Floats = NDArray[np.float64]

Z95 = 1.959963984540054
"""The 97.5% quantile of the standard normal distribution."""

DOUBT = 4.0
"""See `interval`; chosen by the coverage figures in docs/statistics.md."""

TINY = 1e-12
NEGLIGIBLE = 1e-19
"""Chances below it are left out of maj@k: of 10^4 samples they weigh less than 1e-15 together."""


def pass_at_k(n: int, correct: int) -> Floats:
    """Unbiased Pass@k of one problem for k = 1..n: float[n].

    1 - C(n-c, k) / C(n, k), Chen et al. 2021 (arXiv 2107.03374, eq. 1), as the running product of
    (n-c-i) / (n-i), which neither overflows nor cancels: within 1e-12 of exact for n up to 1,024.
    """
    return np.asarray(pass_at_k_table([correct], [n])[0])


def pass_at_k_table(correct: ArrayLike, n: ArrayLike, max_k: int | None = None) -> Floats:
    """Unbiased Pass@k of every problem: float[P, K], column k-1 for k = 1..K.

    correct: int[P], correct samples. n: int[P], samples. K is max_k, or the smallest n. Raises
    UserError for max_k above the smallest n: Pass@k is never extrapolated.
    """
    correct_p, n_p = np.asarray(correct, dtype=np.int64), np.asarray(n, dtype=np.int64)
    if correct_p.shape != n_p.shape or (correct_p < 0).any() or (correct_p > n_p).any():
        raise ValueError("each problem needs 0 <= correct <= n")
    smallest = int(n_p.min()) if n_p.size else 0
    if max_k is not None:
        check_k(max_k, smallest)
    i = np.arange(smallest if max_k is None else max_k)
    none_correct = np.maximum(n_p[:, None] - correct_p[:, None] - i, 0) / (n_p[:, None] - i)
    return np.asarray(1.0 - np.cumprod(none_correct, axis=1))


def check_k(k: int, n: int, what: str = "each problem") -> None:
    """Raise UserError unless 1 <= k <= n. what: whose n samples they are, for the message."""
    if k < 1:
        raise UserError(f"k = {k} is too small; give 1 or more")
    if k > n:
        raise UserError(
            f"k = {k} is more than the n = {n} samples of {what}; give at most {n} or sample more"
        )


def mean_and_se(values: ArrayLike) -> tuple[float, float]:
    """Mean of per-problem values float[P] and its standard error, clustered by problem.

    sd(values) / sqrt(P) with P - 1 degrees of freedom: Miller 2024 (arXiv 2411.00640, section 2.2)
    for equally many samples per problem, where the mean of problem means is the mean of all
    samples. NaN for the error of a single problem.
    """
    values_p = np.asarray(values, dtype=np.float64)
    if values_p.size < 2:
        return float(values_p.mean()), float("nan")
    return float(values_p.mean()), float(values_p.std(ddof=1) / np.sqrt(values_p.size))


def interval(values: ArrayLike, doubt: float = 1.0) -> tuple[Floats, Floats]:
    """95% interval for the population mean of values in [0, 1]: (low, high), each float[...].

    values: float[P, ...], independent over the first axis (problems). Korn & Graubard 1998: the
    Clopper-Pearson interval of as many coin flips as would give this variance, with a t quantile
    for its P - 1 degrees of freedom. Inside [0, 1], never a point; one problem gives [0, 1].

    The variance seen is first drawn towards the largest that the mean m allows, m (1 - m) (ours):
    DOUBT / P is added to both sums of squares. That matters where nearly all problems agree at 0
    or 1, so that the rare problems which carry the variance may not be among the P; where all
    agree, each problem is one coin flip.
    """
    from scipy.special import betaincinv

    mean, flips = coin_flips(values, doubt)
    if np.shape(values)[0] < 2:
        return np.zeros_like(mean), np.ones_like(mean)
    heads, tails = flips * mean, flips * (1.0 - mean)
    low = np.where(heads > 0, betaincinv(np.maximum(heads, TINY), tails + 1.0, 0.025), 0.0)
    high = np.where(tails > 0, betaincinv(heads + 1.0, np.maximum(tails, TINY), 0.975), 1.0)
    return low, high


def coin_flips(values: ArrayLike, doubt: float = 1.0) -> tuple[Floats, Floats]:
    """Means of values float[P, ...], and how many coin flips have their variance: each float[...].

    The flips are those of `interval`, the t quantile of P - 1 degrees of freedom in them; 0 for one
    problem, of whose spread nothing is known. doubt: variance of a problem's value by that of a coin
    flip, where the values seen do not say; below 1 where a value rests on several items.
    """
    from scipy.special import stdtrit

    values_p = np.asarray(values, dtype=np.float64)
    problems = values_p.shape[0]
    mean = np.clip(values_p.mean(axis=0), 0.0, 1.0)
    if problems < 2:
        return mean, np.zeros_like(mean)
    seen = ((values_p - mean) ** 2).sum(axis=0)
    largest = (problems - 1) * mean * (1.0 - mean)
    flips = problems * (largest + DOUBT / problems) / (seen + doubt * DOUBT / problems)
    return mean, np.asarray(flips * (Z95 / stdtrit(problems - 1, 0.975)) ** 2)


@dataclass(frozen=True)
class Curve:
    """Pass@k over problems, arrays [K] for k = 1..K.

    low, high: 95% bands, pointwise: each k alone is covered, not the curve as a whole.
    uncertain: k > n/4, where less than four disjoint groups of k were sampled per problem.
    missing: samples that were planned and are not there (yet).
    """

    k: NDArray[np.int64]
    value: Floats
    low: Floats
    high: Floats
    uncertain: NDArray[np.bool_]
    n: int
    problems: int
    missing: int = 0

    def up_to(self, max_k: int, what: str = "each problem") -> Curve:
        """Only k <= max_k. Raises UserError for max_k above n: never extrapolated."""
        check_k(max_k, self.n, what)
        return replace(
            self,
            k=self.k[:max_k],
            value=self.value[:max_k],
            low=self.low[:max_k],
            high=self.high[:max_k],
            uncertain=self.uncertain[:max_k],
        )


def pass_curve(correct: ArrayLike, n: ArrayLike) -> Curve:
    """The Pass@k curve of a benchmark from correct int[P] and samples int[P], k up to the smallest n."""
    table = pass_at_k_table(correct, n)
    problems, smallest = table.shape
    k = np.arange(1, smallest + 1)
    low, high = interval(table)
    return Curve(k, table.mean(axis=0), low, high, 4 * k > smallest, smallest, problems)


def majority_ks(n: int) -> list[int]:
    """The k that maj@k is given for: powers of two up to n, and n."""
    return sorted({2**i for i in range(n.bit_length())} | {n}) if n else []


@lru_cache(maxsize=1 << 16)
def majority_at_k(correct: int, rivals: tuple[int, ...], blank: int, k: int) -> float:
    """maj@k of one problem: expected accuracy of a plurality vote over k of its n samples.

    Exact: averaged over all k-subsets of the n = correct + sum(rivals) + blank samples, ties
    shared evenly among the tied classes. rivals: sizes of the wrong equivalence classes, sorted
    so that equal problems share one computation. blank: samples without an answer, which are
    drawn but do not vote; a vote nobody takes part in is wrong.

    Each sample is taken by a coin of chance k/n; given that k were taken, all k-subsets are
    equally likely. The classes are then independent binomials and a k-subset is a convolution
    of them: sums of positive terms only, so nothing cancels.
    """
    n = correct + sum(rivals) + blank
    check_k(k, n)
    if correct == 0:
        return 0.0
    if k == n:
        most = max(correct, *rivals, 0)
        return 1.0 / (1 + rivals.count(most)) if correct == most else 0.0
    taken = _binomial(n, k / n)[k]  # at least 1 / sqrt(8 k), to which NEGLIGIBLE is nothing
    correct_taken = _binomial(correct, k / n)
    total = 0.0
    for votes in range(1, min(correct, k) + 1):
        if correct_taken[votes] > NEGLIGIBLE:
            total += correct_taken[votes] * _wins_with(votes, n - correct, rivals, k - votes, k / n)
    return min(float(total / taken), 1.0)


def _wins_with(votes: int, others: int, rivals: tuple[int, ...], room: int, chance: float) -> float:
    """Expected credit times the chance that the `others` fill `room`, where `votes` are correct.

    Each class is followed only where its chance is not negligible, so that the cost grows with the spread
    of a vote and not with the number of samples.
    """
    strong = [size for size in rivals if size >= votes and _tail(size, chance)[votes] > NEGLIGIBLE]
    # drawn[j, s]: start + s of the others are taken, j rivals tie with the correct class and none beats it.
    start, harmless = _spread(others - sum(strong), chance)
    drawn = harmless[None, :]
    for size in strong:
        taken = _binomial(size, chance)
        low = min(int(np.argmax(taken > NEGLIGIBLE)), votes)
        below, tie = taken[low:votes], taken[votes]
        longer = np.zeros((len(drawn) + 1, drawn.shape[1] + len(below)))
        longer[1:, len(below) :] = tie * drawn
        if len(below):
            longer[:-1, :-1] += [np.convolve(row, below) for row in drawn]
        start += low
        drawn = longer[: room // votes + 1, : max(room - start + 1, 1)]
    if not 0 <= room - start < drawn.shape[1]:
        return 0.0
    return float((drawn[:, room - start] / np.arange(1, len(drawn) + 1)).sum())


def _spread(size: int, chance: float) -> tuple[int, Floats]:
    """The first count that is not negligible, and the probabilities from it to the last such one."""
    probabilities = _binomial(size, chance)
    there = np.flatnonzero(probabilities > NEGLIGIBLE)
    return int(there[0]), probabilities[there[0] : there[-1] + 1]


@lru_cache(maxsize=1 << 9)
def _tail(size: int, chance: float) -> Floats:
    """P(count >= c) of a binomial, for c of 0..size."""
    return np.asarray(np.cumsum(_binomial(size, chance)[::-1])[::-1])


@lru_cache(maxsize=1 << 9)
def _binomial(size: int, chance: float) -> Floats:
    """Binomial probabilities of 0..size: float[size + 1], for 0 < chance < 1."""
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, size + 1)))])
    heads = np.arange(size + 1)
    log_ways = log_factorial[size] - log_factorial - log_factorial[::-1]
    return np.asarray(np.exp(log_ways + heads * np.log(chance) + (size - heads) * np.log1p(-chance)))

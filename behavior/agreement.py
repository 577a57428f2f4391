"""Agreement of yes/no judgements: Cohen's and Fleiss' kappa, and prevalence corrected for a judge's errors.

Covers pure functions from judgements to numbers. Items of one problem are alike, so what is independent
is the PROBLEM: every interval is over problems, by the one method of prerl_eval.metrics. Formulas,
sources and measured coverage: docs/agreement.md. Does not cover where judgements come from
(behavior.judgements).

One device serves all intervals. A statistic of sums over problems is linearised: problem i moves it by
d_i (the infinitesimal jackknife, Jaeckel 1972), and `prerl_eval.metrics.interval`
of u + d_i, u in [0, 1], is the interval of the coin flips that have this variance. It never shrinks to a
point where all agree, which the usual kappa errors and the bootstrap do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prerl_eval.metrics import Z95, coin_flips, interval

Floats = NDArray[np.float64]

ALIKE = 0.2
"""Correlation of a problem's items where the data do not tell; chosen by coverage (docs/agreement.md).

With n items each, a problem's share is then taken to vary as that of n / (1 + (n - 1) ALIKE) items:
one item is one coin flip, as in `prerl_eval.metrics`, and a thousand are five."""

FEW_POSITIVES = 5
"""With fewer items that either side marks, the interval of kappa is not covered (docs/agreement.md)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its 95% interval; all None where the data do not determine it."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two judges on the same items.

    items, problems: how many of each. both, only_a, only_b, neither: the table of counts.
    prevalence_a, prevalence_b: shares of items marked. agreement: share of items judged alike.
    positive, negative: agreement on presence 2 both / (2 both + only_a + only_b), and on absence
    likewise (Cicchetti & Feinstein 1990). kappa: Cohen's.
    """

    items: int
    problems: int
    both: int
    only_a: int
    only_b: int
    neither: int
    prevalence_a: Estimate
    prevalence_b: Estimate
    agreement: Estimate
    positive: Estimate
    negative: Estimate
    kappa: Estimate

    @property
    def few(self) -> bool:
        """Too few marked items for the interval of kappa to be trusted."""
        return min(self.both + self.only_a, self.both + self.only_b) < FEW_POSITIVES


def share(hits: ArrayLike, totals: ArrayLike) -> Estimate:
    """Sum of hits over sum of totals, each float[P] over problems; those without any total stand outside."""
    hits_p, totals_p = _with_totals(hits, totals)
    if not totals_p.size:
        return Estimate()
    value, moves = _ratio(hits_p, totals_p)
    return _estimate(value, *interval(value + moves, _doubt(totals_p)))


def compare(a: ArrayLike, b: ArrayLike, problems: Sequence[object]) -> Pair:
    """Two judges' yes/no bool[N] on N items; problems: the problem of each item."""
    cell = 2 * (1 - np.asarray(a, dtype=np.int64)) + (1 - np.asarray(b, dtype=np.int64))
    which, count = _numbered(problems)
    tables = np.bincount(which * 4 + cell, minlength=4 * count).reshape(count, 4).astype(np.float64)
    both, only_a, only_b, neither = tables.T
    totals, one_sided = tables.sum(axis=1), only_a + only_b
    return Pair(
        items=int(totals.sum()),
        problems=count,
        both=int(both.sum()),
        only_a=int(only_a.sum()),
        only_b=int(only_b.sum()),
        neither=int(neither.sum()),
        prevalence_a=share(both + only_a, totals),
        prevalence_b=share(both + only_b, totals),
        agreement=share(both + neither, totals),
        positive=share(2 * both, 2 * both + one_sided),
        negative=share(2 * neither, 2 * neither + one_sided),
        kappa=cohen(tables),
    )


def cohen(tables: ArrayLike) -> Estimate:
    """Cohen's kappa (1960) of tables[P, 4]: both, only a, only b, neither, counted per problem.

    (po - pe) / (1 - pe), with po the share judged alike and pe what the two prevalences give by chance.
    Undefined (None) where both judges say the same of every item, all yes or all no.
    """
    counts = np.asarray(tables, dtype=np.float64)
    totals = counts.sum(axis=1)
    if not totals.sum():
        return Estimate()
    alike, d_alike = _ratio(counts[:, 0] + counts[:, 3], totals)
    a, d_a = _ratio(counts[:, 0] + counts[:, 1], totals)
    b, d_b = _ratio(counts[:, 0] + counts[:, 2], totals)
    chance = a * b + (1 - a) * (1 - b)
    return _chance_corrected(alike, d_alike, chance, d_a * (2 * b - 1) + d_b * (2 * a - 1), _doubt(totals))


def fleiss(ratings: ArrayLike, problems: Sequence[object]) -> Estimate:
    """Fleiss' kappa (1971) of ratings int[N, K]: how many judges put item i into category k.

    problems: the problem of each item. Raises ValueError unless every item has the same number of
    judges, two or more. Undefined where all ratings are of one category.
    """
    counts = np.asarray(ratings, dtype=np.float64)
    if not len(counts):
        return Estimate()
    judges = counts[0].sum()
    if judges < 2 or (counts.sum(axis=1) != judges).any():
        raise ValueError("every item needs the same number of judges, two or more")
    which, count = _numbered(problems)
    items = _sums(which, np.ones(len(counts)), count)
    alike_n = ((counts**2).sum(axis=1) - judges) / (judges * (judges - 1))
    alike, d_alike = _ratio(_sums(which, alike_n, count), items)
    chance, d_chance = 0.0, np.zeros(count)
    for column in counts.T:
        p, d_p = _ratio(_sums(which, column, count), items * judges)
        chance += p * p
        d_chance += 2 * p * d_p
    return _chance_corrected(alike, d_alike, chance, d_chance, _doubt(items))


@dataclass(frozen=True, slots=True)
class Corrected:
    """What the truth's prevalence must be, given how a judge errs.

    apparent: the judge's own prevalence, over all it judged. sensitivity, specificity: its shares right
    where the truth is yes, and no. prevalence: Rogan & Gladen's estimate, None where the judge is no
    better than chance (sensitivity + specificity <= 1).
    """

    apparent: Estimate
    sensitivity: Estimate
    specificity: Estimate
    prevalence: Estimate


def correct_prevalence(
    judged: ArrayLike,
    judged_problems: Sequence[object],
    truth: ArrayLike,
    judge: ArrayLike,
    problems: Sequence[object],
) -> Corrected:
    """Correct a judge's prevalence by its errors on items whose truth is known.

    judged: bool[N], all its judgements. truth, judge: bool[n] on the items with a known truth (which
    may be among the N; they should be a random sample of them).
    """
    which, count = _numbered(judged_problems)
    says = np.asarray(judged, dtype=np.float64)
    apparent = _sums(which, says, count), _sums(which, np.ones_like(says), count)
    which, count = _numbered(problems)
    yes, says_yes = np.asarray(truth, dtype=np.float64), np.asarray(judge, dtype=np.float64)
    sensitivity = _sums(which, yes * says_yes, count), _sums(which, yes, count)
    specificity = _sums(which, (1 - yes) * (1 - says_yes), count), _sums(which, 1 - yes, count)
    p, se, sp = _flips(*apparent), _flips(*sensitivity), _flips(*specificity)
    prevalence = Estimate() if p is None or se is None or sp is None else rogan_gladen(p, se, sp)
    return Corrected(share(*apparent), share(*sensitivity), share(*specificity), prevalence)


def rogan_gladen(
    apparent: tuple[float, float], sensitivity: tuple[float, float], specificity: tuple[float, float]
) -> Estimate:
    """True prevalence from (share, sample size) of the apparent one, of sensitivity and of specificity.

    (p + sp - 1) / (se + sp - 1), cut to [0, 1] (Rogan & Gladen 1978), with the interval of Lang &
    Reiczigel (2014, eq. 6-17), which adds z^2 flips to p and two to each of se and sp. Sizes are flips,
    whole or not. None where se + sp <= 1, raw or with the flips added: then nothing is identified.
    """
    (p, n), (se, n_se), (sp, n_sp) = apparent, sensitivity, specificity
    if se + sp <= 1:
        return Estimate()
    value = (p + sp - 1) / (se + sp - 1)
    p, n = (n * p + Z95**2 / 2) / (n + Z95**2), n + Z95**2
    se, n_se = (n_se * se + 1) / (n_se + 2), n_se + 2
    sp, n_sp = (n_sp * sp + 1) / (n_sp + 2), n_sp + 2
    middle = (p + sp - 1) / (se + sp - 1)
    of_se, of_sp = se * (1 - se) / n_se, sp * (1 - sp) / n_sp
    variance = p * (1 - p) / n + middle**2 * of_se + (1 - middle) ** 2 * of_sp
    half = Z95 * np.sqrt(variance) / (se + sp - 1)
    middle += 2 * Z95**2 * (middle * of_se - (1 - middle) * of_sp)
    return _estimate(*np.clip([value, middle - half, middle + half], 0.0, 1.0))


def _chance_corrected(
    alike: float, d_alike: Floats, chance: float, d_chance: Floats, doubt: float
) -> Estimate:
    """1 - (1 - alike) / (1 - chance), its interval found on the scale of `alike`, which is in [0, 1]."""
    if 1 - chance < 1e-12:
        return Estimate()
    moves = d_alike - d_chance * (1 - alike) / (1 - chance)
    low, high = interval(alike + moves, doubt)
    return _estimate(*(max(-1.0, 1 - (1 - float(edge)) / (1 - chance)) for edge in (alike, low, high)))


def _ratio(hits: Floats, totals: Floats) -> tuple[float, Floats]:
    """Sum over sum, and by how much each problem moves it, times the number of problems: float, float[P]."""
    value = float(hits.sum() / totals.sum())
    return value, np.asarray((hits - value * totals) * (len(totals) / totals.sum()))


def _doubt(items: Floats) -> float:
    """Variance of a problem's share over so many items by that of one item, if they are alike by ALIKE."""
    each = float(items.mean())
    return (1 + (each - 1) * ALIKE) / each if each > 1 else 1.0


def _flips(hits: ArrayLike, totals: ArrayLike) -> tuple[float, float] | None:
    """A share and the flips that have its variance; None where there is nothing to share."""
    hits_p, totals_p = _with_totals(hits, totals)
    if not totals_p.size:
        return None
    value, moves = _ratio(hits_p, totals_p)
    return value, float(coin_flips(value + moves, _doubt(totals_p))[1])


def _with_totals(hits: ArrayLike, totals: ArrayLike) -> tuple[Floats, Floats]:
    hits_p, totals_p = np.asarray(hits, dtype=np.float64), np.asarray(totals, dtype=np.float64)
    return hits_p[totals_p > 0], totals_p[totals_p > 0]


def _sums(which: NDArray[np.int64], values: Floats, count: int) -> Floats:
    """Sums of the items' values per problem: float[P]."""
    return np.bincount(which, values, count).astype(np.float64)


def _numbered(problems: Sequence[object]) -> tuple[NDArray[np.int64], int]:
    """Number 0..P-1 of each item's problem, and P."""
    numbers: dict[object, int] = {}
    which = np.asarray([numbers.setdefault(problem, len(numbers)) for problem in problems], dtype=np.int64)
    return which, len(numbers)


def _estimate(value: float, low: ArrayLike, high: ArrayLike) -> Estimate:
    return Estimate(float(value), float(np.asarray(low)), float(np.asarray(high)))

"""The smallest difference that problems x samples (x training seeds) can detect.

Covers the paired difference of Avg@n and of Pass@k of two models on the same problems, planned from an
assumed population of problems or from runs. Does not cover the test itself (differences.py). Derivation
and a check by simulation: docs/compare-statistics.md, "Power".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from prerl_eval.comparison.arms import Arm, paired
from prerl_eval.errors import UserError
from prerl_eval.metrics import Floats, check_k, pass_at_k_table

MOST_CONCENTRATED = 1e6
"""Largest a + b of the Beta population: beyond it problems are all alike."""

WIDEST = 0.999
"""Largest sd, as a share of that where every problem is always or never solved."""

FURTHEST = 500.0
"""Standard errors beyond which no difference is looked for; one degree of freedom needs 17 for 80%."""


@dataclass(frozen=True)
class Population:
    """Problems whose chance of success has this mean and standard deviation, fractions of 1.

    correlation: between the chances of the two models over problems; 1 where training moves all
    problems alike. seed_sd: standard deviation of Avg between training seeds of one method. A run says
    nothing about either; two runs say the first, several seeds the second.
    """

    mean: float
    sd: float
    correlation: float = 0.95
    seed_sd: float = 0.0


ASSUMED = Population(mean=0.3, sd=0.35)
"""A contest set for a model that solves a third of it: most problems nearly never or nearly always."""


@dataclass(frozen=True)
class Detectable:
    """difference: the smallest true one that is called at 5% with chance `power`, a fraction of 1.

    error: standard error of the estimated difference; freedom: degrees of freedom of its t test.
    from_problems, from_samples, from_seeds: the parts of error^2. reachable: whether a model could be
    that much better than the mean of the population.
    """

    difference: float
    error: float
    freedom: float
    from_problems: float
    from_samples: float
    from_seeds: float
    reachable: bool


def detectable(
    problems: int,
    n: int,
    population: Population = ASSUMED,
    *,
    k: int = 1,
    seeds: int = 1,
    base_seeds: int = 1,
    power: float = 0.8,
    level: float = 0.05,
) -> Detectable:
    """Smallest difference of Pass@k (k = 1: of Avg@n) that a two-sided paired t test detects.

    Variance of the difference: 2 B (1 - correlation) / P from problems, W (1/S + 1/S') / P from
    samples, and seed_sd^2 / S for a side of S > 1 seeds. B: variance over problems of the true Pass@k,
    W: mean variance of its estimate from n samples, both of a Beta population with the given mean and sd
    (for k = 1, B = sd^2 and W = (mean (1 - mean) - sd^2) / n: Miller 2024, arXiv 2411.00640, section 5).
    Power by the noncentral t; degrees of freedom by Satterthwaite. The correlation is taken to be the
    same for every k. With one seed a side the test is about two checkpoints, not methods. Raises
    UserError for fewer than 2 problems, k above n, or a population that cannot be.
    """
    from scipy.optimize import brentq

    if problems < 2:
        raise UserError(f"{problems} problems show no spread between problems; give 2 or more")
    for what, number in (("n", n), ("seeds", min(seeds, base_seeds))):
        if number < 1:
            raise UserError(f"{what} = {number} is too small; give 1 or more")
    check_k(k, n)
    mean, between, within = _pass_moments(population, n, k)
    from_problems = 2.0 * between * (1.0 - population.correlation) / problems
    from_samples = within * (1.0 / seeds + 1.0 / base_seeds) / problems
    by_seed = [(population.seed_sd**2 / some, some - 1.0) for some in (seeds, base_seeds) if some > 1]
    parts = [(from_problems + from_samples, problems - 1.0), *by_seed]
    total = sum(part for part, _ in parts)
    freedom = total**2 / sum(part**2 / degrees for part, degrees in parts) if total > 0 else problems - 1.0
    error = math.sqrt(total)
    ratio = (
        brentq(lambda ratio: chance_to_call(ratio, freedom, level) - power, 0.0, FURTHEST)
        if total > 0
        else 0.0
    )
    return Detectable(
        difference=float(ratio * error),
        error=error,
        freedom=freedom,
        from_problems=from_problems,
        from_samples=from_samples,
        from_seeds=sum(part for part, _ in by_seed),
        reachable=mean + ratio * error <= 1.0,
    )


def chance_to_call(ratio: float, freedom: float, level: float = 0.05) -> float:
    """Power of the two-sided t test where the true difference is `ratio` standard errors."""
    from scipy.special import nctdtr, stdtrit

    far = float(stdtrit(freedom, 1.0 - level / 2.0))
    missed = float(nctdtr(freedom, ratio, far))
    above = 1.0 if math.isnan(missed) else 1.0 - missed  # scipy has no number where it is below 1e-200
    # Calls in the wrong direction; the noncentral t is not accurate so far out, and they are nil there.
    below = float(nctdtr(freedom, ratio, -far)) if ratio < 5.0 else 0.0
    return above + below


def _pass_moments(population: Population, n: int, k: int) -> tuple[float, float, float]:
    """Mean and variance over problems of true Pass@k, and the mean variance of its estimate from n."""
    from scipy.special import betaln, gammaln

    a, b = _beta(population)
    missed, missed_twice = (math.exp(betaln(a, b + some) - betaln(a, b)) for some in (k, 2 * k))
    between = max(missed_twice - missed**2, 0.0)
    c = np.arange(n + 1)
    log_ways = gammaln(n + 1) - gammaln(c + 1) - gammaln(n - c + 1)
    chance = np.exp(log_ways + betaln(a + c, b + n - c) - betaln(a, b))
    estimate = pass_at_k_table(c, np.full(n + 1, n), k)[:, -1]
    mean = 1.0 - missed
    total = float(chance @ (estimate - mean) ** 2)
    return mean, between, max(total - between, 0.0)


def _beta(population: Population) -> tuple[float, float]:
    mean, sd = population.mean, population.sd
    if not 0.0 < mean < 1.0:
        raise UserError(f"a mean of {mean:g} leaves nothing to detect; give one between 0 and 1")
    largest = WIDEST * math.sqrt(mean * (1.0 - mean))
    if not 0.0 <= sd <= largest:
        raise UserError(f"a spread of {sd:g} cannot be with a mean of {mean:g}; give at most {largest:.3f}")
    if not -1.0 <= population.correlation <= 1.0:
        raise UserError(f"a correlation of {population.correlation:g} cannot be; give one from -1 to 1")
    concentration = mean * (1.0 - mean) / sd**2 - 1.0 if sd > 0 else math.inf
    concentration = min(concentration, MOST_CONCENTRATED)
    return mean * concentration, (1.0 - mean) * concentration


def population_of(base: Arm, other: Arm | None = None, correlation: float | None = None) -> Population:
    """The population that a run shows: method of moments, its samples' own noise taken out.

    sd^2 is the variance over problems of the mean of a problem less its sampling part, the mean of
    m (1 - m) / (n - 1). With `other`, the correlation is the covariance over problems of both sides'
    means (whose sampling noise is independent) over the product of their sds, and seed_sd that of
    other's seeds where it has several. Raises UserError where the samples cannot show it.
    """
    mean, sd, means = _moments(base)
    found = ASSUMED.correlation if correlation is None else correlation
    seed_sd = 0.0
    if other is not None:
        paired(base, other)
        _, other_sd, other_means = _moments(other)
        if correlation is None and sd * other_sd > 0:
            covariance = float(np.cov(means, other_means)[0, 1])
            found = min(max(covariance / (sd * other_sd), -1.0), 1.0)
        seed_sd = _seed_sd(other)
    return Population(mean, sd, found, seed_sd)


def _moments(arm: Arm) -> tuple[float, float, Floats]:
    """Mean, sd over problems of the true chances, and the observed mean of each problem, float[P]."""
    if arm.problems < 2 or arm.n < 2:
        raise UserError(
            f"{arm.name} has {arm.problems} problems of {arm.n} samples, too few to show how problems "
            "differ; use a run with 2 or more of both"
        )
    rates = arm.correct / arm.samples
    noise = float((rates * (1.0 - rates) / (arm.samples - 1.0)).mean()) / arm.seeds
    means = rates.mean(axis=0)
    mean = float(means.mean())
    if not 0.0 < mean < 1.0:
        solved = "no sample" if mean == 0 else "every sample"
        raise UserError(f"{solved} of {arm.name} is correct, so it shows no spread; plan from another run")
    spread = max(float(means.var(ddof=1)) - noise, 0.0)
    return mean, min(math.sqrt(spread), WIDEST * math.sqrt(mean * (1.0 - mean))), means


def _seed_sd(arm: Arm) -> float:
    """Standard deviation between seeds of Avg, less what sampling alone puts there; 0 for one seed."""
    if arm.seeds < 2:
        return 0.0
    rates = arm.correct / arm.samples
    noise = float((rates * (1.0 - rates) / (arm.samples - 1.0)).mean()) / arm.problems
    return math.sqrt(max(float(rates.mean(axis=1).var(ddof=1)) - noise, 0.0))

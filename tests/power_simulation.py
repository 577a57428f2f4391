"""How often a difference of the size that `detectable` names is called, by simulation.

`python -m tests.power_simulation` prints the table of docs/compare-statistics.md; the test suite runs a
short form. Chances of base and trained come from two Beta populations of equal spread, means apart by
the difference, tied by a Gaussian copula whose correlation is set so that the chances have the stated one.
"""

import numpy as np
from scipy import stats
from scipy.optimize import brentq

from prerl_eval.comparison.power import Population, _beta, detectable
from prerl_eval.metrics import pass_at_k_table

DESIGNS = [
    ("AIME24, assumed", 30, 32, 1, Population(0.3, 0.35)),
    ("AIME24, assumed, Pass@8", 30, 32, 8, Population(0.3, 0.35)),
    ("MATH-500, assumed", 500, 32, 1, Population(0.7, 0.35)),
    ("MATH-500, one sample", 500, 1, 1, Population(0.7, 0.35, 0.9)),
    ("GPQA, n = 8", 198, 8, 1, Population(0.35, 0.25, 0.8)),
]


def couple(rng, base, other, correlation, shape):
    """Chances (p, q) with these Beta marginals and this correlation over problems."""
    one, two = stats.beta(*base), stats.beta(*other)
    z, noise = rng.standard_normal((2, *shape))
    draws = rng.standard_normal((2, 5_000))

    def quantiles(law, z):
        return law.ppf(stats.norm.cdf(z))

    def off(rho):
        tied = rho * draws[0] + np.sqrt(1 - rho**2) * draws[1]
        return np.corrcoef(quantiles(one, draws[0]), quantiles(two, tied))[0, 1] - correlation

    rho = brentq(off, 0.0, 1.0, xtol=1e-4) if off(1.0) > 0 else 1.0
    return quantiles(one, z), quantiles(two, rho * z + np.sqrt(1 - rho**2) * noise)


def called(problems, n, k, population, difference, trials, seed=0):
    """(share of trials in which a paired t test calls the difference, the true difference of Pass@k)."""
    rng = np.random.default_rng(seed)
    other = Population(population.mean + difference, population.sd, population.correlation)
    p, q = couple(rng, _beta(population), _beta(other), population.correlation, (trials, problems))
    score = pass_at_k_table(np.arange(n + 1), np.full(n + 1, n), k)[:, -1]
    gains = score[rng.binomial(n, q)] - score[rng.binomial(n, p)]
    true = float(((1 - p) ** k - (1 - q) ** k).mean())
    return float((stats.ttest_1samp(gains, 0.0, axis=1).pvalue <= 0.05).mean()), true


def shift_for(problems, n, k, population, target, seed=0):
    """The shift of the mean of p that moves true Pass@k by `target`."""
    most = 0.98 - population.mean
    if k == 1:
        return target

    def off(shift):
        return called(problems, n, k, population, shift, 300, seed)[1] - target

    return brentq(off, 1e-4, most / 2, xtol=1e-4)


def main(trials=4000):
    print("| design | detectable, points | called at that size | called at half of it |\n|---|---|---|---|")
    for name, problems, n, k, population in DESIGNS:
        size = detectable(problems, n, population, k=k).difference
        shares = [
            called(problems, n, k, population, shift_for(problems, n, k, population, part * size), trials)[0]
            for part in (1.0, 0.5)
        ]
        print(f"| {name} | {100 * size:.1f} | {shares[0]:.3f} | {shares[1]:.3f} |", flush=True)


if __name__ == "__main__":
    main()

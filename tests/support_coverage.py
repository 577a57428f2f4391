"""How often the intervals of support and rare paths hold the truth, and how often luck is called a change.

`python -m tests.support_coverage` prints the tables of docs/compare-statistics.md; the test suite runs a
short form. Problems are a sample from a superpopulation: the base's chance p comes from Beta(a, b), the
trained model's q from p by one of CHANGES. The truth is a mean over 500,000 problems of that population.
"""

import sys
from collections import Counter
from collections.abc import Callable

import numpy as np

from prerl_eval.comparison.arms import Arm
from prerl_eval.comparison.posterior import BetaPrior
from prerl_eval.comparison.rare import CEILING, rare_survival
from prerl_eval.comparison.support import RATES, support_change

DESIGNS = [(30, 32), (100, 64), (500, 32)]
POPULATIONS = {"Beta(0.3, 0.7)": (0.3, 0.7), "Beta(0.1, 1)": (0.1, 1.0), "Beta(1, 4)": (1.0, 4.0)}


def sharpened(p, rng):
    """Odds times 3, but a tenth of the problems are given up and a hundredth found anew."""
    q = 3 * p / (1 + 2 * p)
    luck = rng.random(p.shape)
    return np.where(luck < 0.1, 0.01 * p, np.where(luck > 0.99, 0.3, q))


def shaken(p, rng):
    """Log odds plus a normal error of 1.5: gains and losses everywhere."""
    odds = p / np.maximum(1 - p, 1e-300) * np.exp(1.5 * rng.standard_normal(p.shape))
    return odds / (1 + odds)


CHANGES: dict[str, Callable] = {"none": lambda p, rng: p, "sharpened": sharpened, "shaken": shaken}


def draw(rng, population, change, shape):
    p = rng.beta(*POPULATIONS[population], shape)
    return p, CHANGES[change](p, rng)


def true_retention(population, change, m, problems=500_000):
    p, q = draw(np.random.default_rng(1), population, change, problems)
    a, b = 1 - (1 - p) ** m, 1 - (1 - q) ** m
    return float((a * b).sum() / a.sum())


def true_survival(population, change, n, problems=500_000):
    """Mean chance of being reached in n samples, weighted by the true posterior of being rare."""
    rng = np.random.default_rng(2)
    p, q = draw(rng, population, change, problems)
    weight = BetaPrior(*POPULATIONS[population]).at_most(CEILING, np.arange(n + 1), np.full(n + 1, n))
    weight[0] = 0.0
    w = weight[rng.binomial(n, p)]
    return float((w * (1 - (1 - q) ** n)).sum() / w.sum())


def arm(name, chances, n, rng):
    ids = tuple(f"{i:04d}" for i in range(chances.shape[-1]))
    chances = np.atleast_2d(chances)
    return Arm(name, ids, rng.binomial(n, chances), np.full(chances.shape, n))


def trials(population, change, problems, n, count, seed=0):
    """{column: share of simulated benchmarks}.

    "covered n", "covered n/2": the interval of retention holds the truth, for all samples and for halves.
    "survival": that of rare paths holds it, against a second run. "called RATE run", "called RATE half":
    the rate is called different from a second run, from split halves; "rare": survival of rare paths.
    """
    rng = np.random.default_rng(seed)
    truths = [true_retention(population, change, m) for m in (n, n // 2)]
    surviving = true_survival(population, change, n)
    seen = Counter()
    for _ in range(count):
        p, q = draw(rng, population, change, problems)
        base, other, again = (arm(name, x, n, rng) for name, x in zip("bot", (p, q, p), strict=True))
        halves, run = support_change(base, other), support_change(base, other, again)
        for column, truth, support in zip(
            ("covered n", "covered n/2"), truths, (halves.at_n, halves.matched), strict=True
        ):
            seen[column] += support.retention.low <= truth <= support.retention.high
        [rare_halves], [rare] = rare_survival(base, [other]), rare_survival(base, [other], again)
        seen["survival"] += rare.survival.low <= surviving <= rare.survival.high
        for null, found in (("run", rare), ("half", rare_halves)):
            seen[f"called rare {null}"] += found.excess.p <= 0.05
            seen[f"called new {null}"] += found.excess_new.p <= 0.05
        for null, found in (("run", run), ("half", halves)):
            for rate in RATES:
                seen[f"called {rate} {null}"] += found.excess[rate].p <= 0.05
    shares = {column: times / count for column, times in seen.items()}
    return shares | {"true retention": truths[0], "true survival": surviving}


def main(count=2000):
    covered = ["covered n", "covered n/2", "survival"]
    called = [f"{rate} {null}" for rate in (*RATES, "rare", "new") for null in ("run", "half")]
    print(f"| population, change, P, n | true | {' | '.join(covered + called)} |")
    print("|---" * (len(covered + called) + 2) + "|")
    for population in POPULATIONS:
        for change in CHANGES:
            for problems, n in DESIGNS:
                found = trials(population, change, problems, n, count)
                cells = [f"{100 * found['true retention']:.1f}, {100 * found['true survival']:.1f}"]
                cells += [f"{found[name]:.3f}" for name in covered]
                cells += [f"{found[f'called {name}']:.3f}" for name in called]
                print(f"| {population}, {change}, {problems}, {n} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

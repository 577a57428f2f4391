"""Do the 95% intervals of `prerl-behavior count` hold the truth? Simulated, for docs/behavior.md.

    python -m tests.rate_coverage [--times 2000]

A problem has its own chance of words (events per response, gamma or log-normal over problems); responses to
it are Poisson with a gamma factor of their own, twice as many with a run whose words doubled. A cell is
*share of intervals that hold the true rate / the true ratio of 2*.
"""

import argparse

import numpy as np

from behavior.cells import Cells, Problems, Table
from behavior.rates import count_rate
from behavior.ratios import compare

POPULATIONS = {
    "5 per response, alike": lambda draws, size: draws.gamma(4, 5 / 4, size),
    "0.5, the same everywhere": lambda draws, size: np.full(size, 0.5),
    "0.05, most problems none": lambda draws, size: draws.gamma(0.3, 0.05 / 0.3, size),
    "1, log-normal with sd 1.5": lambda draws, size: draws.lognormal(-1.125, 1.5, size),
}
MEANS = dict(zip(POPULATIONS, (5, 0.5, 0.05, 1), strict=True))
SHAPES = ((30, 1), (30, 32), (200, 64))
TRUE_RATIO = 2.0


def table(count, responses: int) -> Table:
    """A source with one label: count events per problem, in this many responses of one length."""
    columns = Cells(["a"], Problems()).columns
    sums = np.zeros((len(count), len(columns)))
    sums[:, columns["responses"]] = sums[:, columns["thoughts"]] = responses
    sums[:, columns["tokens"]] = 1000 * responses
    sums[:, columns["count/a"]] = count
    sums[:, columns["present/a"]] = np.minimum(count, responses)
    zeros = np.zeros(len(count), dtype=np.int64)
    return Table(zeros, np.arange(len(count)), zeros, zeros, sums, columns)


def coverage(population: str, problems: int, responses: int, times: int, seed: int = 0):
    """Shares of intervals that hold the truth: (rate, ratio), the ratio where it has one."""
    draws = np.random.default_rng(seed)
    rates, ratios = [], []
    for _ in range(times):
        chance = POPULATIONS[population](draws, problems)
        base, run = (
            draws.poisson(more * chance[:, None] * draws.gamma(1, 1, (problems, responses))).sum(1)
            for more in (1, TRUE_RATIO)
        )
        size = np.full(problems, float(responses))
        rate = count_rate(base.astype(float), size, size)
        rates.append(rate.low <= MEANS[population] <= rate.high)
        if base.sum():
            arms = (table(base, responses), table(run, responses))
            ratio = compare(*arms, ["a"], "tokens").ratios["a"]["per_response"]
            ratios.append(ratio.low <= TRUE_RATIO and (ratio.high is None or ratio.high >= TRUE_RATIO))
    return float(np.mean(rates)), float(np.mean(ratios))


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=2000)
    times = parser.parse_args().times
    print("| population |" + "".join(f" P={p} n={n} |" for p, n in SHAPES))
    print("|---|" + "---|" * len(SHAPES))
    for population in POPULATIONS:
        cells = [coverage(population, *shape, times) for shape in SHAPES]
        print(
            f"| {population} |" + "".join(f" {rate:.3f} / {ratio:.3f} |" for rate, ratio in cells), flush=True
        )


if __name__ == "__main__":
    main()

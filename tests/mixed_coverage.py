"""How often the mixed model's interval holds the true log-odds, in the study's shape.

`python -m tests.mixed_coverage [TRIALS]` prints a table: 200 problems x 32 samples, 3 and 8 seeds a method.
Counts come from the model itself (problem 1.5, method by problem 0.5, a beta-binomial of phi 10), and, in the
last rows, with a normal error of 0.6 per cell in place of the beta-binomial: a model that is wrong.
"""

import sys

import numpy as np
from scipy.special import expit

from prerl_eval.comparison.arms import Arm
from prerl_eval.comparison.differences import mean_difference
from results.study.mixed_model import mixed_difference

PROBLEM, BY_METHOD, PHI, ERROR = 1.5, 0.5, 10.0, 0.6


def draw(rng, seeds, problems, n, gap, seed_sd, normal=False):
    """Two methods of so many seeds, `gap` log-odds apart."""
    easy = -1.0 + PROBLEM * rng.standard_normal(problems)
    arms = []
    for name, shift in (("one", 0.0), ("other", gap)):
        odds = easy + shift + BY_METHOD * rng.standard_normal(problems)
        odds = odds + seed_sd * rng.standard_normal((seeds, 1))
        if normal:
            chance = expit(odds + ERROR * rng.standard_normal((seeds, problems)))
        else:
            chance = rng.beta(PHI * expit(odds), PHI * expit(-odds) + 1e-12, (seeds, problems))
        ids = tuple(f"{i:04d}" for i in range(problems))
        arms.append(Arm(name, ids, rng.binomial(n, chance), np.full(chance.shape, n)))
    return arms


def coverage(trials, seeds, gap, seed_sd, normal=False, problems=200, n=32, seed=0):
    """Share of intervals that hold `gap`, mean width, shares of p <= 5%: mixed and crossed test."""
    rng = np.random.default_rng(seed)
    held, called, crossed, widths = 0, 0, 0, []
    for _ in range(trials):
        one, other = draw(rng, seeds, problems, n, gap, seed_sd, normal)
        found = mixed_difference(one, other)
        held += found.odds[1] <= gap <= found.odds[2]
        called += found.p <= 0.05
        crossed += mean_difference(one, other).p <= 0.05
        widths.append(found.odds[2] - found.odds[1])
    return held / trials, float(np.mean(widths)), called / trials, crossed / trials


def main(trials="100"):
    print("| seeds | gap | sd of seeds | cells | holds the gap | width | p <= 5%, mixed | p <= 5%, crossed |")
    print("|---" * 8 + "|")
    cells = [(seeds, gap, sd, False) for seeds in (3, 8) for gap, sd in ((0.0, 0.1), (0.0, 0.3), (0.3, 0.1))]
    for seeds, gap, sd, normal in [*cells, (3, 0.0, 0.1, True), (8, 0.0, 0.1, True)]:
        held, width, called, crossed = coverage(int(trials), seeds, gap, sd, normal)
        kind = "normal" if normal else "beta"
        print(
            f"| {seeds} | {gap} | {sd} | {kind} | {held:.3f} | {width:.2f} | {called:.3f} | {crossed:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])

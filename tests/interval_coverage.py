"""How often the 95% intervals hold the truth, by simulation over stated populations.

`python -m tests.interval_coverage` prints the table of docs/statistics.md; the test suite runs a
short form. Problems have a chance of success drawn from Beta(a, b); true Pass@k is then
1 - B(a, b + k) / B(a, b).
"""

import numpy as np
from scipy.special import betaln

from prerl_eval.metrics import interval, pass_at_k_table

POPULATIONS = {
    "Beta(0.5, 0.5)": (0.5, 0.5),
    "Beta(1, 4)": (1, 4),
    "Beta(20, 20)": (20, 20),
    "Beta(0.1, 5)": (0.1, 5),
    "Beta(0.02, 2)": (0.02, 2),
    "Beta(1, 200)": (1, 200),
    "Beta(2, 0.2)": (2, 0.2),
    "Beta(0.2, 0.02)": (0.2, 0.02),
}


def true_pass(a, b, k):
    return 1.0 - np.exp(betaln(a, b + k) - betaln(a, b))


def coverage(a, b, problems, n, ks, trials, seed=0):
    """(share of intervals that hold the truth, their mean width), one pair per k."""
    rng = np.random.default_rng(seed)
    correct = rng.binomial(n, rng.beta(a, b, (problems, trials)))
    by_count = pass_at_k_table(np.arange(n + 1), np.full(n + 1, n))
    results = []
    for k in ks:
        low, high = interval(by_count[correct, k - 1])
        held = (low <= true_pass(a, b, k)) & (true_pass(a, b, k) <= high)
        results.append((float(held.mean()), float((high - low).mean())))
    return results


def main():
    columns = [(30, 32, (1, 8, 32)), (200, 64, (1, 16, 64))]
    heads = [f"P={problems} n={n} k={k}" for problems, n, ks in columns for k in ks]
    print(f"| population | {' | '.join(heads)} |")
    print("|---" * (len(heads) + 1) + "|")
    for name, (a, b) in POPULATIONS.items():
        cells = [
            f"{100 * true_pass(a, b, k):.1f}: {held:.3f}, {100 * width:.1f}"
            for problems, n, ks in columns
            for k, (held, width) in zip(ks, coverage(a, b, problems, n, ks, 10_000), strict=True)
        ]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

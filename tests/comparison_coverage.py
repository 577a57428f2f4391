"""How often intervals of differences hold the truth, and how often two runs of one model are told apart.

`python -m tests.comparison_coverage [TRIALS [TABLE...]]` prints the tables of docs/compare-statistics.md;
the test suite runs a short form. Problems are a sample from a superpopulation: the base's chance p comes
from Beta(a, b), the trained model's q from p by one of CHANGES. The truth is a mean over a million problems.
"""

import sys

import numpy as np

from prerl_eval.comparison.arms import Arm
from prerl_eval.comparison.curves import crossover, pass_difference
from prerl_eval.comparison.differences import difference_ends, t_test
from prerl_eval.comparison.shares import variances
from prerl_eval.metrics import pass_at_k_table

DESIGNS = [(30, 32), (200, 64), (500, 128)]
POPULATIONS = {
    "middling, Beta(2, 2)": (2.0, 2.0),
    "contest, Beta(0.3, 0.7)": (0.3, 0.7),
    "hard, Beta(0.1, 1)": (0.1, 1.0),
    "hopeless, Beta(0.03, 2)": (0.03, 2.0),
    "saturated, Beta(2, 0.2)": (2.0, 0.2),
}


def odds_times(p, factor):
    odds = p / np.maximum(1 - p, 1e-300) * factor
    return odds / (1 + odds)


def better(p, rng):
    """Odds times 1.5, and what training does to single problems: log odds with a normal error of 0.5."""
    return odds_times(p, 1.5 * np.exp(0.5 * rng.standard_normal(p.shape)))


def sharpened(p, rng):
    """Odds times 3, but a tenth of the problems are given up and a hundredth found anew."""
    luck = rng.random(p.shape)
    return np.where(luck < 0.1, 0.01 * p, np.where(luck > 0.99, 0.3, odds_times(p, 3)))


def rare(p, rng):
    """Nothing changes but for 3% of the problems, which get a chance of 0.3 whatever they had."""
    return np.where(rng.random(p.shape) < 0.03, 0.3, p)


CHANGES = {"none": lambda p, rng: p, "better": better, "sharpened": sharpened, "rare": rare}


def draw(rng, population, change, shape):
    p = rng.beta(*POPULATIONS[population], shape)
    return p, CHANGES[change](p, rng)


def truth(population, change, last, problems=1_000_000):
    """True difference of Pass@k for k = 1..last: float[last]."""
    p, q = draw(np.random.default_rng(1), population, change, problems)
    missed_p, missed_q = np.ones(problems), np.ones(problems)
    curve = np.empty(last)
    for k in range(last):
        missed_p *= 1 - p
        missed_q *= 1 - q
        curve[k] = (missed_p - missed_q).mean()
    return curve


def coverage(population, change, problems, n, ks, trials, true, seed=0):
    """Share of the intervals for each k alone that hold the truth: float per k."""
    rng = np.random.default_rng(seed)
    p, q = draw(rng, population, change, (problems, trials))
    table = pass_at_k_table(np.arange(n + 1), np.full(n + 1, n))
    counts = rng.binomial(n, p), rng.binomial(n, q)
    shares = []
    for k in ks:
        before, after = (table[some, k - 1] for some in counts)
        gains = after - before
        low, high = difference_ends(gains, *variances(gains))
        shares.append(float(((low <= true[k - 1]) & (true[k - 1] <= high)).mean()))
    return shares


def arms(rng, p, q, n):
    ids = tuple(f"{i:04d}" for i in range(len(p)))
    return [
        Arm(name, ids, rng.binomial(n, x)[None], np.full((1, len(x)), n)) for name, x in (("b", p), ("o", q))
    ]


def curves(population, change, problems, n, trials, true, seed=0):
    """Shares of trials, by name.

    "p": Avg is called different. "band": the band is off zero somewhere. "inside": the whole true curve is
    in the band. "claimed", "p_none": a crossing is claimed; p_none is below 5%. "k": the interval of k
    holds the true k, of those that were claimed.
    """
    rng = np.random.default_rng(seed)
    seen = dict.fromkeys(("p", "band", "inside", "claimed", "p_none", "k"), 0)
    turn = int(np.argmax(true < 0)) + 1
    for _ in range(trials):
        base, other = arms(rng, *draw(rng, population, change, problems), n)
        gains = (other.correct - base.correct)[0] / n
        seen["p"] += t_test(gains, *map(float, variances(gains))) <= 0.05
        band, crossing = pass_difference(base, other), crossover(base, other)
        seen["band"] += bool(((band.low > 0) | (band.high < 0)).any())
        seen["inside"] += bool(((band.low <= true) & (true <= band.high)).all())
        seen["p_none"] += crossing.p_none < 0.05
        seen["claimed"] += crossing.claimed
        seen["k"] += crossing.claimed and crossing.low <= turn <= crossing.high
    claimed = max(seen["claimed"], 1)
    return {name: times / (claimed if name == "k" else trials) for name, times in seen.items()}


SEEDS = [(1, 2), (1, 3), (1, 8), (3, 3), (8, 8)]
"""Training seeds of (base, method): a fixed base against a method, and a method against itself."""


def trained(rng, p, seeds, seed_sd):
    """Chances under so many seeds: log odds + 0.4, a normal error per seed and one per seed and problem."""
    by_seed = seed_sd * rng.standard_normal((seeds, 1, *p.shape[1:]))
    return odds_times(p, np.exp(0.4 + by_seed + 0.5 * rng.standard_normal((seeds, *p.shape))))


def seeds_coverage(population, problems, n, seeds, seed_sd, trials, seed=0):
    """(share of p <= 5% for the true difference, share of intervals that hold it, sd of Avg over seeds)."""
    rng = np.random.default_rng(seed)
    p = rng.beta(*POPULATIONS[population], (problems, trials))
    chances = [p[None] if some == 1 else trained(rng, p, some, seed_sd) for some in seeds]
    sides = [rng.binomial(n, x) / n for x in chances]
    true = true_gain(population, seed_sd) if seeds[0] == 1 else 0.0
    gains = sides[1].mean(axis=0) - sides[0].mean(axis=0)
    var, freedom = variances(gains, sides)
    low, high = difference_ends(gains, var, freedom)
    ps = [t_test(gains[:, i] - true, float(var[i]), float(freedom[i])) for i in range(trials)]
    held = (low <= true) & (true <= high)
    spread = chances[1].mean(axis=1).std(axis=0, ddof=1).mean()
    return float(np.mean(np.asarray(ps) <= 0.05)), float(held.mean()), float(spread)


def true_gain(population, seed_sd, seeds=400):
    """What a method's seeds gain on average."""
    rng = np.random.default_rng(1)
    p = rng.beta(*POPULATIONS[population], 50_000)
    return float(np.mean([(trained(rng, p, 1, seed_sd)[0] - p).mean() for _ in range(seeds)]))


def intervals(trials):
    heads = [f"P={problems} n={n} k={k}" for problems, n in DESIGNS for k in (1, n // 4, n // 2, n)]
    print(f"| population, change | {' | '.join(heads)} |\n{'|---' * (len(heads) + 1)}|")
    for population in POPULATIONS:
        for change in CHANGES:
            true = truth(population, change, 128)
            cells = []
            for problems, n in DESIGNS:
                ks = (1, n // 4, n // 2, n)
                shares = coverage(population, change, problems, n, ks, trials, true)
                cells += [f"{100 * true[k - 1]:.2f}: {held:.3f}" for k, held in zip(ks, shares, strict=True)]
            print(f"| {population.split(',')[0]}, {change} | {' | '.join(cells)} |", flush=True)


def seeds(trials):
    heads = [f"{base} v {method}" for base, method in SEEDS]
    print(f"| population, P, error per seed | {' | '.join(heads)} |\n{'|---' * (len(heads) + 1)}|")
    for population in list(POPULATIONS)[:2]:
        for problems in (30, 200):
            for seed_sd in (0.0, 0.1, 0.4):
                found = [seeds_coverage(population, problems, 32, some, seed_sd, trials) for some in SEEDS]
                cells = [f"{100 * sd:.1f}: {size:.3f}, {held:.3f}" for size, held, sd in found]
                print(
                    f"| {population.split(',')[0]}, {problems}, {seed_sd:g} | {' | '.join(cells)} |",
                    flush=True,
                )


def bands(trials):
    names = ("p", "band", "inside", "claimed", "p_none", "k")
    print(f"| population, change, P, n | {' | '.join(names)} |\n{'|---' * (len(names) + 1)}|")
    cells = [(population, "none") for population in POPULATIONS]
    cells += [(population, "sharpened") for population in list(POPULATIONS)[:2]]
    for population, change in cells:
        true = truth(population, change, 128)
        for problems, n in DESIGNS:
            seen = curves(population, change, problems, n, trials, true[:n])
            what = f"{population.split(',')[0]}, {change}, {problems}, {n}"
            print(f"| {what} | {' | '.join(f'{seen[name]:.3f}' for name in names)} |", flush=True)


TABLES = {"intervals": intervals, "seeds": seeds, "bands": bands}


def main(trials="2000", *names):
    for name in names or TABLES:
        TABLES[name](int(trials))
        print()


if __name__ == "__main__":
    main(*sys.argv[1:])

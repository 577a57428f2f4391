"""How often the intervals of behavior.agreement hold the truth, by simulation over stated populations.

`python -m tests.agreement_coverage` prints the table of docs/agreement.md; the test suite runs a short
form. Problem i has a chance of the behaviour from Beta(prevalence s, (1 - prevalence) s) and a chance of
error from Beta(error e, (1 - error) e), shared by its items and by all judges: clustered in both. A judge
errs by itself, at the problem's chance of error, whatever the truth.
"""

import numpy as np

from behavior.agreement import cohen, correct_prevalence, fleiss, share

POPULATIONS = {
    "half marked": (0.5, 2, 0.1, 3),
    "a fifth": (0.2, 2, 0.05, 3),
    "a fifth, poor judges": (0.3, 2, 0.2, 5),
    "rare": (0.05, 1, 0.02, 1),
    "nearly no errors": (0.5, 2, 0.005, 100),
}
"""name -> prevalence, s, error, e."""

SIZES = ((30, 1), (100, 1), (30, 4), (100, 8), (10, 100))
"""Problems, and items of each."""


def moments(population):
    """prevalence, mean error, and the chance that two judges agree on an item."""
    prevalence, _, error, e = population
    square = error**2 + error * (1 - error) / (e + 1)
    return prevalence, error, 1 - 2 * error + 2 * square


def true_kappa(population):
    """Of two judges; Fleiss' kappa of judges with one prevalence is the same."""
    prevalence, error, alike = moments(population)
    marked = prevalence * (1 - error) + (1 - prevalence) * error
    chance = marked**2 + (1 - marked) ** 2
    return (alike - chance) / (1 - chance)


def draw(rng, population, problems, items, judges):
    """truth bool[P, m], says bool[judges, P, m]."""
    prevalence, s, error, e = population
    chance = rng.beta(prevalence * s, (1 - prevalence) * s, (problems, 1))
    errs = rng.beta(error * e, (1 - error) * e, (problems, 1))
    truth = rng.random((problems, items)) < chance
    return truth, truth ^ (rng.random((judges, problems, items)) < errs)


def kappa_trial(rng, population, problems, items):
    _, (a, b) = draw(rng, population, problems, items, 2)
    return cohen(np.stack([(a & b).sum(1), (a & ~b).sum(1), (~a & b).sum(1), (~a & ~b).sum(1)], axis=1))


def naive_trial(rng, population, problems, items):
    """Kappa with every item taken for a problem of its own: what the intervals are there to avoid."""
    _, (a, b) = draw(rng, population, problems, items, 2)
    a, b = a.ravel(), b.ravel()
    return cohen(np.stack([a & b, a & ~b, ~a & b, ~a & ~b], axis=1))


def fleiss_trial(rng, population, problems, items):
    _, says = draw(rng, population, problems, items, 3)
    yes = says.sum(axis=0).ravel()
    return fleiss(np.stack([yes, 3 - yes], axis=1), np.repeat(np.arange(problems), items).tolist())


def agreement_trial(rng, population, problems, items):
    _, (a, b) = draw(rng, population, problems, items, 2)
    return share((a == b).sum(axis=1), np.full(problems, items))


def prevalence_trial(rng, population, problems, items):
    """A judge of four times the items whose truth is known, those among them."""
    truth, (judge,) = draw(rng, population, 4 * problems, items, 1)
    ids = np.repeat(np.arange(4 * problems), items).tolist()
    known = problems * items
    return correct_prevalence(
        judge.ravel(), ids, truth.ravel()[:known], judge.ravel()[:known], ids[:known]
    ).prevalence


STATISTICS = {
    "kappa": (kappa_trial, true_kappa),
    "kappa, problems ignored": (naive_trial, true_kappa),
    "Fleiss, 3 judges": (fleiss_trial, true_kappa),
    "share judged alike": (agreement_trial, lambda population: moments(population)[2]),
    "corrected prevalence": (prevalence_trial, lambda population: population[0]),
}


def coverage(statistic, population, problems, items, trials, seed=0):
    """(truth, share of intervals that hold it, their mean width, share of trials without an estimate)."""
    rng = np.random.default_rng(seed)
    trial, true = STATISTICS[statistic]
    found = [trial(rng, population, problems, items) for _ in range(trials)]
    known = [estimate for estimate in found if estimate.value is not None]
    truth = true(population)
    held = np.mean([estimate.low <= truth <= estimate.high for estimate in known])
    width = np.mean([estimate.high - estimate.low for estimate in known])
    return truth, float(held), float(width), 1 - len(known) / trials


def main():
    sizes = [f"P={problems}, {items} each" for problems, items in SIZES]
    for statistic in STATISTICS:
        print(f"| {statistic} | {' | '.join(sizes)} |")
        print("|---" * (len(sizes) + 1) + "|")
        for name, population in POPULATIONS.items():
            cells = []
            for problems, items in SIZES:
                truth, held, width, none = coverage(statistic, population, problems, items, 2000)
                cells.append(
                    f"{truth:.2f}: {held:.3f}, {width:.2f}" + (f" ({none:.1%} none)" if none else "")
                )
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
        print()


if __name__ == "__main__":
    main()

"""Coverage of the intervals on moved mass, by simulation: `python -m tests.path_mass_coverage`.

Population: a problem is 400 responses with chances drawn from a Dirichlet distribution and a correct
share drawn from Beta(0.6, 1.4); training adds a gain to the log-chance of correct responses and noise to
all, and renormalises. Estimands: mean change and pruned share of the base's correct and wrong responses,
and the ratio of the mass of correct ones, of the population (from 20,000 further problems). Printed: the
share of simulated runs whose 95% interval holds the truth, and what the weights are worth.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from prerl_eval.comparison.mass import PathMass, Traces, path_mass

RESPONSES = 400
KINDS = ("correct", "wrong")


@dataclass(frozen=True)
class Training:
    """gain: nats for correct responses. noise: standard deviation of nats for every response."""

    gain: float
    noise: float


def draw(training: Training, problems: int, source: np.random.Generator) -> tuple[np.ndarray, ...]:
    """chance (P, K), log-ratio (P, K), correct (P, K)."""
    chance = source.dirichlet(np.full(RESPONSES, 0.5), problems)
    correct = source.random((problems, RESPONSES)) < source.beta(0.6, 1.4, (problems, 1))
    moved = training.gain * correct + training.noise * source.standard_normal(chance.shape)
    change = moved - np.log((chance * np.exp(moved)).sum(1, keepdims=True))
    return chance, change, correct


def truths(training: Training, pruned: float, source: np.random.Generator) -> dict[str, float]:
    chance, change, correct = draw(training, 20_000, source)
    found = {}
    for kind, member in (("correct", correct), ("wrong", ~correct)):
        mass = (chance * member).sum()
        found[f"change {kind}"] = float((chance * member * change).sum() / mass)
        found[f"pruned {kind}"] = float((chance * member * (change < -pruned)).sum() / mass)
        found[f"mass {kind}"] = float((chance * member * np.exp(change)).sum() / mass)
    return found


def sampled(
    training: Training, problems: int, n: int, pruned: float, source: np.random.Generator
) -> PathMass:
    chance, change, correct = draw(training, problems, source)
    uniform = source.random((problems, n))
    picked = np.stack(
        [np.searchsorted(row, here) for row, here in zip(chance.cumsum(1), uniform, strict=True)]
    ).clip(max=RESPONSES - 1)
    rows = np.arange(problems)[:, None]
    ratios = change[rows, picked].ravel()
    traces = Traces(np.repeat(np.arange(problems), n), correct[rows, picked].ravel(), ratios, ratios)
    return path_mass(traces, pruned=pruned)


def intervals(found: PathMass) -> dict[str, tuple[float, float]]:
    ends = {}
    for kind in KINDS:
        moved = found.given_prompt[kind]
        ends[f"change {kind}"] = (moved.low, moved.high)
        ends[f"pruned {kind}"] = (moved.pruned.low, moved.pruned.high)
        assert found.mass is not None
        ends[f"mass {kind}"] = (found.mass[kind].low, found.mass[kind].high)
    return ends


def coverage(training: Training, problems: int, n: int, runs: int, seed: int = 0) -> dict[str, float]:
    """Share of runs that hold each truth, and "problems": mean effective share of them."""
    source = np.random.default_rng(seed)
    pruned = 1.0
    truth = truths(training, pruned, source)
    held = dict.fromkeys(truth, 0)
    effective = 0.0
    for _ in range(runs):
        found = sampled(training, problems, n, pruned, source)
        assert found.weights is not None
        effective += found.weights.problems / problems / runs
        for name, (low, high) in intervals(found).items():
            held[name] += low <= truth[name] <= high
    return {**{name: count / runs for name, count in held.items()}, "problems": effective}


def main() -> None:
    """One line per training and size."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    runs = parser.parse_args().runs
    for problems, n in ((30, 32), (200, 64)):
        for training in (Training(0.5, 0.3), Training(1.0, 1.0), Training(1.0, 1.5), Training(2.0, 2.0)):
            found = coverage(training, problems, n, runs)
            cells = "  ".join(f"{name} {value:.3f}" for name, value in found.items())
            print(f"{problems} x {n}, gain {training.gain}, noise {training.noise}: {cells}", flush=True)


if __name__ == "__main__":
    main()

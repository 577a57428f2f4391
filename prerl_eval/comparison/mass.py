"""How training moved the probability of the base's own responses: correct, rare correct and wrong ones.

Takes log-ratios of responses that were sampled from the base: the log-prob under the trained model less
that under the base. Problems are a random sample from a population of problems; intervals are clustered
by problem. Covers the statistics; files and text are paths.py's. Measured coverage: docs/score.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prerl_eval.comparison.posterior import fit_seen
from prerl_eval.comparison.rare import CEILING
from prerl_eval.comparison.shares import Excess, Share, difference_interval, share_interval, variance
from prerl_eval.metrics import Floats

KINDS = ("correct", "rare", "wrong")
"""rare: correct responses to problems that the base solves with a chance of at most CEILING."""

PRUNED = math.log(10)
"""A response is pruned where training made it at least ten times less likely."""

THIN = 10.0
"""Masses are not to be trusted where they rest on fewer problems than this: see `Weights`."""


@dataclass(frozen=True)
class Traces:
    """N responses of the base to P problems.

    problem: int[N], 0 to P - 1. correct: bool[N]. given_prompt, alone: float[N], log P(y|x) and log P(y)
    under the trained model less those under the base, in nats.
    """

    problem: NDArray[np.int64]
    correct: NDArray[np.bool_]
    given_prompt: Floats
    alone: Floats


@dataclass(frozen=True)
class Moved:
    """What became of one kind of response, in one space.

    responses: how many; of rare ones the expected number. change: mean log-ratio in nats, with its 95%
    t interval. pruned: the share of them that is PRUNED nats less likely.
    """

    responses: float
    change: float
    low: float
    high: float
    pruned: Share


@dataclass(frozen=True)
class Mass:
    """The probability that each model puts on one kind of response, mean over problems, and trained / base.

    trained: by importance weights; what the base's samples do not show is not in it (see Weights).
    low, high: 95% of the ratio.
    """

    base: float
    trained: float
    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Weights:
    """What the importance weights are worth.

    responses, problems: Kish's effective sample sizes, over all responses and over the problems' summed
    weights. seen: mean weight with its 95% t interval. It is 1 in expectation; where it is less, the rest
    of the trained model's mass most likely lies on responses unlike those that the base's samples show.
    partial: the interval ends below 1, so masses are lower bounds. thin: the masses rest on fewer than
    THIN problems.
    """

    responses: float
    problems: float
    seen: float
    low: float
    high: float
    partial: bool
    thin: bool


@dataclass(frozen=True)
class PathMass:
    """given_prompt, alone: kind -> what became of it. spared: pruned share of correct responses less that
    of wrong ones, by log P(y|x). mass, weights: None where the responses are no plain samples of the base."""

    problems: int
    responses: int
    given_prompt: Mapping[str, Moved]
    alone: Mapping[str, Moved]
    spared: Excess
    mass: Mapping[str, Mass] | None
    weights: Weights | None


def path_mass(traces: Traces, *, plain_samples: bool = True, pruned: float = PRUNED) -> PathMass:
    """What training did to the base's responses.

    plain_samples: they were drawn from the base itself (temperature 1, nothing cut off), so that
    importance weights exp(log-ratio) hold. A mean is over the base's responses of a kind, every problem
    with the same number of samples: mean log-ratios over all responses estimate -KL(base, trained), so
    they fall even where no mass moves between kinds; masses say what moved.
    """
    kinds = _Kinds.of(traces)
    spaces = {
        name: {kind: kinds.moved(kind, change, pruned) for kind in KINDS}
        for name, change in (("given_prompt", traces.given_prompt), ("alone", traces.alone))
    }
    weights = kinds.weights(traces.given_prompt) if plain_samples else None
    return PathMass(
        problems=kinds.problems,
        responses=len(traces.problem),
        given_prompt=spaces["given_prompt"],
        alone=spaces["alone"],
        spared=kinds.spared(traces.given_prompt, pruned),
        mass={kind: kinds.mass(kind, traces.given_prompt) for kind in KINDS} if plain_samples else None,
        weights=weights,
    )


@dataclass(frozen=True)
class _Kinds:
    """The kinds of responses as weights. of_problem: kind -> float[P]; members: kind -> bool[N].

    samples: int[P], responses of each problem.
    """

    problem: NDArray[np.int64]
    samples: NDArray[np.int64]
    members: Mapping[str, NDArray[np.bool_]]
    of_problem: Mapping[str, Floats]

    @classmethod
    def of(cls, traces: Traces) -> _Kinds:
        problem, correct = traces.problem, traces.correct
        samples = np.bincount(problem)
        solved = np.bincount(problem, weights=correct, minlength=len(samples)).astype(np.int64)
        prior = fit_seen(solved, samples)
        rare = np.where(solved > 0, prior.at_most(CEILING, solved, samples), 0.0)
        every = np.ones(len(samples))
        return cls(
            problem,
            samples,
            {"correct": correct, "rare": correct, "wrong": ~correct},
            {"correct": every, "rare": rare, "wrong": every},
        )

    @property
    def problems(self) -> int:
        """P."""
        return len(self.samples)

    def per_problem(self, kind: str, values: NDArray[Any]) -> Floats:
        """Weighted sum of values float[N] over a problem's responses of a kind, per sample: float[P]."""
        sums = np.bincount(self.problem, weights=values * self.members[kind], minlength=self.problems)
        return self.of_problem[kind] * sums / self.samples

    def shares(self, kind: str) -> Floats:
        """The same of ones: the base's mass of a kind, float[P]."""
        return self.per_problem(kind, np.ones(len(self.problem)))

    def moved(self, kind: str, change: Floats, pruned: float) -> Moved:
        shares = self.shares(kind)
        mean = _Ratio.of(self.per_problem(kind, change), shares)
        cut = _Ratio.of(self.per_problem(kind, change < -pruned), shares)
        reach = mean.reach()
        return Moved(
            responses=float((shares * self.samples).sum()),
            change=mean.value,
            low=mean.value - reach,
            high=mean.value + reach,
            pruned=Share(cut.value, *share_interval(cut.value, *variance(cut.influence), self.units(kind))),
        )

    def units(self, kind: str) -> float:
        """Problems that have responses of a kind; of rare ones the expected number."""
        return float(self.of_problem[kind][self.shares(kind) > 0].sum())

    def spared(self, change: Floats, pruned: float) -> Excess:
        correct, wrong = (
            _Ratio.of(self.per_problem(kind, change < -pruned), self.shares(kind))
            for kind in ("correct", "wrong")
        )
        units = min(self.units("correct"), self.units("wrong"))
        return difference_interval(
            correct.value - wrong.value, *variance(correct.influence - wrong.influence), units
        )

    def mass(self, kind: str, change: Floats) -> Mass:
        """Importance sampling with plain weights (Owen 2013, Monte Carlo theory, 9.1).

        Not self-normalised: that would share out unseen mass among the kinds as though it were like the
        seen, which it was found not to be (docs/score.md).
        """
        largest = change.max()
        base = _Ratio.of(self.shares(kind), self.of_problem[kind])
        trained = _Ratio.of(self.per_problem(kind, np.exp(change - largest)), self.of_problem[kind])
        ratio, low, high = math.nan, math.nan, math.nan
        if trained.value > 0 and base.value > 0:
            ratio = trained.value / base.value
            # Of the logarithm: ratios are above 0 and skewed.
            logarithm = _Ratio(0.0, trained.influence / trained.value - base.influence / base.value)
            reach = logarithm.reach()
            low, high = ratio * np.exp(-reach), ratio * np.exp(reach)
        with np.errstate(over="ignore"):
            scale = float(np.exp(largest))
            return Mass(
                base.value, trained.value * scale, *(float(end * scale) for end in (ratio, low, high))
            )

    def weights(self, change: Floats) -> Weights:
        weights = np.exp(change - change.max())
        summed = np.bincount(self.problem, weights=weights, minlength=self.problems) / self.samples
        mean = _Ratio.of(summed, np.ones(self.problems))
        with np.errstate(over="ignore"):
            scale = np.exp(change.max())
            seen, low, high = (float((mean.value + sign * mean.reach()) * scale) for sign in (0, -1, 1))
        problems = _kish(summed)
        return Weights(_kish(weights), problems, seen, low, high, high < 1.0, problems < THIN)


def _kish(weights: Floats) -> float:
    """Effective sample size (sum w)^2 / sum w^2 (Kish 1965)."""
    return float(weights.sum() ** 2 / (weights**2).sum())


@dataclass(frozen=True)
class _Ratio:
    """A ratio of sums over problems, and each problem's influence on it: float[P]."""

    value: float
    influence: Floats

    @classmethod
    def of(cls, above: Floats, below: Floats) -> _Ratio:
        whole = float(below.sum())
        if not whole > 0:
            return cls(math.nan, np.full(len(below), math.nan))
        value = float(above.sum()) / whole
        return cls(value, (above - value * below) * (len(below) / whole))

    def reach(self) -> float:
        """Half the width of the 95% t interval; NaN for one problem."""
        from scipy.special import stdtrit

        spread, freedom = variance(self.influence)
        return float(stdtrit(freedom, 0.975)) * math.sqrt(spread) if freedom > 0 else math.nan

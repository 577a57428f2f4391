"""Rare paths: what the base reaches seldom, and what later stages of training still reach of it.

Covers problems and, where correct answers are whole solutions, traces: a unit is a problem or a
(problem, canonical solution). A unit that the base reached at least once counts as rare with its
posterior probability of a chance of at most 5%. Does not cover reading solutions from runs
(diversity.py). Estimand, null and coverage: docs/compare-statistics.md, "Rare paths".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prerl_eval.comparison.arms import Arm, paired
from prerl_eval.comparison.posterior import BetaPrior, fit_seen
from prerl_eval.comparison.shares import UNKNOWN, Excess, Share, difference_interval, share_interval, variance
from prerl_eval.comparison.splits import hypergeometric, solved_in
from prerl_eval.metrics import Floats

CEILING = 0.05
"""A unit is rare where the base reaches it with a chance in (0, CEILING]."""

Solutions = Mapping[str, Mapping[str, int]]
"""problem id -> canonical solution -> how many correct samples gave it."""


@dataclass(frozen=True)
class RareStage:
    """What a stage of training reaches, in m samples of each unit. Counts are expected numbers of units.

    rare: of those that the base reached, how many are rare: they survived or are lost. survival:
    survived / rare with its 95% interval. recovered: rare ones that the stage before missed and this one
    reaches (0 for the first, before which is the base); expected_recovered: were no stage any different
    from the base, by the posterior. new: reached here, never by the base. null_survival, null_new: of an
    unchanged model, null_kind saying which ("run NAME", "split half", or "": then NaN); excess,
    excess_new: what this stage has over them, share and count.
    """

    stage: str
    m: int
    rare: float
    survived: float
    lost: float
    survival: Share
    recovered: float
    expected_recovered: float
    new: float
    null_kind: str
    null_survival: float
    null_new: float
    excess: Excess
    excess_new: Excess


def rare_survival(
    base: Arm, series: Sequence[Arm], null: Arm | None = None, problem_of: Sequence[int] | None = None
) -> list[RareStage]:
    """One entry per stage of `series`, in the order of training, all against `base`.

    null: a second run of the base; without one, two halves of the base's samples stand for two runs of
    n/2: which units are rare then comes from one half, every stage is taken at m = n/2, and all is
    averaged over all ways to split. problem_of: the problem of each unit, for traces, so that the
    intervals are over problems. Raises ValueError unless all arms have the same units.
    """
    others = [*series, *([null] if null else [])]
    for arm in others:
        paired(base, arm)
    m = min(arm.n for arm in others)
    clusters = (
        np.arange(base.problems) if problem_of is None else np.unique(problem_of, return_inverse=True)[1]
    )
    prior = fit_seen(base.correct, base.samples)
    unchanged: _Reach | None = None
    if null is None and base.n >= 2:
        kind, m = "split half", min(base.n // 2, m)
        risk, kept, found = _halves(base, prior, base.n // 2, m)
        unchanged = _Reach([_per_problem(kept, clusters)], [_per_problem(found, clusters)])
    else:
        risk = _Risk.of(prior, base.correct, base.samples, m)
        kind = f"run {null.name}" if null else ""
        if null:
            unchanged = _Reach.of(risk, solved_in(null, m), clusters)
    stages: list[RareStage] = []
    before: Floats | None = None
    for arm in series:
        solved = solved_in(arm, m)
        recovered = (0.0, 0.0)
        if before is not None:
            recovered = _recovered(risk, before, solved), _mean_sum(risk.recovers)
        stage = _Stage(_per_problem(risk.rare, clusters), _Reach.of(risk, solved, clusters), unchanged)
        stages.append(stage.facts(arm.name, m, kind, recovered))
        before = solved
    return stages


def trace_arms(sides: Sequence[tuple[Arm, Sequence[Solutions]]]) -> tuple[list[Arm], list[int]]:
    """(an arm per side whose units are traces, the problem of each unit), for `rare_survival`.

    sides: each arm over problems with the solutions of each of its seeds. The units are all canonical
    solutions that any side found, named "PROBLEM SOLUTION"; a unit has its problem's samples. Raises
    ValueError unless all sides have the same problems.
    """
    for arm, _ in sides:
        paired(sides[0][0], arm)
    ids = sides[0][0].problem_ids
    place = {name: i for i, name in enumerate(ids)}
    every: Iterable[Solutions] = (found for _, seeds in sides for found in seeds)
    units = sorted(
        {(place[name], key) for found in every for name in found if name in place for key in found[name]}
    )
    names = tuple(f"{ids[i]} {key}" for i, key in units)
    problem_of = [i for i, _ in units]
    arms = []
    for arm, seeds in sides:
        counts = [[found.get(ids[i], {}).get(key, 0) for i, key in units] for found in seeds]
        correct = np.asarray(counts, dtype=np.int64).reshape(arm.seeds, len(units))
        arms.append(Arm(arm.name, names, correct, arm.samples[:, problem_of]))
    return arms, problem_of


@dataclass(frozen=True)
class _Risk:
    """Of each unit under each seed of the base, float[S, P].

    rare: the chance that it is rare and was reached. unseen: that it was not reached. recovers: that it
    is rare, and of two runs of an unchanged model the first misses it and the second does not.
    """

    rare: Floats
    unseen: Floats
    recovers: Floats

    @classmethod
    def of(cls, prior: BetaPrior, correct: NDArray[np.int64], samples: NDArray[np.int64], m: int) -> _Risk:
        rare = np.where(correct > 0, prior.at_most(CEILING, correct, samples), 0.0)
        again = prior.missed(m, correct, samples) - prior.missed(2 * m, correct, samples)
        return cls(rare, np.where(correct > 0, 0.0, 1.0), rare * again)


def _halves(base: Arm, prior: BetaPrior, half: int, m: int) -> tuple[_Risk, Floats, Floats]:
    """Risk by `half` of each unit's samples, and what m of the rest reach of the rare and the unseen.

    All float[S, P], averaged over all ways to draw the half: j of the c correct samples fall into it.
    """
    j = np.arange(half + 1)
    correct, samples = base.correct[..., None], base.samples[..., None]
    chance = hypergeometric(j, half, correct, samples)
    risk = _Risk.of(prior, j, np.full_like(j, half), m)
    left = samples - half
    reached = 1.0 - hypergeometric(0, m, np.clip(correct - j, 0, left), left)
    return (
        _Risk(chance @ risk.rare, chance @ risk.unseen, chance @ risk.recovers),
        (chance * reached) @ risk.rare,
        (chance * reached) @ risk.unseen,
    )


@dataclass(frozen=True)
class _Reach:
    """What a stage, or an unchanged model, reaches of the rare and of the unseen units of each problem.

    kept, found: lists of float[S, P], under each seed of the base with the other side averaged, and (not
    for halves of the base) the other way round.
    """

    kept: list[Floats]
    found: list[Floats]

    @classmethod
    def of(cls, risk: _Risk, solved: Floats, clusters: NDArray[np.int64]) -> _Reach:
        def both_ways(weight: Floats) -> list[Floats]:
            ways = (weight * solved.mean(axis=0), weight.mean(axis=0) * solved)
            return [_per_problem(way, clusters) for way in ways]

        return cls(both_ways(risk.rare), both_ways(risk.unseen))


@dataclass(frozen=True)
class _Stage:
    """One stage's reach beside that of an unchanged model. rare: float[S, P], rare units per problem."""

    rare: Floats
    reach: _Reach
    unchanged: _Reach | None

    def facts(self, name: str, m: int, kind: str, recovered: tuple[float, float]) -> RareStage:
        rare, kept = _mean_sum(self.rare), _mean_sum(self.reach.kept[0])
        share = kept / rare if rare > 0 else math.nan
        var, freedom = variance(*self.influences(self.reach))
        null_share, null_new = math.nan, math.nan
        excess, excess_new = UNKNOWN, UNKNOWN
        if self.unchanged is not None:
            null_share = _mean_sum(self.unchanged.kept[0]) / rare if rare > 0 else math.nan
            null_new = _mean_sum(self.unchanged.found[0])
            excess = self.excess(share - null_share, rare, self.unchanged)
            excess_new = self.excess_new(self.unchanged)
        return RareStage(
            stage=name,
            m=m,
            rare=rare,
            survived=kept,
            lost=rare - kept,
            survival=Share(share, *share_interval(share, var, freedom, rare)),
            recovered=recovered[0],
            expected_recovered=recovered[1],
            new=_mean_sum(self.reach.found[0]),
            null_kind=kind,
            null_survival=null_share,
            null_new=null_new,
            excess=excess,
            excess_new=excess_new,
        )

    def influences(self, reach: _Reach) -> tuple[Floats, list[Floats]]:
        """Influences on the share that is kept: of each problem, and under each seed of either side."""
        rare = _mean_sum(self.rare)
        if not rare > 0:
            return np.zeros(self.rare.shape[1]), []
        share = _mean_sum(reach.kept[0]) / rare
        zs = [
            (kept - share * weight) * (self.rare.shape[1] / rare)
            for kept, weight in zip(reach.kept, (self.rare, self.rare.mean(axis=0)), strict=False)
        ]
        return zs[0].mean(axis=0), zs

    def excess(self, value: float, rare: float, unchanged: _Reach) -> Excess:
        mean_z, seed_zs = self.influences(self.reach)
        null_z, null_seed_zs = self.influences(unchanged)
        seeds = [*_differences(seed_zs[:1], null_seed_zs[:1]), *seed_zs[1:], *null_seed_zs[1:]]
        return difference_interval(value, *variance(mean_z - null_z, seeds), rare)

    def excess_new(self, unchanged: _Reach) -> Excess:
        here, null = self.reach.found, unchanged.found
        mean = here[0].mean(axis=0) - null[0].mean(axis=0)
        seeds = [here[0] - null[0], *here[1:], *null[1:]]
        problems = len(mean)
        per_problem = difference_interval(float(mean.mean()), *variance(mean, seeds), problems)
        value, low, high = (problems * end for end in (per_problem.value, per_problem.low, per_problem.high))
        return Excess(value, low, high, per_problem.p)


def _differences(some: list[Floats], others: list[Floats]) -> list[Floats]:
    return [one - other for one, other in zip(some, others, strict=True)]


def _recovered(risk: _Risk, before: Floats, solved: Floats) -> float:
    """Expected number of rare units that the stage before missed; seed by seed where both have as many."""
    if before.shape == solved.shape:
        missed_then = ((1.0 - before) * solved).mean(axis=0)
    else:
        missed_then = (1.0 - before.mean(axis=0)) * solved.mean(axis=0)
    return float((risk.rare.mean(axis=0) * missed_then).sum())


def _per_problem(units: Floats, clusters: NDArray[np.int64]) -> Floats:
    """Sums of float[S, U] over the units of each problem: float[S, P]."""
    return np.stack([np.bincount(clusters, weights=row) for row in units])


def _mean_sum(values: Floats) -> float:
    return float(values.mean(axis=0).sum())

"""A logistic mixed model of two methods over seeds and problems.

A cell is a seed of a method on a problem, y correct of n. The model:

    y ~ BetaBinomial(n, p, phi),   logit p = beta[method] + b[problem, method] + w[seed of method]
    b[problem, .] ~ N(0, u^2 + v^2 on the diagonal, u^2 off it),   w ~ N(0, s^2)

beta is fixed; problem (u), method by problem (v) and seed within method (s) are random, and what a seed does
to single problems beyond chance is the beta-binomial's phi (Williams 1975). The spreads maximise Laplace's
approximation of the likelihood with beta integrated out under a flat prior (restricted likelihood). The
interval of the difference of beta is t with Satterthwaite's degrees of freedom.

Written here because statsmodels' BinomialBayesMixedGLM takes single flips, knows no overdispersion and gives
variational errors, which are short. Does not cover Pass@k. Coverage: `python -m tests.mixed_coverage`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prerl_eval.comparison.arms import Arm, paired
from prerl_eval.metrics import Floats

START = (0.0, -1.0, -2.0, 3.0)
"""Logarithms of u, v, s and phi that the search begins at."""

BOUNDS = ((-3.0, 2.0), (-4.0, 1.5), (-5.0, 1.0), (-0.5, 7.0))
"""Where it looks; a spread at its lower end is none in counts of this size."""

MOST_STEPS, CLOSE = 50, 1e-8
"""Newton's steps at most, and the gain of the log-likelihood at which it ends."""


@dataclass(frozen=True)
class MixedDifference:
    """The other method less the first, in log-odds and in chances, with 95% intervals and p.

    odds is at a problem and a seed whose effects are 0; points is the mean over these problems.
    problem, by_method, seed: standard deviations u, v, s. phi: of the beta-binomial. freedom: of t.
    """

    odds: tuple[float, float, float]
    points: tuple[float, float, float]
    p: float
    problem: float
    by_method: float
    seed: float
    phi: float
    freedom: float


@dataclass(frozen=True)
class Cells:
    """Counts of both methods, float[S0 + S1, P]; method: which of the two a seed is of, int[S0 + S1]."""

    correct: Floats
    samples: Floats
    method: NDArray[np.int64]

    @property
    def design(self) -> Floats:
        """1 where a seed is of a method: float[2, S]."""
        return np.asarray(self.method == np.arange(2)[:, None], dtype=np.float64)


@dataclass(frozen=True)
class Mode:
    """The likeliest effects for given spreads.

    fixed: [2 betas, w of each seed]. b: float[P, 2]. log: restricted log-likelihood but for a constant.
    covariance: of the betas. information: of a seed's counts about its w, mean over the seeds of a method.
    """

    fixed: Floats
    b: Floats
    log: float
    covariance: Floats
    information: Floats


def mixed_difference(base: Arm, other: Arm) -> MixedDifference:
    """Fit the model to two methods of two or more seeds each.

    Raises ValueError unless both have the same problems.
    """
    from scipy.optimize import minimize
    from scipy.special import stdtr, stdtrit

    paired(base, other)
    cells = Cells(
        np.concatenate([base.correct, other.correct]).astype(np.float64),
        np.concatenate([base.samples, other.samples]).astype(np.float64),
        np.repeat([0, 1], [base.seeds, other.seeds]),
    )
    last = [find_mode(cells, START)]

    def loss(spreads: Floats) -> float:
        last[0] = find_mode(cells, spreads, last[0])
        return -last[0].log

    found = minimize(
        loss, START, method="L-BFGS-B", bounds=BOUNDS, options={"eps": 1e-3, "ftol": 1e-7, "maxiter": 40}
    )
    u, v, s, phi = np.exp(found.x).tolist()
    mode = find_mode(cells, found.x, last[0])
    gap = float(mode.fixed[1] - mode.fixed[0])
    var = float(mode.covariance[0, 0] + mode.covariance[1, 1] - 2 * mode.covariance[0, 1])
    freedom = _freedom(cells, var, s, mode.information)
    reach = float(stdtrit(freedom, 0.975)) * math.sqrt(var)
    odds = (gap, gap - reach, gap + reach)
    points = [chance_gap(mode, one) for one in odds]
    p = 2.0 * float(stdtr(freedom, -abs(gap) / math.sqrt(var)))
    return MixedDifference(odds, (points[0], points[1], points[2]), p, u, v, s, phi, freedom)


def _freedom(cells: Cells, var: float, s: float, information: Floats) -> float:
    """Satterthwaite's degrees of freedom: S0 + S1 - 2 of what seeds add, P - 1 of the rest.

    A seed's mean square holds s^2 and the error of its own mean, so it counts however small s was found.
    """
    seeds = cells.design.sum(axis=1)
    by_seeds = min(float((s**2 / seeds + 1.0 / (seeds * information)).sum()), var)
    problems = cells.correct.shape[1]
    return float(var**2 / (by_seeds**2 / (seeds.sum() - 2) + (var - by_seeds) ** 2 / (problems - 1)))


def chance_gap(mode: Mode, gap: float) -> float:
    """Mean over the problems of the chance under the second method less that under the first.

    At `gap` log-odds between the methods about their middle, each problem's effects as fitted.
    """
    from scipy.special import expit

    middle = float(mode.fixed[:2].mean())
    return float((expit(middle + gap / 2 + mode.b[:, 1]) - expit(middle - gap / 2 + mode.b[:, 0])).mean())


def find_mode(cells: Cells, spreads: Floats | tuple[float, ...], start: Mode | None = None) -> Mode:
    """Newton's method for the effects at given logarithms of u, v, s and phi, from a nearby mode."""
    u, v, s, phi = np.exp(np.asarray(spreads))
    prior = np.linalg.inv(u**2 + v**2 * np.eye(2))
    problems, seeds = cells.correct.shape[1], len(cells.method)
    fixed = start.fixed if start else np.zeros(2 + seeds)
    b = start.b if start else np.zeros((problems, 2))
    value = _log_density(cells, fixed, b, prior, s, phi)
    for _ in range(MOST_STEPS):
        step, by_problem, _, _ = _newton(cells, fixed, b, prior, s, phi)
        length, before = 1.0, value
        while length > 1e-4:
            value = _log_density(cells, fixed + length * step, b + length * by_problem, prior, s, phi)
            if value >= before:
                break
            length /= 2
        else:
            value = before
            break
        fixed, b = fixed + length * step, b + length * by_problem
        if value - before < CLOSE:
            break
    _, _, shared, inner = _newton(cells, fixed, b, prior, s, phi)
    logs = np.linalg.slogdet(inner)[1].sum() + np.linalg.slogdet(shared)[1]
    normal = problems * np.linalg.slogdet(prior)[1] / 2 - seeds * math.log(s)
    weight = _slopes(cells, fixed, b, phi)[1].sum(axis=1)
    return Mode(
        fixed,
        b,
        float(value + normal - logs / 2),
        np.asarray(np.linalg.inv(shared)[:2, :2], dtype=np.float64),
        np.asarray(cells.design @ weight / cells.design.sum(axis=1)),
    )


def _odds(cells: Cells, fixed: Floats, b: Floats) -> Floats:
    return np.asarray((fixed[cells.method] + fixed[2:])[:, None] + b.T[cells.method])


def _log_density(cells: Cells, fixed: Floats, b: Floats, prior: Floats, s: float, phi: float) -> float:
    """Log density of counts and random effects, but for constants of neither effects nor spreads."""
    from scipy.special import betaln, expit

    chance = expit(_odds(cells, fixed, b))
    right, wrong = phi * chance, phi * (1 - chance)
    counts = betaln(cells.correct + right, cells.samples - cells.correct + wrong) - betaln(right, wrong)
    effects = np.einsum("im,mk,ik->", b, prior, b) + (fixed[2:] ** 2).sum() / s**2
    return float(counts.sum() - effects / 2)


def _slopes(cells: Cells, fixed: Floats, b: Floats, phi: float) -> tuple[Floats, Floats]:
    """First derivative of each cell's log-likelihood by its log-odds, and minus the second: float[S, P]."""
    from scipy.special import expit, psi, zeta

    chance = expit(_odds(cells, fixed, b))
    right, wrong = phi * chance, phi * (1 - chance)
    failed = cells.samples - cells.correct
    by_chance = phi * (psi(cells.correct + right) - psi(right) - psi(failed + wrong) + psi(wrong))
    # zeta(2, x) is the derivative of psi.
    bend = zeta(2, cells.correct + right) - zeta(2, right) + zeta(2, failed + wrong) - zeta(2, wrong)
    slope = chance * (1 - chance)
    curvature = -(phi**2 * bend * slope**2 + by_chance * slope * (1 - 2 * chance))
    return by_chance * slope, np.maximum(curvature, 1e-9)


def _newton(
    cells: Cells, fixed: Floats, b: Floats, prior: Floats, s: float, phi: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """One step for (fixed, b), and the information: of fixed with b integrated out, and of each problem's b.

    Problems hang together through the fixed effects alone, so each problem's 2 x 2 block is solved first.
    """
    gradient, weight = _slopes(cells, fixed, b, phi)
    design = cells.design
    by_method = (design @ weight).T
    inner = prior + by_method[:, :, None] * np.eye(2)
    # cross[i, m, :]: how problem i's effect under method m hangs together with the betas and each seed.
    seeds = design[None] * weight.T[:, None, :]
    cross = np.concatenate([by_method[:, :, None] * np.eye(2), seeds], axis=2)
    joint = design * weight.sum(axis=1)
    outer = np.block(
        [
            [np.diag(by_method.sum(axis=0)), joint],
            [joint.T, np.diag(weight.sum(axis=1) + 1 / s**2)],
        ]
    )
    pull = (design @ gradient).T - b @ prior
    push = np.concatenate([(design @ gradient).sum(axis=1), gradient.sum(axis=1) - fixed[2:] / s**2])
    solved = np.linalg.solve(inner, np.concatenate([cross, pull[:, :, None]], axis=2))
    shared = outer - np.einsum("imc,imd->cd", cross, solved[:, :, :-1])
    step = np.linalg.solve(shared, push - np.einsum("imc,im->c", cross, solved[:, :, -1]))
    return step, solved[:, :, -1] - solved[:, :, :-1] @ step, shared, inner

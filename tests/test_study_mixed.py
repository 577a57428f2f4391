"""The logistic mixed model: its algebra against plain numerics, and that it finds what was put in."""

import math

import numpy as np
import pytest
from scipy.stats import betabinom

from prerl_eval.comparison.arms import Arm
from results.study.mixed_model import Cells, _log_density, _slopes, chance_gap, find_mode, mixed_difference
from tests.mixed_coverage import draw

SPREADS = np.log([1.2, 0.4, 0.3, 8.0])


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(3)
    return Cells(rng.integers(0, 9, (5, 4)).astype(float), np.full((5, 4), 8.0), np.array([0, 0, 1, 1, 1]))


def density(cells, vector):
    """_log_density of all effects in one vector: 2 betas, 5 w, then b of 4 problems x 2 methods."""
    u, v, s, phi = np.exp(SPREADS)
    prior = np.linalg.inv(u**2 + v**2 * np.eye(2))
    return _log_density(cells, vector[:7], vector[7:].reshape(4, 2), prior, s, phi)


def hessian(f, x, h=1e-3):
    steps = h * np.eye(len(x))
    return np.array(
        [
            [(f(x + a + b) - f(x + a - b) - f(x - a + b) + f(x - a - b)) / (4 * h * h) for b in steps]
            for a in steps
        ]
    )


def test_counts_are_beta_binomial(cells):
    """Differences of the log density over the first beta are those of scipy's beta-binomial."""
    phi = math.exp(SPREADS[3])
    zero, moved = np.zeros(15), np.zeros(15)
    moved[0] = 0.7

    def expected(beta):
        chance = 1 / (1 + math.exp(-beta))
        return betabinom.logpmf(cells.correct[:2], 8, phi * chance, phi * (1 - chance)).sum()

    found = density(cells, moved) - density(cells, zero)
    assert found == pytest.approx(expected(0.7) - expected(0.0), abs=1e-9)


def test_slopes_are_derivatives(cells):
    """By the second beta, which the last three seeds have; phi is that of SPREADS."""
    fixed, b = np.linspace(-0.3, 0.3, 7), np.zeros((4, 2))
    at = np.concatenate([fixed, b.ravel()])
    up, down = (at + sign * 1e-5 * np.eye(15)[1] for sign in (1, -1))
    slope, curvature = _slopes(cells, fixed, b, 8.0)
    assert slope[2:].sum() == pytest.approx((density(cells, up) - density(cells, down)) / 2e-5, rel=1e-6)
    above, below = (_slopes(cells, vector[:7], b, 8.0)[0][2:] for vector in (up, down))
    assert curvature[2:] == pytest.approx((below - above) / 2e-5, rel=1e-5)


def test_the_mode_and_its_curvature_are_those_of_the_whole_density(cells):
    """Blocks of problems against one 15 x 15 matrix of numerical second derivatives."""
    mode = find_mode(cells, SPREADS)
    x = np.concatenate([mode.fixed, mode.b.ravel()])
    steps = 1e-5 * np.eye(15)
    gradient = [(density(cells, x + step) - density(cells, x - step)) / 2e-5 for step in steps]
    assert gradient == pytest.approx([0.0] * 15, abs=1e-3)
    information = -hessian(lambda vector: density(cells, vector), x)
    assert np.linalg.inv(information)[:2, :2] == pytest.approx(mode.covariance, rel=1e-3)
    u, v, s, _ = np.exp(SPREADS)
    normal = -4 / 2 * math.log(np.linalg.det(u**2 + v**2 * np.eye(2))) - 5 * math.log(s)
    laplace = density(cells, x) + normal - np.linalg.slogdet(information)[1] / 2
    assert mode.log == pytest.approx(laplace, abs=1e-3)


def test_points_are_differences_of_chances(cells):
    mode = find_mode(cells, SPREADS)
    flat = mode.__class__(np.zeros(7), np.zeros((4, 2)), 0.0, mode.covariance, mode.information)
    assert chance_gap(flat, 2 * math.log(3)) == pytest.approx(0.75 - 0.25)


def test_different_problems_are_refused():
    one, other = draw(np.random.default_rng(1), 2, 4, 4, 0.0, 0.1)
    with pytest.raises(ValueError, match="different problems"):
        mixed_difference(one, Arm("x", ("a", "b", "c", "d"), other.correct, other.samples))


def test_it_finds_what_was_put_in():
    """Log-odds 1.5 apart: the interval holds it and not 0; turned round, the sign is the other one."""
    one, other = draw(np.random.default_rng(1), 3, 40, 16, 1.5, 0.1)
    there, back = mixed_difference(one, other), mixed_difference(other, one)
    assert 0.0 < there.odds[1] < 1.5 < there.odds[2]
    assert 0.0 < there.points[1] < there.points[2] < 0.5
    assert there.p < 0.01
    assert [there.odds[0], there.points[1]] == pytest.approx([-back.odds[0], -back.points[2]], abs=5e-3)
